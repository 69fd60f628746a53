"""Random windows, the same for the same seed: rules of every kind, often at the hours when clocks change."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from compass.documents import parse_document
from compass.errors import InvalidInput
from compass.window.model import Window

#: Zones without changes, with the usual ones, and with those that go wrong first: at midnight, by half an hour or two,
#: with a winter that is the exception, several a year.
ZONES = (
    "Asia/Shanghai", "UTC", "Asia/Kathmandu", "Pacific/Kiritimati", "Europe/Berlin", "America/New_York",
    "America/Los_Angeles", "Australia/Sydney", "Australia/Lord_Howe", "America/Santiago", "America/Havana",
    "Africa/Cairo", "Europe/Dublin", "Africa/Casablanca", "Antarctica/Troll", "Pacific/Chatham", "America/St_Johns",
    "Atlantic/Azores", "Europe/Chisinau", "America/Nuuk", "Pacific/Norfolk", "Asia/Beirut",
)  # fmt: skip
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def random_windows(seed: int, count: int) -> list[Window]:
    """Return ``count`` windows of five minutes, less than there ever is between two starts."""
    source = random.Random(seed)
    windows: list[Window] = []
    while len(windows) < count:
        try:
            windows.append(parse_document(Window, _window(source), "random"))
        except InvalidInput as error:
            if "never fires" not in str(error):
                raise
    return windows


@cache
def changes_of_the_clock(zone: str) -> tuple[datetime, ...]:
    """Return the moments (UTC) from 2026 to 2028 at which the clock of a zone changes."""
    days = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(3 * 365)]
    changed = [(one, other) for one, other in pairwise(days) if _offset(one, zone) != _offset(other, zone)]
    return tuple(_first_after(one, other, zone) for one, other in changed)


def _offset(moment: datetime, zone: str) -> timedelta | None:
    return moment.astimezone(ZoneInfo(zone)).utcoffset()


def _first_after(one: datetime, other: datetime, zone: str) -> datetime:
    """Return the first minute with the offset that ``other`` has."""
    low, high = 0, int((other - one) / timedelta(minutes=1))
    while high - low > 1:
        middle = (low + high) // 2
        changed = _offset(one + timedelta(minutes=middle), zone) != _offset(one, zone)
        low, high = (low, middle) if changed else (middle, high)
    return one + timedelta(minutes=high)


def _window(source: random.Random) -> dict[str, Any]:
    zone = source.choice(ZONES)
    changes = changes_of_the_clock(zone)
    hour = source.randrange(24)
    if changes and source.random() < 0.7:
        # The hours that are skipped or come twice, and their neighbours.
        change = source.choice(changes) + timedelta(minutes=source.choice((-1, 0, 60)))
        hour = (change.astimezone(ZoneInfo(zone)).hour + source.choice((0, 1))) % 24
    minute = source.choice((0, 15, 30, 45))
    day = datetime(2025, 1, 1) + timedelta(days=source.randrange(700))
    parts = [*_days(source), *_hours(source, hour, minute)]
    if source.random() < 0.4:
        parts.append(f"INTERVAL={source.choice((2, 2, 3, 4, 5, 12))}")
    if source.random() < 0.1:
        parts.append(f"WKST={source.choice(_DAYS)}")
    if source.random() < 0.1:
        parts.append(f"UNTIL={source.randrange(2029, 2033)}0{source.randrange(1, 10)}{source.randrange(10, 29)}T023000")
    source.shuffle(parts)
    return {
        "rrule": ";".join(parts), "start": f"{day:%Y-%m-%d}T{hour:02}:{minute:02}", "duration": "5m",
        "timezone": zone,
    }  # fmt: skip


def _hours(source: random.Random, hour: int, minute: int) -> list[str]:
    parts = []
    if source.random() < 0.2:
        parts.append(f"BYHOUR={','.join(map(str, {hour, *source.sample(range(24), 3), 2}))}")
    if source.random() < 0.2:
        parts.append(f"BYMINUTE={','.join(map(str, {minute, source.choice((0, 15, 30, 45))}))}")
    return parts


def _days(source: random.Random) -> list[str]:
    """Return a frequency and which days it means."""
    frequency = source.choice(("YEARLY", "MONTHLY", "WEEKLY", "WEEKLY", "DAILY", "DAILY", "HOURLY"))
    plain = f"BYDAY={','.join(sorted({'SU', *source.sample(_DAYS, source.randint(1, 3))}))}"
    numbered = {f"{source.choice((1, 2, 3, 4, -1, -2))}{source.choice(_DAYS)}" for _ in range(2)}
    counted = f"BYDAY={','.join(sorted(numbered))}"
    dates = f"BYMONTHDAY={','.join(map(str, source.sample((1, 2, 8, 15, 28, 29, 30, 31, -1, -2, -15), 2)))}"
    months = f"BYMONTH={','.join(map(str, source.sample(range(1, 13), source.randint(1, 5))))}"
    place = f"BYSETPOS={source.choice((1, 2, -1, -2))}"
    choices: dict[str, list[list[str]]] = {
        "YEARLY": [
            [], [months], [months, dates], [months, counted], [months, plain], [counted],
            [f"BYYEARDAY={source.choice((1, 60, 200, 366, -1, -60))}"], [plain, place],
            [plain, f"BYWEEKNO={source.choice((1, 20, 53))}"],
        ],
        "MONTHLY": [[], [dates], [counted], [plain, place], [months], [plain, dates]],
        "WEEKLY": [[], [plain], [plain, place], [plain, months]],
        "DAILY": [[], [plain], [months], [dates]],
        "HOURLY": [[], [plain], [months]],
    }  # fmt: skip
    return [f"FREQ={frequency}", *source.choice(choices[frequency])]
