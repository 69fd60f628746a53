"""The automations that end runs which died with their worker: Prefect would call them Running, or Pending, for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from deployments.wanted import MADE_BY
from flows.alive import ALIVE, AT_REST

#: Long enough for a restart of the server, for clocks that differ, and for a container that fetches its image first.
SILENT = NEVER_BEGUN = timedelta(minutes=10)
_STATE = "prefect.flow-run."
#: Where a run needs no process: it has ended, or waits for a worker to take it.
_ENDS = frozenset(
    _STATE + x
    for x in (
        "Completed", "Failed", "Cancelled", "Crashed", "Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot",
    )
)  # fmt: skip
#: What a worker says of a run, one after the other, until the run speaks for itself.
_GIVEN = frozenset(_STATE + x for x in ("Pending", "Submitting", "InfrastructurePending"))
_BEGUN = frozenset({ALIVE, AT_REST, f"{_STATE}Running"})
Answer = Literal["create", "update", "unchanged"]


def automations() -> tuple[AutomationCore, ...]:
    """Return them as they shall be."""
    ours = {
        "for_each": {"prefect.resource.id"}, "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {"prefect.resource.id": f"prefect.tag.{MADE_BY}", "prefect.resource.role": "tag"},
        "posture": Posture.Proactive, "threshold": 1,
    }  # fmt: skip
    # One that died before its first sign of life came through has only begun.  What begins the wait is expected, too:
    # a run that has moved itself and is taken again begins a new one only so.
    silent = EventTrigger(after={ALIVE, f"{_STATE}Running"}, expect=_BEGUN | _ENDS, within=SILENT, **ours)
    pending = EventTrigger(after=_GIVEN, expect=_GIVEN | _BEGUN | _ENDS, within=NEVER_BEGUN, **ours)
    return (
        _crashing("end runs without a sign of life", f"no sign of life for {SILENT.seconds} s", silent),
        _crashing(
            "end runs that never began", f"given to a worker {NEVER_BEGUN.seconds} s ago, and not begun", pending
        ),
    )


def _crashing(what: str, message: str, trigger: EventTrigger) -> AutomationCore:
    return AutomationCore(
        name=f"compass-upgrade: {what}", trigger=trigger,
        description="Such a run has died with its worker; its cluster's lock ends by itself, and the next run goes on.",
        actions=[ChangeFlowRunState(name="Crashed", state=StateType.CRASHED, message=message)],
    )  # fmt: skip


def keep_watch(client: SyncPrefectClient, *, check: bool) -> dict[str, Answer]:
    """Bring the server's automations to what they shall be, or with ``check`` say what would be done, by name.

    One that an operator has switched off stays off.
    """
    return {x.name: _keep(client, x, check=check) for x in automations()}


def _keep(client: SyncPrefectClient, wanted: AutomationCore, *, check: bool) -> Answer:
    found = client.read_automations_by_name(wanted.name)
    if not found:
        if not check:
            client.create_automation(wanted)
        return "create"
    if _essence(found[0]) == _essence(wanted):
        return "unchanged"
    if not check:
        client.update_automation(found[0].id, wanted.model_copy(update={"enabled": found[0].enabled}))
    return "update"


def _essence(item: AutomationCore) -> Any:
    trigger = item.trigger.model_dump(mode="json", include={"posture", "threshold", "within", "match", "match_related"})
    sets = {name: sorted(getattr(item.trigger, name)) for name in ("after", "expect", "for_each")}
    return trigger, sets, [x.model_dump(mode="json") for x in item.actions]
