"""A backup of a real cluster: everything is in it, private, and whatever is done to it shows."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml

from compass.cluster.backup import INDEX, cluster_uid, read_saved, take_snapshot, verify_backup, write_backup
from compass.cluster.client import ClusterClient
from compass.errors import InvalidInput, Refused, StepFailed
from compass.names import ObjectRef
from compass.progress import Silent
from compass.site.access import read_access
from tests.conftest import MakeControlPlane
from tests.material.clusters import create, get, listed, release, service
from tests.servers.control_plane import ControlPlane

pytestmark = pytest.mark.servers
ABOUT = {
    "cluster": "here", "server": "https://here", "cluster_uid": "1", "taken": "2026-01-01T00:00:00Z",
    "bundle": "by-hand", "bundle_digest": "", "tool": "0.1.0",
}  # fmt: skip


@pytest.fixture
def folder(plane: ControlPlane, client: ClusterClient, namespace: str, tmp_path: Path) -> Path:
    """A backup of three Releases, a Service and a cluster-wide role; one object is absent."""
    create(plane, [release(namespace, f"app-{n}", 2000) for n in range(3)])
    create(plane, [service(namespace, "minion")])
    refs = [
        ObjectRef("v1", "Service", namespace, "minion"),
        ObjectRef("rbac.authorization.k8s.io/v1", "ClusterRole", "", "system:basic-user"),
        ObjectRef("v1", "Service", namespace, "to-come"),
        ObjectRef("release.caicloud.io/v1alpha1", "Release", namespace, "app-1"),
        ObjectRef("nowhere.example/v1", "Thing", namespace, "thing"),
    ]
    path = tmp_path / "backups" / "one"
    write_backup(path, take_snapshot(client, refs), ABOUT, Silent())
    return path


def some_release(folder: Path) -> Path:
    return next(x for x in sorted(folder.glob("release_backup/door-*/*.yaml")))


def test_every_file_is_what_the_server_has(plane: ControlPlane, folder: Path, namespace: str) -> None:
    index = verify_backup(folder)
    releases = {x["metadata"]["uid"]: x for x in listed(plane, "release.caicloud.io/v1alpha1", "Release")}
    assert index.releases == len(releases)
    for entry in index.files[: index.releases]:
        assert yaml.safe_load((folder / entry.file).read_text()) == releases[entry.uid]
        assert entry.file == f"release_backup/{entry.namespace}/{entry.name}.yaml"
    saved = {x.file: read_saved(folder, x) for x in index.files[index.releases :]}
    assert saved == {
        f"objects/Service/{namespace}/minion.yaml": get(plane, "v1", "Service", namespace, "minion"),
        "objects/ClusterRole.rbac.authorization.k8s.io/_cluster/system_basic-user.yaml": get(
            plane, "rbac.authorization.k8s.io/v1", "ClusterRole", "", "system:basic-user"
        ),
    }
    assert [str(x.ref) for x in index.absent] == [f"Service/{namespace}/to-come", f"Thing/{namespace}/thing"]


def test_only_its_owner_may_read_it(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_byte_that_changed_shows(folder: Path) -> None:
    path = some_release(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StepFailed, match=rf"verify backup {path}: sha256"):
        verify_backup(folder)


def test_a_file_that_is_gone_shows(folder: Path) -> None:
    path = some_release(folder)
    path.unlink()
    with pytest.raises(StepFailed, match=rf"verify backup {path}: no such file"):
        verify_backup(folder)


def test_a_changed_file_is_not_read_for_a_restore(folder: Path) -> None:
    entry = verify_backup(folder).files[0]
    with (folder / entry.file).open("a") as out:
        out.write("spec: {}\n")
    with pytest.raises(StepFailed, match="verify backup"):
        read_saved(folder, entry)


def test_a_file_with_another_object_is_not_read_for_a_restore(folder: Path) -> None:
    one, two = verify_backup(folder).files[:2]
    other = two.model_copy(update={"name": one.name, "namespace": one.namespace, "kind": one.kind})
    with pytest.raises(StepFailed, match=f"{two.ref}, expected {other.ref}"):
        read_saved(folder, other)


@pytest.mark.parametrize("file", ["../outside.yaml", "/etc/passwd", "objects/../../x", ""])
def test_an_index_that_leads_out_of_the_backup_is_damaged(folder: Path, file: str) -> None:
    document = json.loads((folder / INDEX).read_text())
    document["files"][0]["file"] = file
    (folder / INDEX).write_text(json.dumps(document))
    with pytest.raises(InvalidInput, match=rf"read backup {folder / INDEX}: damaged"):
        verify_backup(folder)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format": 2}'])
def test_a_damaged_index_shows(folder: Path, damage: str) -> None:
    (folder / INDEX).write_text(damage)
    with pytest.raises(InvalidInput, match=rf"read backup {folder / INDEX}: damaged"):
        verify_backup(folder)


def test_an_index_with_an_unknown_key_shows(folder: Path) -> None:
    document = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps({**document, "more": 1}))
    with pytest.raises(InvalidInput, match="damaged"):
        verify_backup(folder)


def test_a_folder_without_an_index_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=rf"read backup {tmp_path / INDEX}: No such file"):
        verify_backup(tmp_path)


def test_a_backup_that_is_there_is_never_written_over(client: ClusterClient, folder: Path) -> None:
    before = verify_backup(folder)
    write_backup(folder, take_snapshot(client, []), {**ABOUT, "cluster": "there"}, Silent())
    assert verify_backup(folder) == before


def test_a_backup_that_cannot_be_written_leaves_nothing(client: ClusterClient, tmp_path: Path) -> None:
    (tmp_path / "backups").write_text("a file is in the way")
    with pytest.raises((StepFailed, Refused)):
        write_backup(tmp_path / "backups" / "one", take_snapshot(client, []), ABOUT, Silent())
    assert [x.name for x in tmp_path.iterdir()] == ["backups"]


def test_a_cluster_without_releases_has_an_empty_backup(make_control_plane: MakeControlPlane, tmp_path: Path) -> None:
    with (
        make_control_plane(controllers=False) as young,
        ClusterClient(read_access(young.kubeconfig()), patience_seconds=5) as bare,
    ):
        index = write_backup(tmp_path / "one", take_snapshot(bare, []), ABOUT, Silent())
    assert (index.releases, index.files) == (0, ())


def test_a_cluster_is_known_by_the_uid_of_kube_system(plane: ControlPlane, client: ClusterClient) -> None:
    assert cluster_uid(client) == (get(plane, "v1", "Namespace", "", "kube-system") or {})["metadata"]["uid"]
