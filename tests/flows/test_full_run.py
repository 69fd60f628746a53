"""The main job, on real servers: a legacy bundle on a control cluster and two user clusters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import MakeSite
from tests.flows.running import COMMAND, Desk, Ended, ended, site_registry, wait_settled
from tests.material.archives import Saved
from tests.material.bundles import legacy_bundle
from tests.servers.site import Site

pytestmark = [pytest.mark.servers, pytest.mark.prefect, pytest.mark.xdist_group("full-run")]
KUBECTL = Path(sys.executable).parent / "kubectl"
RELEASES = 30


@dataclass(frozen=True)
class Job:
    """A site and a bundle that lies in it as on a real one, two folders below the site's files."""

    site: Site
    bundle: Path
    saved: tuple[Saved, ...]
    desk: Desk

    def run(self, verb: str, *words: str) -> Ended:
        """Run a verb as the old scripts were run: from inside the bundle, without naming it or the site."""
        given = [str(COMMAND), verb, "--registry", site_registry(self.site.registry), *words]
        return ended(
            subprocess.Popen(
                given, cwd=self.bundle, env=self.desk.environment(), stdin=subprocess.DEVNULL, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip

    @property
    def state(self) -> Path:
        """The state directory where it is by default: where one stands."""
        return self.bundle / "compass-state"


@pytest.fixture(scope="module")
def job(make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[Job]:
    with make_site(releases=RELEASES) as site:
        wait_settled(site)
        bundle = site.folder / "compass-upgrade-2.7.0-2.7.1" / "comapss-component-upgrade"
        made = legacy_bundle(bundle)
        folder = tmp_path_factory.mktemp("full-run")
        yield Job(site, bundle, made.saved, Desk(folder / "desk", folder / "prefect", {"PREFECT_API_URL": prefect_api}))


def kubectl(site: Site, cluster: str, *words: str, folder: Path) -> str:
    """Return what a kubectl that nobody here wrote prints."""
    kubeconfig = site.clusters[cluster].kubeconfig(folder / f"{cluster}.kubeconfig")
    done = subprocess.run(
        [str(KUBECTL), "--kubeconfig", str(kubeconfig), *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def listed(site: Site, cluster: str, kind: str, folder: Path) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(kubectl(site, cluster, "get", kind, "-A", "-o", "json", folder=folder))[
        "items"
    ]
    return items


def versions(site: Site, folder: Path) -> dict[str, str]:
    """Return the resourceVersion of everything that an upgrade could touch, in every cluster."""
    kinds = "deployments,services,configmaps,serviceaccounts,clusterrolebindings,persistentvolumeclaims"
    found = {}
    for cluster in site.clusters:
        for kind in (kinds, "releases") if cluster == "control" else (kinds,):
            for item in listed(site, cluster, kind, folder):
                meta = item["metadata"]
                name = f"{cluster} {item['kind']} {meta.get('namespace')} {meta['name']}"
                found[name] = meta["resourceVersion"] if item["kind"] != "Deployment" else str(meta["generation"])
    return found


def step_a_backup_equals_what_kubectl_gets(job: Job, tmp_path: Path) -> None:
    done = job.run("backup", "--cluster", "control")
    assert done.status == 0, done.err
    (folder,) = (job.state / "backups" / "control").iterdir()
    expected = {
        f"{x['metadata']['namespace']}/{x['metadata']['name']}": x
        for x in yaml.safe_load(
            kubectl(
                job.site, "control", "get", "releases", "-A", "-o", "yaml", "--show-managed-fields", folder=tmp_path
            )
        )["items"]
    }
    files = sorted((folder / "release_backup").rglob("*.yaml"))
    assert {f"{x.parent.name}/{x.stem}" for x in files} == set(expected)
    for file in files:
        assert yaml.safe_load(file.read_text()) == expected[f"{file.parent.name}/{file.stem}"]
    assert len(files) >= RELEASES
    assert all(x.stat().st_mode & 0o077 == 0 for x in folder.rglob("*"))


def step_a_whole_upgrade_does_all_that_the_old_scripts_did_and_proves_it(job: Job, tmp_path: Path) -> None:
    before = {x["metadata"]["name"] for x in listed(job.site, "control", "releases", tmp_path)}
    planned = job.run("plan", "--allow-data-loss")
    assert planned.status == 3, planned.err
    done = job.run("upgrade", "--yes", "--allow-data-loss")
    assert done.status == 0, done.err

    for saved in job.saved:
        manifest = json.loads(job.site.registry.manifest(saved.name.repository, saved.name.tag)[0])
        assert manifest["config"]["digest"] == saved.config_digest

    for user in job.site.users:
        deployments = {x["metadata"]["name"]: x for x in listed(job.site, user, "deployments", tmp_path)}
        minion, controller = deployments["am-minion"], deployments["release-controller"]
        for item, image in ((minion, "am_minion:v0.0.7"), (controller, "release-controller:v0.2.10")):
            spec = item["spec"]["template"]["spec"]
            assert spec["containers"][0]["image"] == f"{job.site.registry.host}/release/{image}"
            assert item["status"]["updatedReplicas"] == item["status"]["availableReplicas"] == item["spec"]["replicas"]
        assert "initContainers" not in minion["spec"]["template"]["spec"]
        endpoint = job.site.control.endpoint
        env = {x["name"]: x["value"] for x in minion["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert env["MASTER_ADDRESS"] == f"{endpoint.partition(':')[0]}:6009"

    after = {x["metadata"]["name"] for x in listed(job.site, "control", "releases", tmp_path)}
    assert before - after == {"old-console", "old-exporter"}
    assert not [x for x in listed(job.site, "control", "pvc", tmp_path) if x["metadata"]["name"] == "am-mysql-data"]


def step_check_after_it_prints_the_lines_of_the_old_scripts(job: Job) -> None:
    done = job.run("check")
    assert (done.status, done.out.split()) == (
        0,
        ["am_minion:v0.0.7", "release-controller:v0.2.10", "templates:v1.2.14"],
    )


def step_every_cluster_says_which_bundle_it_has(job: Job, tmp_path: Path) -> None:
    for cluster in job.site.clusters:
        text = kubectl(
            job.site, cluster, "-n", "kube-system", "get", "cm", "compass-upgrade", "-o", "json", folder=tmp_path
        )
        record = json.loads(json.loads(text)["data"]["record"])
        assert (record["state"], record["version"], record["step"]) == ("done", "2.7.1", "record")


def step_a_second_upgrade_changes_nothing_and_says_so(job: Job, tmp_path: Path) -> None:
    registry, objects = job.site.registry.everything(), versions(job.site, tmp_path)
    backups = sorted((job.state / "backups").rglob("index.json"))
    done = job.run("upgrade", "--yes", "--allow-data-loss")
    assert done.status == 0, done.err
    assert "nothing to change" in done.out
    assert job.site.registry.everything() == registry
    assert versions(job.site, tmp_path) == objects
    assert sorted((job.state / "backups").rglob("index.json")) == backups
    assert job.run("plan", "--allow-data-loss").status == 0


def step_check_names_a_pod_that_runs_something_else(job: Job, tmp_path: Path) -> None:
    host = job.site.registry.host
    words = ("-n", "kube-system", "set", "image", "deployment/am-minion", f"am-minion={host}/release/am_minion:v0.0.6")
    kubectl(job.site, "user-1", *words, folder=tmp_path)
    kubectl(job.site, "user-1", "-n", "kube-system", "rollout", "status", "deployment/am-minion", folder=tmp_path)
    done = job.run("check", "--output", "json")
    assert done.status == 3
    found = {x["cluster"]: x for x in json.loads(done.out)["clusters"]}
    assert not found["user-1"]["isEqual"]
    assert found["user-2"]["isEqual"]
    (wrong,) = [x for x in found["user-1"]["evidence"] if x["verdict"] == "different"]
    assert wrong["workload"] == "Deployment/kube-system/am-minion"
    assert "v0.0.6" in wrong["reason"]


def step_a_cluster_that_was_changed_by_hand_is_brought_back(job: Job) -> None:
    done = job.run("upgrade", "--yes", "--allow-data-loss", "--output", "json", "--force-conflicts")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    states = {x["cluster"]: x["state"] for x in report["clusters"]}
    assert states == {"control": "unchanged", "user-1": "upgraded", "user-2": "unchanged"}
    assert job.run("check").status == 0


def step_remove_alone_deletes_only_what_is_named_and_only_after_a_backup(job: Job, tmp_path: Path) -> None:
    manifest = tmp_path / "release.yaml"
    manifest.write_text(
        "apiVersion: release.caicloud.io/v1alpha1\nkind: Release\n"
        "metadata: {name: old-gateway, namespace: default}\nspec: {}\n"
    )
    kubectl(job.site, "control", "apply", "-f", str(manifest), folder=tmp_path)
    assert job.run("remove", "--dry-run").status == 3
    before = {x["metadata"]["name"] for x in listed(job.site, "control", "releases", tmp_path)}
    done = job.run("remove", "--yes")
    assert done.status == 0, done.err
    after = {x["metadata"]["name"] for x in listed(job.site, "control", "releases", tmp_path)}
    assert before - after == {"old-gateway"}
    newest = max((job.state / "backups" / "control").iterdir())
    assert (newest / "release_backup" / "default" / "old-gateway.yaml").is_file()
    (path,) = (job.state / "reports").glob("*-remove-*.json")
    assert f"report: {path}" in done.err
    report = json.loads(path.read_text())
    assert (report["verb"], report["state"], report["clusters"][0]["backup"]) == ("remove", "done", str(newest))
    assert job.run("remove", "--yes").status == 0


def step_restore_brings_back_what_was_removed_from_the_newest_backup(job: Job, tmp_path: Path) -> None:
    done = job.run("restore", "--cluster", "control", "--yes")
    assert done.status == 0, done.err
    assert "old-gateway" in {x["metadata"]["name"] for x in listed(job.site, "control", "releases", tmp_path)}


def test_the_main_job_from_the_backup_to_the_removal_step_by_step(job: Job, tmp_path: Path) -> None:
    """Each step stands on those before it, so they are one test: its trace names the step that failed."""
    step_a_backup_equals_what_kubectl_gets(job, tmp_path)
    step_a_whole_upgrade_does_all_that_the_old_scripts_did_and_proves_it(job, tmp_path)
    step_check_after_it_prints_the_lines_of_the_old_scripts(job)
    step_every_cluster_says_which_bundle_it_has(job, tmp_path)
    step_a_second_upgrade_changes_nothing_and_says_so(job, tmp_path)
    step_check_names_a_pod_that_runs_something_else(job, tmp_path)
    step_a_cluster_that_was_changed_by_hand_is_brought_back(job)
    step_remove_alone_deletes_only_what_is_named_and_only_after_a_backup(job, tmp_path)
    step_restore_brings_back_what_was_removed_from_the_newest_backup(job, tmp_path)
