"""What an inventory says Prefect should have: one deployment per cluster and verb."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from compass.errors import InvalidInput
from compass.site.inventory import CHANGING, Inventory, InventoryCluster, InventorySite, Verb
from compass.window.model import Window
from compass.window.schedule import Schedule, prefect_schedules

#: What this tool made carries it; nothing else is ever removed.
MADE_BY = "compass-upgrade"
_OF_INVENTORY = "inventory:"


@dataclass(frozen=True)
class FlowOf:
    """The flow of a verb: its name, and where a worker finds it.

    The place is a module path, not a file: it loads once, from any folder, wherever the package is installed.
    """

    name: str
    entrypoint: str


FLOWS: dict[Verb, FlowOf] = {
    "backup": FlowOf("backup-cluster", "flows.backup.backup_cluster"),
    "upgrade": FlowOf("upgrade-cluster", "flows.upgrade.upgrade_cluster"),
    "check": FlowOf("check-cluster", "flows.check.check_cluster"),
    "remove": FlowOf("remove-components", "flows.remove.remove_components"),
}


@dataclass(frozen=True)
class Wanted:
    """One deployment; of equal schedules there is one.  Parameters are paths, names and choices, never a secret.

    One run goes at a time, and a second one waits for it.
    """

    name: str
    verb: Verb
    description: str
    tags: tuple[str, ...]
    parameters: dict[str, Any]
    work_pool: str
    schedules: tuple[Schedule, ...]
    concurrency_limit: int = 1
    collision_strategy: str = "ENQUEUE"

    @property
    def flow(self) -> FlowOf:
        """The flow that it runs."""
        return FLOWS[self.verb]

    @property
    def full_name(self) -> str:
        """Its name as Prefect's command line takes it."""
        return f"{self.flow.name}/{self.name}"


#: What a label must not say: whose a deployment is, and where.
_OUR_TAGS = frozenset({_OF_INVENTORY.removesuffix(":"), "site", "role", MADE_BY})


def tags_of(inventory: Inventory) -> tuple[str, str]:
    """Return the tags that every deployment of an inventory has, and no other one."""
    return MADE_BY, f"{_OF_INVENTORY}{inventory.name}"


def wanted_deployments(inventory: Inventory, where: str) -> list[Wanted]:
    """Return the deployments of an inventory, in its order; ``where`` names its file in errors.

    Raises:
        InvalidInput: Prefect could not say when a window opens.
    """
    return [
        _wanted(inventory, site, cluster, verb, where) for site, cluster in inventory.each() for verb in cluster.verbs
    ]


def _wanted(inventory: Inventory, site: InventorySite, cluster: InventoryCluster, verb: Verb, where: str) -> Wanted:
    try:
        schedules = _schedules(inventory, site, cluster, verb)
    except InvalidInput as error:
        raise InvalidInput("read", f"{where}: cluster {cluster.name}", found=str(error)) from None
    return Wanted(
        name=cluster.name,
        verb=verb,
        description=f"{verb.capitalize()} cluster {cluster.name} ({cluster.role}) of site {site.name}.",
        tags=(
            *tags_of(inventory), f"site:{site.name}", f"role:{cluster.role}",
            *(f"{name}:{value}" for name, value in cluster.labels.items() if name not in _OUR_TAGS),
        ),
        parameters=_parameters(inventory, site, cluster, verb),
        work_pool=inventory.work_pool_of(site),
        schedules=schedules,
    )  # fmt: skip


def _parameters(inventory: Inventory, site: InventorySite, cluster: InventoryCluster, verb: Verb) -> dict[str, Any]:
    where = inventory.where(site, cluster).model_dump(exclude_none=True, exclude_defaults=True, mode="json")
    parameters = {
        "bundle": inventory.bundle,
        "cluster": cluster.object or cluster.name,
        "where": where,
        "choices": cluster.choices.model_dump(exclude_defaults=True, mode="json"),
    }
    calendar = inventory.calendar(site, cluster)
    if verb in CHANGING and calendar.is_bounded:
        parameters["calendar"] = calendar.model_dump(exclude_none=True, exclude_defaults=True, mode="json")
    return parameters


def _schedules(
    inventory: Inventory, site: InventorySite, cluster: InventoryCluster, verb: Verb
) -> tuple[Schedule, ...]:
    starting: list[Window] = [cluster.schedules[verb]] if verb in cluster.schedules else []
    if verb in inventory.at_opening_of(site, cluster):
        starting += inventory.calendar(site, cluster).windows
    return tuple(dict.fromkeys(x for window in starting for x in _of_window(window)))


_of_window = cache(prefect_schedules)
