"""An unlucky night, on a simulated site: interruptions, logs where one stands, workloads that want no pods."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rehearsal.example.bundle import write_bundle
from rehearsal.pods import Behaviour
from rehearsal.site import SimulatedSite
from tests.flows.running import Desk, ended

pytestmark = [pytest.mark.prefect, pytest.mark.shared_prefect, pytest.mark.xdist_group("unlucky")]


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[SimulatedSite]:
    with SimulatedSite(tmp_path / "site", ["user-1", "user-2"]) as site:
        yield site


def test_an_interrupted_upgrade_ends_soon_begins_no_other_cluster_and_reports(
    simulated: SimulatedSite, desk: Desk
) -> None:
    user = simulated.clusters["user-1"]
    user.behaviour = replace(Behaviour(), unready=frozenset({"am_minion:v0.0.7"}))
    bundle = write_bundle(simulated.folder)
    process = desk.start("upgrade", bundle, "--site", simulated.folder, "--yes", "--parallel", "1")
    assert process.stderr
    for line in process.stderr:
        if line.startswith("user-1: apply"):
            os.kill(process.pid, signal.SIGINT)
            break
    done = ended(process)
    assert done.status == 128 + signal.SIGINT
    (report,) = (json.loads(x.read_text()) for x in (desk.state / "reports").iterdir())
    states = {x["cluster"]: x["state"] for x in report["clusters"]}
    assert states == {"control": "upgraded", "user-1": "rolled back", "user-2": "not started"}
    assert report["clusters"][1]["not_as_before"] == []
    assert "put back Deployment/kube-system/am-minion" in report["clusters"][1]["steps"][-1]["lines"]
    user.behaviour = Behaviour()
    again = desk.run("upgrade", bundle, "--site", simulated.folder, "--yes")
    assert again.status == 0, again.err


def test_a_log_where_one_stands_is_no_part_of_the_bundle(simulated: SimulatedSite, desk: Desk) -> None:
    bundle = write_bundle(simulated.folder)
    before = desk.run("inspect", bundle, "--output", "json")
    (bundle / "upgrade.log").write_text("planning\n")
    (bundle / "my-state" / "reports").mkdir(parents=True)
    (bundle / "my-state" / "reports" / "one.json").write_text("{}")
    assert desk.run("inspect", bundle, "--output", "json").out == before.out


def test_one_cluster_is_planned_by_its_kubeconfig_alone(simulated: SimulatedSite, desk: Desk) -> None:
    bundle = write_bundle(simulated.folder)
    kubeconfig = simulated.kubeconfigs(desk.folder)["user-1"]
    where = ("--kubeconfig", kubeconfig, "--registry", simulated.registry.url)
    planned = desk.run("plan", bundle, *where, "--set", "addon_master_ip=10.0.0.1", "--output", "json")
    assert planned.status == 3, planned.err
    (cluster,) = json.loads(planned.out)["clusters"]
    assert (cluster["role"], cluster["cluster"]) == ("user", "user-1")


def test_a_mistyped_value_is_refused_with_the_name_that_was_meant(simulated: SimulatedSite, desk: Desk) -> None:
    bundle = write_bundle(simulated.folder)
    done = desk.run("plan", bundle, "--site", simulated.folder, "--set", "addon_master_prot=7006")
    assert done.status == 2
    assert "addon_master_prot: no template uses it; did you mean addon_master_port?" in done.error


def test_a_workload_that_wants_no_pods_is_no_difference(simulated: SimulatedSite, desk: Desk) -> None:
    bundle = write_bundle(simulated.folder)
    template = bundle / "templates" / "release_controller.yaml.j2"
    template.write_text(template.read_text().replace("replicas: 1", "replicas: 0"))
    done = desk.run("upgrade", bundle, "--site", simulated.folder, "--yes")
    assert done.status == 0, done.err
    assert desk.run("check", bundle, "--site", simulated.folder).status == 0


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"PREFECT_HOME": "/dev/null/x"}, "make Prefect's folder /dev/null/x"),
        ({"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "PREFECT_API_URL is http://127.0.0.1:9/api"),
    ],
)
def test_a_prefect_that_cannot_start_is_one_line_and_nothing_is_touched(
    simulated: SimulatedSite, desk: Desk, environ: dict[str, str], words: str
) -> None:
    bundle = write_bundle(simulated.folder)
    before = simulated.clusters["control"].objects.store.version
    done = desk.run("upgrade", bundle, "--site", simulated.folder, "--yes", environ=environ)
    assert done.status in (1, 2)
    assert words in done.error
    assert simulated.clusters["control"].objects.store.version == before
