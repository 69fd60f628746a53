"""One deployment per cluster, run by a real Prefect server and a process worker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from compass.documents import dump_yaml
from tests.conftest import MakeSite
from tests.flows.running import site_registry, wait_settled
from tests.material.bundles import component_archive, legacy_bundle, outer_archive
from tests.servers.prefect import environ_of, prefect_server, prefect_worker
from tests.servers.process import wait_until
from tests.servers.site import Site

pytestmark = [pytest.mark.servers, pytest.mark.prefect, pytest.mark.xdist_group("worker")]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Operator:
    """What an operator has: a site, deployments of its clusters, a server and a worker."""

    site: Site
    folder: Path
    api: str
    environ: dict[str, str]

    def prefect(self, *words: str) -> str:
        """Run Prefect's own command line, as an operator does, and return what it prints."""
        done = subprocess.run(
            [str(BIN / "prefect"), *words],
            check=False,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def asked(self, path: str, **body: Any) -> list[dict[str, Any]]:
        """Return what the server's API lists."""
        answer = httpx.post(f"{self.api}/{path}/filter", json=body, timeout=30).raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found


def inventory(site: Site, bundle: Path, folder: Path) -> dict[str, Any]:
    clusters = [
        {"name": "here-control", "object": "control", "role": "control", "choices": {"allow_data_loss": True}},
        {"name": "here-user-1", "object": "user-1", "role": "user"},
    ]
    place = {"name": "here", "directory": str(site.folder), "registry": site_registry(site.registry)}
    return {
        "apiVersion": "compass.upgrade/v1", "kind": "Inventory", "bundle": str(bundle),
        "stateDir": str(folder / "state"), "workPool": "compass", "sites": [{**place, "clusters": clusters}],
    }  # fmt: skip


@pytest.fixture(scope="module")
def operator(make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    with wait_settled(make_site(users=("user-1",))) as site, prefect_server(folder, schedules=True) as api:
        bundle = outer_archive(component_archive(legacy_bundle(folder / "b" / "component").folder), folder)
        (folder / "inventory.yaml").write_text(dump_yaml(inventory(site, bundle, folder)))
        here = Operator(site, folder, api, environ_of(folder, api))
        subprocess.run(
            [sys.executable, "-m", "deployments.render", "inventory.yaml", "-o", "prefect.yaml"],
            cwd=folder, env=here.environ, check=True,
        )  # fmt: skip
        here.prefect("work-pool", "create", "compass", "--type", "process")
        here.prefect("--no-prompt", "deploy", "--all")
        with prefect_worker(folder, api, "one"):
            yield here


def run(operator: Operator, name: str) -> dict[str, Any]:
    """Start a deployment by hand, wait for its end, and return the flow run."""
    operator.prefect("deployment", "run", name)
    flow, _, deployment = name.partition("/")
    chosen = {"deployments": {"name": {"any_": [deployment]}}, "flows": {"name": {"any_": [flow]}}}

    def newest() -> dict[str, Any]:
        return operator.asked("flow_runs", **chosen, sort="EXPECTED_START_TIME_DESC", limit=1)[0]

    wait_until(f"{name} to end", lambda: newest()["state_type"] in ("COMPLETED", "FAILED", "CRASHED"), 120)
    return newest()


def step_a_cluster_is_upgraded_by_its_own_deployment(operator: Operator) -> None:
    done = run(operator, "upgrade-cluster/here-user-1")
    assert (done["state_type"], done["name"]) == ("COMPLETED", "upgrade user-1")
    keys = {x["key"] for x in operator.asked("artifacts", flow_runs={"id": {"any_": [done["id"]]}})}
    steps = ("preflight", "plan", "backup", "delete", "apply", "wait", "check", "record", "cluster")
    assert keys == {"bundle", "clusters", "preflight-registry", "images", *(f"{x}-user-1" for x in steps)}
    tasks = {x["name"] for x in operator.asked("task_runs", flow_runs={"id": {"any_": [done["id"]]}})}
    assert {"verify bundle", "load images", "plan user-1", "apply user-1", "wait user-1", "check user-1"} <= tasks


def step_the_artifacts_say_what_was_done(operator: Operator) -> None:
    artifacts = {x["key"]: x["data"] for x in operator.asked("artifacts", artifacts={"type": {"any_": ["markdown"]}})}
    assert "configured | Deployment/kube-system/am-minion" in artifacts["plan-user-1"]
    assert f"{operator.site.registry.host}/release/am_minion:v0.0.7" in artifacts["images"]
    assert "| equal | Deployment/kube-system/am-minion | am-minion |" in artifacts["check-user-1"]


def step_the_other_verbs_have_deployments_of_their_own(operator: Operator) -> None:
    for name in ("backup-cluster/here-control", "upgrade-cluster/here-control", "check-cluster/here-user-1",
                 "remove-components/here-control"):  # fmt: skip
        assert run(operator, name)["state_type"] == "COMPLETED", name


def step_a_second_run_changes_nothing(operator: Operator) -> None:
    done = run(operator, "upgrade-cluster/here-user-1")
    assert done["state_type"] == "COMPLETED"
    (artifact,) = operator.asked(
        "artifacts", artifacts={"key": {"any_": ["cluster-user-1"]}}, flow_runs={"id": {"any_": [done["id"]]}}
    )
    assert "Cluster user-1: unchanged" in artifact["data"]


def step_a_run_that_fails_says_why(operator: Operator) -> None:
    plane = operator.site.users["user-1"]
    plane.stop_api()
    try:
        operator.prefect("deployment", "run", "check-cluster/here-user-1", "--param", 'choices={"patience_seconds": 1}')
        failed: list[dict[str, Any]] = []

        def ended() -> bool:
            failed[:] = operator.asked("flow_runs", flow_runs={"state": {"type": {"any_": ["FAILED"]}}})
            return bool(failed)

        wait_until("the run to fail", ended, 150)
    finally:
        plane.start_api()
    assert "does not answer" in failed[0]["state"]["message"]


def step_no_parameter_log_or_artifact_holds_a_secret(operator: Operator) -> None:
    """Nothing that proves who we are is in Prefect's database."""
    database = b"".join(x.read_bytes() for x in (operator.folder / "home").glob("prefect.db*"))
    assert b"upgrade user-1" in database
    for plane in operator.site.clusters.values():
        assert plane.token.encode() not in database


def test_clusters_are_worked_on_by_their_own_deployments_step_by_step(operator: Operator) -> None:
    """Each step stands on those before it, so they are one test: its trace names the step that failed."""
    step_a_cluster_is_upgraded_by_its_own_deployment(operator)
    step_the_artifacts_say_what_was_done(operator)
    step_the_other_verbs_have_deployments_of_their_own(operator)
    step_a_second_run_changes_nothing(operator)
    step_a_run_that_fails_says_why(operator)
    step_no_parameter_log_or_artifact_holds_a_secret(operator)
