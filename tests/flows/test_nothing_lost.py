"""A plan that is kept, a failure that is undone, a restore by hand, drift, and what clusters say of themselves."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compass.change.diff import comparable
from rehearsal.clusters import SimulatedCluster
from rehearsal.example.bundle import write_bundle
from rehearsal.pods import Behaviour
from rehearsal.site import SimulatedSite
from tests.flows.nights import kill_tree
from tests.flows.running import Desk, Ended
from tests.servers.process import wait_until

pytestmark = [pytest.mark.prefect, pytest.mark.shared_prefect, pytest.mark.xdist_group("nothing-lost")]
Json = dict[str, Any]
KINDS = (("v1", "Service"), ("v1", "ServiceAccount"), ("v1", "ConfigMap"), ("apps/v1", "Deployment"))
MINION = ("apps/v1", "Deployment", "kube-system", "am-minion")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SimulatedSite]:
    with SimulatedSite(tmp_path / "site", ["user-1"]) as made:
        write_bundle(made.folder)
        yield made


class Person:
    """Somebody with the command line, at the site's bundle."""

    def __init__(self, desk: Desk, site: SimulatedSite) -> None:
        self._desk, self._site = desk, site
        self.bundle = write_bundle(site.folder)

    def upgrade(self, *words: object) -> Ended:
        return self._desk.run("upgrade", self.bundle, "--site", self._site.folder, "--yes", *words)

    def ask(self, verb: str, *words: object) -> Any:
        done = self._desk.run(verb, *words, "--site", self._site.folder, "--output", "json")
        return json.loads(done.out), done.status


@pytest.fixture
def person(desk: Desk, site: SimulatedSite) -> Person:
    return Person(desk, site)


def state_of(cluster: SimulatedCluster) -> Mapping[tuple[str, ...], Json]:
    """Return what an upgrade may change on a cluster, but for its Record and what controllers count."""
    found = {}
    for api_version, kind in KINDS:
        for item in cluster.listed(api_version, kind):
            kept = comparable(item)
            kept.pop("secrets", None)  # a token that the cluster makes for a service account
            annotations = kept["metadata"].get("annotations") or {}
            annotations.pop("deployment.kubernetes.io/revision", None)
            if not annotations:
                kept["metadata"].pop("annotations", None)
            if kept["metadata"]["name"] != "compass-upgrade":
                found[kind, kept["metadata"].get("namespace", ""), kept["metadata"]["name"]] = kept
    return found


def test_a_failed_rollout_leaves_the_cluster_as_it_was_and_the_next_run_does_it(
    site: SimulatedSite, person: Person
) -> None:
    user = site.clusters["user-1"]
    before = state_of(user)
    user.behaviour = replace(Behaviour(), crashing=frozenset({"am_minion:v0.0.7"}), back_off_seconds=0.2)
    done = person.upgrade()
    assert done.status == 5, done.err
    assert state_of(user) == before
    assert "CrashLoopBackOff" in done.error
    answer, status = person.ask("status")
    assert status == 0
    (last,) = (x["records"][0] for x in answer if x["cluster"] == "user-1")
    assert (last["state"], last["step"]) == ("rolled back", "wait")
    user.behaviour = Behaviour()
    again = person.upgrade()
    assert again.status == 0, again.err
    records = next(x["records"] for x in person.ask("history")[0] if x["cluster"] == "user-1")
    assert [x["state"] for x in records] == ["done", "rolled back"]
    assert [x["lock"] for x in person.ask("status")[0]] == [None, None]


def test_with_no_rollback_a_failed_cluster_is_left_to_look_at(site: SimulatedSite, person: Person) -> None:
    user = site.clusters["user-1"]
    user.behaviour = replace(Behaviour(), crashing=frozenset({"am_minion:v0.0.7"}), back_off_seconds=0.2)
    done = person.upgrade("--no-rollback")
    assert done.status == 1, done.err
    assert "not as before on user-1: Deployment/kube-system/am-minion: changed" in done.out
    assert user.get(*MINION)["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":v0.0.7")  # type: ignore[index]


def test_what_cannot_be_put_back_is_named(site: SimulatedSite, person: Person) -> None:
    user = site.clusters["user-1"]
    user.behaviour = replace(Behaviour(), crashing=frozenset({"am_minion:v0.0.7"}), back_off_seconds=0.2)
    site.clusters.call(lambda: user.objects.store.listen(lambda change: refuse_once_changed(user, change.item)))
    done = person.upgrade("--patience", "1", "--timeout", "20")
    assert done.status == 6, done.err
    lines = [x for x in done.out.splitlines() if x.startswith("not as before on user-1: Deployment")]
    assert any("am-minion" in x for x in lines), done.out
    (last,) = (x["records"][0] for x in person.ask("status")[0] if x["cluster"] == "user-1")
    assert last["state"] == "failed"


def test_a_report_that_cannot_be_written_does_not_hide_how_the_run_ended(
    site: SimulatedSite, person: Person, desk: Desk
) -> None:
    desk.state.mkdir()
    (desk.state / "reports").write_text("where the folder would be")
    user = site.clusters["user-1"]
    user.behaviour = replace(Behaviour(), crashing=frozenset({"am_minion:v0.0.7"}), back_off_seconds=0.2)
    failed = person.upgrade()
    assert (failed.status, "CrashLoopBackOff" in failed.err) == (5, True), failed.err
    user.behaviour = Behaviour()
    done = person.upgrade()
    assert done.status == 0, done.err
    assert "there is no report at" in done.err
    assert "Not a directory" in done.err
    assert person.ask("check", person.bundle)[1] == 0


def refuse_once_changed(cluster: SimulatedCluster, item: Json) -> None:
    """Let a webhook refuse Deployments as soon as the new one is there."""
    if item["kind"] == "Deployment" and "v0.0.7" in json.dumps(item["spec"]):
        cluster.reject("Deployment", "no more Deployments tonight")


def test_a_cluster_is_restored_by_hand_and_upgraded_again(site: SimulatedSite, person: Person, desk: Desk) -> None:
    user = site.clusters["user-1"]
    before = state_of(user)
    assert person.upgrade().status == 0
    upgraded = state_of(user)
    assert upgraded != before
    where = ("--site", site.folder, "--cluster", "user-1")
    shown = desk.run("restore", *where, "--dry-run")
    assert shown.status == 3, shown.err
    assert "~ configure Deployment/kube-system/am-minion" in shown.out
    assert state_of(user) == upgraded
    one = desk.run("restore", *where, "--object", "Deployment/kube-system/am-minion", "--yes")
    assert one.status == 0, one.err
    image = user.get(*MINION)["spec"]["template"]["spec"]["containers"][0]["image"]  # type: ignore[index]
    assert image.endswith("am_minion:v0.0.6")
    listed = json.loads(desk.run("backups", "--cluster", "user-1", "--output", "json").out)
    first = min(x["folder"] for x in listed)
    rest = desk.run("restore", first, *where, "--yes", "--keep", "1")
    assert rest.status == 0, rest.err
    assert state_of(user) == before
    assert person.ask("status")[0][1]["records"][0]["state"] == "restored"
    again = desk.run("restore", first, *where, "--yes")
    assert again.status == 0
    assert "nothing to change" in again.out
    assert person.upgrade().status == 0
    assert state_of(user) == upgraded


def test_a_saved_plan_is_done_as_it_was_or_not_at_all(site: SimulatedSite, person: Person, desk: Desk) -> None:
    file = desk.folder / "plan.json"
    made = desk.run("plan", person.bundle, "--site", site.folder, "--save", file)
    assert made.status == 3, made.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    user = site.clusters["user-1"]
    user.create({"apiVersion": "v1", "kind": "ServiceAccount",
                 "metadata": {"name": "release-controller", "namespace": "kube-system"}})  # fmt: skip
    before = state_of(user)
    moved = person.upgrade("--plan", file)
    assert moved.status == 4, moved.err
    assert "ServiceAccount/kube-system/release-controller would not be changed any more" in moved.error
    assert state_of(user) == before
    more = person.upgrade("--plan", file, "--prune")
    assert more.status == 2
    assert "--prune, which the plan was made without" in more.error
    document = json.loads(file.read_text())
    document["clusters"][1]["changes"] = []
    edited = desk.folder / "edited.json"
    edited.write_text(json.dumps(document))
    assert person.upgrade("--plan", edited).status == 2
    assert desk.run("plan", person.bundle, "--site", site.folder, "--save", file).status == 3
    done = person.upgrade("--plan", file)
    assert done.status == 0, done.err


def test_drift_is_shown_by_field_with_who_did_it(site: SimulatedSite, person: Person, desk: Desk) -> None:
    early, status = person.ask("check", person.bundle, "--drift")
    assert status == 4
    assert "never upgraded by this tool" in early[1]["problem"]
    assert person.upgrade().status == 0
    answer, status = person.ask("check", person.bundle, "--drift")
    assert (status, [x.get("problem") for x in answer][1]) == (0, None), answer
    user = site.clusters["user-1"]
    kubectl(desk, site, "scale", "deployment/am-minion", "--replicas=5")
    kubectl(desk, site, "label", "deployment/am-minion", "team=blue")
    answer, status = person.ask("check", person.bundle, "--drift")
    assert status == 3
    (drifted,) = answer[1]["drifted"]
    assert drifted["object"] == "Deployment/kube-system/am-minion"
    assert drifted["lines"] == ["spec.replicas: 2 -> 5"]
    assert any(x.startswith("kubectl") for x in drifted["by"])
    assert user.get(*MINION)["spec"]["replicas"] == 5  # type: ignore[index]


def kubectl(desk: Desk, site: SimulatedSite, *words: str) -> None:
    path = site.kubeconfigs(desk.folder / "kubeconfigs")["user-1"]
    tool = Path(sys.executable).with_name("kubectl")
    subprocess.run([tool, "--kubeconfig", path, "-n", "kube-system", *words], check=True, capture_output=True)


def test_what_only_an_earlier_bundle_had_is_offered_and_pruned_when_told(
    site: SimulatedSite, person: Person, desk: Desk
) -> None:
    template = person.bundle / "templates" / "extra.yaml.j2"
    template.write_text(CONFIG_MAPS)
    assert person.upgrade().status == 0
    user = site.clusters["user-1"]
    user.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-others", "namespace": "default"}})
    template.unlink()
    shown = desk.run("plan", person.bundle, "--site", site.folder)
    assert shown.status == 0, shown.out
    assert shown.out.count("--prune deletes it") == 2
    pruned = person.upgrade("--prune")
    assert pruned.status == 0, pruned.err
    names = {x["metadata"]["name"] for x in user.listed("v1", "ConfigMap", "default")}
    assert names & {"one", "two", "of-others"} == {"of-others"}
    assert user.get(*MINION) is not None
    assert desk.run("plan", person.bundle, "--site", site.folder, "--prune").status == 0


CONFIG_MAPS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: default}
data: {a: "1"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two, namespace: default}
data: {a: "1"}
"""


def test_a_removal_that_is_killed_shows_and_the_same_command_ends_it(
    site: SimulatedSite, person: Person, desk: Desk
) -> None:
    assert person.upgrade("--keep-obsolete").status == 0
    control = site.clusters["control"]
    name = obsolete(control)[0]
    held = '{"metadata": {"finalizers": ["example.com/held"]}}'
    path = site.kubeconfigs(desk.folder / "kubeconfigs")["control"]
    patch_release(path, name, held)
    words = ("remove", person.bundle, "--site", site.folder, "--yes", "--timeout", "60")
    running = desk.start(*words)

    def record() -> Json:
        return next(x["records"][0] for x in person.ask("status")[0] if x["cluster"] == "control")

    wait_until("the removal is under way", lambda: (record()["state"], record()["step"]) == ("running", "remove"), 60)
    kill_tree(running)
    patch_release(path, name, '{"metadata": {"finalizers": null}}')
    done = desk.run(*words)
    assert done.status == 0, done.err
    assert obsolete(control) == []
    assert (record()["state"], record()["problem"]) == ("done", "")


def obsolete(control: SimulatedCluster) -> list[str]:
    found = control.listed("release.caicloud.io/v1alpha1", "Release", "default")
    return [x["metadata"]["name"] for x in found if x["metadata"]["name"].startswith("old-")]


def patch_release(kubeconfig: Path, name: str, patch: str) -> None:
    tool = Path(sys.executable).with_name("kubectl")
    words = ["patch", "releases.release.caicloud.io", name, "--type=merge", f"--patch={patch}"]
    subprocess.run([tool, "--kubeconfig", kubeconfig, "-n", "default", *words], check=True, capture_output=True)
