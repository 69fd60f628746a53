"""Images go into a real registry once, whatever happens on the way."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compass.bundle.files import DirectoryFiles
from compass.digests import digest_of
from compass.errors import InvalidInput, Refused, StepFailed, Transient
from compass.images.identity import published, same_image
from compass.images.layout import FilesLayout, Layout
from compass.images.load import LoadedImage, load, locate
from compass.images.model import OCI_INDEX, OCI_MANIFEST, StoredImage
from compass.images.registry.client import Registry
from compass.names import ImageName
from compass.progress import Silent
from tests.compass.images.archives.test_normalise import Counting
from tests.compass.images.proxy import Break, Rule, Say, Seen, proxy
from tests.compass.images.saved import read, spec
from tests.material.archives import Style, docker_save
from tests.material.images import ImageSpec, build, noise
from tests.material.push import oci_layout, push
from tests.servers.registry import DockerRegistry

pytestmark = pytest.mark.servers
ABSENT = "sha256:" + "0" * 64


@pytest.fixture
def empty(make_registry: Callable[..., DockerRegistry]) -> Iterator[DockerRegistry]:
    """A registry of the test's own, empty."""
    server = make_registry()
    yield server
    server.close()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state")


def specs() -> list[ImageSpec]:
    return [spec(f"harbor.caicloud.xyz/release/app{n}:v1", f"own{n}") for n in range(3)]


def stored(
    tmp_path: Path, layout: Layout, images: list[ImageSpec] | None = None, style: Style = "legacy"
) -> list[StoredImage]:
    docker_save(images or specs(), tmp_path / "a.tar.gz", style)
    return read(tmp_path / "a.tar.gz", layout)


def plain(host: str, patience_seconds: float = 10) -> Registry:
    return Registry(host, scheme="http", patience_seconds=patience_seconds)


def loaded(images: list[StoredImage], layout: Any, host: str, **how: Any) -> list[LoadedImage]:
    progress = Counting()
    with plain(host, **how) as door:
        result = load(images, layout, door, progress)
    assert progress.done == progress.total == sum(x.size_bytes for x in images)
    return result


@pytest.mark.parametrize("style", ["legacy", "oci", "containerd"])
def test_every_image_is_there_under_its_name_with_its_content(
    style: Style, tmp_path: Path, layout: Layout, empty: DockerRegistry
) -> None:
    images = stored(tmp_path, layout, style=style)
    result = loaded(images, layout, empty.host)
    for image, made, got in zip(images, map(build, specs()), result, strict=True):
        data, digest, media_type = empty.manifest(image.name.repository, "v1")
        assert digest == got.digest == image.digest == digest_of(data)
        assert media_type == image.media_type
        assert str(got.target) == f"{empty.host}/{image.name.short_path}"
        assert got.config_digests == (made.config_digest,)
        assert empty.blob(image.name.repository, made.config_digest) == made.config.data


def test_what_is_shared_is_sent_once_and_a_second_load_sends_nothing(
    tmp_path: Path, layout: Layout, empty: DockerRegistry
) -> None:
    images = stored(tmp_path, layout)
    with proxy(empty.url, lambda _: None) as way:
        first = loaded(images, layout, way.host)
        assert way.count("PUT", "/uploads/") == 1 + 3 + 3, "the shared layer, each own one, each config"
        assert way.count("POST", "mount=") == 2
        puts = way.count("PUT")
        second = loaded(images, layout, way.host)
        assert way.count("PUT") == puts
        assert way.count("HEAD", "/manifests/") == 3 * 2, "once for each load"
        assert way.count("GET", "/manifests/") == 3, "what was tagged is read back"
    on_disk = sum(x.stat().st_size for x in layout.root.glob("blobs/sha256/*"))
    assert sum(x.bytes_sent for x in first) == on_disk
    assert [x.bytes_sent for x in second] == [0, 0, 0]
    assert [x.bytes_skipped for x in second] == [x.size_bytes for x in images]
    assert [x.digest for x in first] == [x.digest for x in second]


def test_a_packed_layout_loads_without_being_unpacked(tmp_path: Path, empty: DockerRegistry) -> None:
    entries = oci_layout(specs(), tmp_path / "oci")
    source = FilesLayout(DirectoryFiles(tmp_path))
    result = loaded(source.images(), source, empty.host)
    assert [x.digest for x in result] == [x["digest"] for x in entries]


def test_the_same_image_under_another_manifest_is_accepted_and_nothing_is_sent(
    tmp_path: Path, layout: Layout, empty: DockerRegistry
) -> None:
    one = specs()[0]
    there = push(empty, one, compressed=False)
    images = stored(tmp_path, layout, [one])
    assert images[0].digest != there
    with proxy(empty.url, lambda _: None) as way:
        result = loaded(images, layout, way.host)
        assert way.count("POST") == way.count("PUT") == 0
    assert (result[0].digest, result[0].bytes_sent) == (there, 0)


def test_the_same_config_below_fewer_layers_is_not_the_same_image(
    tmp_path: Path, layout: Layout, empty: DockerRegistry
) -> None:
    one = specs()[0]
    push(empty, one)
    manifest = json.loads(empty.manifest("release/app0", "v1")[0])
    manifest["layers"].pop()
    images = stored(tmp_path, layout, [one])
    with plain(empty.host) as door:
        door.put_manifest("release/app0", "v1", json.dumps(manifest).encode(), OCI_MANIFEST)
    assert loaded(images, layout, empty.host)[0].digest == images[0].digest


def test_a_tag_with_another_image_is_moved(tmp_path: Path, layout: Layout, empty: DockerRegistry) -> None:
    push(empty, spec("h.io/release/app0:v1", "something else"))
    images = stored(tmp_path, layout)
    assert loaded(images, layout, empty.host)[0].digest == images[0].digest
    assert empty.manifest("release/app0", "v1")[1] == images[0].digest


def test_two_tags_in_one_repository(tmp_path: Path, layout: Layout, empty: DockerRegistry) -> None:
    images = stored(tmp_path, layout, [spec("h.io/a/b:v1"), spec("h.io/a/b:v2", "two")])
    loaded(images, layout, empty.host)
    assert empty.tags("a/b") == ["v1", "v2"]


def test_what_would_be_sent_is_what_is_sent(tmp_path: Path, layout: Layout, empty: DockerRegistry) -> None:
    images = stored(tmp_path, layout)
    push(empty, spec("h.io/elsewhere/base:v1"))
    with plain(empty.host) as door:
        before = locate(images, layout, door)
        assert not any(x.is_there for x in before)
        result = load(images[:1], layout, door, Silent())
        middle = locate(images, layout, door)
        rest = load(images, layout, door, Silent())
        after = locate(images, layout, door)
    assert result[0].bytes_sent >= before[0].bytes_to_send > 0
    assert [x.is_there for x in middle] == [True, False, False]
    assert sum(x.bytes_sent for x in rest) <= sum(x.bytes_to_send for x in middle) + 10_000
    assert [(x.is_there, x.bytes_to_send) for x in after] == [(True, 0)] * 3


def faulty(kind: str) -> Rule:
    """Break every blob's first upload, or answer every fourth request with a status."""
    lock = threading.Lock()
    broken: set[str] = set()
    count = 0

    def rule(seen: Seen) -> Say | Break | None:
        nonlocal count
        digest = seen.path.rpartition("digest=")[2]
        with lock:
            count += 1
            if kind == "resets":
                first = seen.method == "PUT" and "/uploads/" in seen.path and digest not in broken
                broken.add(digest)
                return Break(5_000) if first else None
            return Say(int(kind), {"Retry-After": "0"}) if count % 4 == 0 else None

    return rule


@pytest.mark.parametrize("kind", ["resets", "429", "500"])
def test_a_faulty_way_only_delays(kind: str, tmp_path: Path, layout: Layout, empty: DockerRegistry) -> None:
    images = stored(tmp_path, layout)
    with proxy(empty.url, faulty(kind)) as way:
        result = loaded(images, layout, way.host)
    assert [empty.manifest(x.name.repository, "v1")[1] for x in images] == [x.digest for x in result]


def test_a_registry_that_is_restarted_in_the_middle_only_delays(
    tmp_path: Path, layout: Layout, empty: DockerRegistry
) -> None:
    images = stored(tmp_path, layout)
    begun = threading.Event()

    def rule(seen: Seen) -> None:
        if seen.method == "PUT":
            begun.set()

    def restart() -> None:
        begun.wait(10)
        empty.stop()
        empty.start()

    thread = threading.Thread(target=restart)
    thread.start()
    with proxy(empty.url, rule) as way:
        result = loaded(images, layout, way.host, patience_seconds=30)
    thread.join()
    assert [empty.manifest(x.name.repository, "v1")[1] for x in images] == [x.digest for x in result]


def test_a_load_that_failed_goes_on_where_it_was_and_had_tagged_nothing(
    tmp_path: Path, layout: Layout, empty: DockerRegistry
) -> None:
    images = stored(tmp_path, layout)
    config = images[1].config_digests[0]

    def rule(seen: Seen) -> Say | None:
        return Say(500) if seen.method == "PUT" and config in seen.path else None

    with proxy(empty.url, rule) as way, plain(way.host, 0.3) as door, pytest.raises(Transient):
        load(images, layout, door, Silent())
    assert empty.everything()["repositories"] == {}
    result = loaded(images, layout, empty.host)
    assert 0 < sum(x.bytes_sent for x in result) < sum(x.size_bytes for x in images)


def test_a_tag_that_somebody_else_moved_meanwhile_is_an_error(
    tmp_path: Path, layout: Layout, empty: DockerRegistry
) -> None:
    images = stored(tmp_path, layout, specs()[:1])
    other = spec(images[0].name.short_path, "another run's")
    digests = []

    def rule(seen: Seen) -> None:
        if seen.method == "GET" and seen.path.endswith("/manifests/v1"):
            digests.append(push(empty, other))

    with (
        proxy(empty.url, rule) as way,
        plain(way.host) as door,
        pytest.raises(StepFailed, match="tag points to") as caught,
    ):
        load(images, layout, door, Silent())
    assert caught.value.found == f"tag points to {digests[0]}"
    assert caught.value.expected == images[0].digest


def test_a_registry_that_does_not_let_us_is_told_at_once(tmp_path: Path, layout: Layout, empty: DockerRegistry) -> None:
    def rule(seen: Seen) -> Say | None:
        return Say(403) if seen.method == "POST" else None

    images = stored(tmp_path, layout)
    with proxy(empty.url, rule) as way, plain(way.host) as door, pytest.raises(Refused, match="docker login"):
        load(images, layout, door, Silent())


def test_a_registry_that_mounts_nothing_gets_every_blob(tmp_path: Path, layout: Layout, empty: DockerRegistry) -> None:
    images = stored(tmp_path, layout)

    def rule(seen: Seen) -> Say | None:
        if "mount=" not in seen.path:
            return None
        with plain(empty.host) as door:
            return Say(202, {"Location": door.begin_upload(seen.path.split("/v2/")[1].split("/blobs/")[0])})

    with proxy(empty.url, rule) as way:
        result = loaded(images, layout, way.host)
        assert way.count("POST") == 9, "an upload that was opened instead of a mount is used"
    assert sum(x.bytes_sent for x in result) == sum(x.size_bytes for x in images)


def test_two_images_of_one_name_or_one_without_a_tag_are_refused(
    tmp_path: Path, layout: Layout, empty: DockerRegistry
) -> None:
    one, two, _ = stored(tmp_path, layout)
    twice = StoredImage(one.name, two.digest, two.media_type, two.config_digests, two.size_bytes)
    bare = StoredImage(ImageName.parse("h.io/a"), two.digest, two.media_type, two.config_digests, two.size_bytes)
    with plain(empty.host) as door:
        with pytest.raises(InvalidInput, match="two images of this name"):
            load([one, twice], layout, door, Silent())
        with pytest.raises(InvalidInput, match="no tag, expected name:tag"):
            load([bare], layout, door, Silent())
        assert len(load([one, one], layout, door, Silent())) == 1


def test_a_blob_that_is_gone_stops_the_load_before_anything_is_sent(
    tmp_path: Path, layout: Layout, empty: DockerRegistry
) -> None:
    images = stored(tmp_path, layout)
    (layout.root / "blobs/sha256" / images[2].config_digests[0][7:]).unlink()
    with plain(empty.host) as door, pytest.raises(InvalidInput, match=r"app2:v1: no blob sha256:"):
        load(images, layout, door, Silent())
    assert empty.everything()["blobs"] == {}


def test_the_report_of_an_image_is_plain_json(tmp_path: Path, layout: Layout, empty: DockerRegistry) -> None:
    images = stored(tmp_path, layout, specs()[:1])
    assert loaded(images, layout, empty.host)[0].as_json == {
        "source": "harbor.caicloud.xyz/release/app0:v1",
        "target": f"{empty.host}/release/app0:v1",
        "digest": images[0].digest,
        "configDigests": list(images[0].config_digests),
        "bytesSent": images[0].size_bytes,
        "bytesSkipped": 0,
    }


def test_what_is_published_is_told_by_digest_and_config(tmp_path: Path, layout: Layout, empty: DockerRegistry) -> None:
    images = stored(tmp_path, layout, specs()[:1], "containerd")
    assert images[0].media_type == OCI_INDEX
    loaded(images, layout, empty.host)
    absent = ImageName.parse("h.io/release/none:v1")
    with plain(empty.host) as door:
        found = published(door, [images[0].name, absent])
    assert found[absent] is None
    there = found[images[0].name]
    assert there
    assert (there.digest, there.config_digests) == (images[0].digest, images[0].config_digests)


def test_an_image_is_the_same_by_index_manifest_or_config(
    tmp_path: Path, layout: Layout, empty: DockerRegistry
) -> None:
    image = stored(tmp_path, layout, specs()[:1], "containerd")[0]
    loaded([image], layout, empty.host)
    other = push(empty, spec("h.io/release/app0:other", "other"))
    recompressed = push(empty, ImageSpec("h.io/release/app0:plain", specs()[0].layers), compressed=False)
    manifest = build(specs()[0]).stored(compressed=True)[-1].digest
    with plain(empty.host) as door:

        def same(running: Any) -> bool:
            return same_image(door, image.name, running, image.config_digests)

        assert same(image.digest), "the index"
        assert same(manifest), "the manifest below it"
        assert same(image.config_digests[0]), "what old Docker reports"
        assert same(recompressed), "the same content, compressed by another"
        assert same_image(door, image.name.with_digest(other), other, [])
        assert not same(other)
        assert not same(ABSENT)


def test_large_and_small_blobs_in_parallel_all_arrive(tmp_path: Path, layout: Layout, empty: DockerRegistry) -> None:
    many = [
        ImageSpec(f"h.io/many/i{n}:v1", [{f"f{n}-{m}": noise(10_000 * m + n, f"{n}{m}")} for m in range(1, 5)])
        for n in range(8)
    ]
    images = stored(tmp_path, layout, many)
    result = loaded(images, layout, empty.host)
    assert sum(x.bytes_sent for x in result) == sum(x.size_bytes for x in images)
    assert len(empty.everything()["blobs"]) == 8 * (4 + 1 + 1)
