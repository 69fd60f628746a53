"""Moments are told in UTC, whatever zone they came in."""

from datetime import UTC, datetime, timedelta, timezone

from compass.clock import iso, stamp, system_clock

MOMENT = datetime(2026, 1, 31, 10, 0, tzinfo=timezone(timedelta(hours=8)))


def test_a_moment_is_told_in_utc() -> None:
    assert stamp(MOMENT) == "20260131T020000Z"
    assert iso(MOMENT) == "2026-01-31T02:00:00Z"


def test_this_machines_clock_is_aware() -> None:
    clock = system_clock()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert clock.now().utcoffset() == timedelta(0)
