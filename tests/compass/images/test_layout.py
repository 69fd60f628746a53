"""Blobs on disk, and the layout inside a bundle."""

import os
import tarfile
import threading
import time
from pathlib import Path

import pytest

from compass.bundle.files import BundleFiles, DirectoryFiles
from compass.digests import Digest, digest_of
from compass.errors import InvalidInput, StepFailed
from compass.images.layout import STALE_SECONDS, FilesLayout, Layout
from compass.images.manifests import layout_index, read_tree
from tests.compass.bundle.packing import tar_files
from tests.compass.images.saved import left_in, read, spec
from tests.material.archives import docker_save
from tests.material.images import build
from tests.material.push import oci_layout

DATA = b"some blob" * 1000


def test_a_blob_is_found_by_its_digest_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    with layout.batch() as batch:
        digest = batch.put(DATA)
        assert digest not in layout, "not before the batch is whole"
    assert digest == digest_of(DATA)
    assert digest in layout
    assert layout.size(digest) == len(DATA)
    assert layout.open(digest).read() == DATA
    for path in layout.root.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    assert layout.root.stat().st_mode & 0o777 == 0o700


def test_a_batch_that_fails_leaves_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path)

    def fail() -> None:
        with layout.batch() as batch:
            batch.put(DATA)
            batch.writer().write(DATA)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert left_in(layout) == []


def test_leftovers_of_dead_runs_are_removed_after_a_day_and_not_before(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    old, new = (tmp_path / "blobs/sha256" / f".writing-{name}" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(DATA)
    os.utime(old, (0, time.time() - STALE_SECONDS - 60))
    Layout(tmp_path)
    assert left_in(layout) == ["blobs/sha256/.writing-new"]


def test_many_writers_of_one_blob_do_not_harm_each_other(tmp_path: Path) -> None:
    def write() -> None:
        with Layout(tmp_path).batch() as batch:
            batch.put(DATA)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left_in(Layout(tmp_path)) == [f"blobs/sha256/{digest_of(DATA)[7:]}"]


def test_a_blob_of_the_wrong_size_is_replaced(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "blobs/sha256" / digest_of(DATA)[7:]).write_bytes(b"half")
    with layout.batch() as batch:
        digest = batch.put(DATA)
    assert layout.open(digest).read() == DATA


def test_a_blob_that_is_not_there_fails_the_step(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(StepFailed, match="no such file"):
        layout.open(digest_of(b"other"))


def test_a_blob_that_is_taken_is_there_until_its_stream_is_closed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with layout.batch() as batch:
        digest = batch.put(DATA)
    with layout.take(digest) as stream:
        assert stream.read(4) == DATA[:4]
        assert left_in(layout) == []
        assert stream.read() == DATA[4:]
    assert digest not in layout


def test_what_lies_beneath_counts_as_there_and_stays_where_it_is(tmp_path: Path) -> None:
    beneath, other = Layout(tmp_path / "beneath"), b"another blob"
    with beneath.batch() as batch:
        held = batch.put(DATA)
    layout = Layout(tmp_path / "upon", beneath=beneath)
    with layout.batch() as batch:
        own = batch.put(other)
    assert held in layout
    assert own in layout
    assert own not in beneath
    assert (layout.size(held), layout.size(own)) == (len(DATA), len(other))
    assert (layout.open(held).read(), layout.open(own).read()) == (DATA, other)
    with layout.take(held) as stream:
        assert stream.read() == DATA
    assert held in beneath
    assert digest_of(b"none") not in layout
    with pytest.raises(StepFailed, match="no such file"):
        layout.open(digest_of(b"none"))


@pytest.mark.parametrize("packed", [False, True])
def test_the_layout_of_a_bundle_is_read_in_place(packed: bool, tmp_path: Path) -> None:
    specs = [spec(), spec("h.io/b/c:v2", "other")]
    entries = oci_layout(specs, tmp_path / "bundle/oci")
    files: BundleFiles = DirectoryFiles(tmp_path / "bundle")
    if packed:
        (tmp_path / "bundle/bundle.yaml").write_text("x")
        with tarfile.open(tmp_path / "b.tar", "w") as tar:
            tar.add(tmp_path / "bundle", "bundle")
        files = tar_files(tmp_path / "b.tar")
    layout = FilesLayout(files)
    images = layout.images()
    assert [(str(x.name), x.digest, x.size_bytes) for x in images] == [tuple(x.values()) for x in entries]
    config = build(specs[0]).config
    assert layout.open(config.digest).read() == config.data
    assert Digest("sha256:" + "0" * 64) not in layout


def test_the_index_that_is_written_is_the_one_that_is_read(tmp_path: Path) -> None:
    docker_save([spec(), spec("h.io/b/c:v2", "other")], tmp_path / "a.tar.gz")
    layout = Layout(tmp_path / "bundle/oci")
    images = read(tmp_path / "a.tar.gz", layout)
    (tmp_path / "bundle/oci/index.json").write_bytes(layout_index(images, layout))
    assert sorted(FilesLayout(DirectoryFiles(tmp_path / "bundle")).images(), key=str) == sorted(images, key=str)


@pytest.mark.parametrize(
    ("harm", "words"),
    [("gone", "no blob sha256:"), ("short", "expected 1"), ("manifest", "a manifest with digest")],
)
def test_a_harmed_layout_of_a_bundle_is_refused(harm: str, words: str, tmp_path: Path) -> None:
    oci_layout([spec()], tmp_path / "oci")
    *_, config, manifest = build(spec()).stored(compressed=True)
    blob = tmp_path / "oci/blobs/sha256" / (manifest if harm == "manifest" else config).digest[7:]
    if harm == "gone":
        blob.unlink()
    else:
        blob.write_bytes(blob.read_bytes()[:-1] + (b"" if harm == "short" else b" "))
    if harm == "short":
        words = f"expected {len(config.data)} bytes"
    with pytest.raises(InvalidInput, match=words):
        FilesLayout(DirectoryFiles(tmp_path)).images()


def test_an_image_without_a_name_in_the_index_of_a_bundle_is_refused(tmp_path: Path) -> None:
    oci_layout([spec()], tmp_path / "oci")
    index = tmp_path / "oci/index.json"
    index.write_text(index.read_text().replace(str(build(spec()).name), "v1"))
    with pytest.raises(InvalidInput, match="without a name and tag"):
        FilesLayout(DirectoryFiles(tmp_path)).images()


def test_the_tree_of_an_image_counts_each_blob_once(tmp_path: Path) -> None:
    docker_save([spec()], tmp_path / "a.tar.gz", "containerd")
    layout = Layout(tmp_path / "state")
    image = read(tmp_path / "a.tar.gz", layout)[0]
    on_disk = sum(x.stat().st_size for x in layout.root.glob("blobs/sha256/*"))
    assert image.size_bytes == on_disk == sum(read_tree(layout, image.digest, "x").sizes().values())
