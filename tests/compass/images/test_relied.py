"""A differential bundle: what its base has put into a registry is taken over, and asked for before anything is sent."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compass.bundle.files import DirectoryFiles
from compass.digests import Digest, hexadecimal
from compass.errors import InvalidInput, Refused, StepFailed
from compass.images.layout import FilesLayout
from compass.images.load import LoadedImage, load, need_base
from compass.images.registry.client import Registry
from compass.images.relied import NO_BASE, Base, ReliedBlob, layers_by_content, layers_of
from tests.compass.images.archives.test_normalise import Counting
from tests.compass.images.proxy import Say, Seen, proxy
from tests.compass.images.saved import spec
from tests.material.images import ImageSpec, build, gzipped
from tests.material.push import oci_layout, push
from tests.servers.registry import DockerRegistry

HOST = "harbor.caicloud.xyz"
OLD = [spec(f"{HOST}/release/app:v1", "old"), spec(f"{HOST}/release/other:v1", "other")]
# The base layer is shared by all, and ``other`` is under a new name what it was.
NEW = [spec(f"{HOST}/release/app:v2", "new"), spec(f"{HOST}/release/renamed:v2", "other")]


@pytest.fixture
def empty(make_registry: Callable[..., DockerRegistry]) -> Iterator[DockerRegistry]:
    """A registry of the test's own, empty."""
    server = make_registry()
    yield server
    server.close()


class Bundles:
    """An old bundle, and a new one without the layers that the old one holds."""

    def __init__(self, folder: Path, old: list[ImageSpec] = OLD, new: list[ImageSpec] = NEW) -> None:
        oci_layout(old, folder / "old/oci")
        oci_layout(new, folder / "new/oci")
        self.old = FilesLayout(DirectoryFiles(folder / "old"))
        whole = FilesLayout(DirectoryFiles(folder / "new"))
        held = layers_of(self.old.images(), self.old)
        needed = {x: held[x] for x in layers_of(whole.images(), whole).keys() & held.keys()}
        for digest in needed:
            (folder / "new/oci/blobs/sha256" / hexadecimal(digest)).unlink()
        self.base = Base("old 1.0", needed)
        self.new = FilesLayout(DirectoryFiles(folder / "new"), relied={x: y.size for x, y in needed.items()})


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    return Bundles(tmp_path)


def loaded(bundles: Bundles, host: str, *, old: bool = False, exact: bool = False) -> list[LoadedImage]:
    source, base = (bundles.old, NO_BASE) if old else (bundles.new, bundles.base)
    progress = Counting()
    with Registry(host, scheme="http", patience_seconds=10) as door:
        done = load(source.images(), source, door, progress, base=base, exact=exact)
    assert progress.done == progress.total
    return done


def asked(bundles: Bundles, host: str) -> None:
    with Registry(host, scheme="http", patience_seconds=5) as door:
        need_base(bundles.new.images(), bundles.new, door, bundles.base)


def layer(made: ImageSpec, number: int) -> Digest:
    return gzipped(build(made).layers[number]).digest


def test_what_is_held_is_known_with_its_size_and_the_repositories_that_loading_puts_it_in(bundles: Bundles) -> None:
    held = layers_of(bundles.old.images(), bundles.old)
    shared = gzipped(build(OLD[0]).layers[0])
    assert held[shared.digest] == ReliedBlob(len(shared.data), ("release/app", "release/other"))
    assert held[layer(OLD[0], 1)].repositories == ("release/app",)
    assert len(held) == 3, "neither manifests nor configs"


def test_layers_are_known_by_what_they_hold(bundles: Bundles) -> None:
    found = layers_by_content(bundles.old.images(), bundles.old)
    made = [build(x) for x in OLD]
    expected = {x.digest: gzipped(x) for each in made for x in each.layers}
    assert {diff_id: (x.digest, x.size) for diff_id, x in found.items()} == {
        diff_id: (x.digest, len(x.data)) for diff_id, x in expected.items()
    }
    assert all(x.diff_id == diff_id and not x.kept for diff_id, x in found.items())


def test_a_blob_that_is_relied_on_counts_as_there_and_cannot_be_read(bundles: Bundles) -> None:
    shared = layer(NEW[0], 0)
    assert shared in bundles.new
    assert bundles.new.size(shared) == bundles.base.blobs[shared].size
    assert not bundles.new.holds(shared)
    with pytest.raises(InvalidInput, match="no such file"):
        bundles.new.open(shared)
    assert bundles.new.holds(layer(NEW[0], 1))


@pytest.mark.servers
def test_what_the_base_put_there_is_taken_over_and_only_the_rest_is_sent(
    bundles: Bundles, empty: DockerRegistry
) -> None:
    loaded(bundles, empty.host, old=True)
    with proxy(empty.url, lambda _: None) as way:
        asked(bundles, way.host)
        assert {x.method for x in way.seen} <= {"GET", "HEAD"}, "asking changes nothing"
        done = loaded(bundles, way.host)
        assert way.count("PUT", "/uploads/") == 1 + 2, "the new layer, and two configs"
    for made, got in zip(NEW, done, strict=True):
        image = build(made)
        assert empty.manifest(image.name.repository, image.name.tag)[1] == got.digest
        for part in map(gzipped, image.layers):
            assert empty.blob(image.name.repository, part.digest) == part.data
    sent = sum(x.bytes_sent for x in done)
    assert sent < sum(x.size_bytes for x in bundles.new.images()) - sum(x.size for x in bundles.base.blobs.values())


@pytest.mark.servers
def test_without_the_base_nothing_is_touched_and_it_is_named(bundles: Bundles, empty: DockerRegistry) -> None:
    before = empty.everything()
    first = min(bundles.base.blobs)
    for attempt in (asked, loaded):
        with pytest.raises(Refused) as caught:
            attempt(bundles, empty.host)
        words = str(caught.value)
        assert "2 of 2 blobs that the bundle relies on are absent" in words
        assert f"{empty.host}/{bundles.base.blobs[first].repositories[0]}@{first}" in words
        assert "expected those of old 1.0; load that bundle first, with --exact if" in words
    assert empty.everything() == before


@pytest.mark.servers
def test_half_a_base_is_not_enough(tmp_path: Path, bundles: Bundles, empty: DockerRegistry) -> None:
    half = Bundles(tmp_path / "half", old=OLD[:1])
    loaded(half, empty.host, old=True)
    before = empty.everything()
    with pytest.raises(Refused, match=f"1 of 2 blobs .* first {empty.host}/release/other@{layer(NEW[1], 1)}"):
        loaded(bundles, empty.host)
    assert empty.everything() == before


@pytest.mark.servers
def test_an_image_that_is_there_needs_nothing_of_the_base(
    tmp_path: Path, bundles: Bundles, empty: DockerRegistry
) -> None:
    whole = Bundles(tmp_path / "whole", old=NEW)
    loaded(whole, empty.host, old=True)
    asked(bundles, empty.host)
    assert [x.bytes_sent for x in loaded(bundles, empty.host)] == [0, 0]


@pytest.mark.servers
def test_a_base_whose_images_came_another_way_is_loaded_when_it_must_be_exact(
    bundles: Bundles, empty: DockerRegistry
) -> None:
    for each in OLD:
        push(empty, each, compressed=False)  # the same content, other blobs
    assert [x.bytes_sent for x in loaded(bundles, empty.host, old=True)] == [0, 0]
    with pytest.raises(Refused, match="with --exact if its images came there another way"):
        asked(bundles, empty.host)
    done = loaded(bundles, empty.host, old=True, exact=True)
    assert all(x.bytes_sent for x in done)
    assert [x.digest for x in done] == [x.digest for x in bundles.old.images()]
    asked(bundles, empty.host)
    assert [x.digest for x in loaded(bundles, empty.host)] == [x.digest for x in bundles.new.images()]


@pytest.mark.servers
def test_a_blob_that_lies_where_the_image_goes_is_found_there(
    tmp_path: Path, bundles: Bundles, empty: DockerRegistry
) -> None:
    moved = [spec(f"{HOST}/release/app:v9", "old"), spec(f"{HOST}/release/renamed:v9", "other")]
    loaded(Bundles(tmp_path / "moved", old=moved), empty.host, old=True)
    elsewhere = {x: ReliedBlob(y.size, ("release/gone",)) for x, y in bundles.base.blobs.items()}
    bundles.base = Base("old 1.0", elsewhere)
    done = loaded(bundles, empty.host)
    assert empty.manifest("release/renamed", "v2")[1] == done[1].digest


@pytest.mark.servers
def test_a_repository_of_the_base_that_may_not_be_seen_is_one_that_is_not_there(
    bundles: Bundles, empty: DockerRegistry
) -> None:
    def forbid(seen: Seen) -> Say | None:
        return Say(403) if "/release/other/blobs/" in seen.path else None

    loaded(bundles, empty.host, old=True)
    with proxy(empty.url, forbid) as way, pytest.raises(Refused, match=r"1 of 2 blobs .* are absent"):
        asked(bundles, way.host)


@pytest.mark.servers
def test_a_registry_that_takes_nothing_over_is_told_apart_from_one_without_the_base(
    bundles: Bundles, empty: DockerRegistry
) -> None:
    def no_mount(seen: Seen) -> Say | None:
        is_mount = seen.method == "POST" and "mount=" in seen.path
        return Say(202, {"Location": "/v2/x/blobs/uploads/1"}) if is_mount else None

    loaded(bundles, empty.host, old=True)
    with (
        proxy(empty.url, no_mount) as way,
        pytest.raises(StepFailed, match=r"does not take it over from release/(other|app); load .* without --base"),
    ):
        loaded(bundles, way.host)
    assert empty.tags("release/renamed") == []
    assert empty.tags("release/app") == ["v1"], "nothing is tagged"


@pytest.mark.servers
def test_a_base_whose_registry_stays_away_is_no_base_that_is_missing(bundles: Bundles, empty: DockerRegistry) -> None:
    loaded(bundles, empty.host, old=True)
    answers = iter([Say(503), Say(503)])

    def stumble(seen: Seen) -> Say | None:
        return next(answers, None) if "/blobs/" in seen.path else None

    with proxy(empty.url, stumble) as way:
        asked(bundles, way.host)
