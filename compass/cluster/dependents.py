"""What goes with an object when it is deleted: the cluster's garbage collector takes whatever it alone owns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from compass.cluster.client import ClusterClient
from compass.errors import Refused
from compass.names import ObjectRef

Json = dict[str, Any]
#: What may hold something, or be put back.  What controllers of the cluster make (ReplicaSets, Pods, the Jobs of a
#: CronJob, EndpointSlices) comes and goes with its maker.
KINDS = (
    ("v1", "PersistentVolumeClaim"), ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "Service"), ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("apps/v1", "DaemonSet"), ("batch/v1", "Job"),
    ("batch/v1", "CronJob"), ("batch/v1beta1", "CronJob"), ("networking.k8s.io/v1", "Ingress"),
    ("rbac.authorization.k8s.io/v1", "Role"), ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("release.caicloud.io/v1alpha1", "Release"), ("release.caicloud.io/v1beta1", "Release"),
)  # fmt: skip
_AT_ONCE = 8
_MAKERS = frozenset({"CronJob"})


def dependents(client: ClusterClient, owners: Mapping[str, ObjectRef]) -> list[tuple[Json, ObjectRef]]:
    """Return what would go with ``owners`` (by uid), each with the owner that takes it along, nearest first.

    A kind that may not be listed is taken to have none.
    """
    if not owners:
        return []
    space = {x.namespace for x in owners.values()}
    owned = list(_owned(client, sorted(space) if "" not in space else [""]))
    going, found = dict(owners), list[tuple[Json, ObjectRef]]()
    there: dict[str, bool] = {}

    def stays(reference: Json, namespace: str) -> bool:
        uid = reference.get("uid", "")
        if uid not in there:
            there[uid] = _is_there(client, reference, namespace)
        return there[uid]

    while True:
        more = [(item, by) for item in owned if (by := _taken_by(item, going, stays))]
        if not more:
            return found
        found += more
        going |= {item["metadata"]["uid"]: ObjectRef.of(item) for item, _ in more}


def _owned(client: ClusterClient, namespaces: Iterable[str]) -> Iterable[Json]:
    """Give every object that somebody owns, each once, whatever version of its kind it is served in."""
    seen: set[str] = set()
    places = [(namespace, kind) for namespace in namespaces for kind in KINDS]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for items in pool.map(lambda x: _owned_at(client, *x), places):
            for item in items:
                if item["metadata"]["uid"] not in seen:
                    seen.add(item["metadata"]["uid"])
                    yield item


def _owned_at(client: ClusterClient, namespace: str, kind: tuple[str, str]) -> list[Json]:
    try:
        items = client.list_all(*kind, namespace) if client.serves(*kind) else []
    except Refused:
        return []
    return [x for x in items if x["metadata"].get("ownerReferences")]


def _taken_by(item: Json, going: Mapping[str, ObjectRef], stays: Callable[[Json, str], bool]) -> ObjectRef | None:
    """Return the owner with which an object goes: it has no other one that stays, and is not known to go yet."""
    metadata = item["metadata"]
    if metadata["uid"] in going:
        return None
    references = metadata["ownerReferences"]
    by = next((x for x in (going.get(y.get("uid", "")) for y in references) if x), None)
    if by is None or (item["kind"] == "Job" and any(x.get("kind") in _MAKERS for x in references)):
        return None
    others = [x for x in references if x.get("uid", "") not in going]
    return None if any(stays(x, metadata.get("namespace", "")) for x in others) else by


def _is_there(client: ClusterClient, reference: Json, namespace: str) -> bool:
    """Tell whether an owner exists: one that does not keeps nothing from being collected."""
    kind = (str(reference.get("apiVersion", "")), str(reference.get("kind", "")))
    if not client.serves(*kind):
        return False
    space = namespace if client.is_namespaced(*kind) else ""
    live = client.get(ObjectRef(*kind, space, str(reference.get("name", ""))))
    return live is not None and live["metadata"]["uid"] == reference.get("uid")
