"""Clusters that a site's control cluster knows, merged with those that the inventory declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from compass.errors import InvalidInput
from compass.site.cluster_api import SUFFIX
from compass.site.clusters import read_members
from compass.site.inventory import Inventory, InventoryCluster, InventorySite

#: Where a cluster of an inventory comes from.
Origin = Literal["declared", "found", "declared and found"]
Json = dict[str, Any]


def from_objects(site: InventorySite, objects: Sequence[Json], where: str) -> list[InventoryCluster]:
    """Return the clusters of a site's Cluster objects, named ``<site>-<object>``, with the objects' labels.

    Raises:
        InvalidInput: there is none, or no control cluster among them, or one has a name that no cluster may have.
    """
    labels = {x["metadata"]["name"]: x["metadata"].get("labels") or {} for x in objects}
    return [
        _cluster({"name": f"{site.name}-{x.name}", "object": x.name, "role": x.role, "labels": labels[x.name]}, where)
        for x in read_members(objects, where)
    ]


def from_secrets(site: InventorySite, secrets: Sequence[Json], where: str) -> list[InventoryCluster]:
    """Return the clusters whose kubeconfig Cluster API keeps, named ``<site>-<namespace>-<name>``.

    Raises:
        InvalidInput: one has a name that no cluster may have.
    """
    found = []
    for item in sorted(secrets, key=lambda x: (x["metadata"]["namespace"], x["metadata"]["name"])):
        namespace, name = item["metadata"]["namespace"], str(item["metadata"]["name"])
        if name.endswith(SUFFIX):
            short = name.removesuffix(SUFFIX)
            labels = item["metadata"].get("labels") or {}
            words = {"name": f"{site.name}-{namespace}-{short}", "role": "user", "labels": labels}
            found.append(_cluster({**words, "clusterAPI": f"{namespace}/{short}"}, where))
    return found


def _cluster(document: Json, where: str) -> InventoryCluster:
    try:
        return InventoryCluster.model_validate(document)
    except ValueError:
        raise InvalidInput("read", where, found=f"cluster {document['name']!r}",
                           expected="a name of letters, digits, '.', '_' and '-'",
                           do="declare it in the inventory under another name") from None  # fmt: skip


def merged(
    inventory: Inventory, found: Mapping[str, Sequence[InventoryCluster]], where: str
) -> tuple[Inventory, dict[str, Origin]]:
    """Return the inventory with what was found at each site, by its name, and where each cluster comes from.

    What is declared stays as it is written.

    Raises:
        InvalidInput: a cluster that was found would be called as another one is.
    """
    origins: dict[str, Origin] = {x.name: "declared" for _, x in inventory.each()}
    sites = []
    for site in inventory.sites:
        declared = {_key(x): x.name for x in site.clusters}
        added = []
        for cluster in found.get(site.name, ()):
            if name := declared.get(_key(cluster)):
                origins[name] = "declared and found"
                continue
            if cluster.name in origins:
                raise InvalidInput("read", where, found=f"cluster {cluster.name!r} found at site {site.name}, but "
                                   "another one has this name",
                                   do="declare it under another name, or give the `object` of that one")  # fmt: skip
            origins[cluster.name] = "found"
            added.append(cluster)
        sites.append(site.model_copy(update={"clusters": (*site.clusters, *added)}))
    return inventory.model_copy(update={"sites": tuple(sites)}), origins


def _key(cluster: InventoryCluster) -> tuple[str, str]:
    """Return what tells the clusters of one site apart, whatever they are called in the inventory.

    One that is declared with a kubeconfig still has its Cluster object: of the name in ``object``, else its own.
    """
    if cluster.cluster_api:
        return "clusterAPI", cluster.cluster_api
    return "object", cluster.object or cluster.name
