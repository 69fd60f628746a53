"""Replica sets: as many pods as are wanted."""

from __future__ import annotations

from typing import Any

from rehearsal.api.objects import Objects
from rehearsal.controllers.index import Index
from rehearsal.controllers.pods import PODS, create_pod, is_active, is_ready, remove_pod, unavailable_for
from rehearsal.controllers.revisions import pod_of

Json = dict[str, Any]


def reconcile(objects: Objects, index: Index, item: Json) -> float | None:
    """Bring a replica set nearer to what it wants; returns after how many seconds to look again."""
    uid, spec = item["metadata"]["uid"], item["spec"]
    pods = [x for x in index.owned(uid, PODS) if is_active(x)]
    failure = ""
    if "deletionTimestamp" not in item["metadata"]:
        failure = _scale(objects, item, pods, int(spec.get("replicas", 1)))
        pods = [x for x in index.owned(uid, PODS) if is_active(x)]
    waits = [unavailable_for(x, int(spec.get("minReadySeconds", 0))) for x in pods]
    status: Json = {"replicas": len(pods)}
    if pods:
        status["fullyLabeledReplicas"] = len(pods)
    ready, available = sum(x is not None for x in waits), sum(x == 0 for x in waits)
    if ready:
        status["readyReplicas"] = ready
    if available:
        status["availableReplicas"] = available
    status["observedGeneration"] = item["metadata"].get("generation", 1)
    if failure:
        old: Json = next(iter((item.get("status") or {}).get("conditions") or ()), {})
        since = old.get("lastTransitionTime") or item["metadata"]["creationTimestamp"]
        status["conditions"] = [
            {"type": "ReplicaFailure", "status": "True", "lastTransitionTime": since, "reason": "FailedCreate",
             "message": failure}
        ]  # fmt: skip
    objects.write_status(item, status, tracked=False)
    later = [x for x in waits if x]
    if failure:
        later.append(2.0)
    return min(later) if later else None


def _scale(objects: Objects, item: Json, pods: list[Json], wanted: int) -> str:
    metadata = item["metadata"]
    for _ in range(wanted - len(pods)):
        body = pod_of(item, item["spec"]["template"], {"generateName": f"{metadata['name']}-"}, {})
        failure = create_pod(objects, metadata["namespace"], body)
        if failure:
            return failure
    if len(pods) > wanted:
        # Those that are not ready go first.
        for pod in sorted(pods, key=is_ready)[: len(pods) - wanted]:
            remove_pod(objects, pod)
    return ""
