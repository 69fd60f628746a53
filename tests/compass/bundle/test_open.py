"""A bundle is opened in any of its forms, and verified byte by byte."""

import shutil
from pathlib import Path

import pytest

from compass.bundle.open import open_bundle, verify_bundle
from compass.errors import InvalidInput
from compass.progress import Silent
from tests.compass.bundle.packing import contents, opened, tar, tgz, written
from tests.material.bundles import (
    component_archive,
    legacy_bundle,
    packed_bundle,
    packed_folder,
    tar_folder,
    write_checksums,
)


def test_every_form_of_one_legacy_bundle_is_the_same_bundle(tmp_path: Path) -> None:
    folder = legacy_bundle(tmp_path / "in" / "bundle", kubeconfig="A").folder
    site = tmp_path / "in"
    forms = {
        "directory": folder,
        "plain tar": tar_folder(folder, site / "b.tar"),
        "component archive": component_archive(folder, site, spelling="comapss"),
        "folder with the component archive": site,
    }
    digests = {}
    for name, path in forms.items():
        bundle = open_bundle(path, tmp_path / "state" / "bundles", Silent())
        assert bundle.is_legacy
        assert len(bundle.image_archives) == 3
        assert bundle.kubeconfig_template
        assert "kubeUser" in bundle.kubeconfig_template
        digests[name] = verify_bundle(bundle, Silent())[0]
    assert len(set(digests.values())) == 1, digests


def test_a_packed_bundle_is_read_in_place(tmp_path: Path) -> None:
    path = packed_bundle(tmp_path / "b.tar")
    bundle = opened(path)
    assert not bundle.is_legacy
    assert bundle.has_layout
    assert bundle.image_archives == []
    assert bundle.conclusions == ()
    assert bundle.kubeconfig_template is None
    assert bundle.definition.metadata.to == "2.7.1"
    assert not (tmp_path / "state").exists(), "nothing is unpacked"


def test_a_packed_bundle_that_somebody_compressed_is_unpacked(tmp_path: Path) -> None:
    folder = packed_folder(tmp_path / "files")
    plain = opened(packed_bundle(tmp_path / "b.tar"))
    members = [(x.relative_to(folder).as_posix(), x.read_bytes()) for x in folder.rglob("*") if x.is_file()]
    bundle = opened(written(tmp_path / "b.tar.gz", tgz(members)))
    assert contents(bundle) == contents(plain)
    assert verify_bundle(bundle, Silent()) == verify_bundle(plain, Silent())


def test_the_legacy_site_lies_two_folders_above_the_component_bundle(tmp_path: Path) -> None:
    folder = legacy_bundle(tmp_path / "site" / "package" / "bundle").folder
    assert opened(folder, tmp_path / "state").legacy_site == tmp_path / "site"
    archive = component_archive(folder, tmp_path / "site" / "package")
    assert opened(archive, tmp_path / "state").legacy_site == tmp_path / "site"


def test_versions_come_from_the_folder_that_the_outer_package_was_unpacked_to(tmp_path: Path) -> None:
    folder = legacy_bundle(tmp_path / "compass-upgrade-2.7.0-2.7.1" / "comapss-component-upgrade").folder
    assert opened(folder, tmp_path / "state").definition.metadata.to == "2.7.1"
    assert opened(component_archive(folder), tmp_path / "state").definition.metadata.to == "2.7.1"


@pytest.mark.parametrize("harm", ["change", "add", "remove"])
def test_a_packed_bundle_that_differs_from_its_checksums_is_refused(tmp_path: Path, harm: str) -> None:
    folder = packed_folder(tmp_path / "files")
    template = folder / "templates" / "release_controller.yaml.j2"
    if harm == "change":
        template.write_text(template.read_text() + "\n")
    elif harm == "add":
        (folder / "templates" / "evil.j2").write_text("x")
    else:
        next((folder / "oci" / "blobs" / "sha256").iterdir()).unlink()
    said = {"change": "release_controller.yaml.j2 has sha256", "add": "evil.j2 is not listed", "remove": "is missing"}
    for path in (folder, tar_folder(folder, tmp_path / "b.tar")):
        with pytest.raises(InvalidInput, match=f"verify bundle {path}: .*{said[harm]}"):
            opened(path, tmp_path / "state")


def test_a_file_that_the_definition_names_must_be_there(tmp_path: Path) -> None:
    folder = packed_folder(tmp_path / "files")
    (folder / "templates" / "release_controller.yaml.j2").unlink()
    write_checksums(folder)
    with pytest.raises(InvalidInput, match=r"no templates/release_controller.yaml.j2, which bundle.yaml names"):
        opened(folder)
    (folder / "checksums.txt").unlink()
    with pytest.raises(InvalidInput, match=r"no checksums.txt, which bundle.yaml names"):
        opened(folder)


def test_a_definition_that_is_wrong_is_named_with_its_bundle(tmp_path: Path) -> None:
    path = written(tmp_path / "b.tar", tar([("bundle.yaml", b"kind: UpgradeBundle\nx: 1\n")]))
    with pytest.raises(InvalidInput, match=r"b.tar: bundle.yaml: "):
        opened(path)
    path = written(tmp_path / "c.tar", tar([("bundle.yaml", b"\xff"), ("a", b"")]))
    with pytest.raises(InvalidInput, match=r"c.tar: bundle.yaml: bytes that are no UTF-8 text"):
        opened(path)


def test_a_config_that_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    folder = legacy_bundle(tmp_path / "bundle", config="A=b\nrm -rf /\n").folder
    with pytest.raises(InvalidInput, match=r"bundle: scripts/config, line 2: 'rm -rf /'"):
        opened(folder)


def test_where_there_is_no_bundle_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"open bundle .*/none: no such file or folder, expected a bundle"):
        opened(tmp_path / "none")
    with pytest.raises(InvalidInput, match=r"neither bundle.yaml nor images/ and templates/"):
        opened(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_two_component_archives_is_refused(tmp_path: Path) -> None:
    folder = legacy_bundle(tmp_path / "made" / "bundle", images=[]).folder
    path = component_archive(folder, tmp_path)
    shutil.copy(path, tmp_path / "compass-component-upgrade.tar.gz")
    with pytest.raises(InvalidInput, match="open bundle"):
        opened(tmp_path)
