"""What a Lease says of a lock, however little or odd that is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from compass.cluster.lease import DURATION_SECONDS, HOLDER_KEY, LONGEST_SECONDS, Holder, lease_over, lock_state
from compass.processes import Process

NOW = datetime(2026, 1, 31, 2, 0, 0, 250_000, tzinfo=UTC)
HOLDER = Holder(by="root@bastion", run="upgrade prod-a", doing="upgrade", token="abc", process=Process(pid=7))


def item(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"uid": "u", "resourceVersion": "5"}, "spec": spec}


def applied(holder: Holder | None, over: dict[str, Any] | None = None) -> dict[str, Any]:
    return lease_over(over or item(), holder, 12.5, NOW)


def test_a_holder_is_read_back_as_it_was_written() -> None:
    state = lock_state(applied(HOLDER))
    assert state
    assert state.holder == HOLDER
    assert (state.since, state.renewed) == (NOW, NOW)
    assert state.duration_seconds == 13, "rounded up: nobody may take it before the holder gives up"
    assert str(state) == (
        "root@bastion since 2026-01-31T02:00:00Z (upgrade, in run 'upgrade prod-a'), renewed 2026-01-31T02:00:00Z"
    )


def test_times_are_written_with_six_digits_also_on_the_second() -> None:
    stamp = lease_over(item(), HOLDER, 1, NOW.replace(microsecond=0))["spec"]["renewTime"]
    assert stamp == "2026-01-31T02:00:00.000000Z"


def test_who_takes_a_lock_is_counted_and_who_renews_or_frees_it_is_not() -> None:
    first = applied(HOLDER, item(leaseTransitions=3, acquireTime="2026-01-01T00:00:00.000000Z"))
    assert first["spec"]["leaseTransitions"] == 4
    again = lease_over({**first, **item(**first["spec"])}, HOLDER, 1, NOW.replace(day=30))["spec"]
    assert (again["leaseTransitions"], again["acquireTime"]) == (4, first["spec"]["acquireTime"])
    freed = lease_over({**first, **item(**again)}, None, 1, NOW)
    assert freed["spec"]["leaseTransitions"] == 4
    assert freed["metadata"]["annotations"] == {}
    assert lock_state(freed) is None
    assert applied(HOLDER, item(leaseTransitions=(1 << 31) - 1))["spec"]["leaseTransitions"] == (1 << 31) - 1


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": ""}, {"holderIdentity": None}, {"leaseDurationSeconds": 9}])
def test_a_lease_that_names_nobody_is_free(spec: dict[str, Any]) -> None:
    assert lock_state(item(**spec)) is None


def test_a_lease_without_a_spec_is_free() -> None:
    assert lock_state({"metadata": {}}) is None


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(30, 30), (None, DURATION_SECONDS), ("30", DURATION_SECONDS), (0, DURATION_SECONDS), (-1, DURATION_SECONDS),
     ((1 << 31) - 1, LONGEST_SECONDS)],
)  # fmt: skip
def test_a_duration_is_always_one_that_ends(seconds: object, expected: float) -> None:
    state = lock_state(item(holderIdentity="x", leaseDurationSeconds=seconds))
    assert state
    assert state.duration_seconds == expected


@pytest.mark.parametrize(
    "text", [None, 5, "", "yesterday", "2026-01-31T02:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"]
)
def test_a_time_that_is_none_is_left_out(text: object) -> None:
    state = lock_state(item(holderIdentity="somebody", acquireTime=text, renewTime=text))
    assert state
    assert (state.since, state.renewed, str(state)) == (None, None, "somebody")


@pytest.mark.parametrize(
    "annotations",
    [None, {}, {HOLDER_KEY: ""}, {HOLDER_KEY: "{"}, {HOLDER_KEY: "[]"}, {HOLDER_KEY: '{"by": "x"}'},
     {HOLDER_KEY: HOLDER.model_dump_json()}],
    ids=["none", "empty", "no text", "cut short", "a list", "half of it", "another holder's"],
)  # fmt: skip
def test_a_holder_that_this_tool_did_not_write_is_a_name_alone(annotations: dict[str, str] | None) -> None:
    found = item(holderIdentity="somebody else")
    found["metadata"]["annotations"] = annotations
    state = lock_state(found)
    assert state
    assert (state.holder, state.has_ended, str(state)) == (None, False, "somebody else")


def test_only_what_this_tool_applied_dates_a_lease() -> None:
    found = applied(HOLDER)
    found["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Apply", "time": "2026-03-01T00:00:00Z"},
        {"manager": "compass-upgrade", "operation": "Update", "time": "2026-04-01T00:00:00Z"},
        {"manager": "compass-upgrade", "operation": "Apply", "time": "2026-02-01T00:00:00Z"},
    ]
    state = lock_state(found)
    assert state
    assert state.written == datetime(2026, 2, 1, tzinfo=UTC)
