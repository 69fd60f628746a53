"""Images are gathered once, the same way every time, and what lies elsewhere is not compressed again."""

import gzip
import os
from pathlib import Path

import pytest

from compass.bundle.files import DirectoryFiles
from compass.digests import Digest, digest_of
from compass.errors import InvalidInput
from compass.images.archives import gather as module
from compass.images.archives.gather import each_once, gather
from compass.images.layout import FilesLayout, Layout
from compass.images.manifests import read_tree
from compass.images.model import StoredImage
from compass.images.relied import layers_by_content
from compass.names import ImageName
from compass.progress import Silent
from tests.compass.images.archives.test_normalise import Counting
from tests.compass.images.saved import left_in, spec
from tests.material.archives import Compression, Style, corrupt_layer, docker_save
from tests.material.images import ImageSpec, build, gzipped
from tests.material.push import oci_layout

TWO = [spec(), spec("harbor.caicloud.xyz/release/other:v2", "other")]


def archives(folder: Path, specs: list[ImageSpec], style: Style = "legacy", how: Compression = "gzip") -> list[str]:
    names = [f"{n}.tar.gz" for n in range(len(specs))]
    for name, each in zip(names, specs, strict=True):
        docker_save([each], folder / name, style, how)
    return names


def gathered(folder: Path, names: list[str], layout: Layout, **how: object) -> list[StoredImage]:
    files = DirectoryFiles(folder)
    digests = {x: digest_of((folder / x).read_bytes()) for x in names}
    progress = Counting()
    found = gather(files, names, layout, progress, digests=digests, **how)  # type: ignore[arg-type]
    assert progress.done == progress.total
    return found


def blobs(layout: Layout) -> dict[str, bytes]:
    return {x.name: x.read_bytes() for x in layout.root.glob("blobs/sha256/*")}


def test_every_layer_is_there_once_and_holds_what_the_archives_held(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "to")
    images = gathered(tmp_path, archives(tmp_path, TWO), layout)
    assert [x.name for x in images] == [build(x).name for x in TWO]
    for image, made in zip(images, map(build, TWO), strict=True):
        tree = read_tree(layout, image.digest, "x")
        assert tree.config_digests() == (made.config_digest,)
        layers = [gzip.decompress(layout.open(x.digest).read()) for x in tree.blobs[1:]]
        assert layers == [x.data for x in made.layers]
    assert len(blobs(layout)) == 3 + 2 + 2, "layers, configs, manifests"


@pytest.mark.parametrize("style", ["legacy", "oci", "containerd"])
def test_the_blobs_are_the_same_whatever_the_processors_and_the_archives(
    style: Style, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for n, processors in enumerate((1, 3)):
        folder = tmp_path / str(n)
        monkeypatch.setattr(os, "cpu_count", lambda processors=processors: processors)
        layout = Layout(folder / "to")
        specs = TWO if n else TWO[::-1]
        gathered(folder, archives(folder, specs, style, "gzip" if n else "none"), layout)
        found.append(blobs(layout))
    assert found[0] == found[1]


def test_layers_that_are_compressed_already_are_kept_byte_for_byte(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "to")
    gathered(tmp_path, archives(tmp_path, TWO, "containerd"), layout)
    for part in (gzipped(x) for each in TWO for x in build(each).layers):
        assert layout.open(part.digest).read() == part.data


@pytest.mark.parametrize("style", ["legacy", "oci"])
def test_layers_that_lie_elsewhere_are_taken_from_there(
    style: Style, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oci_layout([TWO[0], spec("h.io/x:v1", "x")], tmp_path / "old/oci")
    old = FilesLayout(DirectoryFiles(tmp_path / "old"))
    elsewhere = layers_by_content(old.images(), old)
    compressed: list[object] = []
    real = module.BlockGzip
    monkeypatch.setattr(module, "BlockGzip", lambda *x: compressed.append(x) or real(*x))
    layout = Layout(tmp_path / "to", beneath=old)
    images = gathered(tmp_path, archives(tmp_path, TWO, style), layout, elsewhere=elsewhere)
    assert len(compressed) == 1, "only what is new"
    shared, own = (gzipped(x) for x in build(TWO[0]).layers)
    assert [x.digest for x in read_tree(layout, images[0].digest, "x").blobs[1:]] == [shared.digest, own.digest]
    assert read_tree(layout, images[1].digest, "x").blobs[1].digest == shared.digest
    assert not {shared.digest[7:], own.digest[7:]} & blobs(layout).keys()


def test_an_archive_that_says_a_layer_is_one_that_lies_elsewhere_is_not_believed(tmp_path: Path) -> None:
    oci_layout(TWO[:1], tmp_path / "old/oci")
    old = FilesLayout(DirectoryFiles(tmp_path / "old"))
    names = archives(tmp_path, TWO[:1])
    corrupt_layer(tmp_path / names[0])
    layout = Layout(tmp_path / "to", beneath=old)
    with pytest.raises(InvalidInput, match="a layer with diff id"):
        gathered(tmp_path, names, layout, elsewhere=layers_by_content(old.images(), old))


def test_a_bad_archive_is_named_with_its_place(tmp_path: Path) -> None:
    names = archives(tmp_path, TWO)
    (tmp_path / names[1]).write_bytes(b"no archive")
    for more in ({}, {"elsewhere": {Digest("sha256:" + "0" * 64): None}}):
        layout = Layout(tmp_path / f"to{len(more)}")
        with pytest.raises(InvalidInput, match=f"{tmp_path}/1.tar.gz"):
            gather(DirectoryFiles(tmp_path), names, layout, Silent(), digests={}, **more)  # type: ignore[arg-type]


def test_one_image_in_two_archives_is_one_and_two_of_one_name_are_named(tmp_path: Path) -> None:
    names = archives(tmp_path, [TWO[0], TWO[0]])
    assert len(gathered(tmp_path, names, Layout(tmp_path / "to"))) == 1
    names = archives(tmp_path, [TWO[0], spec(TWO[0].name, "different")])
    with pytest.raises(InvalidInput, match=rf"two images of this name: .* in {tmp_path}/0.tar.gz, .*1.tar.gz"):
        gathered(tmp_path, names, Layout(tmp_path / "again"))


def test_images_that_differ_in_their_host_alone_come_under_one_name_at_a_site() -> None:
    def image(host: str, digest: str) -> tuple[str, StoredImage]:
        name = ImageName.parse(f"{host}/release/a:v1")
        return host, StoredImage(name, Digest(digest), "", (), 0)

    assert len(each_once([image("a.io", "sha256:1"), image("b.io", "sha256:1")])) == 1
    with pytest.raises(InvalidInput, match=r"sha256:1 in a\.io, sha256:2 in b\.io"):
        each_once([image("a.io", "sha256:1"), image("b.io", "sha256:2")])


def test_nothing_but_blobs_and_notes_is_left(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "to")
    gathered(tmp_path, archives(tmp_path, TWO), layout)
    assert not [x for x in left_in(layout) if ".writing" in x]
