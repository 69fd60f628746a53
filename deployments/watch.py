"""The automation that ends runs which died with their worker: Prefect by itself would call them Running for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from flows.alive import ALIVE, AT_REST

NAME = "compass-upgrade: end runs without a sign of life"
#: Four signs of life are missing then.
SILENT = timedelta(seconds=120)
_ENDS = frozenset(f"prefect.flow-run.{x}" for x in ("Completed", "Failed", "Cancelled", "Crashed", "Scheduled"))
Answer = Literal["create", "update", "unchanged"]


def automation() -> AutomationCore:
    """Return it as it shall be."""
    return AutomationCore(
        name=NAME,
        description="A run that gives no sign of life and has not ended has died with its worker; its cluster's lock "
        "ends by itself, and the next run goes on.",
        trigger=EventTrigger(
            after={ALIVE}, expect={ALIVE, AT_REST, *_ENDS}, for_each={"prefect.resource.id"},
            match={"prefect.resource.id": "prefect.flow-run.*"}, posture=Posture.Proactive, threshold=1, within=SILENT,
        ),
        actions=[ChangeFlowRunState(
            name="Crashed", state=StateType.CRASHED, message=f"no sign of life for {SILENT.seconds} s"
        )],
    )  # fmt: skip


def keep_watch(client: SyncPrefectClient, *, check: bool) -> Answer:
    """Bring the server's automation to what it shall be, or with ``check`` say what would be done.

    One that an operator has switched off stays off.
    """
    found = client.read_automations_by_name(NAME)
    wanted = automation()
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
    trigger = item.trigger.model_dump(mode="json", include={"posture", "threshold", "within", "match"})
    sets = {name: sorted(getattr(item.trigger, name)) for name in ("after", "expect", "for_each")}
    return trigger, sets, [x.model_dump(mode="json") for x in item.actions]
