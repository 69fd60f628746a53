"""Whether what begins now can end before the window does, going by how long it took before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from compass.window.lateness import Decision, following, said
from compass.window.openings import LONGEST, Calendar, Opening

#: What took so long may take so much longer this time.
MARGIN = 1.2
#: What making ready may take once a window has opened; one that is no longer than that would be missed each time.
READY_SECONDS = 60.0


@dataclass(frozen=True)
class Estimate:
    """How long an upgrade may take, margin included, and going by what."""

    seconds: float
    source: str

    def __str__(self) -> str:
        return f"about {length_text(self.seconds)} by {self.source}"


def estimate(own: Sequence[tuple[str, float]], alike: Iterable[tuple[str, float]], digest: str) -> Estimate | None:
    """Return how long the bundle with this digest may take on a cluster; ``None`` where nothing is known.

    ``own`` are the digests and seconds of its own upgrades, newest first, ``alike`` those of other clusters of its
    role.  What this bundle took counts before what another one took.
    """
    same = [x for y, x in own if y == digest]
    others = [x for y, x in alike if y == digest]
    if same:
        return Estimate(max(same) * MARGIN, "what this bundle took here")
    if others:
        return Estimate(max(others) * MARGIN, f"what this bundle took on {len(others)} clusters like this")
    if own:
        return Estimate(own[0][1] * MARGIN, "what the last bundle took here")
    return None


def room(expected_start: datetime, now: datetime, calendar: Calendar, needed: Estimate) -> Decision:
    """Return what a run does that may begin now as far as ``lateness`` goes, but needs some time.

    It waits for the next opening that is long enough, unless a schedule has another run for that one or before.
    """
    current = calendar.current(now)
    if current is None or current.end - now >= timedelta(seconds=needed.seconds):
        return Decision("run", f"{needed}")
    left = (current.end - now).total_seconds()
    short = f"{length_text(left)} left until {said(current.end, current.timezone)}, and it takes {needed}"
    opening = long_enough(calendar, now, needed)
    if opening is None:
        return Decision("skip", f"{short}; no window of the coming year is long enough")
    next_run = following(expected_start, calendar)
    if next_run and next_run <= opening.start:
        return Decision("skip", f"{short}; the run of {said(next_run, opening.timezone)} replaces it")
    return Decision("wait", f"{short}; waits until {said(opening.start, opening.timezone)}", opening.start)


def long_enough(calendar: Calendar, now: datetime, needed: Estimate) -> Opening | None:
    """Return the first opening of the coming year that leaves room for making ready, too."""
    seconds = needed.seconds + READY_SECONDS
    openings = calendar.openings(now, now + LONGEST)
    return next((x for x in openings if x.start > now and (x.end - x.start).total_seconds() >= seconds), None)


def length_text(seconds: float) -> str:
    """Return a length of time as people say it, in full minutes from one minute on."""
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
