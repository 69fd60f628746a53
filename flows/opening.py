"""A run looks at its cluster's windows when it begins: a schedule knows no freeze, and a worker may have been away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NoReturn
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Scheduled
from pydantic import ValidationError

from compass.clock import Clock, system_clock
from compass.errors import InvalidInput, Refused
from compass.window.lateness import Decision, lateness
from compass.window.openings import Calendar
from compass.window.room import Estimate, room

#: An opening that is nearer is waited for.  A worker takes a run ten seconds ahead, and one with a limit ends with an
#: error when it is to take the same run again before the process that moved it has ended.
NEAR_SECONDS = 25.0


def deployed_calendar(calendar: Calendar) -> Calendar:
    """Return the calendar that the run's deployment has now, or the run's own where it is of none.

    A run keeps the parameters that it was made with while it waits, and a freeze may have been deployed since.
    """
    if not runtime.deployment.id:
        return calendar
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment(UUID(runtime.deployment.id))
        except ObjectNotFound:
            return calendar
    try:
        return Calendar.model_validate(deployment.parameters.get("calendar") or {})
    except ValidationError as error:
        raise InvalidInput("read calendar of deployment", deployment.name, found=str(error.errors()[0]["msg"]),
                           do="deploy the inventory again") from None  # fmt: skip


def keep_to_windows(cluster: str, calendar: Calendar, ignore_window: str = "") -> str:
    """Come back only when a cluster may be changed now; return a line for its report, empty where nothing is to say.

    A run of a deployment that is too early moves itself to the next opening, without a worker's slot, and one that
    another run of its schedule replaces is cancelled; the reason is the message of its state.  ``ignore_window`` is
    why the windows do not count this time.

    Raises:
        Refused: the cluster may not be changed now, and the run is of no deployment, so nobody would start it again.
    """
    if not calendar.is_bounded:
        return ""
    log, clock = get_run_logger(), system_clock()
    while True:
        now = clock.now()
        decision = lateness(_meant_for(now), now, calendar)
        if reason := ignore_window.strip():
            line = f"{decision.reason}; begun all the same: {reason}"
            log.warning("%s: %s", cluster, line)
            return line
        log.info("%s: %s", cluster, decision.reason)
        if decision.action == "run":
            return ""
        _stay_or_leave(decision, clock, cluster)


def keep_to_room(cluster: str, calendar: Calendar, needed: Estimate | None) -> None:
    """Come back only when what takes so long can end before the window does; otherwise as ``keep_to_windows``.

    Raises:
        Refused: there is too little time, and the run is of no deployment.
    """
    if needed is None:
        return
    log, clock = get_run_logger(), system_clock()
    while True:
        now = clock.now()
        decision = room(_meant_for(now), now, calendar, needed)
        log.info("%s: %s", cluster, decision.reason)
        if decision.action == "run":
            return
        _stay_or_leave(decision, clock, cluster)


def _stay_or_leave(decision: Decision, clock: Clock, cluster: str) -> None:
    """Wait for an opening that is near; end the run for one that is not, or for none."""
    left = (decision.until - clock.now()).total_seconds() if decision.until else NEAR_SECONDS
    if left >= NEAR_SECONDS:
        _give_up(decision, cluster)
    clock.sleep(max(left, 0.01))


def _give_up(decision: Decision, cluster: str) -> NoReturn:
    """End the run, moved to when the decision says, or cancelled."""
    if not runtime.deployment.id:
        raise Refused("change cluster", cluster, found=decision.reason, do="wait, or pass ignore_window with a reason")
    _leave(_state(decision))
    raise Abort(decision.reason)


def _meant_for(now: datetime) -> datetime:
    """Return when the run was to begin, which stays when it is moved."""
    meant = runtime.flow_run.scheduled_start_time
    return datetime.fromtimestamp(meant.timestamp(), UTC) if meant else now


def _state(decision: Decision) -> State[None]:
    if decision.action == "wait" and decision.until:
        return Scheduled(scheduled_time=decision.until, message=decision.reason)
    return Cancelled(name="Skipped", message=decision.reason)


def _leave(state: State[None]) -> None:
    # Returned from a flow, such a state would count as its end, or as a crash; it is set against the rules instead,
    # and the flow ends without proposing another one.
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(runtime.flow_run.id, state, force=True)
