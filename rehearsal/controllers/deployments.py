"""Deployments: one replica set per template, and the way from one to the next.

Source: kubernetes.io, Deployments; pkg/controller/deployment of Kubernetes 1.20, whose words these are.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rehearsal.api.objects import CONTROLLER, QUIET, Objects, now
from rehearsal.controllers.conditions import Conditions
from rehearsal.controllers.index import Index
from rehearsal.controllers.pods import PODS
from rehearsal.controllers.revisions import HASH_LABEL, bare, owner_reference, template_hash

Json = dict[str, Any]
REVISION = "deployment.kubernetes.io/revision"
REPLICA_SETS = ("apps", "replicasets")


def reconcile(objects: Objects, index: Index, item: Json) -> float | None:
    """Bring a deployment a step nearer to what it wants; returns after how many seconds to look again."""
    sets = index.owned(item["metadata"]["uid"], REPLICA_SETS)
    newest = _newest(item, sets)
    is_new = False
    if "deletionTimestamp" not in item["metadata"]:
        paused = bool(item["spec"].get("paused"))
        old = [x for x in sets if newest is None or x["metadata"]["uid"] != newest["metadata"]["uid"]]
        recreates = item["spec"]["strategy"]["type"] == "Recreate"
        if newest is None and not paused and (not recreates or _emptied(objects, index, old)):
            newest, is_new = _create(objects, item, sets), True
        elif newest is not None and not paused:
            _mark(objects, item, newest, sets)
        _roll(objects, item, newest, old, recreates=recreates, paused=paused)
        item = (
            objects.store.get(("apps", "deployments"), item["metadata"]["namespace"], item["metadata"]["name"]) or item
        )
        sets = index.owned(item["metadata"]["uid"], REPLICA_SETS)
        newest = _newest(item, sets)
        _forget(objects, item, old)
    return _report(objects, item, sets, newest, is_new=is_new)


def _newest(item: Json, sets: list[Json]) -> Json | None:
    wanted = _comparable(item["spec"]["template"])
    return next((x for x in sets if _comparable(x["spec"]["template"]) == wanted), None)


def _comparable(template: Json) -> Json:
    found = bare(template)
    found["metadata"] = {k: v for k, v in found["metadata"].items() if k in ("labels", "annotations") and v}
    return found


def _revision(one: Json) -> int:
    text = (one["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _create(objects: Objects, item: Json, sets: list[Json]) -> Json:
    template, digest = item["spec"]["template"], template_hash(item["spec"]["template"])
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest}
    selector = dict(item["spec"]["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    revision = str(max((_revision(x) for x in sets), default=0) + 1)
    wanted = item["spec"].get("replicas", 1)
    total = sum(x["spec"].get("replicas", 0) for x in sets)
    surge, _ = _bounds(item)
    is_rolling = item["spec"]["strategy"]["type"] == "RollingUpdate"
    first = max(min(wanted, wanted + surge - total), 0) if is_rolling else wanted
    body = {
        "metadata": {
            "name": f"{item['metadata']['name']}-{digest}",
            "labels": labels,
            "annotations": {**_copied(item), REVISION: revision, **_sizes(item)},
            "ownerReferences": [owner_reference(item)],
        },
        "spec": {
            "replicas": first,
            "selector": selector,
            "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
            **({"minReadySeconds": item["spec"]["minReadySeconds"]} if item["spec"].get("minReadySeconds") else {}),
        },
    }
    resource = objects.resource("apps/v1", "ReplicaSet")
    made = objects.create(resource, item["metadata"]["namespace"], body, QUIET)
    _annotate(objects, item, revision)
    return made


def _copied(item: Json) -> Json:
    left_out = ("kubectl.kubernetes.io/last-applied-configuration", REVISION)
    return {k: v for k, v in (item["metadata"].get("annotations") or {}).items() if k not in left_out}


def _sizes(item: Json) -> Json:
    wanted = item["spec"].get("replicas", 1)
    surge, _ = _bounds(item)
    return {
        "deployment.kubernetes.io/desired-replicas": str(wanted),
        "deployment.kubernetes.io/max-replicas": str(wanted + surge),
    }


def _mark(objects: Objects, item: Json, newest: Json, sets: list[Json]) -> None:
    """Give a template that came back the highest revision, as a rollback does."""
    highest = max((_revision(x) for x in sets), default=0)
    revision = _revision(newest)
    if revision < highest:
        revision = highest + 1
        resource = objects.resource("apps/v1", "ReplicaSet")
        metadata = newest["metadata"]
        objects.change(resource, metadata["namespace"], metadata["name"], lambda x: _noted(x, str(revision)), QUIET)
    _annotate(objects, item, str(revision))


def _annotate(objects: Objects, item: Json, revision: str) -> None:
    if (item["metadata"].get("annotations") or {}).get(REVISION) == revision:
        return
    resource = objects.resource("apps/v1", "Deployment")
    metadata = item["metadata"]
    # By the door of the status: a change of a deployment's annotations would count as a new generation.
    write = replace(CONTROLLER, subresource="status")
    objects.change(resource, metadata["namespace"], metadata["name"], lambda x: _noted(x, revision), write)


def _noted(item: Json, revision: str) -> Json:
    annotations = {**(item["metadata"].get("annotations") or {}), REVISION: revision}
    return {**item, "metadata": {**item["metadata"], "annotations": annotations}}


def _emptied(objects: Objects, index: Index, old: list[Json]) -> bool:
    """Scale old replica sets to nothing; tells whether their pods are gone."""
    for one in old:
        _scale(objects, one, 0)
    return not any(index.owned(x["metadata"]["uid"], PODS) for x in old)


def _roll(
    objects: Objects, item: Json, newest: Json | None, old: list[Json], *, recreates: bool, paused: bool
) -> None:  # fmt: skip
    wanted = int(item["spec"].get("replicas", 1))
    active = [x for x in old if x["spec"].get("replicas", 0) > 0]
    if newest is None:
        if paused and len(active) == 1:
            _scale(objects, active[0], wanted)
        return
    if not active or recreates or paused:
        if not paused or not active:
            _scale(objects, newest, wanted)
        return
    surge, unavailable = _bounds(item)
    total = newest["spec"]["replicas"] + sum(x["spec"]["replicas"] for x in active)
    size = min(wanted, newest["spec"]["replicas"] + max(wanted + surge - total, 0))
    if newest["spec"]["replicas"] != size:
        _scale(objects, newest, size)
        return
    _shrink(objects, active, newest, total, wanted - unavailable)


def _shrink(objects: Objects, old: list[Json], newest: Json, total: int, least: int) -> None:
    """Scale old replica sets down as far as enough pods stay available; what never got available goes first."""
    not_yet = newest["spec"]["replicas"] - _count(newest, "availableReplicas")
    spare = total - least - not_yet
    for one in sorted(old, key=_revision):
        broken = one["spec"]["replicas"] - _count(one, "availableReplicas")
        size = one["spec"]["replicas"] - max(min(broken, spare), 0)
        spare -= one["spec"]["replicas"] - size
        fewer = max(min(size, spare), 0)
        spare -= fewer
        _scale(objects, one, size - fewer)


def _count(one: Json, key: str) -> int:
    return int((one.get("status") or {}).get(key) or 0)


def _scale(objects: Objects, one: Json, size: int) -> None:
    if one["spec"].get("replicas") == size:
        return
    resource, metadata = objects.resource("apps/v1", "ReplicaSet"), one["metadata"]

    def change(item: Json) -> Json:
        return {**item, "spec": {**item["spec"], "replicas": size}}

    objects.change(resource, metadata["namespace"], metadata["name"], change, QUIET)


def _bounds(item: Json) -> tuple[int, int]:
    """Return how many pods there may be too many, and how many too few."""
    strategy, wanted = item["spec"]["strategy"], int(item["spec"].get("replicas", 1))
    if strategy["type"] != "RollingUpdate":
        return 0, 0
    rolling = strategy.get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    return surge, min(unavailable if surge or unavailable else 1, wanted)


def _share(value: int | str, of: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    part = of * int(value.rstrip("%")) / 100
    return math.ceil(part) if up else math.floor(part)


def _forget(objects: Objects, item: Json, old: list[Json]) -> None:
    """Delete the oldest empty replica sets beyond the history that is wanted."""
    empty = [x for x in old if not x["spec"].get("replicas") and not _count(x, "replicas")]
    surplus = len(empty) - int(item["spec"].get("revisionHistoryLimit", 10))
    for one in sorted(empty, key=_revision)[: max(surplus, 0)]:
        objects.store.remove(REPLICA_SETS, one)


def _report(objects: Objects, item: Json, sets: list[Json], newest: Json | None, *, is_new: bool) -> float | None:
    wanted = int(item["spec"].get("replicas", 1))
    total, available = (sum(_count(x, key) for x in sets) for key in ("replicas", "availableReplicas"))
    updated = _count(newest, "replicas") if newest else 0
    status: Json = {
        "observedGeneration": item["metadata"].get("generation", 1),
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": sum(_count(x, "readyReplicas") for x in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(wanted - available, 0) if total < wanted else max(total - available, 0),
    }
    conditions = Conditions((item.get("status") or {}).get("conditions") or [])
    _, unavailable = _bounds(item)
    if available >= wanted - unavailable:
        conditions.set("Available", True, "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        conditions.set(
            "Available", False, "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
        )
    failure = _failure(newest)
    if failure:
        conditions.set("ReplicaFailure", True, "FailedCreate", failure)
    else:
        conditions.drop("ReplicaFailure")
    done = updated == wanted == total and available >= wanted
    moved = _moved(item.get("status") or {}, status)
    later = _progress(item, conditions, newest, done=done, moved=moved, is_new=is_new)
    status = {k: v for k, v in status.items() if v or k == "observedGeneration"}
    if conditions.listed:
        status["conditions"] = conditions.listed
    objects.write_status(item, status)
    return later


def _failure(newest: Json | None) -> str:
    conditions = ((newest or {}).get("status") or {}).get("conditions") or ()
    return next((x["message"] for x in conditions if x["type"] == "ReplicaFailure"), "")


def _moved(old: Json, new: Json) -> bool:
    """Tell whether a rollout got on: more updated, ready or available, or fewer old ones."""
    more = any(new[k] > old.get(k, 0) for k in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    old_ones = old.get("replicas", 0) - old.get("updatedReplicas", 0)
    return more or new["replicas"] - new["updatedReplicas"] < old_ones


def _progress(
    item: Json, conditions: Conditions, newest: Json | None, *, done: bool, moved: bool, is_new: bool
) -> float | None:
    deadline = item["spec"].get("progressDeadlineSeconds")
    if deadline is None or newest is None:
        return None
    name = newest["metadata"]["name"]
    current = conditions.find("Progressing")
    if done:
        conditions.set(
            "Progressing", True, "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'
        )
        return None
    if is_new:
        conditions.set("Progressing", True, "NewReplicaSetCreated", f'Created new replica set "{name}"', at=now())
        return float(deadline)
    if moved or current is None or (current["reason"] == "NewReplicaSetAvailable" and name not in current["message"]):
        conditions.set("Progressing", True, "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.', at=now())
        return float(deadline)
    if current["reason"] in ("ProgressDeadlineExceeded", "NewReplicaSetAvailable"):
        return None
    since = datetime.fromisoformat(current["lastUpdateTime"].replace("Z", "+00:00"))
    left = float(deadline) - (datetime.now(UTC) - since).total_seconds()
    if left > 0:
        return left + 0.1
    conditions.set("Progressing", False, "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.')
    return None
