"""The automations of ``deploy`` on a real server: they end runs that have died, and no others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.wanted import MADE_BY
from deployments.watch import keep_watch
from tests.servers.prefect import asked, prefect_server
from tests.servers.process import wait_until

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect-watch")]
WITHIN_SECONDS = 10
TYPES = {"Submitting": "PENDING", "InfrastructurePending": "PENDING"}


class Watched:
    """A server whose automations are in a hurry, and a deployment whose runs go where they are told."""

    def __init__(self, api: str) -> None:
        self.api = api
        with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
            assert set(keep_watch(client, check=False).values()) == {"create"}
            flow = client.create_flow_from_name("upgrade-cluster")
            self._deployments = {
                "ours": client.create_deployment(flow_id=flow, name="one", tags=[MADE_BY]),
                "other": client.create_deployment(flow_id=flow, name="two"),
            }
        for item in asked(f"{api}/automations/filter"):
            body = {x: item[x] for x in ("name", "description", "enabled", "trigger", "actions")}
            body["trigger"]["within"] = WITHIN_SECONDS
            httpx.put(f"{api}/automations/{item['id']}", json=body, timeout=60).raise_for_status()

    def run(self, *states: str, of: str = "ours") -> str:
        """Make a run that goes through these states, and return its id."""
        made = asked(f"{self.api}/deployments/{self._deployments[of]}/create_flow_run")
        for state in states:
            body: dict[str, Any] = {"type": TYPES.get(state, state.upper()), "name": state}
            if state == "Scheduled":
                body["state_details"] = {"scheduled_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
            asked(f"{self.api}/flow_runs/{made['id']}/set_state", state=body, force=True)
        return str(made["id"])

    def state(self, identity: str) -> str:
        """Return a run's state now."""
        found: dict[str, Any] = httpx.get(f"{self.api}/flow_runs/{identity}", timeout=60).raise_for_status().json()
        return str(found["state"]["name"])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with prefect_server(tmp_path_factory.mktemp("watched"), schedules=True) as api:
        yield Watched(api)


def test_runs_that_died_are_ended_and_those_that_moved_themselves_or_ended_are_not(watched: Watched) -> None:
    dead = [
        watched.run("Pending"),
        watched.run("Pending", "Submitting"),
        watched.run("Pending", "InfrastructurePending"),
        watched.run("Pending", "Submitting", "Running"),
        watched.run("Pending", "Running", "Scheduled", "Pending"),
        watched.run("Pending", "Running", "Scheduled", "Pending", "Submitting", "Running"),
    ]
    others = {
        watched.run("Pending", "Submitting", "Scheduled"): "Scheduled",
        watched.run("Pending", "Running", "Scheduled"): "Scheduled",
        watched.run("Pending", "Submitting", "Running", "Completed"): "Completed",
        watched.run("Pending", "Running", of="other"): "Running",
    }
    wait_until("the dead to be ended", lambda: {watched.state(x) for x in dead} == {"Crashed"}, 60, 0.5)
    time.sleep(WITHIN_SECONDS)
    assert {x: watched.state(x) for x in others} == others
