"""Archives that are cut short, dangerous or damaged: said in a line, before anything is touched."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.running import Case
from tests.material.archives import Style, corrupt_layer, truncate
from tests.material.bundles import component_archive, legacy_bundle, outer_archive, packed_bundle, packed_folder

pytestmark = [pytest.mark.servers, pytest.mark.shared_prefect]
Members = Callable[[tarfile.TarFile], None]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A packed bundle, one plain tar."""
    (tmp_path / "packed").mkdir()
    return packed_bundle(tmp_path / "packed" / "bundle.tar")


def archive_of(path: Path, *members: Members) -> Path:
    """Write a component archive of one innocent template and the given members."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for add in (file("component/templates/a.yaml.j2", b"# nothing\n"), *members):
            add(tar)
    return path


def file(name: str, data: bytes) -> Members:
    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))

    return add


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Members:
    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member)

    return add


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_component_archive_that_is_cut_short_is_refused(case: Case, bundle: Path, keep: float) -> None:
    archive = component_archive(bundle)
    truncate(archive, keep)
    error = case.refused(archive)
    assert str(archive) in error
    assert "cut short" in error


def test_an_outer_package_that_is_cut_short_is_refused(case: Case, bundle: Path) -> None:
    archive = outer_archive(component_archive(bundle))
    truncate(archive, 0.8)
    error = case.refused(archive)
    assert str(archive) in error
    assert "cut short" in error


def test_an_outer_package_whose_component_archive_is_cut_short_is_refused(case: Case, bundle: Path) -> None:
    component = component_archive(bundle)
    truncate(component)
    archive = outer_archive(component)
    error = case.refused(archive)
    assert str(archive) in error
    assert "cut short" in error


def test_a_packed_bundle_that_is_cut_short_is_refused(case: Case, packed: Path) -> None:
    truncate(packed, 0.5)
    error = case.refused(packed)
    assert f"read bundle {packed}: " in error
    assert "expected a whole tar archive" in error


def test_a_packed_bundle_that_is_cut_between_two_files_is_refused(case: Case, packed: Path) -> None:
    with tarfile.open(packed) as tar:
        *_, last = tar
    with packed.open("r+b") as out:
        out.truncate(last.offset)
    assert f"read bundle {packed}: the archive is cut short" in case.refused(packed)


@pytest.mark.parametrize(
    ("member", "named"),
    [
        (file("../../climbed", b"x"), "../../climbed"),
        (file("component/../../../climbed", b"x"), "component/../../../climbed"),
        (file("/tmp/climbed", b"x"), "/tmp/climbed"),
        (link("component/templates/out", "../../../climbed"), "component/templates/out"),
        (link("component/templates/out", "../../climbed", tarfile.LNKTYPE), "component/templates/out"),
    ],
    ids=["upwards", "upwards from inside", "absolute", "symbolic link", "hard link"],
)
def test_an_archive_that_climbs_out_of_its_folder_is_refused(
    case: Case, tmp_path: Path, member: Members, named: str
) -> None:
    (tmp_path / "archive").mkdir()
    archive = archive_of(tmp_path / "archive" / "compass-component-upgrade.tar.gz", member)
    error = case.refused(archive)
    assert f"{archive}: {named}" in error
    assert not list(tmp_path.rglob("climbed"))
    assert not Path("/tmp/climbed").exists()


def test_an_archive_with_a_way_through_a_link_is_refused(case: Case, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    members = (link("component/out", "templates"), file("component/out/climbed", b"x"))
    archive = archive_of(tmp_path / "archive" / "compass-component-upgrade.tar.gz", *members)
    assert "component/out/climbed: a path through a link" in case.refused(archive)


def test_a_packed_bundle_that_climbs_out_of_its_folder_is_refused(case: Case, packed: Path) -> None:
    with tarfile.open(packed, "a") as tar:
        file("../climbed", b"x")(tar)
    assert f"read bundle {packed}: '../climbed'" in case.refused(packed)
    assert not (packed.parent.parent / "climbed").exists()


def test_an_archive_that_expands_without_end_is_refused(case: Case, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    archive = tmp_path / "archive" / "compass-component-upgrade.tar.gz"
    member = tarfile.TarInfo("component/templates/bomb.yaml.j2")
    member.size = 300 << 20
    with gzip.open(archive, "wb", compresslevel=1) as out:
        out.write(member.tobuf())
        for _ in range(301):
            out.write(bytes(1 << 20))
    assert archive.stat().st_size < 2 << 20
    error = case.refused(archive)
    assert f"unpack {archive}: it expands more than" in error


@pytest.mark.parametrize("style", ["legacy", "oci"])
def test_an_image_archive_whose_layer_does_not_match_its_digest_is_refused(
    case: Case, tmp_path: Path, style: Style
) -> None:
    bundle = legacy_bundle(tmp_path / "bundle" / "component", style=style).folder
    damaged = bundle / "images" / "am-minion-v0.0.7.tar.gz"
    corrupt_layer(damaged)
    error = case.refused(bundle, keeps_images=True)
    assert f"read image archive {damaged}: " in error
    assert "expected sha256:" in error


def test_an_image_archive_that_is_cut_short_is_refused(case: Case, bundle: Path) -> None:
    truncate(bundle / "images" / "templates-v1.2.14.tar.gz")
    error = case.refused(bundle)
    assert "images/templates-v1.2.14.tar.gz" in error
    assert "cut short" in error


def test_a_packed_bundle_with_a_file_that_does_not_match_its_checksum_is_refused(case: Case, tmp_path: Path) -> None:
    folder = packed_folder(tmp_path / "packed" / "bundle")
    blob = max((folder / "oci/blobs/sha256").iterdir(), key=lambda x: x.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 0xFF
    blob.write_bytes(bytes(data))
    error = case.refused(folder)
    assert f"{folder}: oci/blobs/sha256/{blob.name} has sha256" in error


def test_an_image_archive_that_is_no_archive_is_refused(case: Case, bundle: Path) -> None:
    (bundle / "images" / "am-minion-v0.0.7.tar.gz").write_text("<html>404 not found</html>")
    assert "images/am-minion-v0.0.7.tar.gz" in case.refused(bundle)


def test_a_folder_that_is_no_bundle_is_refused(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "empty" / "bundle"
    folder.mkdir(parents=True)
    error = case.refused(folder)
    assert f"open bundle {folder}: neither bundle.yaml nor images/ and templates/" in error


def test_a_bundle_that_is_not_there_is_refused(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "bundle.tar"
    assert f"open bundle {path}: no such file or folder" in case.refused(path)
