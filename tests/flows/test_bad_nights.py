"""Nights that go wrong on real servers: a diagnosis in one line, and the cluster as it was before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rehearsal.example.bundle import write_bundle
from rehearsal.site import SimulatedSite
from tests.flows.nights import Nights, delete, differing
from tests.flows.running import Case, Desk, Watched, ended
from tests.material.clusters import create
from tests.servers.process import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.prefect, pytest.mark.shared_prefect, pytest.mark.xdist_group("nights")]
Json = dict[str, Any]


def upgrade(nights: Nights, desk: Desk, bundle: Path, *words: object) -> tuple[int, str, str]:
    """Upgrade, see that the user cluster is as before, and return exit status, error and output."""
    case = Case.at(desk, nights.site)
    before = nights.state(nights.site.users["user-1"])
    done = desk.run("upgrade", bundle, "--yes", "--allow-data-loss", *words, *case.where())
    assert differing(before, nights.state(nights.site.users["user-1"])) == set(), done.err
    assert set(nights.locks().values()) == {""}
    return done.status, done.error, done.out


def test_a_rollout_that_never_becomes_ready(nights: Nights, desk: Desk, bundle: Path) -> None:
    kubelet = nights.site.kubelets["user-1"]
    kubelet.behaviour = replace(kubelet.behaviour, unready=frozenset({"am_minion:v0.0.7"}))
    status, error, _ = upgrade(nights, desk, bundle, "--timeout", "8")
    assert status == 5, error
    assert "roll out Deployment/kube-system/am-minion: " in error
    assert "after 8 s" in error
    assert nights.record("user-1")["state"] == "rolled back"


def test_a_pod_that_crashes(nights: Nights, desk: Desk, bundle: Path) -> None:
    kubelet = nights.site.kubelets["user-1"]
    kubelet.behaviour = replace(kubelet.behaviour, crashing=frozenset({"am_minion:v0.0.7"}), back_off_seconds=0.2)
    status, error, _ = upgrade(nights, desk, bundle)
    assert status == 5, error
    assert "CrashLoopBackOff after " in error


def test_a_quota_that_is_full(nights: Nights, desk: Desk, bundle: Path) -> None:
    user = nights.site.users["user-1"]
    metadata = {"name": "full", "namespace": "kube-system"}
    create(user, [{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {"pods": "2"}}}])
    try:
        status, error, _ = upgrade(nights, desk, bundle)
    finally:
        delete(user, ("v1", "ResourceQuota"), "kube-system", "full")
    assert status == 5, error
    assert "exceeded quota: full" in error


def test_a_webhook_that_refuses(nights: Nights, desk: Desk, bundle: Path) -> None:
    user = nights.site.users["user-1"]
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}
    hook: Json = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "deny"},
        "webhooks": [
            {
                "name": "deny.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://127.0.0.1:1/deny"}, "failurePolicy": "Fail", "timeoutSeconds": 1,
                "rules": [rule],
            }
        ],
    }  # fmt: skip
    create(user, [hook])
    try:
        status, error, _ = upgrade(nights, desk, bundle, "--patience", "2")
    finally:
        delete(user, ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"), "", "deny")
    assert status in (1, 4)
    assert "deny.example.com" in error
    assert nights.record("user-1") == {}


def test_two_upgrades_of_one_cluster_in_the_same_second(nights: Nights, desk: Desk, bundle: Path) -> None:
    case = Case.at(desk, nights.site)
    kubelet = nights.site.kubelets["user-1"]
    kubelet.behaviour = replace(kubelet.behaviour, start_seconds=6.0)  # long enough for the other to come in
    words = ("upgrade", bundle, "--yes", "--allow-data-loss", *case.where())
    homes = [{"PREFECT_HOME": str(desk.folder / f"prefect-{x}")} for x in range(2)]
    both = [desk.start(*words, "--state-dir", desk.folder / f"s{x}", environ=homes[x]) for x in range(2)]
    done = [ended(x) for x in both]
    assert sorted(x.status for x in done) == [0, 4], [x.err for x in done]
    loser = next(x for x in done if x.status == 4)
    # By then the other is at work on a cluster, or has just ended there.
    said = loser.error + loser.out
    assert "Lease/kube-system/compass-upgrade" in said or "it has moved since its plan was shown" in said
    assert {nights.record(x)["state"] for x in nights.site.clusters} == {"done"}


def test_an_api_server_that_goes_away_for_good(tmp_path: Path, desk: Desk) -> None:
    with SimulatedSite(tmp_path / "site", ["user-1"]) as site:
        bundle = write_bundle(site.folder)
        user = site.clusters["user-1"]
        words = ("upgrade", bundle, "--site", site.folder, "--yes", "--patience", "3")
        running = Watched(desk.start(*words))
        running.wait_until("user-1 is being changed", lambda: running.said("user-1: apply"))
        user.unavailable()
        done = running.end()
        assert done.status == 6, done.err
        named = {x.split(": ")[1] for x in done.out.splitlines() if x.startswith("not as before on user-1: ")}
        assert {"Deployment/kube-system/am-minion", "ServiceAccount/kube-system/release-controller"} <= named
        user.available()
        wait_until("it answers", lambda: user.get("v1", "Namespace", "", "default"), 10)
        again = desk.run(*words)
        assert again.status == 0, again.err
        folder = sorted((desk.state / "backups" / "user-1").iterdir())[-1]
        index = json.loads((folder / "index.json").read_text())
        assert index["continues"], "the way back still leads to what was there before the first run"
