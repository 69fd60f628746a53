"""Windows on one's own machine: a simulated site with an inventory, and the installed command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.documents import dump_yaml
from rehearsal.example.bundle import write_bundle
from rehearsal.pods import Behaviour
from rehearsal.site import SimulatedSite
from tests.flows.running import COMMAND, Desk, Ended
from tests.flows.terminal import answered

pytestmark = [pytest.mark.prefect, pytest.mark.shared_prefect, pytest.mark.xdist_group("own-window")]
MINION = ("apps/v1", "Deployment", "kube-system", "am-minion")


class Operator:
    """Somebody with an inventory of the simulated site."""

    def __init__(self, desk: Desk, site: SimulatedSite) -> None:
        self.desk, self.site = desk, site
        self.bundle = write_bundle(site.folder)
        self.inventory = desk.folder / "inventory.yaml"

    def write(self, *windows: dict[str, str], **choices: Any) -> Path:
        clusters = [{"name": "mine", "object": "user-1", "role": "user", "choices": choices}]
        site = {
            "name": "here",
            "directory": str(self.site.folder),
            "clusters": clusters,
            "discover": ["clusterObjects"],
        }
        self.inventory.write_text(dump_yaml({
            "apiVersion": "compass.upgrade/v1", "kind": "Inventory", "bundle": str(self.bundle),
            "stateDir": str(self.desk.state), "workPool": "compass", "windows": list(windows), "sites": [site],
        }))  # fmt: skip
        return self.inventory

    def upgrade(self, *words: object) -> Ended:
        return self.desk.run(
            "upgrade", self.bundle, "--inventory", self.inventory, "--cluster", "mine", "--yes", *words
        )

    @property
    def image(self) -> str:
        item = self.site.clusters["user-1"].get(*MINION) or {}
        return str(item["spec"]["template"]["spec"]["containers"][0]["image"]).rpartition(":")[2]

    def report(self) -> Any:
        newest = max((self.desk.state / "reports").glob("*-upgrade-*.json"))
        return json.loads(newest.read_text())


@pytest.fixture
def operator(desk: Desk, tmp_path: Path) -> Iterator[Operator]:
    with SimulatedSite(tmp_path / "site", ["user-1"]) as site:
        yield Operator(desk, site)


def window(begins_in: float, lasts: float) -> dict[str, str]:
    start = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=begins_in)
    end = start + timedelta(seconds=lasts)
    return {"start": start.isoformat(timespec="seconds"), "end": end.isoformat(timespec="seconds"), "timezone": "UTC"}


def test_outside_nothing_is_done_and_the_next_opening_is_said(operator: Operator) -> None:
    operator.write(window(3600, 3600))
    done = operator.upgrade()
    assert done.status == 4, done.err
    assert "outside its windows until " in done.error
    assert "pass --wait, or pass --ignore-window with a reason" in done.error
    assert operator.image == "v0.0.6"
    removed = operator.desk.run(
        "remove", operator.bundle, "--inventory", operator.inventory, "--cluster", "mine", "--yes"
    )
    assert removed.status == 4
    unsaid = operator.upgrade("--ignore-window", "")
    assert (unsaid.status, unsaid.error) == (2, "read option --ignore-window: nothing, expected the reason")
    looked = operator.desk.run("plan", operator.bundle, "--inventory", operator.inventory, "--cluster", "mine")
    assert looked.status == 3, looked.err


def test_a_reason_lets_it_through_and_is_in_the_report(operator: Operator) -> None:
    operator.write(window(3600, 3600))
    done = operator.upgrade("--ignore-window", "an outage")
    assert done.status == 0, done.err
    assert operator.image == "v0.0.7"
    (cluster,) = operator.report()["clusters"]
    assert any(x.endswith("begun all the same: an outage") for x in cluster["warnings"])


def test_it_waits_for_the_opening_and_then_does_it(operator: Operator) -> None:
    opens = window(12, 3600)
    operator.write(opens)
    done = operator.upgrade("--wait")
    assert done.status == 0, done.err
    assert "the window opens: " in done.err
    assert datetime.now(UTC).replace(tzinfo=None) > datetime.fromisoformat(opens["start"])
    assert operator.image == "v0.0.7"


def test_where_nothing_is_to_be_done_nothing_is_waited_for(operator: Operator) -> None:
    operator.write()
    assert operator.upgrade().status == 0
    operator.write(window(3600, 3600))
    done = operator.upgrade("--wait", "--output", "json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert (report["state"], [x["state"] for x in report["clusters"]]) == ("unchanged", ["unchanged"])
    remove = ("remove", operator.bundle, "--inventory", operator.inventory, "--cluster", "here-control", "--yes")
    operator.write()
    assert operator.desk.run(*remove).status == 0
    operator.write(window(3600, 3600))
    removed = operator.desk.run(*remove, "--wait")
    assert removed.status == 0, removed.err


def test_leave_is_asked_for_before_the_wait(operator: Operator) -> None:
    operator.write(opens := window(20, 3600))
    words = [COMMAND, "upgrade", operator.bundle, "--inventory", operator.inventory, "--cluster", "mine", "--wait"]
    status, shown = answered(
        [str(x) for x in words], operator.desk.environment({"TERM": "xterm", "COLUMNS": "200"}), "[y/N]", "y"
    )  # fmt: skip
    assert status == 0, shown
    assert shown.index("[y/N]") < shown.index("waiting for that")
    assert shown.count("[y/N]") == 1
    assert datetime.now(UTC).replace(tzinfo=None) > datetime.fromisoformat(opens["start"])
    assert operator.image == "v0.0.7"


def test_what_is_wrong_shows_before_the_wait(operator: Operator) -> None:
    operator.write(window(3600, 3600))
    words = ("upgrade", operator.bundle, "--inventory", operator.inventory, "--cluster", "mine", "--wait")
    nobody = operator.desk.run(*words)
    assert (nobody.status, "no terminal to ask at" in nobody.error) == (4, True), nobody.err
    next((operator.bundle / "images").iterdir()).write_bytes(b"no archive")
    wrong = operator.desk.run(*words, "--yes")
    assert wrong.status == 2, wrong.err


def test_what_takes_longer_than_what_is_left_is_not_begun_or_waits_for_a_longer_window(operator: Operator) -> None:
    operator.write()
    assert operator.upgrade().status == 0
    cluster = operator.site.clusters["user-1"]
    record = cluster.get("v1", "ConfigMap", "kube-system", "compass-upgrade")
    assert record
    slow = json.loads(record["data"]["record"]) | {"seconds": {"wait": 7200.0}}
    body = {"data": {**record["data"], "record": json.dumps(slow)}}
    with cluster_api(operator) as api:
        path = "/api/v1/namespaces/kube-system/configmaps/compass-upgrade"
        kind = {"content-type": "application/merge-patch+json"}
        api.patch(path, content=json.dumps(body), headers=kind).raise_for_status()
        path = "/apis/apps/v1/namespaces/kube-system/deployments/am-minion"
        api.patch(path, content='{"spec": {"replicas": 1}}', headers=kind).raise_for_status()
    operator.write(window(-10, 3600))
    done = operator.upgrade("--force-conflicts")
    assert done.status == 4, done.err
    assert "and it takes about 2 h 24 min by what this bundle took here" in done.error
    operator.write(window(3600, 3600))
    never = operator.upgrade("--force-conflicts", "--wait")
    assert never.status == 4, never.err
    assert "no window of the coming year is long enough" in never.error
    operator.write(window(-10, 40), opens := window(35, 3 * 3600))
    done = operator.upgrade("--force-conflicts", "--wait")
    assert done.status == 0, done.err
    assert "and it takes about 2 h 24 min" in done.err
    assert datetime.now(UTC).replace(tzinfo=None) > datetime.fromisoformat(opens["start"])


def cluster_api(operator: Operator) -> Any:
    import httpx

    cluster = operator.site.clusters["user-1"]
    headers = {"authorization": f"Bearer {cluster.token}"}
    return httpx.Client(base_url=cluster.url, headers=headers, verify=False, timeout=30)


def test_when_the_window_ends_in_the_middle_the_cluster_is_taken_back_where_that_was_asked(operator: Operator) -> None:
    operator.site.clusters["user-1"].behaviour = Behaviour(start_seconds=25.0)
    operator.write(window(-5, 20), at_window_end="rollback")
    done = operator.upgrade()
    assert done.status == 5, done.err + done.out
    assert "before its window ended at " in done.err + done.out
    assert operator.image == "v0.0.6"


def test_after_a_step_it_stops_and_the_same_command_goes_on_in_the_next_window(operator: Operator) -> None:
    operator.write(window(-5, 8), at_window_end="finish-step")  # shorter than a run
    done = operator.upgrade()
    assert done.status == 4, done.err + done.out
    assert "window ended at" in done.err
    operator.write(window(-5, 3600))
    assert operator.upgrade().status == 0
    assert operator.image == "v0.0.7"


def test_an_inventory_is_shown_with_what_was_found_and_what_answers(operator: Operator) -> None:
    operator.write()
    done = operator.desk.run("inspect", "--inventory", operator.inventory, "--output", "json")
    assert done.status == 0, done.err
    shown = {x["cluster"]: (x["origin"], x["role"], x["version"][:2]) for x in json.loads(done.out)}
    assert shown == {"mine": ("declared and found", "user", "v1"), "here-control": ("found", "control", "v1")}
    operator.site.clusters["user-1"].unavailable()
    gone = operator.desk.run("inspect", "--inventory", operator.inventory)
    assert gone.status == 1
    assert "does not answer" in gone.out
