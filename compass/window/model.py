"""Windows and freezes as files say them: local times, each in a time zone of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from heapq import heappop, heappush
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, field_validator, model_validator

from compass.documents import Document
from compass.window.recurrence import Recurrence, rule_parts

_TIME = re.compile(r"(?:(\d{4}-\d{2}-\d{2})[T ])?(\d{2}:\d{2}(?::\d{2})?)")
_DURATION = re.compile(r"(?:(\d{1,4})w)?(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,4})m)?(?:(\d{1,4})s)?")
#: A Monday of a leap year.  Where only a time of day is given nothing depends on the date.
_UNDATED = "2024-01-01"
_YEARS = range(2000, 2200)
#: Found among the zones on some machines; to another machine they mean another zone, or none.
_NO_ZONES = frozenset({"localtime", "Factory", "posixrules"})
_DAY = timedelta(days=1)


class Span(NamedTuple):
    """From ``start`` to just before ``end``, both UTC."""

    start: datetime
    end: datetime


class InZone(Document):
    """What has a time zone (IANA)."""

    timezone: str

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, text: str) -> str:
        if text not in _zones():
            raise ValueError(f"unknown time zone {text!r}")
        return text

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.timezone)

    def moment(self, local: datetime) -> datetime:
        """Return a local time as UTC.

        A time that exists twice is the first.  One that the clock skips is as much after the skip as it would have
        been: 02:30 is 03:30 (RFC 5545, 3.3.5).
        """
        return local.replace(tzinfo=self.zone).astimezone(UTC)


def _is_time(text: str) -> str:
    _local_time(text)
    return text


def _is_rule(text: str) -> str:
    rule_parts(text)
    return text


def _is_duration(text: str) -> str:
    if _elapsed(text) <= timedelta(0):
        raise ValueError(f"{text!r} is no time at all")
    return text


TimeText = Annotated[str, AfterValidator(_is_time)]
RuleText = Annotated[str, AfterValidator(_is_rule)]
DurationText = Annotated[str, AfterValidator(_is_duration)]


class Freeze(InZone):
    """From ``start`` to ``end``, local times, nothing is changed, whatever windows say; ``reason`` is for people."""

    start: TimeText
    end: TimeText
    reason: str = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _is_some_time(self) -> Freeze:
        _refuse_backwards(self.span, self.start, self.end)
        return self

    @cached_property
    def span(self) -> Span:
        """When, in UTC."""
        return _span(self, self.start, self.end)


class Window(InZone):
    """When a cluster may be changed: again and again (``rrule``, ``duration``), or once (``end``).

    ``start`` is a local date and time; a rule that does not depend on a date may have a time of day alone.  A duration
    is elapsed time, not what the clock on the wall shows.
    """

    start: TimeText
    rrule: RuleText | None = None
    duration: DurationText | None = None
    end: TimeText | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Window:
        if (self.rrule is None) == (self.end is None) or (self.rrule is None) != (self.duration is None):
            raise ValueError("a window has start, rrule and duration, or start and end")
        if self.end is not None:
            _refuse_backwards(_span(self, self.start, self.end), self.start, self.end)
        if self.recurrence is not None:
            self._refuse_overlap(self.recurrence)
        return self

    @cached_property
    def recurrence(self) -> Recurrence | None:
        """The local times at which it opens, where there is a rule."""
        if self.rrule is None:
            return None
        first, dated = _local_time(self.start)
        return Recurrence(self.rrule, first, dated=dated)

    @cached_property
    def length(self) -> timedelta:
        """How long it stays open."""
        if self.end is not None:
            once = _span(self, self.start, self.end)
            return once.end - once.start
        return _elapsed(self.duration or "")

    def starts(self, since: datetime) -> Iterator[datetime]:
        """Yield the moments (UTC) from ``since`` on at which it opens, each once, in order."""
        if self.recurrence is None:
            return iter([x for x in [self.moment(_dated_time(self.start))] if x >= since])
        # The clock's changes move a local time by less than a day.
        local = (since.astimezone(self.zone) - _DAY).replace(tzinfo=None)
        return (x for x in self._in_order(self.recurrence.times(local)) if x >= since)

    def spans(self, after: datetime) -> Iterator[Span]:
        """Yield when it is open, from the first span on that ends after ``after``."""
        return (Span(x, x + self.length) for x in self.starts(after - self.length) if x + self.length > after)

    def _in_order(self, times: Iterator[datetime]) -> Iterator[datetime]:
        """Yield local times as UTC; those that the clock skips come with, or after, later ones."""
        skipped: list[datetime] = []
        last = None
        for local in times:
            moment = self.moment(local)
            if moment.astimezone(self.zone).replace(tzinfo=None) != local:
                heappush(skipped, moment)
                continue
            while skipped and skipped[0] < moment:
                if (held := heappop(skipped)) != last:
                    last = held
                    yield held
            last = moment
            yield moment
        yield from sorted(set(skipped) - {last})

    def _refuse_overlap(self, recurrence: Recurrence) -> None:
        close = recurrence.first_closer_than(self.length)
        if close:
            one, other = close
            raise ValueError(
                f"a window longer than its period: open for {self.duration} from {one:%Y-%m-%d %H:%M}, "
                f"and again from {other:%Y-%m-%d %H:%M}"
            )


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _NO_ZONES)


def _local_time(text: str) -> tuple[datetime, bool]:
    """Return a local time, and whether its date was given."""
    found = _TIME.fullmatch(text)
    try:
        local = datetime.fromisoformat(f"{found[1] or _UNDATED}T{found[2]}") if found else None
    except ValueError:
        local = None
    if found is None or local is None:
        raise ValueError(f"{text[:40]!r} is no local time: write 2026-01-31T22:00, or 22:00 with a rule")
    if local.year not in _YEARS:
        raise ValueError(f"{text!r}: expected a year from {_YEARS[0]} to {_YEARS[-1]}")
    return local, found[1] is not None


def _dated_time(text: str) -> datetime:
    local, dated = _local_time(text)
    if not dated:
        raise ValueError(f"{text!r} is a time of day: expected a date and time, as 2026-01-31T22:00")
    return local


def _span(where: InZone, start: str, end: str) -> Span:
    return Span(where.moment(_dated_time(start)), where.moment(_dated_time(end)))


def _refuse_backwards(span: Span, start: str, end: str) -> None:
    if span.end <= span.start:
        raise ValueError(f"end {end} is not after start {start}")


def _elapsed(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if not found or not text:
        raise ValueError(f"{text[:40]!r} is no duration: write 4h, 90m or 1d12h")
    weeks, days, hours, minutes, seconds = (int(x or 0) for x in found.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
