"""What is right but may not be: refused with exit status 4, nothing touched."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.running import Case, wait_settled
from tests.material.bundles import component_archive
from tests.material.clusters import get, path_of
from tests.servers.control_plane import ControlPlane
from tests.servers.need import absent

pytestmark = [pytest.mark.servers, pytest.mark.shared_prefect, pytest.mark.xdist_group("own-site")]
OTHER = "gitops-of-the-site"
CONTAINER = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"am-minion"}')


@pytest.fixture
def full_disk(case: Case) -> Iterator[Path]:
    """The desk's state directory on a disk of 8 MB, most of it taken."""
    case.desk.state.mkdir(mode=0o700)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(case.desk.state)], capture_output=True, check=False
    )
    if done.returncode:
        absent(f"a full disk needs the right to mount: {done.stderr.decode().strip()}")
    (case.desk.state / "taken").write_bytes(bytes(7 << 20))
    yield case.desk.state
    subprocess.run(["umount", str(case.desk.state)], check=True)


def apply_as(plane: ControlPlane, manager: str, kind: str, namespace: str, name: str, **fields: Any) -> None:
    """Set fields of an object server-side, as another tool does."""
    document = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, **fields}
    with plane.client() as api:
        answer = api.patch(
            f"{path_of('apps/v1', kind, namespace)}/{name}", params={"fieldManager": manager, "force": "true"},
            json=document, headers={"Content-Type": "application/apply-patch+yaml"},
        )  # fmt: skip
    assert answer.is_success, answer.text


def owners(item: dict[str, Any], *path: str) -> set[str]:
    """Return the managers that own a field of an object; the steps of its path are as managedFields have them."""
    found = set()
    for entry in item["metadata"]["managedFields"]:
        here: Any = entry["fieldsV1"]
        for step in path:
            here = here.get(step) if isinstance(here, dict) else None
        found |= {entry["manager"]} if here is not None else set()
    return found


def test_the_loss_of_data_is_refused_unless_it_is_allowed(case: Case, bundle: Path) -> None:
    with case.untouched(bundle):
        done = case.desk.run("upgrade", bundle, "--yes", *case.where())
    assert done.status == 4, done.err
    assert "delete PersistentVolumeClaim/default/am-mysql-data on cluster control: its data would be lost" in done.error
    assert "--allow-data-loss" in done.error


def test_an_upgrade_that_nobody_agrees_to_is_refused(case: Case, bundle: Path) -> None:
    with case.untouched(bundle):
        done = case.desk.run("upgrade", bundle, "--allow-data-loss", *case.where())
    assert done.status == 4, done.err
    assert "no terminal to ask at" in done.error
    assert "--yes" in done.error


@pytest.mark.parametrize("packed", [False, True], ids=["a folder", "an archive that must be unpacked"])
def test_a_full_disk_stops_before_anything_is_touched(case: Case, bundle: Path, full_disk: Path, packed: bool) -> None:
    given = component_archive(bundle) if packed else bundle
    error = case.refused(given, status=4)
    assert str(full_disk) in error
    assert "MiB free, expected" in error
    assert "--state-dir" in error


def test_a_full_disk_stops_a_backup(case: Case, bundle: Path, full_disk: Path) -> None:
    with case.untouched(bundle):
        done = case.desk.run("backup", bundle, *case.where())
    assert done.status == 4, done.err
    assert done.out.count("is not backed up: back up below") == 3
    assert str(full_disk) in done.out


def test_a_field_of_another_manager_is_refused_and_taken_only_by_force(own: Case, bundle: Path) -> None:
    plane, minion = own.site.users["user-1"], ("Deployment", "kube-system", "am-minion")
    container = {"name": "am-minion", "env": [{"name": "MASTER_ADDRESS", "value": "elsewhere"}]}
    apply_as(plane, OTHER, *minion, spec={"template": {"spec": {"containers": [container]}}})
    wait_settled(own.site)
    words = (*own.where(), "--cluster", "user-1")

    error = own.refused(bundle, *words, status=4)
    assert "Deployment/kube-system/am-minion: field .spec.template.spec.containers" in error
    assert f"is owned by '{OTHER}'" in error
    assert "--force-conflicts" in error

    done = own.desk.run("upgrade", bundle, "--yes", "--force-conflicts", *words)
    assert done.status == 0, done.err
    live = get(plane, "apps/v1", *minion)
    assert live
    env = live["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [x["value"] for x in env] == ["127.0.0.1:6009"]
    assert owners(live, *CONTAINER, "f:env", 'k:{"name":"MASTER_ADDRESS"}', "f:value") == {"compass-upgrade"}
