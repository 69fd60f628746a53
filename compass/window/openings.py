"""The calendar of a cluster: when all of its windows and freezes together let it be changed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from compass.documents import Document
from compass.errors import InvalidInput
from compass.window.model import Freeze, Span, Window

#: What stays open for longer is given in parts of about a year.
LONGEST = timedelta(days=366)
_EVER, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, order=True)
class Opening:
    """From ``start`` to just before ``end`` (UTC) a cluster may be changed; ``timezone`` is its window's."""

    start: datetime
    end: datetime
    timezone: str

    @property
    def local(self) -> tuple[datetime, datetime]:
        """Start and end as the clock on the wall shows them."""
        zone = ZoneInfo(self.timezone)
        return self.start.astimezone(zone), self.end.astimezone(zone)


class Calendar(Document):
    """Windows and the freezes that beat them; where windows overlap or touch, they are one opening.

    Without any window a cluster may be changed at any time that is not frozen.  Times that are asked for are aware.
    """

    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()

    @property
    def is_bounded(self) -> bool:
        """Whether there is any time at which the cluster may not be changed."""
        return bool(self.windows or self.freezes)

    def openings(self, after: datetime, until: datetime) -> list[Opening]:
        """Return the openings that have some time from ``after`` to just before ``until``, whole."""
        return list(takewhile(lambda x: x.start < until, self._openings(after)))

    def current(self, now: datetime) -> Opening | None:
        """Return the opening that ``now`` lies in."""
        found = next(self._openings(now), None)
        return found if found and found.start <= now else None

    def next_opening(self, now: datetime) -> Opening | None:
        """Return the first opening that starts after ``now``; none where no window opens any more."""
        return next((x for x in self._openings(now) if x.start > now), None)

    def is_open(self, now: datetime) -> bool:
        """Tell whether the cluster may be changed."""
        return self.current(now) is not None

    def starts(self, since: datetime) -> Iterator[datetime]:
        """Yield the moments from ``since`` on at which a window opens, frozen or not: when schedules fire."""
        last = None
        for start in heapq.merge(*(x.starts(since) for x in self.windows)):
            if start != last:
                yield start
            last = start

    def frozen(self, moment: datetime) -> Freeze | None:
        """Return the freeze that ``moment`` lies in, of several the one that ends last."""
        found = [x for x in self.freezes if x.span.start <= moment < x.span.end]
        return max(found, key=lambda x: x.span.end, default=None)

    def _openings(self, after: datetime) -> Iterator[Opening]:
        """Yield the openings that end after ``after``, in order."""
        for low, high in self._thawed():
            if high <= after:
                continue
            for span, timezone in self._unions(max(after, low)):
                if span.start >= high:
                    break
                yield Opening(max(span.start, low), min(span.end, high), timezone)

    def _thawed(self) -> Iterator[Span]:
        """Yield what the freezes leave, from the beginning of time to its end."""
        low = _EVER
        for freeze in sorted(x.span for x in self.freezes):
            if freeze.start > low:
                yield Span(low, freeze.start)
            low = max(low, freeze.end)
        yield Span(low, _NEVER)

    def _unions(self, after: datetime) -> Iterator[tuple[Span, str]]:
        """Yield when at least one window is open, with the zone of the first; each ends after ``after``."""
        if not self.windows:
            while True:
                yield Span(after, after + LONGEST), "UTC"
                after += LONGEST
        begun = self._begun(after)
        spans = heapq.merge(*(((span, x.timezone) for span in x.spans(begun)) for x in self.windows))
        first = next(spans, None)
        if first is None:
            return
        whole, zone = first
        for span, timezone in spans:
            if span.end <= whole.end:
                continue
            if span.start <= whole.end and span.end - whole.start <= LONGEST:
                whole = Span(whole.start, span.end)
                continue
            if whole.end > after:
                yield whole, zone
            whole, zone = Span(max(span.start, whole.end), span.end), timezone
        if whole.end > after:
            yield whole, zone

    def _begun(self, moment: datetime) -> datetime:
        """Return since when windows are open without a break until ``moment``, looking back a year at most."""
        begun = moment
        while moment - begun < LONGEST:
            reaching = (next(x.spans(begun - _TICK), None) for x in self.windows)
            earlier = min((x.start for x in reaching if x and x.start < begun), default=begun)
            if earlier == begun:
                break
            begun = earlier
        return begun


def refuse_all_frozen(calendar: Calendar, now: datetime, where: str) -> None:
    """Check that the freezes leave some opening of the year to come; ``where`` names the file in the error.

    Raises:
        InvalidInput: the windows would open, but each time they are frozen.
    """
    until = now + LONGEST
    windows = Calendar(windows=calendar.windows)
    if not calendar.freezes or calendar.openings(now, until) or not windows.openings(now, until):
        return
    reasons = ", ".join(
        f"{x.reason!r} ({x.start} to {x.end})" for x in calendar.freezes if x.span.end > now and x.span.start < until
    )
    raise InvalidInput(
        "read", where, found=f"freezes: {reasons} cover every window until {until:%Y-%m-%d}",
        do="shorten a freeze, or take the windows out",
    )  # fmt: skip
