"""The clusters that the contract runs against: a real one, and ours."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator

import pytest

from rehearsal.clusters import SimulatedClusters
from rehearsal.kubelet import ApiServer, SimulatedKubelet
from tests.rehearsal.contract.cluster import Cluster, Images, Space, kubeconfig
from tests.servers.control_plane import wait_served

_numbers = itertools.count()
_run = uuid.uuid4().hex[:6]
REAL = pytest.param("real", marks=[pytest.mark.servers, pytest.mark.xdist_group("contract-real")])
SIMULATED = pytest.param("simulated", marks=pytest.mark.xdist_group("contract-simulated"))


@pytest.fixture(scope="session", params=[SIMULATED, REAL])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster of each kind, whose pods find every image but those called absent."""
    file = tmp_path_factory.mktemp("contract") / "kubeconfig"
    if request.param == "simulated":
        with SimulatedClusters(["contract"], Images().pull) as clusters:
            ours = clusters["contract"]
            config = kubeconfig(file, ours.url, ours.token, ours.ca_pem)
            yield Cluster("simulated", ours.url, ours.token, ours.reader_token, ours.ca_pem, config)
        return
    # A control plane of its own: on one that others use, a node whose kubelet has gone would count.
    plane = request.getfixturevalue("make_control_plane")()
    ca_pem = plane.ca_pem.decode()
    config = kubeconfig(file, plane.url, plane.token, ca_pem)
    with SimulatedKubelet(ApiServer(plane.url, plane.token, ca_pem), Images(), node="contract"):  # type: ignore[arg-type]
        yield Cluster("real", plane.url, plane.token, plane.reader_token, ca_pem, config)


@pytest.fixture
def space(cluster: Cluster) -> Iterator[Space]:
    """A namespace of the test's own."""
    name = f"contract-{_run}-{next(_numbers)}"
    with cluster.client() as api:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        api.post("/api/v1/namespaces", json=body).raise_for_status()
        wait_served(api, f"/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt")
        yield Space(cluster, api, name)
