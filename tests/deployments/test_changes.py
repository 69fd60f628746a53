"""What must change on a Prefect server, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from compass.errors import InvalidInput
from compass.window.schedule import Schedule
from deployments.changes import Change, Found, FoundSchedule, changes, fields_of
from deployments.wanted import FLOWS, Wanted

OURS = ("compass-upgrade", "inventory:north")
SCHEMAS = {x.entrypoint: {"type": "object"} for x in FLOWS.values()}
DAILY = Schedule(rrule="DTSTART:20260101T020000\nRRULE:FREQ=DAILY", timezone="UTC")
WEEKLY = Schedule(rrule="DTSTART:20260101T020000\nRRULE:FREQ=WEEKLY", timezone="UTC")
ONE = Wanted("one", "upgrade", "Upgrade one.", OURS, {"bundle": "/b"}, "compass", (DAILY,))


def there(wanted: Wanted, *schedules: FoundSchedule, **other: object) -> Found:
    """Return a deployment as the server has it, but for what is ``other``."""
    fields = fields_of(wanted, SCHEMAS[wanted.flow.entrypoint]) | other
    kept = schedules or tuple(FoundSchedule(f"s{n}", x, True) for n, x in enumerate(wanted.schedules))
    return Found("d", wanted.flow.name, wanted.name, wanted.tags, fields, kept)


def replace_rule(time: str) -> Schedule:
    return Schedule(rrule=f"DTSTART:20260101T{time}00\nRRULE:FREQ=DAILY", timezone="UTC")


def one(wanted: Sequence[Wanted], found: Sequence[Found]) -> Change:
    (change,) = changes(wanted, found, SCHEMAS, OURS)
    return change


def test_what_is_there_as_wanted_is_left_alone() -> None:
    change = one([ONE], [there(ONE)])
    assert (change.action, change.differs, change.add, change.remove) == ("unchanged", (), (), ())


def test_what_is_missing_is_created_with_its_schedules() -> None:
    change = one([ONE], [])
    assert (change.action, change.name, change.add) == ("create", "upgrade-cluster/one", (DAILY,))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("description", ""), ("tags", ["compass-upgrade"]), ("entrypoint", "flows/upgrade.py:upgrade"),
        ("parameters", {}), ("parameter schema", {}), ("work pool", "other"), ("concurrency limit", None),
        ("collision strategy", "CANCEL_NEW"),
    ],
)  # fmt: skip
def test_each_field_that_differs_is_named(field: str, value: object) -> None:
    change = one([ONE], [there(ONE, **{field: value})])
    assert (change.action, change.differs, change.add, change.remove) == ("update", (field,), (), ())


def test_only_the_schedules_that_differ_are_added_and_removed() -> None:
    old = FoundSchedule("old", WEEKLY, active=True)
    change = one([ONE], [there(ONE, FoundSchedule("same", DAILY, active=True), old)])
    assert (change.action, change.differs, change.add, change.remove) == ("update", ("schedules",), (), (old,))
    change = one([replace(ONE, schedules=(DAILY, WEEKLY))], [there(ONE)])
    assert (change.add, change.remove) == ((WEEKLY,), ())


def test_a_schedule_that_is_there_twice_stays_once() -> None:
    twice = [FoundSchedule(x, DAILY, active=True) for x in ("first", "second")]
    assert [x.id for x in one([ONE], [there(ONE, *twice)]).remove] == ["second"]


def test_a_schedule_of_another_kind_is_replaced() -> None:
    cron = FoundSchedule("cron", None, active=True)
    change = one([ONE], [there(ONE, cron)])
    assert (change.add, change.remove) == ((DAILY,), (cron,))


@pytest.mark.parametrize(("others_active", "active"), [(False, False), (True, True)])
def test_a_new_rule_is_off_where_all_that_it_replaces_was_switched_off(others_active: bool, active: bool) -> None:
    old = [FoundSchedule("a", WEEKLY, active=False), FoundSchedule("b", None, active=others_active)]
    change = one([ONE], [there(ONE, *old)])
    assert (change.add, change.active, change.kept) == ((DAILY,), active, "" if active else "schedule switched off")


def test_a_new_rule_is_off_where_what_it_replaces_was_whatever_the_others_are() -> None:
    wanted = replace(ONE, schedules=(DAILY, replace_rule("0300")))
    old = [FoundSchedule("on", DAILY, active=True), FoundSchedule("off", replace_rule("0400"), active=False)]
    change = one([wanted], [there(wanted, *old)])
    assert (change.add, change.active, change.kept) == ((replace_rule("0300"),), False, "schedule switched off")


def test_a_schedule_that_was_switched_off_and_goes_is_not_said_to_stay() -> None:
    change = one([replace(ONE, schedules=())], [there(ONE, FoundSchedule("off", DAILY, active=False))])
    assert ([x.id for x in change.remove], change.kept) == (["off"], "")


def test_a_schedule_that_was_switched_off_and_is_still_wanted_is_not_touched() -> None:
    change = one([ONE], [replace(there(ONE, FoundSchedule("a", DAILY, active=False)), paused=True)])
    assert (change.action, change.kept) == ("unchanged", "paused, schedule switched off")


@pytest.mark.parametrize(
    ("tags", "actions"),
    [
        (OURS, ["delete"]),
        (("inventory:north",), []),
        (("compass-upgrade", "inventory:south"), []),
        (("compass-upgrade",), []),
        ((), []),
    ],
)
def test_only_what_this_inventory_made_is_deleted(tags: tuple[str, ...], actions: list[str]) -> None:
    assert [x.action for x in changes([], [replace(there(ONE), tags=tags)], SCHEMAS, OURS)] == actions


def test_what_somebody_made_by_hand_under_the_same_name_becomes_ours() -> None:
    change = one([ONE], [replace(there(ONE, tags=[]), tags=())])
    assert (change.action, change.differs) == ("update", ("tags",))


def test_what_another_inventory_made_is_not_taken_from_it() -> None:
    with pytest.raises(InvalidInput, match="deploy upgrade-cluster/one: it belongs to inventory:south"):
        changes([ONE], [replace(there(ONE), tags=("compass-upgrade", "inventory:south"))], SCHEMAS, OURS)
