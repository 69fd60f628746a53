"""A run looks at its window itself: nothing is done late, nothing twice, and what was asked for is not dropped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from compass.documents import parse_document
from compass.window.lateness import lateness
from compass.window.openings import Calendar

ZONE = "Asia/Shanghai"
SATURDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=SA", "start": "02:00", "duration": "4h", "timezone": ZONE}
EVENINGS = {"rrule": "FREQ=WEEKLY;BYDAY=SA", "start": "04:00", "duration": "4h", "timezone": ZONE}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def calendar(*windows: dict[str, str], frozen: tuple[str, str] | None = None) -> Calendar:
    freezes = [{"start": frozen[0], "end": frozen[1], "timezone": ZONE, "reason": "new year"}] if frozen else []
    document: dict[str, Any] = {"windows": list(windows), "freezes": freezes}
    return parse_document(Calendar, document, "x")


# Saturdays 02:00 in Shanghai are, in UTC, 2026-01-02T18:00 (to 22:00), 09T18:00, 16T18:00, ...
@pytest.mark.parametrize(
    ("expected", "now", "action", "until", "reason"),
    [
        # a schedule's run
        ("01-02T18:00", "01-02T18:00", "run", None, "open until 2026-01-03 06:00 Asia/Shanghai"),
        ("01-02T18:00", "01-02T21:59", "run", None, "open until 2026-01-03 06:00 Asia/Shanghai"),
        ("01-02T18:00", "01-02T22:00", "skip", None,
         "outside its windows; the run of 2026-01-10 02:00 Asia/Shanghai replaces it"),
        ("01-02T18:00", "01-06T12:00", "skip", None,
         "outside its windows; the run of 2026-01-10 02:00 Asia/Shanghai replaces it"),
        ("01-02T18:00", "01-09T18:00", "skip", None,
         "missed 2026-01-03 02:00 Asia/Shanghai; the run of 2026-01-10 02:00 Asia/Shanghai replaces it"),
        ("01-02T18:00", "01-20T12:00", "skip", None,
         "missed 2026-01-03 02:00 Asia/Shanghai; the run of 2026-01-10 02:00 Asia/Shanghai replaces it"),
        # the worker's clock is behind the server's
        ("01-09T18:00", "01-09T17:59:58", "wait", "01-09T18:00",
         "outside its windows until 2026-01-10 02:00 Asia/Shanghai"),
        # somebody's run
        ("01-02T19:12:07", "01-02T19:12:07", "run", None, "open until 2026-01-03 06:00 Asia/Shanghai"),
        ("01-05T12:00:01", "01-05T12:00:01", "wait", "01-09T18:00",
         "outside its windows until 2026-01-10 02:00 Asia/Shanghai"),
        ("01-05T12:00:01", "01-09T18:00", "run", None, "open until 2026-01-10 06:00 Asia/Shanghai"),
        ("01-05T12:00:01", "01-20T12:00", "wait", "01-23T18:00",
         "outside its windows until 2026-01-24 02:00 Asia/Shanghai"),
        ("01-02T19:12:07", "01-05T12:00", "wait", "01-09T18:00",
         "outside its windows until 2026-01-10 02:00 Asia/Shanghai"),
    ],
)  # fmt: skip
def test_a_run_is_done_in_its_window_or_not_at_all(
    expected: str, now: str, action: str, until: str | None, reason: str
) -> None:
    decision = lateness(utc(expected), utc(now), calendar(SATURDAYS))
    assert (decision.action, decision.until, decision.reason) == (action, until and utc(until), reason)


def test_of_several_runs_that_come_at_once_exactly_one_is_left() -> None:
    """Two Saturdays no worker was up; it comes back within the third opening, or before it."""
    fired = [utc("01-02T18:00"), utc("01-09T18:00"), utc("01-16T18:00")]
    within = [lateness(x, utc("01-16T18:05"), calendar(SATURDAYS)).action for x in fired]
    assert within == ["skip", "skip", "run"]
    before = [lateness(x, utc("01-14T12:00"), calendar(SATURDAYS)).action for x in fired[:2]]
    assert before == ["skip", "skip"], "the third is still to come"


def test_a_run_that_a_freeze_delays_waits_for_what_is_left_of_its_opening() -> None:
    delayed = calendar(SATURDAYS, frozen=("2026-01-10T00:00", "2026-01-10T03:00"))
    decision = lateness(utc("01-09T18:00"), utc("01-09T18:00"), delayed)
    assert (decision.action, decision.until) == ("wait", utc("01-09T19:00"))
    assert decision.reason == "frozen (new year) until 2026-01-10 03:00 Asia/Shanghai"
    assert lateness(utc("01-09T18:00"), utc("01-09T19:00"), delayed).action == "run", "it kept its expected start"


def test_a_run_whose_opening_is_frozen_gives_way_to_the_next() -> None:
    frozen = calendar(SATURDAYS, frozen=("2026-01-09T00:00", "2026-01-12T00:00"))
    decision = lateness(utc("01-09T18:00"), utc("01-09T18:00"), frozen)
    assert decision.action == "skip"
    assert decision.reason == "frozen (new year); the run of 2026-01-17 02:00 Asia/Shanghai replaces it"


def test_of_runs_that_a_freeze_delays_the_last_waits() -> None:
    """The freeze ends within an opening: only the run that was meant for that one may use the rest of it."""
    frozen = calendar(SATURDAYS, frozen=("2026-01-01T00:00", "2026-01-17T03:00"))
    fired = [utc("01-02T18:00"), utc("01-09T18:00"), utc("01-16T18:00")]
    assert [lateness(x, x, frozen).action for x in fired] == ["skip", "skip", "wait"]


def test_where_two_windows_overlap_a_late_run_gives_way_to_the_one_that_is_due() -> None:
    both = calendar(SATURDAYS, EVENINGS)
    assert lateness(utc("01-09T18:00"), utc("01-09T19:59"), both).action == "run"
    assert lateness(utc("01-09T18:00"), utc("01-09T20:00"), both).action == "skip"
    assert lateness(utc("01-09T20:00"), utc("01-09T20:00"), both).action == "run"


def test_a_run_of_the_last_opening_that_comes_too_late_is_dropped() -> None:
    once = calendar({"start": "2026-01-10T02:00", "end": "2026-01-10T06:00", "timezone": ZONE})
    decision = lateness(utc("01-09T18:00"), utc("01-09T23:00"), once)
    assert (decision.action, decision.until) == ("skip", None)
    assert decision.reason == "outside its windows, and no window opens any more"


def test_a_missed_single_opening_is_made_up_for_by_the_next_window() -> None:
    both = calendar({"start": "2026-01-08T02:00", "end": "2026-01-08T06:00", "timezone": ZONE}, SATURDAYS)
    assert lateness(utc("01-07T18:00"), utc("01-08T12:00"), both).action == "skip"


def test_without_windows_a_run_waits_for_the_end_of_a_freeze_only() -> None:
    frozen = calendar(frozen=("2026-01-10T00:00", "2026-01-12T00:00"))
    assert lateness(utc("01-05T12:00"), utc("01-08T12:00"), frozen).action == "run"
    decision = lateness(utc("01-05T12:00"), utc("01-10T12:00"), frozen)
    assert (decision.action, decision.until) == ("wait", utc("01-11T16:00"))
