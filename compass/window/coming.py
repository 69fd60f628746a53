"""What the coming weeks hold for one cluster: its openings, and what starts when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from compass.window.lateness import lateness
from compass.window.model import Window
from compass.window.openings import Calendar, Opening


@dataclass(frozen=True, order=True)
class Start:
    """At a moment (UTC) verbs start; ``timezone`` is that of the window or schedule."""

    at: datetime
    verbs: tuple[str, ...]
    timezone: str


@dataclass(frozen=True)
class Coming:
    """One cluster's coming weeks, all in order; ``starts`` are those in openings, ``scheduled`` those at other times.

    ``always`` says that it has no window: what is not frozen is open.
    """

    openings: tuple[Opening, ...]
    starts: tuple[Start, ...]
    scheduled: tuple[Start, ...]
    always: bool

    def within(self, opening: Opening) -> list[Start]:
        """Return what starts in an opening."""
        return [x for x in self.starts if opening.start <= x.at < opening.end]


def coming(
    calendar: Calendar,
    at_opening: Sequence[str],
    schedules: Sequence[tuple[str, Window]],
    now: datetime,
    until: datetime,
) -> Coming:
    """Return what comes from ``now`` to just before ``until``: the verbs ``at_opening``, and those with schedules.

    A start that is frozen is given when it will be: at the end of the freeze if a window is still open then.
    """
    scheduled = [
        Start(at, (verb,), window.timezone)
        for verb, window in schedules
        for at in takewhile(lambda x: x < until, window.starts(now))
    ]
    return Coming(
        tuple(calendar.openings(now, until)),
        tuple(_starts(calendar, tuple(at_opening), now, until)) if at_opening else (),
        tuple(sorted(scheduled)),
        not calendar.windows,
    )


def _starts(calendar: Calendar, verbs: tuple[str, ...], now: datetime, until: datetime) -> list[Start]:
    # What fired before now may be waiting for the end of a freeze, as long as its window is open.
    since = now - max((x.length for x in calendar.windows), default=timedelta(0))
    moments = set()
    for fired in takewhile(lambda x: x < until, calendar.starts(since)):
        decision = lateness(fired, fired, calendar)
        moments.add(fired if decision.action == "run" else decision.until)
    zones = {x.start: x.timezone for x in calendar.openings(now, until)}
    default = calendar.windows[0].timezone if calendar.windows else "UTC"
    return [Start(x, verbs, zones.get(x, default)) for x in sorted(x for x in moments if x and now <= x < until)]
