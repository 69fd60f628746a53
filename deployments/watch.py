"""The automation that ends runs which died with their worker: Prefect by itself would call them Running for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from deployments.wanted import MADE_BY

NAME = "compass-upgrade: end runs without a sign of life"
#: Runs send a heartbeat every 30 seconds: three of them are missing then.
SILENT = timedelta(seconds=95)
Answer = Literal["create", "update", "unchanged"]


def automation() -> AutomationCore:
    """Return it as it shall be."""
    return AutomationCore(
        name=NAME,
        description="A run whose heartbeats end without an end of the run has died; its cluster's lock ends by itself, "
        "and the same command goes on.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"}, expect={"prefect.flow-run.*"}, for_each={"prefect.resource.id"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.id": f"prefect.tag.{MADE_BY}", "prefect.resource.role": "tag"},
            posture=Posture.Proactive, threshold=1, within=SILENT,
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
    trigger = item.trigger.model_dump(mode="json", include={"posture", "threshold", "within", "match", "match_related"})
    sets = {name: sorted(getattr(item.trigger, name)) for name in ("after", "expect", "for_each")}
    return trigger, sets, [x.model_dump(mode="json") for x in item.actions]
