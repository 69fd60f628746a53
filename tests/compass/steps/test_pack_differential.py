"""A differential bundle leaves out what its base holds, says so, and is whole all the same."""

from pathlib import Path

import pytest

from compass.steps.prepare import prepare
from tests.compass.steps.packs import altered, opened, packed, refused, verified
from tests.compass.steps.places import workplace
from tests.material.bundles import component_images, legacy_bundle, old_images, packed_folder
from tests.material.images import ImageSpec, build, gzipped


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    return legacy_bundle(tmp_path / "in" / "bundle").folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def old(tmp_path: Path, out: Path) -> Path:
    """The bundle before: it shares the base layer, and one image is the same."""
    images = [*old_images(), component_images()[2]]
    packed(legacy_bundle(tmp_path / "old" / "bundle", images).folder, out / "old.tar", to="2.7.0")
    return out / "old.tar"


def test_what_the_base_holds_is_left_out_and_written_down(legacy: Path, out: Path, old: Path) -> None:
    packed(legacy, out / "whole.tar")
    done = packed(legacy, out / "b.tar", base=old)
    whole, found, before = opened(out / "whole.tar"), opened(out / "b.tar"), opened(old)
    assert found.definition.images == whole.definition.images
    base = found.definition.base
    assert base
    assert (base.name, base.to) == ("compass-component", "2.7.0")
    assert base.digest == verified(old, out).digest
    missing = set(whole.files.names()) - set(found.files.names())
    assert missing == {f"oci/blobs/sha256/{x.digest[7:]}" for x in base.blobs}
    assert missing < set(before.files.names())
    for blob in base.blobs:
        assert before.files.size(f"oci/blobs/sha256/{blob.digest[7:]}") == blob.size
    shared = gzipped(build(component_images()[0]).layers[0])
    everywhere = ("release/am_minion", "release/release-controller", "release/templates")
    assert sorted(x.repositories for x in base.blobs) == [everywhere, ("release/templates",)]
    assert (done.left_out, done.left_out_bytes) == (2, sum(x.size for x in base.blobs))
    assert done.left_out_bytes > len(shared.data)
    assert done.base == f"compass-component 2.7.0 ({base.digest})"


def test_a_differential_bundle_is_whole_in_itself(legacy: Path, out: Path, old: Path) -> None:
    packed(legacy, out / "b.tar", base=old)
    found = verified(out / "b.tar", out)
    assert (found.images, found.relies_on) == (3, 2)
    with workplace(out / "b.tar", out) as place:
        assert prepare(place).version == "2.7.1"
        assert len(place.bundle.definition.images) == 3


def test_a_differential_bundle_is_the_same_from_a_folder_and_from_the_whole_bundle(
    legacy: Path, out: Path, old: Path
) -> None:
    packed(legacy, out / "whole.tar")
    packed(legacy, out / "one.tar", base=old)
    packed(out / "whole.tar", out / "two.tar", base=old)
    assert (out / "one.tar").read_bytes() == (out / "two.tar").read_bytes()


def test_layers_are_recognised_by_their_content_whoever_compressed_them(
    tmp_path: Path, legacy: Path, out: Path
) -> None:
    # A layout that others made: other bytes for the same layers.
    folder = packed_folder(tmp_path / "other", [*old_images(), component_images()[2]])
    packed(folder, out / "old.tar")
    done = packed(legacy, out / "b.tar", base=out / "old.tar")
    assert done.left_out == 2
    base = opened(out / "b.tar").definition.base
    assert base
    assert gzipped(build(component_images()[0]).layers[0]).digest in {x.digest for x in base.blobs}
    assert verified(out / "b.tar", out).relies_on == 2


def test_a_base_may_be_differential_itself(legacy: Path, out: Path, old: Path, tmp_path: Path) -> None:
    packed(legacy, out / "middle.tar", base=old)
    newest = [ImageSpec(x.name.replace(":v", ":v9"), x.layers) for x in component_images()]
    folder = legacy_bundle(tmp_path / "new" / "bundle", newest).folder
    done = packed(folder, out / "new.tar", base=out / "middle.tar", to="2.7.2")
    assert done.left_out == 4, "what the middle one holds, and what it relies on"
    assert opened(out / "new.tar").definition.base.to == "2.7.1"  # type: ignore[union-attr]


def test_a_base_of_which_nothing_is_needed_makes_a_whole_bundle(legacy: Path, out: Path, tmp_path: Path) -> None:
    other = legacy_bundle(tmp_path / "other" / "bundle", [ImageSpec("h.io/a/b:v1", [{"f": b"x"}])]).folder
    packed(other, out / "old.tar")
    packed(legacy, out / "whole.tar")
    assert packed(legacy, out / "b.tar", base=out / "old.tar").base == ""
    assert (out / "b.tar").read_bytes() == (out / "whole.tar").read_bytes()


def test_a_base_that_is_not_packed_is_refused(legacy: Path, out: Path) -> None:
    refused(legacy, out / "b.tar", "a bundle that is not packed; pack it first", base=legacy)
    refused(legacy, out / "b.tar", "no such file or folder", base=out / "none.tar")


def test_a_base_that_is_damaged_is_refused(legacy: Path, out: Path, old: Path, tmp_path: Path) -> None:
    def harm(files: Path) -> None:
        blob = max((files / "oci/blobs/sha256").iterdir(), key=lambda x: x.stat().st_size)
        blob.write_bytes(blob.read_bytes()[:-1] + b"x")

    damaged = altered(old, tmp_path / "1", harm, sums=False)
    refused(legacy, out / "b.tar", "verify bundle .*altered.tar: oci/blobs/sha256/.* has sha256", base=damaged)
    lying = altered(old, tmp_path / "2", harm)
    refused(legacy, out / "b.tar", r"altered\.tar: oci/blobs/sha256/(\w+) has sha256 (?!\1)", base=lying)


def test_a_differential_bundle_is_not_packed_again(legacy: Path, out: Path, old: Path) -> None:
    packed(legacy, out / "b.tar", base=old)
    refused(out / "b.tar", out / "c.tar", "a bundle that relies on compass-component 2.7.0 .*, expected a whole one")
