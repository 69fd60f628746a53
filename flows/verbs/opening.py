"""Windows on one's own machine: wait for the next one with a countdown, or leave and say when it opens."""

from __future__ import annotations

from collections.abc import Callable

from compass.change.plan import Plan
from compass.errors import Refused
from compass.estimate import expected
from compass.steps.prepare import Prepared
from compass.steps.workplace import Workplace
from compass.window.lateness import Decision, lateness
from compass.window.room import room
from flows.options import Opening
from flows.screen import Screen
from flows.verbs.plan_file import Answers

_TICK_SECONDS = 1.0


def keep_to_windows(place: Workplace, screen: Screen, opening: Opening, agree: Callable[[], None]) -> str:
    """Come back only when the clusters may be changed; return why the windows were ignored, if they were.

    ``agree`` is called before a wait begins: what is wrong shows, and leave is given, while somebody is there.

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
        if reason := opening.ignore_window.strip():
            line = f"{decision.reason}; begun all the same: {reason}"
            screen.tell(line, "yellow")
            return line
        if decision.action == "run":
            screen.tell(decision.reason)
            return ""
        if decision.until is None or not opening.wait:
            raise _not_now(decision)
        if not has_agreed:
            agree()
            has_agreed = True
        wait_for(place, screen, decision)


def longer_window(place: Workplace, opening: Opening, prepared: Prepared, answers: Answers) -> Decision | None:
    """Return which window to wait for where a cluster's upgrade cannot end before this one does, as far as is known.

    ``None`` when all can.

    Raises:
        Refused: one cannot, and nobody asked to wait, or no window is long enough.
    """
    if not place.job.calendar.is_bounded:
        return None
    for target, plan in answers:
        needed = expected(place, target, prepared.digest) if isinstance(plan, Plan) and plan.acting else None
        if needed is None:
            continue
        now = place.clock.now()
        decision = room(now, now, place.job.calendar, needed)
        if decision.action == "run":
            continue
        if decision.until is None or not opening.wait:
            wait = "pass --wait, or " if decision.until else ""
            raise Refused("begin upgrade of", target.name, found=decision.reason,
                          do=f"{wait}pass --ignore-window with a reason")  # fmt: skip
        return decision
    return None


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
