"""A run on a real worker looks at its windows: it waits for the next opening, or is skipped, and says why."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.documents import dump_yaml
from tests.servers.prefect import BIN, asked, environ_of, prefect_server, prefect_worker
from tests.servers.process import wait_until

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect-windows")]
Answer = dict[str, Any]
#: What a run ends with once it was let through: there is no such bundle.
LET_THROUGH = "open bundle /srv/no-such-bundle"
PAST = {"start": "2026-01-01T00:00", "end": "2026-01-02T00:00", "timezone": "UTC"}


@dataclass
class Operator:
    """Somebody with a server that schedules, a worker, and an inventory of one cluster for each test."""

    folder: Path
    api: str

    def deploy(self, cluster: str, **more: object) -> None:
        """Write the inventory of one cluster and deploy it."""
        site = {"name": "here", "directory": "/srv/here", "clusters": [{"name": cluster, "role": "control", **more}]}
        document = {
            "apiVersion": "compass.upgrade/v1", "kind": "Inventory", "name": cluster, "bundle": "/srv/no-such-bundle",
            "stateDir": str(self.folder / "state"), "workPool": "compass", "sites": [site],
        }  # fmt: skip
        (self.folder / f"{cluster}.yaml").write_text(dump_yaml(document))
        self._run("compass-upgrade", "deploy", "--elsewhere", "--inventory", f"{cluster}.yaml")

    def start(self, deployment: str, **parameters: str) -> str:
        """Start a run by hand and return its id."""
        flow, _, name = deployment.partition("/")
        (found,) = asked(
            f"{self.api}/deployments/filter", deployments={"name": {"any_": [name]}}, flows={"name": {"any_": [flow]}}
        )
        run: Answer = asked(f"{self.api}/deployments/{found['id']}/create_flow_run", parameters=parameters)
        return str(run["id"])

    def run(self, identity: str) -> Answer:
        """Return a run as the server has it."""
        (found,) = asked(f"{self.api}/flow_runs/filter", flow_runs={"id": {"any_": [identity]}})
        return dict(found)

    def reaches(self, identity: str, *states: str) -> Answer:
        """Return a run once it is in one of these states and has begun at least once."""

        def found() -> Answer | None:
            run = self.run(identity)
            return run if run["run_count"] and run["state_name"] in states else None

        return wait_until(f"a run to be {states}", found, 150) or {}

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]], cwd=self.folder, env=environ_of(self.folder, self.api),
            capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    with prefect_server(folder, schedules=True) as api:
        asked(f"{api}/work_pools/", name="compass", type="process")
        with prefect_worker(folder, api, "one"):
            yield Operator(folder, api)


def window(begins_in: timedelta, lasts: timedelta = timedelta(hours=1)) -> dict[str, str]:
    """Return a window that opens once, at a whole second."""
    start = datetime.now(UTC).replace(microsecond=0, tzinfo=None) + begins_in
    return {"start": start.isoformat(), "end": (start + lasts).isoformat(), "timezone": "UTC"}


@pytest.mark.parametrize("flow", ["upgrade-cluster", "remove-components"])
def test_a_run_started_outside_the_windows_moves_itself_to_the_next_opening_and_runs_then(
    operator: Operator, flow: str
) -> None:
    name = f"moves-{flow}"
    opens = window(timedelta(seconds=60))
    operator.deploy(name, windows=[opens])
    moved = operator.reaches(identity := operator.start(f"{flow}/{name}"), "Scheduled", "Failed")
    assert moved["state"]["message"] == f"outside its windows until {opens['start'][:16].replace('T', ' ')} UTC"
    assert moved["next_scheduled_start_time"].startswith(opens["start"])
    ended = operator.reaches(identity, "Failed")
    assert LET_THROUGH in ended["state"]["message"]
    assert ended["run_count"] >= 2  # a worker that is slow to begin counts once more
    assert ended["state"]["timestamp"] > opens["start"]


def test_an_opening_that_is_near_is_waited_for(operator: Operator) -> None:
    opens = window(timedelta(seconds=20))
    operator.deploy("near", windows=[opens])
    ended = operator.reaches(operator.start("upgrade-cluster/near"), "Scheduled", "Failed")
    assert LET_THROUGH in ended["state"]["message"]
    assert ended["state"]["timestamp"] > opens["start"]


def test_a_freeze_that_is_deployed_while_a_run_waits_holds_it_back(operator: Operator) -> None:
    opens = window(timedelta(seconds=60))
    operator.deploy("held", windows=[opens])
    operator.reaches(identity := operator.start("upgrade-cluster/held"), "Scheduled", "Failed")
    freeze = window(timedelta(0), timedelta(minutes=10))
    operator.deploy("held", windows=[opens], freezes=[{**freeze, "reason": "a fault elsewhere"}])

    def held() -> Answer | None:
        run = operator.run(identity)
        said = run["state"]["message"] or ""
        return run if said.startswith("frozen") or run["state_name"] == "Failed" else None

    run = wait_until("the run to look again", held, 150) or {}
    assert run["state"]["message"].startswith("frozen (a fault elsewhere) until ")
    assert run["next_scheduled_start_time"].startswith(freeze["end"])


def test_a_run_with_no_opening_to_come_is_skipped_with_the_reason(operator: Operator) -> None:
    operator.deploy("skipped", windows=[PAST])
    run = operator.reaches(operator.start("upgrade-cluster/skipped"), "Skipped", "Failed")
    assert (run["state_type"], run["state"]["message"]) == (
        "CANCELLED", "outside its windows, and no window opens any more"
    )  # fmt: skip


def test_a_freeze_beats_a_window_that_is_open(operator: Operator) -> None:
    freeze = {"start": "2026-01-01T00:00", "end": window(timedelta(hours=1))["start"], "timezone": "UTC"}
    operator.deploy("frozen", windows=[window(timedelta(hours=-1), timedelta(days=1))],
                    freezes=[{**freeze, "reason": "end of the quarter"}])  # fmt: skip
    run = operator.reaches(operator.start("upgrade-cluster/frozen"), "Scheduled", "Failed")
    assert run["state"]["message"].startswith("frozen (end of the quarter) until ")
    assert run["next_scheduled_start_time"].startswith(freeze["end"])


def test_a_reason_opens_what_is_closed(operator: Operator) -> None:
    operator.deploy("urgent", windows=[PAST])
    run = operator.reaches(operator.start("upgrade-cluster/urgent", ignore_window="an outage"), "Skipped", "Failed")
    assert LET_THROUGH in run["state"]["message"]


def test_a_schedule_starts_the_run_at_the_opening_and_it_is_let_through(operator: Operator) -> None:
    def runs(*types: str) -> list[Answer]:
        found = asked(f"{operator.api}/flow_runs/filter", deployments={"name": {"any_": ["scheduled"]}})
        return [dict(x) for x in found if not types or x["state_type"] in types]

    def planned(lead_seconds: int) -> dict[str, str] | None:
        opens = window(timedelta(seconds=lead_seconds))
        operator.deploy("scheduled", windows=[opens], atOpening=["upgrade"])
        # The server plans what is to come only: on a busy machine a deploy may end after the opening.
        start = datetime.fromisoformat(opens["start"]).replace(tzinfo=UTC)
        while not (found := runs()) and datetime.now(UTC) < start:
            time.sleep(0.5)
        return opens if found else None

    opens = planned(45) or planned(150)
    assert opens, "no run was planned"
    (run,) = wait_until("the scheduled run to end", lambda: runs("FAILED", "CRASHED", "CANCELLED", "COMPLETED"), 300)
    assert run["auto_scheduled"]
    assert run["expected_start_time"].startswith(opens["start"])
    assert LET_THROUGH in run["state"]["message"]
    # Prefect may begin a run a moment early; it goes on only once the window is open.
    ended, expected = (datetime.fromisoformat(run[x]) for x in ("end_time", "expected_start_time"))
    assert ended >= expected


def test_what_changes_nothing_runs_at_any_time(operator: Operator) -> None:
    operator.deploy("looks", windows=[PAST])
    run = operator.reaches(operator.start("check-cluster/looks"), "Skipped", "Failed")
    assert LET_THROUGH in run["state"]["message"]
