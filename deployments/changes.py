"""What must change for Prefect to have what is wanted: compared by value, nothing asked and nothing done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from compass.errors import InvalidInput
from compass.window.schedule import Schedule
from deployments.wanted import Wanted

Key = tuple[str, str]
Action = Literal["create", "update", "delete", "unchanged"]


@dataclass(frozen=True)
class FoundSchedule:
    """A schedule of a deployment on the server; ``rule`` is none where it is of a kind that we never write."""

    id: str
    rule: Schedule | None
    active: bool


@dataclass(frozen=True)
class Found:
    """A deployment on the server; ``fields`` are those that ``fields_of`` gives of a wanted one."""

    id: str
    flow: str
    name: str
    tags: tuple[str, ...]
    fields: Mapping[str, Any]
    schedules: tuple[FoundSchedule, ...] = ()
    paused: bool = False

    @property
    def full_name(self) -> str:
        """Its name as Prefect's command line takes it."""
        return f"{self.flow}/{self.name}"


@dataclass(frozen=True)
class Change:
    """What one deployment needs; ``differs`` names the fields, ``kept`` says what an operator did that stays.

    ``add`` is ``active`` unless an operator had switched off what it stands for.
    """

    action: Action
    wanted: Wanted | None = None
    found: Found | None = None
    differs: tuple[str, ...] = ()
    add: tuple[Schedule, ...] = ()
    active: bool = True
    remove: tuple[FoundSchedule, ...] = field(default=())
    kept: str = ""

    @property
    def name(self) -> str:
        """The deployment's full name."""
        return self.wanted.full_name if self.wanted else self.found.full_name if self.found else ""


def fields_of(wanted: Wanted, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a deployment has beside schedules, with the schema of its flow's parameters, as it is compared."""
    return {
        "description": wanted.description,
        "tags": sorted(wanted.tags),
        "entrypoint": wanted.flow.entrypoint,
        "parameters": wanted.parameters,
        "parameter schema": schema,
        "work pool": wanted.work_pool,
        "concurrency limit": wanted.concurrency_limit,
        "collision strategy": wanted.collision_strategy,
    }


def changes(
    wanted: Sequence[Wanted], found: Sequence[Found], schemas: Mapping[str, Mapping[str, Any]], ours: tuple[str, str]
) -> list[Change]:
    """Return a change for each deployment that is wanted, in its order, then for each that is to go.

    ``found`` may hold deployments that are not ours; only those with both tags of ``ours`` are deleted.  ``schemas``
    are by entrypoint.

    Raises:
        InvalidInput: a deployment that is wanted belongs to another inventory.
    """
    there: dict[Key, Found] = {(x.flow, x.name): x for x in found}
    here = {(x.flow.name, x.name) for x in wanted}
    made_by, inventory = ours
    result = []
    for each in wanted:
        present = there.get((each.flow.name, each.name))
        if present is None:
            result.append(Change("create", each, add=each.schedules))
            continue
        if made_by in present.tags and inventory not in present.tags:
            other = ", ".join(x for x in present.tags if x.startswith("inventory:")) or "no inventory"
            raise InvalidInput("deploy", each.full_name, found=f"it belongs to {other}", expected=inventory,
                               do="give the cluster another name, or take it out of one inventory")  # fmt: skip
        result.append(_compared(each, present, fields_of(each, schemas[each.flow.entrypoint])))
    gone = [x for key, x in there.items() if key not in here and set(ours) <= set(x.tags)]
    return result + [Change("delete", found=x) for x in sorted(gone, key=lambda x: (x.name, x.flow))]


def _compared(wanted: Wanted, found: Found, fields: Mapping[str, Any]) -> Change:
    differs = tuple(name for name, value in fields.items() if found.fields.get(name) != value)
    kept: set[Schedule] = set()
    remove = []
    for schedule in found.schedules:
        if schedule.rule and schedule.rule in wanted.schedules and schedule.rule not in kept:
            kept.add(schedule.rule)
        else:
            remove.append(schedule)
    add = tuple(x for x in wanted.schedules if x not in kept)
    if add or remove:
        differs = (*differs, "schedules")
    # A rule that replaces what was switched off is switched off too; one that replaces nothing, where all others are.
    active = any(x.active for x in remove or found.schedules) or not found.schedules
    stays_off = any(not x.active and x not in remove for x in found.schedules) or bool(add and not active)
    operator = (["paused"] if found.paused else []) + (["schedule switched off"] if stays_off else [])
    return Change(
        "update" if differs else "unchanged", wanted, found, differs, add, active, tuple(remove), ", ".join(operator)
    )
