"""A cluster that Cluster API made is reached through the cluster that manages it; both are real."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from compass.cluster.client import ClusterClient
from compass.errors import InvalidInput
from compass.job import Job, Where
from compass.site.access import read_access
from compass.steps.workplace import Workplace
from tests.conftest import MakeControlPlane
from tests.material.clusters import create
from tests.servers.control_plane import ControlPlane

pytestmark = pytest.mark.servers


def workplace(kubeconfig: Path, place: str) -> Workplace:
    where = Where(kubeconfig=str(kubeconfig), cluster_api=place, clusters=("seven",), role="user")
    return Workplace(Job(bundle="", where=where), {})


def uid_of(client: ClusterClient) -> str:
    (found,) = [x for x in client.list_all("v1", "Namespace") if x["metadata"]["name"] == "kube-system"]
    return str(found["metadata"]["uid"])


def test_the_managed_cluster_is_worked_on_and_not_the_one_that_manages_it(
    control_plane: ControlPlane, make_control_plane: MakeControlPlane, tmp_path: Path
) -> None:
    with make_control_plane(controllers=False) as managed:
        work_on(managed, control_plane, tmp_path)


def work_on(managed: ControlPlane, control_plane: ControlPlane, tmp_path: Path) -> None:
    config = yaml.safe_dump(managed.kubeconfig_document(auth="certificate", name="seven"))
    create(control_plane, [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fleet"}},
    ])  # fmt: skip
    create(control_plane, [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "fleet", "name": "seven-kubeconfig"},
         "type": "cluster.x-k8s.io/secret", "data": {"value": base64.b64encode(config.encode()).decode()}},
    ])  # fmt: skip
    manager = control_plane.kubeconfig(tmp_path / "manager")
    with workplace(manager, "fleet/seven") as place:
        (target,) = place.targets
        assert (target.name, target.role) == ("seven", "user")
        reached = uid_of(place.client(target))
    with ClusterClient(read_access(managed.kubeconfig(tmp_path / "managed"))) as direct:
        assert reached == uid_of(direct)
    with workplace(manager, "fleet/eight") as place, pytest.raises(InvalidInput) as error:
        _ = place.home_access
    assert str(error.value).startswith("read kubeconfig of Secret/fleet/eight-kubeconfig on kubeconfig")
