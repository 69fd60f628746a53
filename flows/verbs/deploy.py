"""Verb ``deploy``: Prefect has what the inventory says, no more and no less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.clock import system_clock
from compass.errors import EXIT_DIFFERENT, EXIT_DONE, CompassError, InvalidInput
from compass.site.access import read_access
from compass.site.inventory import Inventory, refuse_never_open
from compass.site.settings import SiteFiles, home_kubeconfig
from compass.steps.discover import read_whole
from deployments.changes import Change, changes
from deployments.wanted import tags_of, wanted_deployments
from flows.engine import set_up
from flows.screen import Screen


def deploy(path: Path, screen: Screen, *, check: bool, elsewhere: bool) -> int:
    """Bring Prefect to what an inventory says, or say with ``check`` what differs; everything is looked at first.

    ``elsewhere`` leaves out looking for the kubeconfigs, where only the workers have them.

    Raises:
        InvalidInput: something in the inventory, or that it names, is wrong; Prefect is as it was.
        Transient: the Prefect server does not answer.
    """
    inventory = read_whole(path)
    refuse_never_open(inventory, system_clock().now(), str(path))
    if not elsewhere:
        refuse_unreachable(inventory, str(path))
    wanted = wanted_deployments(inventory, str(path))
    set_up()
    from deployments import server as prefect  # after its settings, and by this verb alone: it takes a second

    schemas = prefect.schemas()
    with prefect.connect() as server:
        for pool, where in _pools(inventory, str(path)):
            server.refuse_without_pool(pool, where)
        planned = changes(wanted, server.deployments(), schemas, tags_of(inventory))
        todo = [x for x in planned if x.action != "unchanged"]
        for number, change in enumerate(todo if not check else (), 1):
            try:
                server.make(change, schemas[change.wanted.flow.entrypoint] if change.wanted else {})
            except CompassError as error:
                screen.tell(f"{number - 1} of {len(todo)} changes are made; the same command does the rest")
                raise error
            if number % 100 == 0:
                screen.tell(f"deployments: {number} of {len(todo)}")
        kept = {name: x for name, x in server.keep_watch(check=check).items() if x != "unchanged"}
    for name, answer in kept.items():
        screen.tell(f"{'would be ' if check else ''}{answer}d: automation {name}")
    screen.result([_json(x) for x in planned], lambda: _show(screen, planned, check=check))
    return EXIT_DIFFERENT if check and (todo or kept) else EXIT_DONE


def refuse_unreachable(inventory: Inventory, where: str) -> None:
    """Check that every kubeconfig that an inventory names is on this machine and has its context.

    Raises:
        InvalidInput: one is not there, or does not parse; the cluster is named.
    """
    good: set[tuple[Path, str | None]] = set()
    for site, cluster in inventory.each():
        reach = inventory.where(site, cluster)
        try:
            kubeconfig = home_kubeconfig(reach, SiteFiles(Path(site.directory).expanduser()))
            if (kubeconfig, reach.context) not in good:
                read_access(kubeconfig, reach.context)
                good.add((kubeconfig, reach.context))
        except InvalidInput as error:
            problem = f"{error.did} {error.subject}: {error.found}"
            raise InvalidInput(
                "read", f"{where}: cluster {cluster.name}", found=problem, expected=error.expected,
                do="where only the workers have it, pass --elsewhere",
            ) from None  # fmt: skip


def _pools(inventory: Inventory, where: str) -> list[tuple[str, str]]:
    """Return each work pool once, with the place that names it."""
    named = {x.work_pool: f"{where}: sites.{n}.workPool" for n, x in enumerate(inventory.sites) if x.work_pool}
    if any(not x.work_pool for x in inventory.sites):
        named[inventory.work_pool] = f"{where}: workPool"
    return list(named.items())


def _show(screen: Screen, planned: Sequence[Change], *, check: bool) -> None:
    past = {"create": "created", "update": "updated", "delete": "deleted"}
    colors = {"create": "green", "update": "yellow", "delete": "red"}
    for change in planned:
        if change.action == "unchanged":
            continue
        said = f"would be {past[change.action]}" if check else past[change.action]
        why = f" ({', '.join(change.differs)})" if change.differs else ""
        screen.say(f"{said}: {change.name}{why}", colors[change.action])
    for change in planned:
        if change.kept:
            screen.say(f"left as an operator set it: {change.name}: {change.kept}")
    counts = Counter(x.action for x in planned)
    ends = {x: f"to {x}" for x in past} if check else past
    screen.say(", ".join(f"{counts[x]} {ends.get(x, x)}" for x in ("create", "update", "delete", "unchanged")), "bold")


def _json(change: Change) -> dict[str, Any]:
    return {
        "deployment": change.name, "action": change.action, "differs": list(change.differs), "operator": change.kept,
        "addSchedules": [x.model_dump() for x in change.add], "removeSchedules": len(change.remove),
    }  # fmt: skip
