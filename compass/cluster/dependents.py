"""What goes with an object when it is deleted: the cluster's garbage collector takes whatever it alone owns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    while True:
        more = [(item, by) for item in owned if (by := _taken_by(item, going))]
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


def _taken_by(item: Json, going: Mapping[str, ObjectRef]) -> ObjectRef | None:
    """Return the owner with which an object goes: it has no other one, and is not known to go yet."""
    if item["metadata"]["uid"] in going:
        return None
    references = item["metadata"]["ownerReferences"]
    by = [going.get(x.get("uid", "")) for x in references]
    if None in by or any(x.get("kind") in _MAKERS for x in references):
        return None
    return by[0]
