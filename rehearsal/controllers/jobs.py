"""Jobs: pods that run to their end, as often as is wanted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rehearsal.api.objects import Objects, now
from rehearsal.controllers.index import Index
from rehearsal.controllers.pods import PODS, create_pod, is_active, remove_pod
from rehearsal.controllers.revisions import pod_of

Json = dict[str, Any]


def reconcile(objects: Objects, index: Index, item: Json) -> float | None:
    """Bring a job nearer to its end; returns after how many seconds to look again."""
    metadata, spec = item["metadata"], item["spec"]
    status = dict(item.get("status") or {})
    if is_finished(status):
        return None
    pods = index.owned(metadata["uid"], PODS)
    active = [x for x in pods if is_active(x)]
    done, failed = _count(pods, "Succeeded"), _count(pods, "Failed")
    restarts = sum(_restarts(x) for x in active) if spec["template"]["spec"].get("restartPolicy") == "OnFailure" else 0
    status.setdefault("startTime", now())
    wanted = spec.get("completions") or spec.get("parallelism", 1)
    late = _overdue(spec, status)
    why: tuple[str, str] | None = None
    if failed + restarts > int(spec.get("backoffLimit", 6)):
        why = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    elif late is not None and late <= 0:
        why = "DeadlineExceeded", "Job was active longer than specified deadline"
    if why:
        for pod in active:
            remove_pod(objects, pod)
        failed, active = failed + len(active), []
        status["conditions"] = [_condition("Failed", *why)]
    elif done >= wanted:
        status["conditions"] = [_condition("Complete")]
        status["completionTime"] = now()
    elif "deletionTimestamp" not in metadata:
        for _ in range(min(spec.get("parallelism", 1), wanted - done) - len(active)):
            body = pod_of(item, spec["template"], {"generateName": f"{metadata['name']}-"}, {})
            create_pod(objects, metadata["namespace"], body)
        active = [x for x in index.owned(metadata["uid"], PODS) if is_active(x)]
    counts = {"active": len(active), "succeeded": done, "failed": failed}
    status = {**{k: v for k, v in status.items() if k not in counts}, **{k: v for k, v in counts.items() if v}}
    objects.write_status(item, status)
    return late if late and not why else None


def is_finished(status: Json) -> bool:
    """Tell whether a job is complete or has failed."""
    return any(x["type"] in ("Complete", "Failed") and x["status"] == "True" for x in status.get("conditions") or ())


def _count(pods: list[Json], phase: str) -> int:
    return sum((x.get("status") or {}).get("phase") == phase for x in pods)


def _restarts(pod: Json) -> int:
    return sum(x.get("restartCount", 0) for x in (pod.get("status") or {}).get("containerStatuses") or ())


def _overdue(spec: Json, status: Json) -> float | None:
    """Return the seconds that a job has left, ``None`` when it has all the time."""
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is None:
        return None
    since = datetime.fromisoformat(status["startTime"].replace("Z", "+00:00"))
    return float(seconds) - (datetime.now(UTC) - since).total_seconds()


def _condition(kind: str, reason: str = "", message: str = "") -> Json:
    found = {"type": kind, "status": "True", "lastProbeTime": now(), "lastTransitionTime": now()}
    return {**found, **({"reason": reason, "message": message} if reason else {})}
