"""Windows on one's own machine: wait for the next one with a countdown, or leave and say when it opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from compass.change.plan import Plan
from compass.errors import Refused
from compass.estimate import expected
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target, Workplace
from compass.window.lateness import Decision, lateness
from compass.window.room import Estimate, long_enough, room
from flows.options import Opening
from flows.screen import Screen
from flows.verbs.plan_file import Answers

_TICK_SECONDS = 1.0


def keep_to_windows(place: Workplace, screen: Screen, opening: Opening, agree: Callable[[], bool]) -> str | None:
    """Come back only when the clusters may be changed; return why the windows were ignored, if they were.

    ``agree`` is called before a wait begins: what is wrong shows, and leave is given, while somebody is there.  Where
    it tells that there is nothing to wait for, ``None`` comes back at once.

    Raises:
        Refused: it is not the time, and nobody asked to wait for it.
    """
    has_agreed = False
    calendar = place.job.calendar
    if not calendar.is_bounded:
        return ""
    while True:
        now = place.clock.now()
        decision = lateness(now, now, calendar)
        if reason := (opening.ignore_window or "").strip():
            line = f"{decision.reason}; begun all the same: {reason}"
            screen.tell(line, "yellow")
            return line
        if decision.action == "run":
            screen.tell(decision.reason)
            return ""
        if decision.until is None or not opening.wait:
            raise _not_now(decision)
        if not has_agreed:
            if not agree():
                return None
            has_agreed = True
        wait_for(place, screen, decision)


def longer_window(place: Workplace, opening: Opening, prepared: Prepared, answers: Answers) -> Decision | None:
    """Return which window to wait for where a cluster's upgrade cannot end before this one does, as far as is known.

    ``None`` when all can.

    Raises:
        Refused: one cannot, and nobody asked to wait, or no window is long enough.
    """
    found = []
    for target, needed in _needs(place, prepared, answers):
        now = place.clock.now()
        decision = room(now, now, place.job.calendar, needed)
        if decision.action == "run":
            continue
        if decision.until is None or not opening.wait:
            raise _too_long(target, decision.reason, can_wait=decision.until is not None)
        found.append((decision.until, decision))
    return max(found, key=lambda x: x[0])[1] if found else None


def refuse_too_long(place: Workplace, prepared: Prepared, answers: Answers) -> None:
    """Check, before anybody waits, that for each cluster some window is long enough, as far as is known.

    Raises:
        Refused: one fits into none of the coming year.
    """
    for target, needed in _needs(place, prepared, answers):
        if long_enough(place.job.calendar, place.clock.now(), needed) is None:
            reason = f"it takes {needed}; no window of the coming year is long enough"
            raise _too_long(target, reason, can_wait=False)


def _needs(place: Workplace, prepared: Prepared, answers: Answers) -> Iterator[tuple[Target, Estimate]]:
    """Yield each cluster with how long its upgrade may take, where that is known and windows count."""
    for target, plan in answers if place.job.calendar.is_bounded else ():
        needed = expected(place, target, prepared.digest) if isinstance(plan, Plan) and plan.acting else None
        if needed is not None:
            yield target, needed


def _too_long(target: Target, reason: str, *, can_wait: bool) -> Refused:
    do = f"{'pass --wait, or ' if can_wait else ''}pass --ignore-window with a reason"
    return Refused("begin upgrade of", target.name, found=reason, do=do)


def wait_for(place: Workplace, screen: Screen, decision: Decision) -> None:
    """Wait until a decision's opening, with a countdown."""
    if decision.until is not None:
        screen.tell(f"{decision.reason}: waiting for that; Ctrl-C leaves, and nothing is changed until then")
        while (left := (decision.until - place.clock.now()).total_seconds()) > 0:
            screen.countdown("the window opens", left)
            place.clock.sleep(min(_TICK_SECONDS, left))


def _not_now(decision: Decision) -> Refused:
    wait = "pass --wait, or " if decision.until else ""
    return Refused("change clusters now", found=decision.reason, do=f"{wait}pass --ignore-window with a reason")
