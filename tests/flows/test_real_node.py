"""Once on a real one-node cluster: real pods pull from the site registry and run, and a missing image is named."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.flows.running import Desk, Ended, site_registry
from tests.material.bundles import component_images, legacy_bundle
from tests.material.images import prose
from tests.servers.node import RealNode
from tests.servers.registry import DockerRegistry

pytestmark = [
    pytest.mark.servers,
    pytest.mark.prefect,
    pytest.mark.shared_prefect,
    pytest.mark.node,
    pytest.mark.xdist_group("real-node"),
]
SECONDS = 120


@dataclass(frozen=True)
class Cluster:
    """One user cluster with a real node, and the registry that it pulls from."""

    node: RealNode
    registry: DockerRegistry
    desk: Desk

    def run(self, verb: str, bundle: Path, *words: object) -> Ended:
        """Run a verb on this cluster alone."""
        kubeconfig = self.node.plane.kubeconfig(self.desk.folder / "kubeconfig")
        where = ("--kubeconfig", kubeconfig, "--role", "user", "--registry", site_registry(self.registry))
        values = ("--set", "addon_master_ip=127.0.0.1")
        return self.desk.run(verb, bundle, *where, *values, *words)


@pytest.fixture
def cluster(real_node: RealNode, registry: DockerRegistry, desk: Desk) -> Cluster:
    return Cluster(real_node, registry, desk)


@pytest.fixture
def real_bundle(tmp_path: Path) -> Path:
    """A bundle with an image that has a layer large enough to be taken over as the archive has it."""
    minion, *others = component_images(real=True)
    minion = replace(minion, layers=[*minion.layers, {"usr/share/words": prose(5 << 20, "real node")}])
    return legacy_bundle(tmp_path / "bundle" / "component", [minion, *others]).folder


def test_real_pods_run_from_the_site_registry_and_check_proves_their_digests(
    cluster: Cluster, real_bundle: Path
) -> None:
    done = cluster.run("upgrade", real_bundle, "--yes", "--timeout", SECONDS)
    assert done.status == 0, done.err + done.out
    with cluster.node.plane.client() as api:
        pods = api.get("/api/v1/namespaces/kube-system/pods").raise_for_status().json()["items"]
    running = {
        x["status"]["containerStatuses"][0]["image"].rpartition("/")[2]: x["status"]["containerStatuses"][0]["imageID"]
        for x in pods
        if x["status"]["phase"] == "Running" and not x["metadata"].get("deletionTimestamp")
    }
    for name in ("am_minion:v0.0.7", "release-controller:v0.2.10"):
        repository, _, tag = f"release/{name}".partition(":")
        digest = cluster.registry.manifest(repository, tag)[1]
        assert running[name] == f"{cluster.registry.host}/{repository}@{digest}"
    document = json.loads(cluster.registry.manifest("release/am_minion", "v0.0.7")[0])
    layer = cluster.registry.blob("release/am_minion", max(document["layers"], key=lambda x: x["size"])["digest"])
    taken = layer[len(layer) // 2 :][: 64 << 10]
    assert taken in next((real_bundle / "images").glob("am?minion*")).read_bytes(), "it is as the archive had it"
    checked = cluster.run("check", real_bundle, "--output", "json")
    assert checked.status == 0, checked.err
    evidence = json.loads(checked.out)["clusters"][0]["evidence"]
    assert {x["verdict"] for x in evidence} == {"equal"}
    assert len(evidence) == 2


def test_an_image_that_does_not_exist_fails_within_seconds_with_the_kubelets_own_reason(
    cluster: Cluster, real_bundle: Path
) -> None:
    template = real_bundle / "templates" / "am_minion_ks_dp.yaml.j2"
    template.write_text(template.read_text().replace("am_minion:v0.0.7", "am_minion:v9.9.9"))
    began = time.monotonic()
    done = cluster.run("upgrade", real_bundle, "--yes", "--timeout", SECONDS)
    assert done.status == 5, done.err + done.out
    assert "roll out Deployment/kube-system/am-minion" in done.err
    assert "ImagePull" in done.err
    assert "not found" in done.err
    assert time.monotonic() - began < SECONDS / 2, "it waited for the time-out"
