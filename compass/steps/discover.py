"""Step: ask the control cluster of each site which clusters it knows, and every cluster whether it answers."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compass.cluster.client import ClusterClient
from compass.errors import CompassError, InvalidInput, StepFailed
from compass.job import Choices, Job, Where
from compass.site.access import read_access
from compass.site.cluster_api import LABEL
from compass.site.clusters import API_VERSION, KIND
from compass.site.discovery import Origin, from_objects, from_secrets, merged
from compass.site.inventory import Inventory, InventoryCluster, InventorySite, read_inventory
from compass.site.settings import SiteFiles, home_kubeconfig
from compass.steps.workplace import Workplace

PATIENCE_SECONDS = 10.0
_AT_ONCE = 32


def discover(inventory: Inventory, where: str) -> tuple[Inventory, dict[str, Origin]]:
    """Return the inventory with what the sites that ask for it are found to have; ``where`` names its file.

    Raises:
        InvalidInput, Refused, Transient, StepFailed: a site cannot be asked; it is named.
    """
    asked = [x for x in inventory.sites if x.discover]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip((x.name for x in asked), pool.map(lambda x: _at(x, where), asked), strict=True))
    return merged(inventory, found, where)


def read_whole(path: Path) -> Inventory:
    """Return the inventory at ``path`` with what its sites are found to have.

    Raises:
        InvalidInput, Refused, Transient, StepFailed: as ``read_inventory`` and ``discover``.
    """
    return discover(read_inventory(path), str(path))[0]


def _at(site: InventorySite, where: str) -> list[InventoryCluster]:
    kubeconfig = home_kubeconfig(Where(site=site.directory), SiteFiles(Path(site.directory).expanduser()))
    place = f"{where}: site {site.name}"
    with ClusterClient(read_access(kubeconfig), PATIENCE_SECONDS) as client:
        found: list[InventoryCluster] = []
        if "clusterObjects" in site.discover:
            if not client.serves(API_VERSION, KIND):
                raise InvalidInput("find clusters of", place, found=f"no kind {API_VERSION} {KIND} on {client.where}",
                                   expected="a control cluster", do="take clusterObjects out of discover")  # fmt: skip
            found += from_objects(site, client.list_all(API_VERSION, KIND), place)
        if "clusterAPI" in site.discover:
            found += from_secrets(site, client.list_all("v1", "Secret", labels=LABEL), place)
    return found


def versions(inventory: Inventory, environ: Mapping[str, str]) -> dict[str, str | CompassError]:
    """Return what version each cluster of an inventory answers with, by its name, or why it does not."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda x: _version(inventory, x[0], x[1], environ), inventory.each())
        return dict(zip((x.name for _, x in inventory.each()), found, strict=True))


def _version(
    inventory: Inventory, site: InventorySite, cluster: InventoryCluster, environ: Mapping[str, str]
) -> str | CompassError:
    name = cluster.object or cluster.name
    where = inventory.where(site, cluster).model_copy(update={"clusters": (name,)})
    job = Job(bundle="", where=where, choices=Choices(patience_seconds=PATIENCE_SECONDS))
    try:
        with Workplace(job, environ) as place:
            target = place.target(name)
            if target.problem:
                return StepFailed("reach cluster", cluster.name, found=target.problem)
            return place.client(target).version()
    except CompassError as error:
        return error
