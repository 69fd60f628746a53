"""What a run does when it begins: a schedule cannot know a freeze, and no worker may have been up in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Literal
from zoneinfo import ZoneInfo

from compass.window.openings import Calendar


@dataclass(frozen=True)
class Decision:
    """Run now, wait for the opening that starts at ``until`` (UTC), or do nothing; ``reason`` is a line for people."""

    action: Literal["run", "wait", "skip"]
    reason: str
    until: datetime | None = None


def lateness(expected_start: datetime, now: datetime, calendar: Calendar) -> Decision:
    """Return what a run that was meant for ``expected_start`` does when it begins at ``now``.

    Outside the openings nothing runs.  A run is a schedule's where a window opens at ``expected_start``, which a run
    keeps when it waits.  Of those that were missed the last stands for all, and does nothing itself where a schedule
    has another one for the next opening, or for before.  A run that somebody asked for is dropped only where no window
    opens any more.
    """
    zone = calendar.windows[0].timezone if calendar.windows else "UTC"
    next_run = following(expected_start, calendar)
    if next_run and next_run <= now:
        missed = f"missed {said(expected_start, zone)}"
        return Decision("skip", f"{missed}; the run of {said(next_run, zone)} replaces it")
    current = calendar.current(now)
    if current:
        return Decision("run", f"open until {said(current.end, current.timezone)}")
    closed = _why_closed(now, calendar)
    opening = calendar.next_opening(now)
    if opening is None:
        return Decision("skip", f"{closed}, and no window opens any more")
    if next_run and next_run <= opening.start:
        return Decision("skip", f"{closed}; the run of {said(next_run, zone)} replaces it")
    return Decision("wait", f"{closed} until {said(opening.start, opening.timezone)}", opening.start)


def following(expected_start: datetime, calendar: Calendar) -> datetime | None:
    """Return when schedules fire next after a run of theirs; ``None`` where it is not theirs, or the last."""
    fired = list(islice(calendar.starts(expected_start), 2))
    return fired[1] if len(fired) == 2 and fired[0] == expected_start else None


def _why_closed(now: datetime, calendar: Calendar) -> str:
    freeze = calendar.frozen(now)
    return f"frozen ({freeze.reason})" if freeze else "outside its windows"


def said(moment: datetime, timezone: str) -> str:
    """Return a moment as the clock on the wall shows it, with its zone."""
    return f"{moment.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M} {timezone}"
