"""Archives of every style become the same content in a layout."""

import gzip
import hashlib
import json
import sys
import tarfile
import tracemalloc
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from compass.bundle.files import DirectoryFiles
from compass.digests import digest_of
from compass.errors import InvalidInput
from compass.images.archives.normalise import normalise, survey
from compass.images.compression import gzip_compressor
from compass.images.layout import Layout
from compass.images.manifests import read_tree
from compass.images.model import OCI_INDEX, OCI_MANIFEST
from compass.progress import Silent
from tests.compass.images.saved import altered, change_json, left_in, read, spec, write
from tests.material.archives import Compression, Style, docker_save
from tests.material.images import ImageSpec, build, gzipped, to_json

STYLES: list[Style] = ["legacy", "oci", "containerd"]
TWO = [spec(), spec("harbor.caicloud.xyz/release/other:v2", "other")]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state")


class Counting:
    """Progress that checks itself."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def begin(self, what: str, total: int, unit: str) -> None:
        self.total += total
        assert unit == "bytes"

    def advance(self, what: str, amount: int) -> None:
        assert amount >= 0, "progress never goes backwards"
        self.done += amount

    def note(self, text: str) -> None:
        pass


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_every_style_gives_the_images_and_their_content(
    style: Style, compression: Compression, tmp_path: Path, layout: Layout
) -> None:
    saved = docker_save(TWO, tmp_path / "a.tar.gz", style, compression)
    images = read(tmp_path / "a.tar.gz", layout)
    assert [x.name for x in images] == [x.name for x in saved]
    for image, expected, made in zip(images, saved, map(build, TWO), strict=True):
        assert image.config_digests == (expected.config_digest,)
        manifest = next(t for t in read_tree(layout, image.digest, "x").walk() if not t.is_attestation)
        assert layout.open(manifest.blobs[0].digest).read() == made.config.data, "the config stays byte for byte"
        unpacked = [gzip.decompress(layout.open(x.digest).read()) for x in manifest.blobs[1:]]
        assert tuple(map(digest_of, unpacked)) == expected.diff_ids
        assert image.size_bytes == sum(read_tree(layout, image.digest, "x").sizes().values())


def test_an_index_with_compressed_layers_stays_byte_for_byte(tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "a.tar", "containerd", "none")
    image = read(tmp_path / "a.tar", layout)[0]
    with tarfile.open(tmp_path / "a.tar") as tar:
        index = json.load(tar.extractfile("index.json"))
        member = tar.extractfile("blobs/sha256/" + image.digest[7:])
        assert image.digest == index["manifests"][0]["digest"]
        assert layout.open(image.digest).read() == member.read()
    assert image.media_type == OCI_INDEX
    assert len(list(read_tree(layout, image.digest, "x").walk())) == 3, "image, attestation and index"


def test_a_manifest_with_compressed_layers_stays_byte_for_byte(tmp_path: Path, layout: Layout) -> None:
    *parts, manifest = build(spec()).stored(compressed=True)
    data = json.dumps(json.loads(manifest.data), indent=7).encode()
    members = {f"blobs/sha256/{digest_of(x)[7:]}": x for x in [data, *(part.data for part in parts)]}
    entry = {"digest": digest_of(data), "size": len(data), "annotations": {"io.containerd.image.name": "h.io/a/b:v1"}}
    write(tmp_path / "a.tar.gz", {**members, "index.json": to_json({"manifests": [entry]})})
    image = read(tmp_path / "a.tar.gz", layout)[0]
    assert layout.open(image.digest).read() == data


def test_old_and_new_docker_give_the_same_manifest(tmp_path: Path) -> None:
    digests = set()
    for style in ("legacy", "oci"):
        docker_save([spec()], tmp_path / f"{style}.tar", style, "none")
        digests.add(read(tmp_path / f"{style}.tar", Layout(tmp_path / style))[0].digest)
    assert len(digests) == 1


def test_a_shared_layer_is_stored_once_and_the_same_bytes_every_time(tmp_path: Path, layout: Layout) -> None:
    for n, each in enumerate(TWO):
        docker_save([each], tmp_path / f"{n}.tar.gz")
    files = DirectoryFiles(tmp_path)
    normalise(files, ["0.tar.gz", "1.tar.gz"], layout, Silent(), workers=1)
    assert len([x for x in left_in(layout) if x.startswith("blobs")]) == 3 + 2 + 2, "layers, configs, manifests"
    again = Layout(tmp_path / "again")
    normalise(files, ["1.tar.gz", "0.tar.gz"], again, Silent(), workers=2)
    assert left_in(again) == left_in(layout)


def test_a_shared_layer_is_compressed_once(tmp_path: Path, layout: Layout) -> None:
    begun = []

    def counted() -> Any:
        begun.append(1)
        return gzip_compressor()

    for n, each in enumerate(TWO):
        docker_save([each], tmp_path / f"{n}.tar.gz")
    files = DirectoryFiles(tmp_path)
    normalise(files, ["0.tar.gz", "1.tar.gz"], layout, Silent(), workers=1, compressor=counted)
    assert len(begun) == 3


def test_a_layer_that_only_looks_like_one_seen_before_is_read_again(tmp_path: Path, layout: Layout) -> None:
    for n, own in enumerate(("one", "two")):
        image = build(ImageSpec(f"h.io/a/{own}:v1", [{"f": own.encode() * 1000}]))
        entry = [{"Config": "c.json", "RepoTags": [str(image.name)], "Layers": ["same/layer.tar"]}]
        members = {"same/layer.tar": image.layers[0].data, "c.json": image.config.data, "manifest.json": to_json(entry)}
        write(tmp_path / f"{n}.tar.gz", members)
    progress = Counting()
    found = normalise(DirectoryFiles(tmp_path), ["0.tar.gz", "1.tar.gz"], layout, progress, workers=1)
    one, two = (
        layout.open(read_tree(layout, found[f"{n}.tar.gz"][0].digest, "x").blobs[1].digest).read() for n in (0, 1)
    )
    assert b"oneone" in gzip.decompress(one)
    assert b"twotwo" in gzip.decompress(two)
    assert progress.done == progress.total > 0


def test_the_second_run_reads_no_archive(tmp_path: Path, layout: Layout) -> None:
    path = tmp_path / "a.tar.gz"
    docker_save(TWO, path)
    digest = digest_of(path.read_bytes())
    first = read(path, layout, digests={path.name: digest})
    path.write_bytes(b"not an archive any more")
    assert read(path, layout, digests={path.name: digest}) == first


@pytest.mark.parametrize("harm", ["removed", "shortened"])
def test_an_index_entry_is_not_trusted_when_a_blob_is_harmed(harm: str, tmp_path: Path, layout: Layout) -> None:
    path = tmp_path / "a.tar.gz"
    docker_save([spec()], path)
    first = read(path, layout)
    blob = max((x for x in layout.root.glob("blobs/sha256/*")), key=lambda x: x.stat().st_size)
    content = blob.read_bytes()
    blob.unlink() if harm == "removed" else blob.write_bytes(content[:-1])
    assert read(path, layout) == first
    assert blob.read_bytes() == content, "the archive was read again and the blob mended"


def test_progress_counts_the_bytes_of_the_archives(tmp_path: Path, layout: Layout) -> None:
    for n, each in enumerate(TWO):
        docker_save([each], tmp_path / f"{n}.tar.gz")
    names = ["0.tar.gz", "1.tar.gz"]
    for _ in range(2):
        progress = Counting()
        normalise(DirectoryFiles(tmp_path), names, layout, progress)
        assert progress.done == progress.total == sum((tmp_path / x).stat().st_size for x in names)


def test_a_gzipped_layer_in_an_old_archive_is_kept(tmp_path: Path, layout: Layout) -> None:
    packed = gzipped(build(spec()).layers[0])

    def change(members: dict[str, bytes]) -> None:
        name = next(x for x, data in members.items() if data == build(spec()).layers[0].data)
        members[name] = packed.data

    image = read(altered(tmp_path / "a.tar.gz", change), layout)[0]
    tree = read_tree(layout, image.digest, "x")
    assert tree.blobs[1].digest == packed.digest
    assert tree.media_type == OCI_MANIFEST


def test_names_come_from_the_repositories_file_when_the_tags_are_absent(tmp_path: Path, layout: Layout) -> None:
    path = altered(tmp_path / "a.tar", lambda m: change_json(m, "manifest.json", lambda v: v[0].update(RepoTags=None)))
    assert [str(x.name) for x in read(path, layout)] == ["harbor.caicloud.xyz/release/app:v1"]


def test_an_oci_archive_without_manifest_json_is_named_by_its_annotations(tmp_path: Path, layout: Layout) -> None:
    path = altered(tmp_path / "a.tar", lambda m: m.pop("manifest.json") and None, "oci")
    assert [str(x.name) for x in read(path, layout)] == ["harbor.caicloud.xyz/release/app:v1"]


def test_two_tags_of_an_image_are_two_stored_images(tmp_path: Path, layout: Layout) -> None:
    tags = ["h.io/a/b:v1", "h.io/a/b:latest"]
    path = altered(tmp_path / "a.tar", lambda m: change_json(m, "manifest.json", lambda v: v[0].update(RepoTags=tags)))
    images = read(path, layout)
    assert [str(x.name) for x in images] == tags
    assert images[0].digest == images[1].digest


def test_an_index_of_which_docker_saved_one_platform_gives_that_one(tmp_path: Path, layout: Layout) -> None:
    members: dict[str, bytes] = {}

    def change(m: dict[str, bytes]) -> None:
        index = json.loads(m["index.json"])["manifests"][0]["digest"][7:]
        document = json.loads(m.pop(f"blobs/sha256/{index}"))
        absent = {**document["manifests"][0], "digest": "sha256:" + "0" * 64}
        document["manifests"] = [document["manifests"][0], absent]
        data = to_json(document)
        m[f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"] = data
        change_json(m, "index.json", lambda v: v["manifests"][0].update(digest=digest_of(data), size=len(data)))
        members.update(m)

    image = read(altered(tmp_path / "a.tar", change, "containerd"), layout)[0]
    assert image.media_type == OCI_MANIFEST
    assert f"blobs/sha256/{image.digest[7:]}" in members


@pytest.mark.parametrize("style", STYLES)
def test_a_survey_names_the_images_and_writes_nothing(style: Style, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    saved = docker_save(TWO, path, style)
    assert survey(lambda: path.open("rb"), "a.tar.gz") == [(x.name, x.config_digest) for x in saved]
    assert list(tmp_path.iterdir()) == [path]


def test_zstd_is_read_and_its_damage_named(tmp_path: Path, layout: Layout) -> None:
    zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    docker_save([spec()], tmp_path / "a.tar", "oci", "none")
    whole = zstd.compress((tmp_path / "a.tar").read_bytes())
    (tmp_path / "a.tar.zst").write_bytes(whole)
    assert len(read(tmp_path / "a.tar.zst", layout)) == 1
    (tmp_path / "cut.tar.zst").write_bytes(whole[:-100])
    with pytest.raises(InvalidInput, match="the zstd data is cut short"):
        read(tmp_path / "cut.tar.zst", layout)


def test_one_bad_archive_stops_all_and_is_the_one_that_is_named(tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "good.tar.gz")
    (tmp_path / "bad.tar.gz").write_bytes(b"no archive")
    with pytest.raises(InvalidInput, match=r"bad\.tar\.gz"):
        normalise(DirectoryFiles(tmp_path), ["good.tar.gz", "bad.tar.gz"], layout, Silent())
    assert not [x for x in left_in(layout) if ".writing" in x]


def test_memory_stays_flat_whatever_the_size_of_a_layer(tmp_path: Path, layout: Layout) -> None:
    docker_save([ImageSpec("h.io/a/big:v1", [{"f": bytes(100 << 20)}])], tmp_path / "a.tar", "legacy", "none")
    tracemalloc.start()
    try:
        read(tmp_path / "a.tar", layout)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
