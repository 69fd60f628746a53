"""Every byte of a bundle is looked at, and the first that is wrong is named, with how many more."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from compass.errors import InvalidInput
from compass.steps.prepare import prepare
from tests.compass.steps.packs import altered, members, opened, packed, unpacked, verified
from tests.compass.steps.places import workplace
from tests.material.archives import Compression, corrupt_layer, docker_save, truncate
from tests.material.bundles import (
    component_archive,
    component_images,
    definition,
    legacy_bundle,
    old_images,
    outer_archive,
    packed_bundle,
    packed_folder,
    tar_folder,
    write_checksums,
)
from tests.material.images import build
from tests.material.keys import key_pair

BLOBS = "oci/blobs/sha256"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A packed bundle."""
    packed(legacy_bundle(tmp_path / "in" / "bundle").folder, tmp_path / "b.tar")
    return tmp_path / "b.tar"


def wrong(path: Path, folder: Path, match: str) -> str:
    with pytest.raises(InvalidInput, match=match) as caught:
        verified(path, folder)
    return str(caught.value)


def largest(files: Path) -> Path:
    return max((files / BLOBS).iterdir(), key=lambda x: x.stat().st_size)


def test_a_packed_bundle_that_is_right_is_told_as_such(whole: Path, tmp_path: Path) -> None:
    found = verified(whole, tmp_path)
    assert (found.name, found.version, found.has_checksums) == ("compass-component", "2.7.1", True)
    assert (found.images, found.blobs, found.relies_on, found.signature) == (3, 10, 0, "absent")
    assert found.files == len(members(whole)) - 1
    with workplace(whole, tmp_path) as place:
        assert prepare(place).digest == found.digest


def test_every_form_can_be_verified(tmp_path: Path) -> None:
    folder = legacy_bundle(tmp_path / "in" / "bundle").folder
    component = component_archive(folder, tmp_path)
    for path in (folder, tar_folder(folder, tmp_path / "p.tar"), component, outer_archive(component, tmp_path)):
        found = verified(path, tmp_path)
        assert (found.images, found.has_checksums, found.files) == (3, False, len(opened(path).files.names()))
    for path in (packed_bundle(tmp_path / "x.tar"), packed_folder(tmp_path / "y")):
        found = verified(path, tmp_path)
        assert (found.images, found.has_checksums) == (3, True)


def change(files: Path) -> None:
    (files / "templates/release_controller.yaml.j2").write_text("x")


def change_blob(files: Path) -> None:
    path = largest(files)
    path.write_bytes(b"x" + path.read_bytes()[1:])


def drop(files: Path) -> None:
    (files / "scripts/config").unlink()


def add(files: Path) -> None:
    (files / "templates/evil.j2").write_text("x")


def harm_three(files: Path) -> None:
    change(files)
    change_blob(files)
    drop(files)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (change, "templates/release_controller.yaml.j2 has sha256 "),
        (change_blob, rf"{BLOBS}/(\w+) has sha256 (?!\1)"),
        (drop, "scripts/config is missing;"),
        (add, "templates/evil.j2 is not listed;"),
        (harm_three, r"scripts/config is missing \(and 2 more\);"),
    ],
)
def test_what_differs_from_the_checksums_is_named(
    whole: Path, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    path = altered(whole, tmp_path / "x", harm, sums=False)
    assert f"verify bundle {path}: " in wrong(path, tmp_path, said)
    wrong(unpacked(path, tmp_path / "folder"), tmp_path, said)


def lose_blob(files: Path) -> None:
    largest(files).unlink()


def lose_manifest(files: Path) -> None:
    index = json.loads((files / "oci/index.json").read_text())
    (files / BLOBS / index["manifests"][0]["digest"][7:]).unlink()


def shorten_blob(files: Path) -> None:
    path = largest(files)
    data = path.read_bytes()[:-1]
    path.write_bytes(data)


def other_digest(files: Path) -> None:
    text = yaml.safe_load((files / "bundle.yaml").read_text())
    text["images"][1]["digest"] = "sha256:" + "1" * 64
    (files / "bundle.yaml").write_text(yaml.safe_dump(text))


def one_image_less(files: Path) -> None:
    text = yaml.safe_load((files / "bundle.yaml").read_text())
    del text["images"][0]
    (files / "bundle.yaml").write_text(yaml.safe_dump(text))


def one_image_more(files: Path) -> None:
    index = json.loads((files / "oci/index.json").read_text())
    del index["manifests"][2]
    (files / "oci/index.json").write_text(json.dumps(index))


def nonsense_index(files: Path) -> None:
    (files / "oci/index.json").write_text("{}")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (change_blob, rf"{BLOBS}/(\w+) has sha256 (?!\1)"),
        (shorten_blob, rf"{BLOBS}/(\w+) has sha256 (?!\1)"),
        (lose_blob, r"read image harbor\S+am_minion:v0\.0\.7: no blob sha256:\w+ \(and 2 more\)"),
        (lose_manifest, r"read image harbor\S+am_minion:v0\.0\.7: no manifest sha256:\w+;"),
        (other_digest, "image harbor.*release-controller:v0.2.10: sha256:.*, expected sha256:1111"),
        (one_image_less, "image harbor.*am_minion:v0.0.7: sha256:.*, expected no image that bundle.yaml does not name"),
        (one_image_more, "image harbor.*templates:v1.2.14: no such image, expected sha256:"),
        (nonsense_index, "read oci/index.json: manifests"),
    ],
)
def test_what_fits_the_checksums_and_is_wrong_all_the_same_is_named(
    whole: Path, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    wrong(altered(whole, tmp_path / "x", harm), tmp_path, said)


def test_a_bundle_that_is_cut_off_is_found(whole: Path, tmp_path: Path) -> None:
    truncate(whole, 0.9)
    wrong(whole, tmp_path, "unexpected end of data|cut short")


@pytest.mark.parametrize("harm", [corrupt_layer, truncate])
def test_a_bad_image_archive_of_a_legacy_bundle_is_found(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    folder = legacy_bundle(tmp_path / "in" / "bundle").folder
    archives = sorted((folder / "images").iterdir())
    harm(archives[1])
    said = wrong(folder, tmp_path, f"verify bundle {folder}: read image archive {archives[1]}")
    assert "more)" not in said
    harm(archives[2])
    assert "(and 1 more)" in wrong(folder, tmp_path, f"read image archive {archives[1]}")


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_two_images_of_one_name_in_two_archives_are_found(tmp_path: Path, compression: Compression) -> None:
    first, *others = component_images()
    folder = legacy_bundle(tmp_path / "in" / "bundle", [first, *others], compression=compression).folder
    other = docker_save([replace(first, layers=others[0].layers)], folder / "images" / "z.tar.gz")[0]
    wrong(folder, tmp_path, f"image .*am_minion:v0.0.7: two images of this name, sha256:.* {other.config_digest} in")


def test_archives_that_are_not_what_the_definition_names_are_found(tmp_path: Path) -> None:
    images = component_images()
    folder = legacy_bundle(tmp_path / "in" / "bundle", images).folder
    text = definition([{"name": x.name} for x in images[:2]] + [{"name": "harbor.caicloud.xyz/release/other:v1"}])
    del text["checksums"]
    (folder / "bundle.yaml").write_text(yaml.safe_dump(text))
    said = wrong(folder, tmp_path, "image harbor.caicloud.xyz/release/other:v1: no such image, expected an image of")
    assert "(and 1 more)" in said


def test_a_blob_that_a_differential_bundle_does_not_name_is_missed(whole: Path, tmp_path: Path) -> None:
    old = legacy_bundle(tmp_path / "old" / "bundle", [*old_images(), component_images()[2]]).folder
    packed(old, tmp_path / "old.tar")
    packed(whole, tmp_path / "d.tar", base=tmp_path / "old.tar")
    assert verified(tmp_path / "d.tar", tmp_path).relies_on == 2

    def forget(files: Path) -> None:
        text = yaml.safe_load((files / "bundle.yaml").read_text())
        del text["base"]["blobs"][1]
        (files / "bundle.yaml").write_text(yaml.safe_dump(text))

    wrong(altered(tmp_path / "d.tar", tmp_path / "x", forget), tmp_path, "read image harbor.*: no blob sha256:")

    def resize(files: Path) -> None:
        text = yaml.safe_load((files / "bundle.yaml").read_text())
        text["base"]["blobs"][1]["size"] += 1
        (files / "bundle.yaml").write_text(yaml.safe_dump(text))

    wrong(altered(tmp_path / "d.tar", tmp_path / "y", resize), tmp_path, "read image harbor.*: blob sha256:.* bytes")


def test_a_definition_that_relies_on_a_base_needs_a_layout(tmp_path: Path) -> None:
    folder = packed_folder(tmp_path / "files")
    text = yaml.safe_load((folder / "bundle.yaml").read_text())
    blob = {"digest": "sha256:" + "1" * 64, "size": 1, "repositories": ["a"]}
    text["base"] = {"name": "a", "to": "1", "digest": "sha256:" + "1" * 64, "blobs": [blob]}
    (folder / "bundle.yaml").write_text(yaml.safe_dump(text))
    shutil.rmtree(folder / "oci")
    write_checksums(folder)
    wrong(folder, tmp_path, r"no oci/index\.json, which bundle\.yaml names")


# -- signatures


def test_a_signature_is_made_when_packing_and_verified_with_the_public_key(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "key")
    folder = legacy_bundle(tmp_path / "in" / "bundle").folder
    plain, signed = packed(folder, tmp_path / "plain.tar"), packed(folder, tmp_path / "s.tar", key=private)
    assert signed.is_signed
    assert signed.digest == plain.digest, "the digest is that of what is signed"
    assert list(members(tmp_path / "s.tar"))[:3] == ["bundle.yaml", "checksums.txt", "checksums.txt.sig"]
    assert verified(tmp_path / "s.tar", tmp_path).signature == "not checked"
    assert verified(tmp_path / "s.tar", tmp_path, key=str(public)).signature == "valid"
    packed(folder, tmp_path / "again.tar", key=private)
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "s.tar").read_bytes()
    packed(tmp_path / "s.tar", tmp_path / "repacked.tar")
    assert (tmp_path / "repacked.tar").read_bytes() == (tmp_path / "plain.tar").read_bytes()


def test_a_bundle_that_the_key_did_not_sign_is_refused_by_every_verb_that_opens_it(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "key")
    _, other = key_pair(tmp_path, "other")
    folder = legacy_bundle(tmp_path / "in" / "bundle").folder
    packed(folder, tmp_path / "s.tar", key=private)
    packed(folder, tmp_path / "plain.tar")
    forged = altered(tmp_path / "s.tar", tmp_path / "x", change)
    cases = {
        tmp_path / "s.tar": (other, "a signature of another key, or of other checksums"),
        forged: (public, "a signature of another key, or of other checksums"),
        tmp_path / "plain.tar": (public, "no signature"),
        folder: (public, "no signature"),
    }
    for path, (key, said) in cases.items():
        with pytest.raises(InvalidInput, match=f"verify signature of {path}: {said}, expected one that fits {key}"):
            verified(path, tmp_path, key=str(key))
        with workplace(path, tmp_path, key=str(key)) as place, pytest.raises(InvalidInput, match=said):
            prepare(place)
    with pytest.raises(InvalidInput, match=r"read key .*: no such file"):
        verified(forged, tmp_path, key=str(tmp_path / "none"))


def test_the_digest_of_a_config_is_good_enough_to_declare_an_image(tmp_path: Path) -> None:
    folder = packed_folder(tmp_path / "files")
    text = yaml.safe_load((folder / "bundle.yaml").read_text())
    for image, made in zip(text["images"], map(build, component_images()), strict=True):
        image["digest"] = str(made.config_digest)
    (folder / "bundle.yaml").write_text(yaml.safe_dump(text))
    write_checksums(folder)
    assert verified(folder, tmp_path).images == 3
