"""Rules are read strictly, and answer the same wherever one begins to ask."""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta
from itertools import islice

import pytest
from dateutil.rrule import rrulestr

from compass.window.recurrence import Recurrence
from tests.compass.window.rules import random_windows

FIRST = datetime(2026, 1, 3, 2, 0)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        # what is no rule
        ("", "'' is no NAME=VALUE"),
        ("every saturday", "no RRULE: 'EVERY SATURDAY'"),
        ("saturday", "no RRULE: 'SATURDAY' is no NAME=VALUE"),
        ("FREQ=DAILY;", "'' is no NAME=VALUE"),
        ("FREQ=DAILY; BYHOUR=2", "at most 500 characters and no blanks"),
        ("FREQ=DAILY\nFREQ=WEEKLY", "at most 500 characters and no blanks"),
        ("FREQ=DAILY;BYHOUR=２", "at most 500 characters and no blanks"),
        ("0 2 * * 6", "no RRULE: '0 2 * * 6'"),
        ("BYDAY=SA", "RRULE without FREQ"),
        ("FREQ=DAILY;FREQ=WEEKLY", "FREQ given twice"),
        ("FREQ=DAILY;BYEASTER=0", "'BYEASTER' is none of its parts"),
        # frequencies that are no windows
        ("FREQ=SECONDLY", "FREQ=SECONDLY: expected one of YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY"),
        ("FREQ=MINUTELY;INTERVAL=30", "FREQ=MINUTELY: expected one of"),
        # what belongs elsewhere
        ("FREQ=DAILY;COUNT=3", "COUNT does not belong in a window's rule: missed openings would use it up"),
        ("DTSTART:20260103T020000\nRRULE:FREQ=DAILY", "DTSTART does not belong in a window's rule: write it as start"),
        ("FREQ=DAILY;DTSTART=20260103T020000", "DTSTART does not belong"),
        ("DTSTART;TZID=Asia/Shanghai:20260103T020000\nRRULE:FREQ=DAILY", "DTSTART does not belong"),
        ("RRULE:FREQ=DAILY\nEXDATE:20260103T020000", "EXDATE does not belong in a window's rule: write a freeze"),
        ("RRULE:FREQ=DAILY\nRDATE:20260103T020000", "RDATE does not belong"),
        # ends
        ("FREQ=DAILY;UNTIL=20261231T180000Z", "UNTIL=20261231T180000Z: expected a local time: 20261231T235959, with"),
        ("FREQ=DAILY;UNTIL=20261231", "UNTIL=20261231: expected a local time"),
        ("FREQ=DAILY;UNTIL=20261331T000000", "expected a local time"),
        ("FREQ=DAILY;UNTIL=20251231T000000", "never fires from 2026-01-03T02:00 on"),
        # values out of range, which dateutil takes for rules that never fire, or stumbles over later
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL=0: expected 1 to 1000"),
        ("FREQ=DAILY;INTERVAL=1e3", "INTERVAL=1E3: expected 1 to 1000"),
        ("FREQ=DAILY;INTERVAL=99999999999", "expected 1 to 1000"),
        ("FREQ=MONTHLY;BYMONTH=13", "BYMONTH=13: expected 1 to 12"),
        ("FREQ=MONTHLY;BYMONTH=-1", "BYMONTH=-1: expected 1 to 12"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY=32: expected 1 to 31 or -31 to -1"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY=0: expected"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,", "BYMONTHDAY=1,: expected"),
        ("FREQ=YEARLY;BYYEARDAY=367", "BYYEARDAY=367: expected"),
        ("FREQ=YEARLY;BYWEEKNO=54;BYDAY=MO", "BYWEEKNO=54: expected"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR=24: expected 0 to 23"),
        ("FREQ=DAILY;BYMINUTE=60", "BYMINUTE=60: expected 0 to 59"),
        ("FREQ=WEEKLY;BYDAY=SAT", "BYDAY=SAT: expected days"),
        ("FREQ=WEEKLY;BYDAY=", "BYDAY=: expected days"),
        ("FREQ=MONTHLY;BYDAY=0SA", "BYDAY=0SA: expected days"),
        ("FREQ=WEEKLY;WKST=X", "WKST=X: expected one of MO"),
        # what has no meaning, or more than one
        ("FREQ=WEEKLY;BYDAY=1SA", "numbers count days of a month or a year"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=1MO", "numbers count days of a month or a year"),
        ("FREQ=MONTHLY;BYDAY=1SA,SU", "some days with a number and some without"),
        ("FREQ=MONTHLY;BYDAY=6SA", "a month has at most five of each day"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY has no meaning with FREQ=WEEKLY"),
        ("FREQ=MONTHLY;BYYEARDAY=1", "BYYEARDAY has no meaning with FREQ=MONTHLY"),
        ("FREQ=MONTHLY;BYWEEKNO=1;BYDAY=MO", "BYWEEKNO has no meaning with FREQ=MONTHLY"),
        ("FREQ=YEARLY;BYWEEKNO=1", "BYWEEKNO without BYDAY"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS needs another BY part"),
        ("FREQ=DAILY;BYHOUR=3,4", "start is at 02:00:00, which is none of the times of BYHOUR=3,4"),
        ("FREQ=HOURLY;BYMINUTE=30", "none of the times of BYMINUTE=30"),
        # rules that never fire
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "never fires"),
        ("FREQ=MONTHLY;BYMONTH=4,6;BYMONTHDAY=31", "never fires"),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "never fires"),
        ("FREQ=MONTHLY;BYDAY=SA;BYSETPOS=6", "never fires"),
        ("FREQ=MONTHLY;INTERVAL=12;BYMONTH=2;BYMONTHDAY=1", "never fires"),
        ("FREQ=DAILY;INTERVAL=7;BYDAY=MO", "never fires"),
        ("FREQ=HOURLY;INTERVAL=2;BYHOUR=2,3;BYMINUTE=0;BYSETPOS=2", "never fires"),
        ("FREQ=WEEKLY;BYDAY=MO,SU;BYSETPOS=3", "never fires"),
        ("FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO;BYMONTH=6", "never fires"),
        ("FREQ=HOURLY;INTERVAL=24;BYHOUR=2;BYMONTH=2;BYMONTHDAY=30", "never fires"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused_with_the_reason(rule: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as error:
        Recurrence(rule, FIRST)
    assert "\n" not in str(error.value)


def test_a_rule_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 500 characters"):
        Recurrence(f"FREQ=DAILY;BYHOUR={','.join(['2'] * 300)}", FIRST)


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;INTERVAL=2", "FREQ=WEEKLY", "FREQ=MONTHLY", "FREQ=YEARLY", "FREQ=YEARLY;BYMONTH=5",
        "FREQ=HOURLY;INTERVAL=5", "FREQ=WEEKLY;INTERVAL=2;BYDAY=SA",
    ],
)  # fmt: skip
def test_a_rule_that_depends_on_a_date_needs_one(rule: str) -> None:
    with pytest.raises(ValueError, match="write start as a date and time"):
        Recurrence(rule, FIRST, dated=False)
    Recurrence(rule, FIRST)


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY", "freq=weekly;byday=sa", "RRULE:FREQ=WEEKLY;BYDAY=SA", "FREQ=MONTHLY;BYDAY=+1SA",
        "FREQ=YEARLY;BYYEARDAY=60", "FREQ=HOURLY;INTERVAL=6", "FREQ=MONTHLY;BYMONTHDAY=-1",
        "FREQ=YEARLY;BYMONTH=1;BYDAY=1MO", "FREQ=YEARLY;BYDAY=53MO",
    ],
)  # fmt: skip
def test_a_rule_that_depends_on_no_date_needs_none(rule: str) -> None:
    Recurrence(rule, FIRST, dated=False)


def test_times_are_the_same_wherever_one_begins_to_ask() -> None:
    """A walk that begins late must not shift a phase, nor lose what the first time gives the rule."""
    source = random.Random(6)
    for window in random_windows(61, 300):
        recurrence = window.recurrence
        assert recurrence
        every = list(islice(rrulestr(recurrence.text, dtstart=recurrence.first), 400))
        for _ in range(5):
            place = source.randrange(max(1, len(every) - 20))
            between = (every[place + 1] - every[place]) * source.random() if len(every) > place + 1 else timedelta(0)
            since = every[place] + source.choice((timedelta(seconds=-1), timedelta(0), between))
            wanted = [x for x in every if x >= since][:10]
            assert list(islice(recurrence.times(since), len(wanted))) == wanted, (recurrence.text, since)


@pytest.mark.parametrize(
    ("rule", "since", "first"),
    [
        ("FREQ=DAILY", "2000-01-01T00:00", "2026-01-03T02:00"),
        ("FREQ=DAILY", "2026-01-03T00:00", "2026-01-03T02:00"),
        ("FREQ=HOURLY;BYMINUTE=0,30", "2026-01-03T02:00", "2026-01-03T02:00"),
        ("FREQ=WEEKLY;BYDAY=MO,SU", "2025-12-29T00:00", "2026-01-04T02:00"),
        ("FREQ=MONTHLY;BYDAY=FR", "2026-01-01T00:00", "2026-01-09T02:00"),
        ("FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=1,2,5", "2026-01-01T00:00", "2026-01-05T02:00"),
        ("FREQ=WEEKLY;BYDAY=TH,SU;BYSETPOS=1", "2026-01-03T00:00", "2026-01-04T02:00"),
    ],
)
def test_nothing_comes_before_the_first_time(rule: str, since: str, first: str) -> None:
    """The period that it lies in has begun before it: what dateutil makes of that is what Prefect makes of it."""
    found = next(Recurrence(rule, FIRST).times(datetime.fromisoformat(since)))
    assert found == datetime.fromisoformat(first) == next(iter(rrulestr(rule, dtstart=FIRST)))


@pytest.mark.parametrize(
    ("rule", "hours", "pair"),
    [
        ("FREQ=DAILY", 24, None),
        ("FREQ=DAILY", 24.1, ("2026-01-03T02:00", "2026-01-04T02:00")),
        ("FREQ=DAILY;INTERVAL=2", 48, None),
        ("FREQ=WEEKLY;BYDAY=SA", 168, None),
        ("FREQ=WEEKLY;BYDAY=SA", 168.1, ("2026-01-03T02:00", "2026-01-10T02:00")),
        ("FREQ=WEEKLY;BYDAY=TU,FR", 73, ("2026-01-06T02:00", "2026-01-09T02:00")),
        ("FREQ=MONTHLY;BYMONTHDAY=1,-1", 25, ("2026-01-31T02:00", "2026-02-01T02:00")),
        ("FREQ=YEARLY;BYMONTH=2,3;BYMONTHDAY=28,1", 36, ("2026-02-28T02:00", "2026-03-01T02:00")),
        ("FREQ=MONTHLY;BYMONTHDAY=1", 28 * 24, None),
        ("FREQ=DAILY;BYHOUR=2,14,22", 4, None),
        ("FREQ=DAILY;BYHOUR=2,14,22", 4.1, ("2026-01-03T22:00", "2026-01-04T02:00")),
        ("FREQ=DAILY;BYMINUTE=0,20", 0.34, ("2026-01-03T02:00", "2026-01-03T02:20")),
        ("FREQ=HOURLY;INTERVAL=3", 3, None),
        ("FREQ=HOURLY;INTERVAL=3", 3.1, ("2026-01-03T02:00", "2026-01-03T05:00")),
        ("FREQ=HOURLY;BYHOUR=2,3", 1.1, ("2026-01-03T02:00", "2026-01-03T03:00")),
        ("FREQ=HOURLY;BYHOUR=2,8", 6, None),
    ],
)  # fmt: skip
def test_neighbours_that_are_too_close_are_found(rule: str, hours: float, pair: tuple[str, str] | None) -> None:
    found = Recurrence(rule, FIRST).first_closer_than(timedelta(hours=hours))
    assert found == (tuple(map(datetime.fromisoformat, pair)) if pair else None)
