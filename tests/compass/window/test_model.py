"""Windows and freezes are read from files; what is wrong in them is said in one line, with its place."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from compass.documents import load_yaml, parse_document
from compass.errors import InvalidInput
from compass.window.openings import Calendar

WEEKLY = {"rrule": "FREQ=WEEKLY;BYDAY=SA", "start": "02:00", "duration": "4h", "timezone": "Asia/Shanghai"}
ONCE = {"start": "2026-05-01T22:00", "end": "2026-05-02T06:00", "timezone": "Asia/Shanghai"}
FREEZE = {**ONCE, "reason": "holidays"}


def without(window: dict[str, str], *names: str) -> dict[str, str]:
    return {key: value for key, value in window.items() if key not in names}


@pytest.mark.parametrize(
    ("window", "problem"),
    [
        ({**WEEKLY, "timezone": "Asia/Shanghay"}, "windows.0.timezone: unknown time zone 'Asia/Shanghay'"),
        ({**WEEKLY, "timezone": "CEST"}, "windows.0.timezone: unknown time zone 'CEST'"),
        ({**WEEKLY, "timezone": "localtime"}, "windows.0.timezone: unknown time zone"),
        ({**WEEKLY, "timezone": "../../etc/passwd"}, "windows.0.timezone: unknown time zone"),
        (without(WEEKLY, "timezone"), "windows.0.timezone: field required"),
        ({**WEEKLY, "colour": "red"}, "windows.0.colour: unknown key"),
        ({**WEEKLY, "rrule": "FREQ=DAILY;COUNT=3"}, "windows.0.rrule: COUNT does not belong in a window's rule"),
        ({**WEEKLY, "rrule": "FREQ=DAILY;UNTIL=20261231T180000Z"}, "windows.0.rrule: UNTIL=20261231T180000Z: expected"),
        ({**WEEKLY, "rrule": "DTSTART:20260101T000000\nRRULE:FREQ=DAILY"}, "windows.0.rrule: DTSTART does not belong"),
        ({**WEEKLY, "rrule": "BYDAY=SA"}, "windows.0.rrule: RRULE without FREQ"),
        ({**WEEKLY, "rrule": "FREQ=MINUTELY"}, "windows.0.rrule: FREQ=MINUTELY: expected one of"),
        ({**WEEKLY, "rrule": "nightly"}, "windows.0.rrule: no RRULE"),
        ({**WEEKLY, "rrule": "FREQ=DAILY;UNTIL=20200101T000000"},
         "windows.0: FREQ=DAILY;UNTIL=20200101T000000 never fires; see docs/formats.md"),
        ({**WEEKLY, "rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=SA"}, "windows.0: INTERVAL=2 counts from a date"),
        ({**WEEKLY, "rrule": "FREQ=DAILY", "duration": "25h"},
         "windows.0: a window longer than its period: open for 25h from 2024-01-01 02:00, and again from 2024-01-02"),
        ({**WEEKLY, "duration": "8d"}, "windows.0: a window longer than its period"),
        ({**WEEKLY, "duration": "0h"}, "windows.0.duration: '0h' is no time at all"),
        ({**WEEKLY, "duration": "-4h"}, "windows.0.duration: '-4h' is no duration"),
        ({**WEEKLY, "duration": ""}, "windows.0.duration: '' is no duration"),
        ({**WEEKLY, "duration": "4"}, "windows.0.duration: '4' is no duration: write 4h"),
        ({**WEEKLY, "duration": "4:00"}, "windows.0.duration: '4:00' is no duration"),
        ({**WEEKLY, "duration": "30m4h"}, "windows.0.duration: '30m4h' is no duration"),
        ({**WEEKLY, "duration": 4}, "windows.0.duration: input should be a valid string"),
        ({**WEEKLY, "start": "2 am"}, "windows.0.start: '2 am' is no local time"),
        ({**WEEKLY, "start": "24:00"}, "windows.0.start: '24:00' is no local time"),
        ({**WEEKLY, "start": "2026-02-29T02:00"}, "windows.0.start: '2026-02-29T02:00' is no local time"),
        ({**WEEKLY, "start": "2026-01-03"}, "windows.0.start: '2026-01-03' is no local time"),
        ({**WEEKLY, "start": "2026-01-03T02:00Z"}, "windows.0.start: '2026-01-03T02:00Z' is no local time"),
        ({**WEEKLY, "start": "2026-01-03T02:00+08:00"}, "windows.0.start: '2026-01-03T02:00+08:00' is no local time"),
        ({**WEEKLY, "start": "0206-01-03T02:00"}, "windows.0.start: '0206-01-03T02:00': expected a year from"),
        ({**WEEKLY, "end": "2026-05-02T06:00"}, "windows.0: a window has start, rrule and duration, or start and end"),
        (without(WEEKLY, "duration"), "windows.0: a window has start, rrule and duration, or start and end"),
        (without(WEEKLY, "rrule"), "windows.0: a window has start, rrule and duration, or start and end"),
        (without(ONCE, "end"), "windows.0: a window has start, rrule and duration, or start and end"),
        ({**ONCE, "duration": "4h"}, "windows.0: a window has start, rrule and duration, or start and end"),
        ({**ONCE, "start": "22:00"}, "windows.0: '22:00' is a time of day: expected a date and time"),
        ({**ONCE, "end": "2026-05-01T22:00"}, "windows.0: end 2026-05-01T22:00 is not after start 2026-05-01T22:00"),
        ({**ONCE, "end": "2026-04-30T06:00"}, "windows.0: end 2026-04-30T06:00 is not after start"),
        ({"timezone": "Europe/Berlin", "start": "2026-03-29T02:30", "end": "2026-03-29T03:30"},
         "windows.0: end 2026-03-29T03:30 is not after start 2026-03-29T02:30"),
        ("saturdays", "windows.0: input should be a valid dictionary"),
    ],
)  # fmt: skip
def test_a_wrong_window_is_refused_with_its_place(window: Any, problem: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_document(Calendar, {"windows": [window]}, "deployments/inventory.yaml")
    assert str(error.value).startswith(f"read deployments/inventory.yaml: {problem}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("freeze", "problem"),
    [
        (without(FREEZE, "reason"), "freezes.0.reason: field required"),
        ({**FREEZE, "reason": ""}, "freezes.0.reason: "),
        ({**FREEZE, "timezone": "Mars/Base"}, "freezes.0.timezone: unknown time zone 'Mars/Base'"),
        ({**FREEZE, "start": "22:00"}, "freezes.0: '22:00' is a time of day"),
        ({**FREEZE, "end": "2026-04-01T00:00"}, "freezes.0: end 2026-04-01T00:00 is not after start"),
        ({**FREEZE, "rrule": "FREQ=DAILY"}, "freezes.0.rrule: unknown key"),
    ],
)
def test_a_wrong_freeze_is_refused_with_its_place(freeze: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_document(Calendar, {"freezes": [freeze]}, "deployments/inventory.yaml")
    assert str(error.value).startswith(f"read deployments/inventory.yaml: {problem}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("4h", 14400), ("90m", 5400), ("1d12h", 129600), ("1h30m", 5400), ("45s", 45), ("1w", 604800)],
)
def test_a_duration_is_weeks_days_hours_minutes_and_seconds(text: str, seconds: int) -> None:
    yearly = {**WEEKLY, "rrule": "FREQ=YEARLY;BYYEARDAY=1", "duration": text}
    (window,) = parse_document(Calendar, {"windows": [yearly]}, "x").windows
    assert window.length.total_seconds() == seconds


@pytest.mark.parametrize(
    ("rule", "start", "since", "starts"),
    [
        # 02:15 is 03:15, 02:30 is 03:30: two local times each, in another order than the clock's
        ("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,30", "02:15", "2026-03-28T12:00",
         ["2026-03-29T01:15", "2026-03-29T01:30", "2026-03-30T00:15"]),
        ("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,30;UNTIL=20260329T033000", "02:15", "2026-03-28T12:00",
         ["2026-03-29T01:15", "2026-03-29T01:30"]),
        ("FREQ=DAILY;BYHOUR=2;BYMINUTE=30;UNTIL=20260329T023000", "02:30", "2026-03-28T12:00", ["2026-03-29T01:30"]),
        ("FREQ=DAILY", "02:30", "2026-03-29T01:10", ["2026-03-29T01:30", "2026-03-30T00:30", "2026-03-31T00:30"]),
        ("FREQ=DAILY", "02:30", "2026-10-25T00:30:01", ["2026-10-26T01:30", "2026-10-27T01:30", "2026-10-28T01:30"]),
    ],
)  # fmt: skip
def test_starts_are_in_order_each_once(rule: str, start: str, since: str, starts: list[str]) -> None:
    (window,) = parse_document(
        Calendar, {"windows": [{"rrule": rule, "start": start, "duration": "5m", "timezone": "Europe/Berlin"}]}, "x"
    ).windows
    found = list(islice(window.starts(datetime.fromisoformat(since).replace(tzinfo=UTC)), 3))
    assert [f"{x:%Y-%m-%dT%H:%M}" for x in found] == starts


def test_a_span_that_just_ended_is_none() -> None:
    (window,) = parse_document(Calendar, {"windows": [WEEKLY]}, "x").windows
    within, after = datetime(2026, 1, 9, 21, 59, tzinfo=UTC), datetime(2026, 1, 9, 22, tzinfo=UTC)
    assert next(window.spans(within)).start.day == 9
    assert next(window.spans(after)).start.day == 16


def test_a_calendar_survives_json() -> None:
    calendar = parse_document(Calendar, {"windows": [WEEKLY, ONCE], "freezes": [FREEZE]}, "x")
    assert calendar.is_open(datetime(2026, 1, 9, 18, tzinfo=UTC)), "what was asked of it before makes no difference"
    again = Calendar.model_validate_json(calendar.model_dump_json())
    assert again == calendar
    assert hash(again) == hash(calendar)


def test_the_example_of_the_formats_is_accepted() -> None:
    text = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()
    (example,) = re.findall(r"```yaml\n(windows:.*?)```", text, re.DOTALL)
    calendar = parse_document(Calendar, load_yaml(example, "docs/formats.md"), "docs/formats.md")
    assert len(calendar.windows) >= 3
    assert calendar.freezes


def test_a_thousand_clusters_have_their_next_openings_in_well_under_a_second() -> None:
    kinds = [
        {**WEEKLY, "timezone": "Europe/Berlin"},
        {**WEEKLY, "rrule": "FREQ=DAILY", "timezone": "America/New_York"},
        {**WEEKLY, "rrule": "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"},
        {**WEEKLY, "rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=SA", "start": "2005-01-01T02:00"},
    ]
    windows = [{**kinds[n % 4], "duration": f"{60 + n % 180}m"} for n in range(1000)]
    documents = [{"windows": [x], "freezes": [FREEZE]} for x in windows]
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)
    parse_document(Calendar, documents[0], "x").next_opening(now)  # zones are read once
    begun = time.process_time()
    openings = [parse_document(Calendar, x, "x").next_opening(now) for x in documents]
    assert time.process_time() - begun < 1.5
    assert all(openings)
