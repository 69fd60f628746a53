"""A bundle in any form becomes one packed bundle: whole, complete, and the same bytes every time."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from compass import store
from compass.bundle.archive import Archive
from compass.bundle.files import TarFiles
from compass.errors import InvalidInput, Refused
from compass.images.archives.normalise import normalise
from compass.images.layout import FilesLayout, Layout
from compass.images.manifests import read_tree
from compass.steps.destination import PackOrder
from compass.steps.pack import pack
from compass.steps.prepare import prepare
from tests.compass.steps.packs import listing, members, opened, packed, refused, unpacked, verified
from tests.compass.steps.places import workplace
from tests.material.archives import corrupt_layer, docker_save
from tests.material.bundles import (
    component_archive,
    component_images,
    definition,
    legacy_bundle,
    outer_archive,
    packed_folder,
    tar_folder,
    write_checksums,
)
from tests.material.images import ImageSpec, build, gzipped, noise


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    return legacy_bundle(tmp_path / "in" / "bundle").folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def declared(folder: Path, images: list[dict[str, Any]], **changes: Any) -> Path:
    """Give a legacy bundle a ``bundle.yaml``."""
    (folder / "bundle.yaml").write_text(yaml.safe_dump(definition(images, checksums=None, **changes)))
    return folder


# -- what is written


def test_a_legacy_bundle_becomes_a_bundle_that_says_everything_itself(legacy: Path, out: Path) -> None:
    done = packed(legacy, out / "b.tar")
    before, after = opened(legacy).definition, opened(out / "b.tar").definition
    unchanged = {"components", "variables", "remove", "protect", "source_registry"}
    assert after.model_dump(include=unchanged) == before.model_dump(include=unchanged)
    assert (after.metadata.name, after.metadata.to, after.checksums) == ("compass-component", "2.7.1", "checksums.txt")
    assert [x.name for x in after.images] == sorted(x.name for x in component_images())
    bundle = opened(out / "b.tar")
    assert not bundle.is_legacy
    assert bundle.kubeconfig_template == opened(legacy).kubeconfig_template
    assert done.files == (str(out / "b.tar"),)
    assert done.size_bytes == (out / "b.tar").stat().st_size
    assert done.images == after.images
    assert listing(out) == ["b.tar"]


def test_images_carry_the_digest_of_their_manifest_and_their_size(legacy: Path, out: Path) -> None:
    packed(legacy, out / "b.tar")
    inside = FilesLayout(TarFiles(Archive.of(out / "b.tar")))
    made = {x.name: build(x) for x in component_images()}
    for image in opened(out / "b.tar").definition.images:
        tree = read_tree(inside, image.digest, image.name)  # type: ignore[arg-type]
        assert tree.config_digests() == (made[image.name].config_digest,)
        assert image.size == sum(tree.sizes().values())


def test_each_blob_is_there_once_and_everything_else_is_carried(legacy: Path, out: Path) -> None:
    done = packed(legacy, out / "b.tar")
    names = list(members(out / "b.tar"))
    assert len(names) == len(set(names))
    blobs = [x for x in names if x.startswith("oci/blobs/")]
    assert len(blobs) == done.blobs == 4 + 3 + 3, "a base layer and one of its own for each, configs, manifests"
    others = {x.relative_to(legacy).as_posix(): x.read_bytes() for x in legacy.rglob("*") if x.is_file()}
    files = unpacked(out / "b.tar", out / "files")
    for name, data in others.items():
        if not name.startswith("images/"):
            assert (files / name).read_bytes() == data
    assert not (files / "images").exists()


def test_what_is_small_comes_first_and_nothing_tells_who_made_it_when(legacy: Path, out: Path) -> None:
    packed(legacy, out / "b.tar")
    found = members(out / "b.tar")
    names = list(found)
    assert names[:2] == ["bundle.yaml", "checksums.txt"]
    sizes = [x.size for name, x in found.items() if name.startswith("oci/blobs/")]
    assert max(sizes[:6]) < min(sizes[6:]), "manifests and configs before layers"
    assert names.index("oci/index.json") < names.index(next(x for x in names if x.startswith("oci/blobs/")))
    about = {(x.mode, x.mtime, x.uid, x.gid, x.uname, x.gname) for x in found.values()}
    assert about == {(0o644, 0, 0, 0, "", "")}


def test_sha256sum_agrees_with_the_checksums_of_every_member(legacy: Path, out: Path) -> None:
    packed(legacy, out / "b.tar")
    files = unpacked(out / "b.tar", out / "files")
    words = ["sha256sum", "-c", "--strict", "checksums.txt"]
    done = subprocess.run(words, cwd=files, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == len(members(out / "b.tar")) - 1


def test_every_form_of_a_bundle_gives_the_same_bytes(legacy: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packed(legacy, out / "first.tar")
    data = (out / "first.tar").read_bytes()
    component = component_archive(legacy, out)
    forms = {
        "the same again": legacy,
        "a plain tar": tar_folder(legacy, out / "plain.tar"),
        "a component archive": component,
        "an outer package": outer_archive(component, out),
        "what was packed": out / "first.tar",
    }
    for n, (name, source) in enumerate(forms.items()):
        monkeypatch.setattr(os, "cpu_count", lambda n=n: n + 1)
        again = packed(source, out / f"{n}.tar")
        assert (out / f"{n}.tar").read_bytes() == data, name
        assert again.digest == first.digest
    for path in (legacy, *legacy.rglob("*")):
        os.utime(path, (0, 0))
        path.chmod(0o700)
    packed(legacy, out / "touched.tar", state="another")
    assert (out / "touched.tar").read_bytes() == data


def test_what_a_state_directory_remembers_of_the_archives_changes_nothing(legacy: Path, out: Path) -> None:
    packed(legacy, out / "first.tar")
    with workplace(legacy, out) as place:
        normalise(place.bundle.files, place.bundle.image_archives, Layout(place.state.images), place.progress)
    packed(legacy, out / "again.tar")
    assert (out / "again.tar").read_bytes() == (out / "first.tar").read_bytes()


def test_layers_that_come_compressed_are_kept_byte_for_byte(tmp_path: Path, out: Path) -> None:
    folder = legacy_bundle(tmp_path / "in" / "bundle", style="containerd").folder
    packed(folder, out / "b.tar")
    inside = FilesLayout(TarFiles(Archive.of(out / "b.tar")))
    for layer in (gzipped(x) for spec in component_images() for x in build(spec).layers):
        with inside.open(layer.digest) as stream:
            assert stream.read() == layer.data


def test_a_folder_with_a_layout_is_packed_as_it_is(tmp_path: Path, out: Path) -> None:
    folder = packed_folder(tmp_path / "files")
    packed(folder, out / "b.tar")
    for path in (folder / "oci/blobs/sha256").iterdir():
        assert (
            unpacked(out / "b.tar", out / "files") / "oci/blobs/sha256" / path.name
        ).read_bytes() == path.read_bytes()
    assert verified(out / "b.tar", out).images == 3


def test_blobs_that_no_image_needs_are_dropped(tmp_path: Path, out: Path) -> None:
    folder = packed_folder(tmp_path / "files")
    (folder / "oci/blobs/sha256" / ("0" * 64)).write_bytes(b"stray")
    write_checksums(folder)
    packed(folder, out / "b.tar")
    assert f"oci/blobs/sha256/{'0' * 64}" not in members(out / "b.tar")


def test_a_definition_without_images_is_completed(legacy: Path, out: Path) -> None:
    config = str(build(component_images()[0]).config_digest)
    known = {"name": component_images()[0].name}
    for n, images in enumerate(([], [known], [{**known, "digest": config}])):
        packed(
            declared(legacy, images, protect=[{"apiVersion": "v1", "kind": "Secret", "name": "x"}]), out / f"{n}.tar"
        )
        found = opened(out / f"{n}.tar").definition
        assert [x.name for x in found.images] == sorted(x.name for x in component_images())
        assert all(x.digest and x.size for x in found.images)
        assert found.protect[0].name == "x"
    assert (out / "0.tar").read_bytes() == (out / "2.tar").read_bytes()


def test_what_a_shell_wrote_beside_the_bundle_is_left_out_and_told(legacy: Path, out: Path) -> None:
    notes: list[str] = []
    (legacy / "nohup.out").write_text("x")
    with workplace(legacy, out) as place:
        place.progress.note = notes.append  # type: ignore[method-assign]

        pack(place, PackOrder(output=out / "b.tar"))
    assert notes == ["left out, as what somebody wrote beside the bundle: nohup.out"]
    assert "nohup.out" not in members(out / "b.tar")


def test_a_bundle_of_templates_alone_is_packed_where_it_says_so_itself(tmp_path: Path, out: Path) -> None:
    folder = declared(legacy_bundle(tmp_path / "in" / "bundle", images=[]).folder, [])
    assert packed(folder, out / "b.tar").images == ()
    assert verified(out / "b.tar", out).images == 0


def test_a_folder_as_output_gets_a_name_that_says_what_it_is(legacy: Path, out: Path) -> None:
    assert packed(legacy, out).files == (str(out / "compass-component-2.7.1.tar"),)


def test_a_packed_bundle_prepares_as_the_legacy_one_did(legacy: Path, out: Path) -> None:
    packed(legacy, out / "b.tar")
    with workplace(legacy, out) as one, workplace(out / "b.tar", out) as two:
        before, after = prepare(one), prepare(two)
    assert (before.name, before.components) == (after.name, after.components)
    assert (after.is_legacy, after.archives, after.version) == (False, {}, "2.7.1")


# -- parts and the outer package


def test_parts_join_to_the_whole(legacy: Path, out: Path) -> None:
    packed(legacy, out / "b.tar")
    done = packed(legacy, out / "s.tar", part_bytes=20_000)
    names = [Path(x).name for x in done.files]
    assert names == ["s.tar.000", "s.tar.001", "s.tar.002", "s.tar.003", "s.tar.sha256"]
    assert b"".join(Path(x).read_bytes() for x in done.files[:-1]) == (out / "b.tar").read_bytes()
    assert verified(out / "s.tar", out) == verified(out / "b.tar", out) == verified(out / "s.tar.000", out)
    assert listing(out) == ["b.tar", *names]


def test_with_force_no_part_of_what_was_there_before_is_left(legacy: Path, out: Path) -> None:
    packed(legacy, out / "s.tar", part_bytes=5_000)
    with pytest.raises(Refused, match=r"s\.tar\.000: it is there already; pass --force"):
        packed(legacy, out / "s.tar", part_bytes=40_000)
    packed(legacy, out / "s.tar", part_bytes=40_000, force=True)
    assert listing(out) == ["s.tar.000", "s.tar.001", "s.tar.sha256"]
    packed(legacy, out / "s.tar", force=True)
    assert listing(out) == ["s.tar"]


def test_an_outer_package_has_the_bundle_and_its_fellows(legacy: Path, out: Path, tmp_path: Path) -> None:
    fellows = []
    for name in ("workspace-upgrade.tar.gz", "compass-kernel-upgrade.tar"):
        fellows.append(tmp_path / name)
        fellows[-1].write_bytes(noise(100_000, name))
    done = packed(legacy, out, beside=tuple(fellows), from_version="2.7.0")
    path = out / "compass-upgrade-2.7.0-2.7.1.tar.gz"
    assert done.files == (str(path),)
    bundle = opened(path)
    assert bundle.definition.metadata.to == "2.7.1"
    assert [(x.name.rpartition("/")[2], x.size) for x in bundle.others] == [
        ("compass-kernel-upgrade.tar", 100_000), ("workspace-upgrade.tar.gz", 100_000),
    ]  # fmt: skip
    found = verified(path, out)
    assert (found.images, found.digest, found.has_checksums) == (3, done.digest, True)
    other = tmp_path / "other"
    other.mkdir()
    packed(legacy, other, beside=tuple(fellows[::-1]), from_version="2.7.0")
    assert (other / path.name).read_bytes() == path.read_bytes()


def test_the_versions_of_an_outer_package_are_found_where_they_can_be(legacy: Path, out: Path) -> None:
    with pytest.raises(InvalidInput, match="a version that is not known; pass --from"):
        packed(legacy, out, beside=())
    with pytest.raises(InvalidInput, match="a version that is not known; pass --to"):
        packed(legacy, out, to="", beside=(), from_version="2.7.0")
    named = legacy.parent / "compass-upgrade-2.6.0-2.7.1" / "component"
    shutil.copytree(legacy, named)
    assert packed(named, out, to="", beside=()).files == (str(out / "compass-upgrade-2.6.0-2.7.1.tar.gz"),)
    declared(legacy, [])
    assert packed(legacy, out, to="", beside=()).files == (str(out / "compass-upgrade-2.7.0-2.7.1.tar.gz"),)
    with pytest.raises(InvalidInput, match=r"version 2\.7\.1, expected 2\.8\.0; leave out --to"):
        packed(legacy, out, to="2.8.0", beside=())
    with pytest.raises(InvalidInput, match=r"expected compass-upgrade-2\.7\.0-2\.7\.1\.tar\.gz, or a folder"):
        packed(legacy, out / "mine.tar.gz", beside=())


def test_an_outer_package_in_parts_is_read_too(legacy: Path, out: Path) -> None:
    packed(legacy, out, beside=(), from_version="2.7.0", part_bytes=20_000)
    assert verified(out / "compass-upgrade-2.7.0-2.7.1.tar.gz.000", out).images == 3


# -- what is refused


def test_an_output_that_is_there_is_not_touched_without_leave(legacy: Path, out: Path) -> None:
    (out / "b.tar").write_text("mine")
    refused(legacy, out / "b.tar", r"pack into .*/b\.tar: it is there already; pass --force to replace it", Refused)
    assert (out / "b.tar").read_text() == "mine"
    packed(legacy, out / "b.tar", force=True)
    assert verified(out / "b.tar", out).images == 3


def test_an_output_inside_the_bundle_is_refused(legacy: Path, tmp_path: Path) -> None:
    refused(legacy, legacy / "b.tar", "a place inside the bundle")
    refused(legacy, legacy / "images" / "b.tar", "a place inside the bundle")
    (tmp_path / "link").symlink_to(legacy)
    refused(legacy, tmp_path / "link" / "b.tar", "a place inside the bundle")


@pytest.mark.parametrize("name", ["b.tar.gz", "b.tgz"])
def test_an_output_whose_name_says_that_it_is_compressed_is_refused(legacy: Path, out: Path, name: str) -> None:
    refused(legacy, out / name, "expected a name that does not end as a compressed file's")


def test_an_output_that_cannot_be_is_refused(legacy: Path, out: Path, tmp_path: Path) -> None:
    refused(legacy, tmp_path / "none" / "b.tar", "no such folder; make it first")
    packed(legacy, out / "b.tar")
    refused(out / "b.tar", out / "b.tar", "a file that is read for it", force=True)
    refused(legacy, out / "b.tar", "a file that is read for it", force=True, base=out / "b.tar")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret"])
def test_a_link_that_leads_out_of_the_bundle_is_refused(legacy: Path, out: Path, target: str) -> None:
    (legacy / "templates" / "l.j2").symlink_to(target)
    refused(legacy, out / "b.tar", r"templates/l\.j2: a link to /")


def test_a_bundle_without_images_is_refused(tmp_path: Path, out: Path) -> None:
    folder = legacy_bundle(tmp_path / "in" / "bundle", images=[]).folder
    refused(folder, out / "b.tar", "no image archive below images/")


def test_two_archives_with_different_images_of_one_name_are_refused(legacy: Path, out: Path) -> None:
    name = component_images()[0].name
    docker_save([ImageSpec(name, [{"f": b"another"}])], legacy / "images" / "zz.tar.gz")
    refused(legacy, out / "b.tar", "two images of this name: sha256:.* in .*am-minion-v0.0.7.*, sha256:.*zz.tar.gz")


def test_a_corrupt_archive_is_named(legacy: Path, out: Path) -> None:
    path = sorted((legacy / "images").iterdir())[1]
    corrupt_layer(path)
    refused(legacy, out / "b.tar", f"read image archive {path}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"digest": "sha256:" + "1" * 64}, "expected sha256:1111.*; leave the digest out of bundle.yaml"),
        ({"name": "harbor.caicloud.xyz/release/none:v1"}, "none:v1: no such image"),
    ],
)
def test_images_that_are_not_as_declared_are_refused(
    legacy: Path, out: Path, change: dict[str, str], said: str
) -> None:
    declared(legacy, [{"name": component_images()[0].name, **change}])
    refused(legacy, out / "b.tar", said)


def test_a_bundle_that_differs_from_its_checksums_is_refused(tmp_path: Path, out: Path) -> None:
    folder = packed_folder(tmp_path / "files")
    (folder / "templates" / "release_controller.yaml.j2").write_text("x")
    refused(folder, out / "b.tar", "release_controller.yaml.j2 has sha256")


def test_without_space_nothing_is_begun(legacy: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(store, "SPACE_RESERVE_BYTES", 1 << 60)
    refused(legacy, out / "b.tar", "MiB free, expected .*; free space, or write to another disk", Refused)
