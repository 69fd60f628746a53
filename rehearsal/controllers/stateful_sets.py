"""Stateful sets: pods with names, one after the other."""

from __future__ import annotations

from typing import Any

from rehearsal.api.objects import QUIET, Objects
from rehearsal.api.status import ApiError
from rehearsal.controllers.index import Index
from rehearsal.controllers.pods import PODS, create_pod, is_ready, remove_pod
from rehearsal.controllers.revisions import REVISION_LABEL, current_revision, pod_of

Json = dict[str, Any]
_NAME_LABEL = "statefulset.kubernetes.io/pod-name"


def reconcile(objects: Objects, index: Index, item: Json) -> float | None:
    """Bring a stateful set a step nearer to what it wants."""
    metadata = item["metadata"]
    update = current_revision(objects, index, item)
    status = item.get("status") or {}
    current = _hash(status.get("currentRevision", ""), item) or update
    pods = {_ordinal(x): x for x in index.owned(metadata["uid"], PODS)}
    if "deletionTimestamp" not in metadata:
        _step(objects, item, pods, current, update)
    pods = {_ordinal(x): x for x in index.owned(metadata["uid"], PODS)}
    _report(objects, item, pods, current, update)
    return None


def _ordinal(pod: Json) -> int:
    return int(pod["metadata"]["name"].rpartition("-")[2])


def _hash(name: str, item: Json) -> str:
    return str(name).removeprefix(f"{item['metadata']['name']}-")


def _revision(pod: Json) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))


def _step(objects: Objects, item: Json, pods: dict[int, Json], current: str, update: str) -> None:
    """Do the next thing: create or replace in order, shrink from the end, update from the end."""
    spec = item["spec"]
    wanted, ordered = int(spec.get("replicas", 1)), spec.get("podManagementPolicy") != "Parallel"
    partition = int((spec["updateStrategy"].get("rollingUpdate") or {}).get("partition", 0))
    for n in range(wanted):
        revision = current if n < partition and current != update else update
        done = _furnish(objects, item, n, pods.get(n), revision)
        if ordered and not done:
            break
    surplus = sorted((n for n in pods if n >= wanted), reverse=True)
    for n in surplus[: 1 if ordered else None]:
        _remove(objects, pods[n])
    if not surplus and spec["updateStrategy"]["type"] == "RollingUpdate":
        _update(objects, item, [pods[n] for n in sorted(pods, reverse=True) if n >= partition], update)


def _furnish(objects: Objects, item: Json, ordinal: int, pod: Json | None, revision: str) -> bool:
    """Make a pod where there is none that can go on; tells whether it is there and ready."""
    if pod is None:
        _create(objects, item, ordinal, revision)
        return False
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        _remove(objects, pod)
        return False
    return is_ready(pod) and "deletionTimestamp" not in pod["metadata"]


def _update(objects: Objects, item: Json, pods: list[Json], update: str) -> None:
    """Replace the next pod of an old revision, once those after it are ready."""
    for pod in pods:
        if _revision(pod) != f"{item['metadata']['name']}-{update}":
            _remove(objects, pod)
            return
        if not is_ready(pod) or "deletionTimestamp" in pod["metadata"]:
            return


def _remove(objects: Objects, pod: Json) -> None:
    if "deletionTimestamp" not in pod["metadata"]:
        remove_pod(objects, pod)


def _create(objects: Objects, item: Json, ordinal: int, revision: str) -> None:
    name = f"{item['metadata']['name']}-{ordinal}"
    namespace = item["metadata"]["namespace"]
    template = item["spec"]["template"]
    claims = item["spec"].get("volumeClaimTemplates") or []
    body = pod_of(
        item, template, {"name": name}, {REVISION_LABEL: f"{item['metadata']['name']}-{revision}", _NAME_LABEL: name}
    )
    volumes = [
        x for x in template["spec"].get("volumes") or [] if x["name"] not in {c["metadata"]["name"] for c in claims}
    ]
    for claim in claims:
        called = f"{claim['metadata']['name']}-{name}"
        volumes.append({"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": called}})
        _claim(objects, namespace, called, claim, item)
    body["spec"] = {**body["spec"], "hostname": name, "volumes": volumes}
    if item["spec"].get("serviceName"):
        body["spec"]["subdomain"] = item["spec"]["serviceName"]
    create_pod(objects, namespace, body)


def _claim(objects: Objects, namespace: str, name: str, claim: Json, item: Json) -> None:
    labels = (item["spec"].get("selector") or {}).get("matchLabels") or {}
    metadata = {"name": name, "labels": {**(claim["metadata"].get("labels") or {}), **labels}}
    body = {"metadata": metadata, "spec": claim["spec"]}
    try:
        objects.create(objects.resource("v1", "PersistentVolumeClaim"), namespace, body, QUIET)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise


def _report(objects: Objects, item: Json, pods: dict[int, Json], current: str, update: str) -> None:
    name, spec = item["metadata"]["name"], item["spec"]
    full = f"{name}-{update}"
    listed = [x for x in pods.values() if "deletionTimestamp" not in x["metadata"]]
    updated = sum(_revision(x) == full for x in listed)
    ready = sum(is_ready(x) for x in listed)
    wanted = int(spec.get("replicas", 1))
    if updated == len(pods) == wanted and ready == wanted:
        current = update
    counts = {
        "readyReplicas": ready,
        "currentReplicas": sum(_revision(x) == f"{name}-{current}" for x in listed),
        "updatedReplicas": updated if current != update or updated else 0,
    }
    status: Json = {
        "observedGeneration": item["metadata"].get("generation", 1),
        "replicas": len(pods),
        **{k: v for k, v in counts.items() if v},
        "currentRevision": f"{name}-{current}",
        "updateRevision": full,
        "collisionCount": 0,
    }
    objects.write_status(item, status)
