"""Recurring local times: an RRULE (RFC 5545) and the local time that it counts from; it knows no time zone.

dateutil walks a rule from its first time.  Here a walk may begin at the start of any period of it, so that a rule that
is years old answers as fast as a new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from itertools import dropwhile, islice, pairwise, product
from typing import Any, cast

from dateutil.rrule import rrule, rrulestr

_STEP = {"WEEKLY": timedelta(weeks=1), "DAILY": timedelta(days=1), "HOURLY": timedelta(hours=1)}
_FREQUENCIES = ("YEARLY", "MONTHLY", *_STEP)
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY = re.compile(rf"([+-]?[1-9]\d?)?({'|'.join(_DAYS)})")
_LARGEST = {
    "BYMONTH": 12, "BYMONTHDAY": 31, "BYYEARDAY": 366, "BYWEEKNO": 53, "BYSETPOS": 366, "BYHOUR": 23, "BYMINUTE": 59,
    "BYSECOND": 59,
}  # fmt: skip
_FROM_ZERO = frozenset({"BYHOUR", "BYMINUTE", "BYSECOND"})
_FROM_THE_END = frozenset({"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS"})
#: Parts that RFC 5545 gives no meaning with other frequencies; dateutil and Prefect take them all the same.
_ONLY_WITH = {
    "BYWEEKNO": ("YEARLY",),
    "BYYEARDAY": ("YEARLY", "HOURLY"),
    "BYMONTHDAY": ("YEARLY", "MONTHLY", "DAILY", "HOURLY"),
}
_ELSEWHERE = {
    "DTSTART": "write it as start",
    "TZID": "write it as timezone",
    "COUNT": "missed openings would use it up; end the rule with UNTIL",
    "EXDATE": "write a freeze",
    "EXRULE": "write freezes",
    "RDATE": "write a window with start and end",
}
_MAX_TEXT, _MAX_INTERVAL = 500, 1000
#: dateutil searches to the year 9999, which takes minutes for a rule that never fires: the calendar's last whole
#: cycle of 400 years tells the same.
_LAST_CYCLE = datetime(9599, 1, 1)
_YEARS_OF_WEEKDAYS, _ENOUGH_TIMES = 28, 10_000


class Recurrence:
    """The local times of a rule, from ``first`` on.

    ``first`` need not be one of them, but its time of day must be.  Of a rule that is not ``dated`` only the time of
    day of ``first`` is meant, so nothing in the rule may depend on its date.
    """

    def __init__(self, text: str, first: datetime, *, dated: bool = True) -> None:
        """Read a rule.

        Raises:
            ValueError: it is no RRULE, says what does not belong in one, or never fires.
        """
        self.first = first
        self.parts = rule_parts(text)
        self.interval = int(self.parts.get("INTERVAL", "1"))
        self._refuse_another_time_of_day()
        if not dated:
            self._refuse_dependence_on_the_date()
        self._refuse_one_that_never_fires(dated=dated)

    @property
    def text(self) -> str:
        """The rule as RFC 5545 writes it."""
        return ";".join(f"{name}={value}" for name, value in self.parts.items())

    @property
    def frequency(self) -> str:
        """The period that the rule counts in."""
        return self.parts["FREQ"]

    def times(self, since: datetime) -> Iterator[datetime]:
        """Yield the local times from ``since`` on, in order."""
        return dropwhile(lambda x: x < since, self._walk(self._rule, since))

    def first_closer_than(self, distance: timedelta) -> tuple[datetime, datetime] | None:
        """Return the first two neighbours less than ``distance`` apart, as the clock on the wall counts.

        Looked at are 28 years, after which weekdays fall on the same dates again, or 10,000 times.
        """
        if distance <= self._least_distance:
            return None
        for one, other in pairwise(islice(self._rule, _ENOUGH_TIMES)):
            if other - one < distance:
                return one, other
            if other.year > self.first.year + _YEARS_OF_WEEKDAYS:
                break
        return None

    @cached_property
    def _rule(self) -> rrule:
        # One rule alone gives an rrule, never a set of them.
        return cast(rrule, rrulestr(self.text, dtstart=self.first))

    @cached_property
    def _implied(self) -> dict[str, int | list[int]]:
        """What dateutil takes from the first time where the rule does not say it, by its names."""
        implied: dict[str, int | list[int]] = {
            name.lower(): getattr(self.first, name[2:].lower())
            for name in ("BYHOUR", "BYMINUTE", "BYSECOND")
            if name not in self.parts and not (name == "BYHOUR" and self.frequency == "HOURLY")
        }
        if not self.parts.keys() & {"BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY"}:
            if self.frequency == "YEARLY" and "BYMONTH" not in self.parts:
                implied["bymonth"] = self.first.month
            if self.frequency in ("YEARLY", "MONTHLY"):
                implied["bymonthday"] = self.first.day
            if self.frequency == "WEEKLY":
                implied["byweekday"] = self.first.weekday()
        return implied

    @property
    def _least_distance(self) -> timedelta:
        """No two times are closer than this, whatever days and months the rule picks."""
        hourly = self.frequency == "HOURLY"
        names = ("BYMINUTE", "BYSECOND") if hourly else ("BYHOUR", "BYMINUTE", "BYSECOND")
        scale = {"BYHOUR": 3600, "BYMINUTE": 60, "BYSECOND": 1}
        cycle = 3600 if hourly else 86400
        choices = [[int(x) * scale[name] for x in self.parts.get(name, "0").split(",")] for name in names]
        moments = sorted({sum(x) for x in product(*choices)})
        if len(moments) == 1:
            return timedelta(seconds=cycle * (self.interval if hourly else 1))
        return timedelta(seconds=min(b - a for a, b in pairwise([*moments, moments[0] + cycle])))

    def _walk(self, rule: rrule, since: datetime) -> Iterator[datetime]:
        start = self._period(since)
        # The first period is begun where the rule begins: dateutil counts BYSETPOS from there.
        return iter(rule if start is None else rule.replace(dtstart=start, **cast(dict[str, Any], self._implied)))

    def _period(self, moment: datetime) -> datetime | None:
        """Return the start of the period of the rule that ``moment`` lies in or after; none for the first."""
        first, size = self.first, self.interval
        if self.frequency in ("YEARLY", "MONTHLY"):
            months = size * (12 if self.frequency == "YEARLY" else 1)
            origin = first.year * 12 + (first.month - 1 if self.frequency == "MONTHLY" else 0)
            passed = (moment.year * 12 + moment.month - 1 - origin) // months
            year, month = divmod(origin + passed * months, 12)
            return datetime(year, month + 1, 1) if passed > 0 else None
        start = first.replace(hour=first.hour if self.frequency == "HOURLY" else 0, minute=0, second=0)
        if self.frequency == "WEEKLY":
            start -= timedelta(days=(first.weekday() - _DAYS.index(self.parts.get("WKST", "MO"))) % 7)
        step = _STEP[self.frequency] * size
        periods = (moment - start) // step
        return start + periods * step if periods > 0 else None

    def _refuse_another_time_of_day(self) -> None:
        for name in ("BYHOUR", "BYMINUTE", "BYSECOND"):
            value = self.parts.get(name)
            if value is not None and getattr(self.first, name[2:].lower()) not in map(int, value.split(",")):
                raise ValueError(f"start is at {self.first:%H:%M:%S}, which is none of the times of {name}={value}")

    def _refuse_dependence_on_the_date(self) -> None:
        if self.interval > 1 and not (self.frequency == "HOURLY" and 24 % self.interval == 0):
            raise ValueError(f"INTERVAL={self.interval} counts from a date: write start as a date and time")
        taken = self._implied.keys() - {"byhour", "byminute", "bysecond"}
        if taken:
            raise ValueError(f"FREQ={self.frequency} without a day takes it from start: write start as a date and time")

    def _refuse_one_that_never_fires(self, *, dated: bool) -> None:
        if not (next(self._walk(self._rule.replace(until=None), _LAST_CYCLE), None) and next(iter(self._rule), None)):
            raise ValueError(f"{self.text} never fires" + (f" from {self.first:%Y-%m-%dT%H:%M} on" if dated else ""))


def rule_parts(text: str) -> dict[str, str]:
    """Return the parts of a rule by their names, checked as far as that goes without a first time.

    Raises:
        ValueError: it is no RRULE, says what does not belong in one, or what is read in more than one way.
    """
    text = text.strip().upper()
    for name, instead in _ELSEWHERE.items():
        if re.search(rf"\b{name}\b", text):
            raise ValueError(f"{name} does not belong in a window's rule: {instead}")
    if not re.fullmatch(r"[!-~]*", text) or len(text) > _MAX_TEXT:
        raise ValueError(f"no RRULE: {text[:40]!r}, expected at most {_MAX_TEXT} characters and no blanks")
    parts: dict[str, str] = {}
    for part in text.removeprefix("RRULE:").split(";"):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"no RRULE: {part[:40]!r} is no NAME=VALUE")
        if name in parts:
            raise ValueError(f"no RRULE: {name} given twice")
        _check(name, value)
        parts[name] = value
    if "FREQ" not in parts:
        raise ValueError("RRULE without FREQ")
    _refuse_unclear(parts)
    return parts


def _check(name: str, value: str) -> None:
    if name == "FREQ":
        good, expected = value in _FREQUENCIES, f"one of {', '.join(_FREQUENCIES)}"
    elif name == "INTERVAL":
        good, expected = _is_number(value, _MAX_INTERVAL), f"1 to {_MAX_INTERVAL}"
    elif name == "UNTIL":
        good, expected = _is_local_time(value), "a local time: 20261231T235959, without Z"
    elif name == "WKST":
        good, expected = value in _DAYS, f"one of {', '.join(_DAYS)}"
    elif name == "BYDAY":
        good, expected = all(_DAY.fullmatch(x) for x in value.split(",")), "days: MO,TU or 1MO,-1FR"
    elif name in _LARGEST:
        numbers = value.split(",")
        if name in _FROM_THE_END:
            numbers = [x.removeprefix("-") for x in numbers]
        least, largest = int(name not in _FROM_ZERO), _LARGEST[name]
        good = all(_is_number(x, largest, least) for x in numbers)
        expected = f"{least} to {largest}" + (f" or -{largest} to -1" if name in _FROM_THE_END else "")
    else:
        raise ValueError(f"no RRULE: {name[:40]!r} is none of its parts")
    if not good:
        raise ValueError(f"{name}={value[:40]}: expected {expected}")


def _is_number(text: str, largest: int, least: int = 1) -> bool:
    return re.fullmatch(r"[0-9]{1,4}", text) is not None and least <= int(text) <= largest


def _is_local_time(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}", text):
        return False
    try:
        datetime.strptime(text, "%Y%m%dT%H%M%S")
    except ValueError:
        return False
    return True


def _refuse_unclear(parts: dict[str, str]) -> None:
    """Refuse combinations that RFC 5545 forbids, or that dateutil, and so Prefect, reads in another way."""
    frequency = parts["FREQ"]
    for name, with_these in _ONLY_WITH.items():
        if name in parts and frequency not in with_these:
            raise ValueError(f"{name} has no meaning with FREQ={frequency}")
    if "BYWEEKNO" in parts and "BYDAY" not in parts:
        raise ValueError("BYWEEKNO without BYDAY: say which days of the week")
    if "BYSETPOS" in parts and not any(x.startswith("BY") for x in parts.keys() - {"BYSETPOS"}):
        raise ValueError("BYSETPOS needs another BY part to choose from")
    days = [cast("re.Match[str]", _DAY.fullmatch(x)) for x in parts["BYDAY"].split(",")] if "BYDAY" in parts else []
    counted = [x for x in days if x[1]]
    if not counted:
        return
    if frequency not in ("YEARLY", "MONTHLY") or "BYWEEKNO" in parts:
        raise ValueError(f"BYDAY={parts['BYDAY']}: numbers count days of a month or a year")
    if len(counted) < len(days):
        raise ValueError(f"BYDAY={parts['BYDAY']}: some days with a number and some without; write two windows")
    if (frequency == "MONTHLY" or "BYMONTH" in parts) and any(abs(int(x[1])) > 5 for x in counted):
        raise ValueError(f"BYDAY={parts['BYDAY']}: a month has at most five of each day")
