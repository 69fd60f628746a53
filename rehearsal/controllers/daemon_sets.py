"""Daemon sets: one pod on every node."""

from __future__ import annotations

from typing import Any

from rehearsal.api.objects import Objects
from rehearsal.controllers.index import Index
from rehearsal.controllers.pods import PODS, create_pod, is_active, is_ready, remove_pod, unavailable_for
from rehearsal.controllers.revisions import REVISION_LABEL, current_revision, pod_of

Json = dict[str, Any]
NODES = ("", "nodes")
_GENERATION = "deprecated.daemonset.template.generation"
_TOLERATED = (
    ("not-ready", "NoExecute"), ("unreachable", "NoExecute"), ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"), ("pid-pressure", "NoSchedule"), ("unschedulable", "NoSchedule"),
)  # fmt: skip


def reconcile(objects: Objects, index: Index, item: Json) -> float | None:
    """Bring a daemon set nearer to what it wants; returns after how many seconds to look again."""
    metadata, spec = item["metadata"], item["spec"]
    nodes = [x["metadata"]["name"] for x in objects.store.all(NODES)]
    revision = current_revision(objects, index, item)
    if "deletionTimestamp" not in metadata:
        _place(objects, index, item, nodes, revision)
    pods = [x for x in index.owned(metadata["uid"], PODS) if is_active(x)]
    if "deletionTimestamp" not in metadata and spec["updateStrategy"]["type"] == "RollingUpdate":
        _update(objects, item, pods, revision)
        pods = [x for x in index.owned(metadata["uid"], PODS) if is_active(x)]
    waits = [unavailable_for(x, int(spec.get("minReadySeconds", 0))) for x in pods]
    available = sum(x == 0 for x in waits)
    status: Json = {
        "currentNumberScheduled": len({x["spec"].get("nodeName") for x in pods}),
        "numberMisscheduled": 0,
        "desiredNumberScheduled": len(nodes),
        "numberReady": sum(x is not None for x in waits),
        "observedGeneration": metadata.get("generation", 1),
    }
    for key, count in (
        ("updatedNumberScheduled", sum(_revision(x) == revision for x in pods)),
        ("numberAvailable", available),
        ("numberUnavailable", len(nodes) - available),
    ):
        if count:
            status[key] = count
    objects.write_status(item, status)
    later = [x for x in waits if x]
    return min(later) if later else None


def _revision(pod: Json) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))


def _place(objects: Objects, index: Index, item: Json, nodes: list[str], revision: str) -> None:
    metadata = item["metadata"]
    pods = index.owned(metadata["uid"], PODS)
    for pod in pods:
        if (pod.get("status") or {}).get("phase") == "Failed" and is_active({**pod, "status": {}}):
            remove_pod(objects, pod)
    taken = {x["spec"].get("nodeName") for x in pods if is_active(x) or "deletionTimestamp" in x["metadata"]}
    generation = (metadata.get("annotations") or {}).get(_GENERATION, "1")
    labels = {REVISION_LABEL: revision, "pod-template-generation": generation}
    for node in nodes:
        if node in taken:
            continue
        body = pod_of(item, item["spec"]["template"], {"generateName": f"{metadata['name']}-"}, labels)
        tolerations = [
            {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect} for key, effect in _TOLERATED
        ]
        body["spec"] = {
            **body["spec"], "nodeName": node,
            "tolerations": [*(body["spec"].get("tolerations") or []), *tolerations],
        }  # fmt: skip
        create_pod(objects, metadata["namespace"], body)


def _update(objects: Objects, item: Json, pods: list[Json], revision: str) -> None:
    """Delete pods of old revisions, as many as may be unavailable at once."""
    rolling = item["spec"]["updateStrategy"].get("rollingUpdate") or {}
    value = rolling.get("maxUnavailable", 1)
    most = value if isinstance(value, int) else max(len(pods) * int(value.rstrip("%")) // 100, 1)
    old = [x for x in pods if _revision(x) != revision]
    spare = most - sum(not is_ready(x) and _revision(x) == revision for x in pods)
    # What does not work anyhow costs nothing.
    for pod in sorted(old, key=is_ready):
        if not is_ready(pod) or spare > 0:
            spare -= int(is_ready(pod))
            remove_pod(objects, pod)
