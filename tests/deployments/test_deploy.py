"""``compass-upgrade deploy`` brings a real Prefect server to what an inventory says."""

from __future__ import annotations

import json
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from compass.documents import dump_yaml
from tests.servers.prefect import BIN, asked, environ_of
from tests.servers.process import free_port

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect-deploy")]
SATURDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=SA", "start": "22:30", "duration": "4h", "timezone": "Europe/Berlin"}
SUNDAYS = {**SATURDAYS, "rrule": "FREQ=WEEKLY;BYDAY=SU"}
FOR_EVER = {"start": "2020-01-01T00:00", "end": "2199-01-01T00:00", "timezone": "UTC", "reason": "rest"}
Answer = dict[str, Any]


@dataclass
class Operator:
    """Somebody with an inventory of their own on a server that others use too."""

    name: str
    folder: Path
    api: str

    def write(self, *clusters: Answer, **more: object) -> None:
        """Write the inventory: one site with these clusters."""
        site = {"name": "here", "directory": str(self.folder), "clusters": list(clusters)}
        document = {
            "apiVersion": "compass.upgrade/v1", "kind": "Inventory", "name": self.name, "bundle": "/srv/bundle",
            "stateDir": "/srv/state", "workPool": f"pool-{self.name}", "sites": [site], **more,
        }  # fmt: skip
        (self.folder / "inventory.yaml").write_text(dump_yaml(document))

    def cluster(self, name: str, role: str = "user", **more: object) -> Answer:
        """Return a cluster whose name nobody else has."""
        return {"name": f"{self.name}-{name}", "role": role, **more}

    def run(self, *words: str, status: int = 0, api: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of our commands or Prefect's, and check its exit status."""
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]], cwd=self.folder, env=environ_of(self.folder, api or self.api),
            capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert done.returncode == status, done.stdout[-2000:] + done.stderr[-2000:]
        return done

    def deploy(self, *words: str, status: int = 0) -> dict[str, Answer]:
        """Deploy and return what was done, by deployment."""
        done = self.run("compass-upgrade", "deploy", "--elsewhere", "--output", "json", *words, status=status)
        return {x["deployment"]: x for x in json.loads(done.stdout)}

    def deployments(self) -> dict[str, Answer]:
        """Return what the server has of this operator's clusters, by flow and name."""
        found = asked(f"{self.api}/deployments/filter", deployments={"name": {"like_": f"{self.name}-"}})
        flows = {x["id"]: x["name"] for x in asked(f"{self.api}/flows/filter")}
        return {f"{flows[x['flow_id']]}/{x['name']}": x for x in found}

    def patch(self, path: str, **values: object) -> None:
        """Change something of a deployment, as the UI does."""
        httpx.patch(f"{self.api}/deployments/{path}", json=values, timeout=60).raise_for_status()

    def rules(self, deployment: str) -> list[tuple[str, bool]]:
        """Return the schedules of a deployment, and whether each is active."""
        found = self.deployments()[deployment]["schedules"]
        return sorted((x["schedule"]["rrule"], x["active"]) for x in found)

    def plan_runs(self, deployment: str) -> list[Answer]:
        """Let the server plan runs, as its scheduler does, and return them."""
        here = self.deployments()[deployment]["id"]
        httpx.post(f"{self.api}/deployments/{here}/schedule", json={"min_runs": 2}, timeout=60).raise_for_status()
        return self.runs(here)

    def runs(self, identity: str) -> list[Answer]:
        """Return the runs of a deployment."""
        found: list[Answer] = asked(f"{self.api}/flow_runs/filter", flow_runs={"deployment_id": {"any_": [identity]}})
        return found


@pytest.fixture
def operator(api: str, tmp_path: Path, request: pytest.FixtureRequest) -> Operator:
    """An operator with a work pool, named after the test."""
    name = f"op-{zlib.crc32(request.node.name.encode())}"
    found = Operator(name, tmp_path, api)
    httpx.post(f"{api}/work_pools/", json={"name": f"pool-{name}", "type": "process"}, timeout=60).raise_for_status()
    return found


def test_each_cluster_gets_one_deployment_per_verb_and_asking_again_changes_nothing(operator: Operator) -> None:
    one = operator.cluster("one", "control", object="control", labels={"tier": "canary"}, atOpening=["upgrade"])
    operator.write(one, operator.cluster("two"), windows=[SATURDAYS])
    created = operator.deploy()
    verbs = ("backup-cluster", "upgrade-cluster", "check-cluster", "remove-components")
    names = {f"{x}/{operator.name}-one" for x in verbs} | {f"{x}/{operator.name}-two" for x in verbs[:3]}
    assert {name: x["action"] for name, x in created.items()} == dict.fromkeys(names, "create")
    before = operator.deployments()
    assert before.keys() == names
    made = before[f"upgrade-cluster/{operator.name}-one"]
    assert made["entrypoint"] == "flows.upgrade.upgrade_cluster"
    assert made["work_pool_name"] == f"pool-{operator.name}"
    assert made["global_concurrency_limit"]["limit"] == 1
    assert made["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert made["description"] == f"Upgrade cluster {operator.name}-one (control) of site here."
    assert set(made["tags"]) == {
        "compass-upgrade", f"inventory:{operator.name}", "site:here", "role:control", "tier:canary"
    }  # fmt: skip
    assert made["parameters"] == {
        "bundle": "/srv/bundle", "cluster": "control", "choices": {},
        "where": {"site": str(operator.folder), "state_dir": "/srv/state"}, "calendar": {"windows": [SATURDAYS]},
    }  # fmt: skip
    assert operator.rules(f"upgrade-cluster/{operator.name}-one") == [
        ("DTSTART:20240101T223000\nRRULE:FREQ=WEEKLY;BYDAY=SA", True)
    ]
    assert {x["action"] for x in operator.deploy().values()} == {"unchanged"}
    assert operator.deployments() == before, "not even written again"


def test_check_says_what_differs_and_changes_nothing(operator: Operator) -> None:
    operator.write(operator.cluster("one"))
    assert {x["action"] for x in operator.deploy("--check", status=3).values()} == {"create"}
    assert operator.deployments() == {}
    operator.deploy()
    assert {x["action"] for x in operator.deploy("--check").values()} == {"unchanged"}
    before = operator.deployments()
    operator.write(operator.cluster("one", choices={"timeout_seconds": 900}), bundle="/srv/other")
    for words in ("--check", "--dry-run"):
        assert {tuple(x["differs"]) for x in operator.deploy(words, status=3).values()} == {("parameters",)}
    assert operator.deployments() == before


def test_what_an_operator_paused_stays_paused(operator: Operator) -> None:
    upgrade, check = (f"{x}-cluster/{operator.name}-one" for x in ("upgrade", "check"))
    daily = {"rrule": "FREQ=DAILY", "start": "08:00", "timezone": "UTC"}
    one = operator.cluster("one", windows=[SATURDAYS], atOpening=["upgrade"], schedules={"check": daily})
    operator.write(one)
    operator.deploy()
    made = operator.deployments()
    operator.patch(made[check]["id"], paused=True)
    operator.patch(f"{made[upgrade]['id']}/schedules/{made[upgrade]['schedules'][0]['id']}", active=False)
    operator.write({**one, "windows": [SUNDAYS]}, bundle="/srv/other")
    done = operator.deploy()
    assert operator.deployments()[check]["paused"], "the deployment"
    assert operator.deployments()[check]["parameters"]["bundle"] == "/srv/other"
    assert operator.rules(upgrade) == [("DTSTART:20240101T223000\nRRULE:FREQ=WEEKLY;BYDAY=SU", False)]
    assert done[check]["operator"] == "paused"
    assert done[upgrade]["operator"] == "schedule switched off"
    assert not operator.plan_runs(upgrade), "the new rule starts nothing either"


def test_a_cluster_that_left_the_inventory_leaves_nothing_behind(operator: Operator) -> None:
    stays = operator.cluster("stays", windows=[SATURDAYS], atOpening=["upgrade"])
    goes = operator.cluster("goes", windows=[SATURDAYS], atOpening=["upgrade"])
    operator.write(stays, goes)
    operator.deploy()
    gone = operator.deployments()[f"upgrade-cluster/{operator.name}-goes"]["id"]
    assert operator.plan_runs(f"upgrade-cluster/{operator.name}-goes")
    flow = operator.deployments()[f"upgrade-cluster/{operator.name}-goes"]["flow_id"]
    foreign = asked(f"{operator.api}/deployments/", name=f"{operator.name}-foreign", flow_id=flow)["id"]
    other = Operator(f"{operator.name}-x", operator.folder / "other", operator.api)
    other.folder.mkdir()
    other.write(other.cluster("theirs"), workPool=f"pool-{operator.name}")
    other.deploy()
    operator.write(stays)
    done = operator.deploy()
    assert {name for name, x in done.items() if x["action"] == "delete"} == {
        f"{x}-cluster/{operator.name}-goes" for x in ("backup", "check", "upgrade")
    }
    left = operator.deployments()
    assert not [x for x in left if x.endswith("goes")]
    assert operator.runs(gone) == []
    assert [x["id"] for x in left.values() if x["name"] == f"{operator.name}-foreign"] == [foreign]
    assert f"check-cluster/{other.name}-theirs" in left, "another inventory's"
    assert operator.rules(f"upgrade-cluster/{operator.name}-stays")


def test_a_schedule_that_left_the_inventory_is_gone_with_its_runs(operator: Operator) -> None:
    name = f"upgrade-cluster/{operator.name}-one"
    operator.write(operator.cluster("one", windows=[SATURDAYS, SUNDAYS], atOpening=["upgrade"]))
    operator.deploy()
    assert len(operator.rules(name)) == 2
    assert operator.plan_runs(name)
    operator.write(operator.cluster("one"))
    operator.deploy()
    assert operator.rules(name) == []
    assert operator.plan_runs(name) == []


def test_equal_schedules_of_site_and_cluster_fire_once(operator: Operator) -> None:
    operator.write(operator.cluster("one", windows=[SATURDAYS], atOpening=["upgrade"]), windows=[SATURDAYS])
    operator.deploy()
    assert len(operator.rules(f"upgrade-cluster/{operator.name}-one")) == 1


def test_prefect_yaml_of_the_same_inventory_makes_the_same_deployments(operator: Operator) -> None:
    daily = {"rrule": "FREQ=DAILY", "start": "02:30", "timezone": "Europe/Berlin"}
    operator.write(
        operator.cluster("one", "control", schedules={"backup": daily}),
        operator.cluster("two", windows=[SATURDAYS], atOpening=["upgrade"], labels={"tier": "canary"}),
    )
    subprocess.run(
        [str(BIN / "python"), "-m", "deployments.render", "inventory.yaml", "-o", "prefect.yaml"],
        cwd=operator.folder, env=environ_of(operator.folder, operator.api), check=True, timeout=60,
    )  # fmt: skip
    operator.run("prefect", "--no-prompt", "deploy", "--all")
    assert len(operator.deployments()) == 7
    # The server's automation is no deployment: without it there is one difference, and no other.
    status = 0 if automations(operator) else 3
    assert {x["action"] for x in operator.deploy("--check", status=status).values()} == {"unchanged"}


def test_a_cluster_of_another_inventory_is_not_taken_over(operator: Operator) -> None:
    operator.write(operator.cluster("one"))
    operator.deploy()
    before = operator.deployments()
    operator.write(operator.cluster("one"), operator.cluster("two"), name="second")
    done = operator.run("compass-upgrade", "deploy", "--elsewhere", status=2)
    assert f"it belongs to inventory:{operator.name}, expected inventory:second" in done.stderr
    assert operator.deployments() == before


def _wrong(**more: object) -> Answer:
    return {"name": "op-one", "role": "user", **more}


@pytest.mark.parametrize(
    ("clusters", "more", "words"),
    [
        ([_wrong(), _wrong()], {}, "sites.0.clusters.1: cluster 'op-one' given twice, first at sites.0.clusters.0"),
        ([_wrong(windows=[{**SATURDAYS, "timezone": "Europe/Berlyn"}])], {}, "unknown time zone 'Europe/Berlyn'"),
        ([_wrong(windows=[{**SATURDAYS, "rrule": "FREQ=DAILY;COUNT=3"}])], {}, "COUNT does not belong"),
        ([_wrong(windows=[{**SATURDAYS, "rrule": "FREQ=DAILY;UNTIL=20270101T000000Z"}])], {}, "without Z"),
        ([_wrong(windows=[{**SATURDAYS, "duration": "8d"}])], {}, "a window longer than its period"),
        (
            [_wrong(windows=[SATURDAYS])],
            {"freezes": [FOR_EVER]},
            "inventory.yaml: cluster op-one: freezes: 'rest'",
        ),
        (
            [_wrong(kubeconfig="/nowhere/kubeconfig")],
            {},
            "cluster op-one: read kubeconfig /nowhere/kubeconfig: no such",
        ),
        ([_wrong(kubeconfig="KUBECONFIG", context="absent")], {}, "no context 'absent', expected one of: c"),
        ([_wrong(kubeconfig="KUBECONFIG")], {"workPool": "no-such-pool"}, "workPool: no work pool 'no-such-pool'"),
    ],
    ids=["twice", "zone", "count", "until", "longer", "frozen", "kubeconfig", "context", "pool"],
)
def test_what_is_wrong_is_one_line_and_prefect_is_left_as_it_was(
    operator: Operator, clusters: list[Answer], more: Answer, words: str
) -> None:
    kubeconfig = operator.folder / "kubeconfig"
    kubeconfig.write_text(
        dump_yaml(
            {
                "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c"}}], "current-context": "c",
            }
        )
    )  # fmt: skip
    here = {"kubeconfig": str(kubeconfig)}
    operator.write(*(x | here if x.get("kubeconfig") == "KUBECONFIG" else x for x in clusters), **more)
    done = operator.run("compass-upgrade", "deploy", status=2)
    (line,) = done.stderr.splitlines()
    assert words in line
    assert "inventory.yaml" in line
    assert asked(f"{operator.api}/deployments/filter", deployments={"name": {"any_": ["op-one"]}}) == []


@contextmanager
def answering(answer: str) -> Iterator[str]:
    """Listen as a server whose every answer is this JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, format: str, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_of_another_major_version_is_refused(operator: Operator) -> None:
    operator.write(operator.cluster("one"))
    with answering('"2.20.4"') as address:
        done = operator.run("compass-upgrade", "deploy", "--elsewhere", status=2, api=address)
    (line,) = done.stderr.splitlines()
    assert f"use Prefect server {address}: version 2.20.4, expected the major version of 3." in line


@pytest.mark.parametrize("answer", ["null", '{"a": 1}'])
def test_what_answers_and_is_not_prefect_is_named_in_one_line(operator: Operator, answer: str) -> None:
    operator.write(operator.cluster("one"))
    with answering(answer) as address:
        done = operator.run("compass-upgrade", "deploy", "--elsewhere", status=2, api=address)
    assert "an answer that is none of Prefect's" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("address", ["banana", "http://[::1/api", "http://127.0.0.1:99999/api", "ftp://127.0.0.1/api"])
def test_an_address_that_is_none_is_refused_in_one_line(operator: Operator, address: str) -> None:
    operator.write(operator.cluster("one"))
    done = operator.run("compass-upgrade", "deploy", "--elsewhere", status=2, api=address)
    line = "error: read PREFECT_API_URL: no address of a server, expected http://host:4200/api"
    assert done.stderr.splitlines() == [line]


def test_two_that_deploy_at_once_leave_what_is_wanted_and_nothing_twice(operator: Operator) -> None:
    names = [operator.cluster(f"c{n}", atOpening=["upgrade"]) for n in range(8)]
    operator.write(*names, windows=[SATURDAYS])
    operator.deploy()
    later = [{**x, "start": "23:30"} for x in (SATURDAYS, SUNDAYS)]
    operator.write(*names, windows=later)
    words = [str(BIN / "compass-upgrade"), "deploy", "--elsewhere"]
    environ = environ_of(operator.folder, operator.api)
    running = [
        subprocess.Popen(words, cwd=operator.folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    ended = [(x.communicate(timeout=180), x.returncode) for x in running]
    assert [status for _, status in ended] == [0, 0], ended
    for number in range(8):
        rules = operator.rules(f"upgrade-cluster/{operator.name}-c{number}")
        assert len(rules) == len(set(rules)) == 2, rules
    operator.deploy("--check")


def test_a_label_gives_a_deployment_to_nobody_else(operator: Operator) -> None:
    operator.write(operator.cluster("one", labels={"inventory": "thief", "site": "elsewhere", "tier": "canary"}))
    operator.deploy()
    tags = operator.deployments()[f"check-cluster/{operator.name}-one"]["tags"]
    assert set(tags) == {"compass-upgrade", f"inventory:{operator.name}", "site:here", "role:user", "tier:canary"}


def test_a_server_that_is_away_is_named_in_one_line(operator: Operator) -> None:
    operator.write(operator.cluster("one"))
    address = f"http://me:secret@127.0.0.1:{free_port()}/api"
    done = operator.run("compass-upgrade", "deploy", "--elsewhere", status=2, api=address)
    (line,) = done.stderr.splitlines()
    assert "does not answer" in line
    assert "127.0.0.1" in line
    assert "secret" not in line


def test_no_server_named_is_refused_rather_than_one_started(operator: Operator) -> None:
    operator.write(operator.cluster("one"))
    environ = environ_of(operator.folder, "")
    del environ["PREFECT_API_URL"]
    done = subprocess.run(
        [str(BIN / "compass-upgrade"), "deploy", "--elsewhere"], cwd=operator.folder, env=environ,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2, "error: find the Prefect server: no PREFECT_API_URL, expected http://host:4200/api\n"
    )  # fmt: skip


def test_the_automations_that_end_dead_runs_are_kept_once_and_stay_off_when_switched_off(operator: Operator) -> None:
    operator.write(operator.cluster("one"))
    operator.deploy()
    kept = {x["name"].partition(": ")[2]: x for x in automations(operator)}
    wanted = {"end runs without a sign of life": 600, "end runs that never began": 600}
    assert {name: x["trigger"]["within"] for name, x in kept.items()} == wanted
    for item in kept.values():
        changed = {**item, "description": "x", "enabled": False, "trigger": {**item["trigger"], "within": 300}}
        body = {x: changed[x] for x in ("name", "description", "enabled", "trigger", "actions")}
        httpx.put(f"{operator.api}/automations/{item['id']}", json=body, timeout=60).raise_for_status()
    operator.deploy("--check", status=3)
    operator.deploy()
    again = {x["name"].partition(": ")[2]: (x["trigger"]["within"], x["enabled"]) for x in automations(operator)}
    assert again == {name: (within, False) for name, within in wanted.items()}
    operator.deploy("--check")


def automations(operator: Operator) -> list[Answer]:
    found = asked(f"{operator.api}/automations/filter")
    return [x for x in found if x["name"].startswith("compass-upgrade: ")]
