"""What the coming weeks hold for a cluster."""

from __future__ import annotations

from datetime import UTC, datetime

from compass.documents import parse_document
from compass.window.coming import Coming, coming
from compass.window.model import Window
from compass.window.openings import Calendar

SATURDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=SA", "start": "22:00", "duration": "4h", "timezone": "UTC"}
DAILY = {"rrule": "FREQ=DAILY", "start": "08:00", "duration": "1s", "timezone": "Asia/Shanghai"}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ahead(
    windows: list[dict[str, str]], freezes: list[dict[str, str]], *verbs: str,
    now: str = "2026-01-01", until: str = "2026-01-15", schedules: tuple[str, ...] = (),
) -> Coming:  # fmt: skip
    calendar = parse_document(Calendar, {"windows": windows, "freezes": freezes}, "windows.yaml")
    daily = parse_document(Window, DAILY, "windows.yaml")
    return coming(calendar, verbs, [(x, daily) for x in schedules], utc(now), utc(until))


def frozen(start: str, end: str) -> dict[str, str]:
    return {"start": start, "end": end, "timezone": "UTC", "reason": "rest"}


def test_what_starts_at_openings_is_found_within_each() -> None:
    found = ahead([SATURDAYS], [], "backup", "upgrade")
    assert [x.start for x in found.openings] == [utc("2026-01-03T22:00"), utc("2026-01-10T22:00")]
    assert [[(y.at, y.verbs) for y in found.within(x)] for x in found.openings] == [
        [(utc("2026-01-03T22:00"), ("backup", "upgrade"))], [(utc("2026-01-10T22:00"), ("backup", "upgrade"))],
    ]  # fmt: skip


def test_a_frozen_start_comes_when_the_freeze_ends_within_its_window() -> None:
    found = ahead([SATURDAYS], [frozen("2026-01-03T20:00", "2026-01-03T23:30")], "upgrade")
    assert [x.at for x in found.starts] == [utc("2026-01-03T23:30"), utc("2026-01-10T22:00")]


def test_a_start_that_waits_for_the_end_of_a_freeze_already_is_not_forgotten() -> None:
    freeze = frozen("2026-01-03T20:00", "2026-01-03T23:30")
    found = ahead([SATURDAYS], [freeze], "upgrade", now="2026-01-03T22:30", until="2026-01-04")
    assert [x.at for x in found.starts] == [utc("2026-01-03T23:30")]


def test_a_window_that_is_frozen_whole_starts_nothing() -> None:
    found = ahead([SATURDAYS], [frozen("2026-01-03T00:00", "2026-01-05T00:00")], "upgrade")
    assert [x.at for x in found.starts] == [utc("2026-01-10T22:00")]


def test_windows_that_open_at_one_moment_start_once() -> None:
    found = ahead([SATURDAYS, {**SATURDAYS, "duration": "2h"}], [], "upgrade")
    assert [x.at for x in found.starts] == [utc("2026-01-03T22:00"), utc("2026-01-10T22:00")]


def test_schedules_keep_their_times_whatever_is_open() -> None:
    found = ahead([SATURDAYS], [frozen("2026-01-01T00:00", "2026-01-02T12:00")], schedules=("backup", "check"),
                  until="2026-01-03")  # fmt: skip
    assert [(x.at, x.verbs) for x in found.scheduled] == [
        (utc("2026-01-01T00:00"), ("backup",)), (utc("2026-01-01T00:00"), ("check",)),
        (utc("2026-01-02T00:00"), ("backup",)), (utc("2026-01-02T00:00"), ("check",)),
    ]  # fmt: skip
    assert found.starts == ()


def test_without_a_window_all_that_is_not_frozen_is_open() -> None:
    found = ahead([], [frozen("2026-01-03T00:00", "2026-01-05T00:00")])
    assert found.always
    assert (found.openings[0].start, found.openings[0].end) == (utc("2026-01-01"), utc("2026-01-03"))
    assert found.openings[1].start == utc("2026-01-05")
