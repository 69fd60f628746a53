"""The archives that are measured with are what they say they are."""

from pathlib import Path

import pytest

from bench.archives import IMAGES, OWN_BYTES, unpacked_bytes, write_archives
from compass.bundle.files import DirectoryFiles
from compass.images.archives.normalise import normalise
from compass.images.layout import Layout
from compass.images.manifests import read_tree
from compass.progress import Silent
from tests.material.images import noise

SCALE = 0.001


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with enough for layers of this scale, and with what belongs in none."""
    root = tmp_path / "source"
    for number in range(900):
        path = root / f"part{number % 7}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(2_000, str(number)))
    (root / "link").symlink_to("part0/file0")
    (root / "dangling").symlink_to("nowhere")
    (root / "large").write_bytes(bytes(1_000_000))
    return root


def test_archives_hold_images_that_share_a_base_layer(source: Path, tmp_path: Path) -> None:
    archives = write_archives(tmp_path / "archives", SCALE, source)
    layout = Layout(tmp_path / "state")
    found = normalise(DirectoryFiles(tmp_path / "archives"), [x.path.name for x in archives], layout, Silent())
    layers = []
    for archive in archives:
        (image,) = found[archive.path.name]
        assert (str(image.name), image.config_digests) == (archive.name, (archive.config_digest,))
        assert str(image.name.at("")) == archive.short_name
        layers.append([x.digest for x in read_tree(layout, image.digest, archive.name).blobs[1:]])
    assert len({x[0] for x in layers}) == 1, "the base"
    assert len({y for x in layers for y in x}) == 1 + IMAGES * len(OWN_BYTES)
    assert len(list((tmp_path / "archives").iterdir())) == IMAGES, "the layers themselves are gone"


def test_the_same_files_give_the_same_archives_of_the_size_that_is_asked_for(source: Path, tmp_path: Path) -> None:
    one, two = (write_archives(tmp_path / x, SCALE, source) for x in ("one", "two"))
    assert [x.path.read_bytes() for x in one] == [x.path.read_bytes() for x in two]
    assert unpacked_bytes(one) == pytest.approx(IMAGES * (171_000 + sum(OWN_BYTES) / 1000), rel=0.2)


def test_too_few_files_are_told(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="give a smaller --scale"):
        write_archives(tmp_path / "archives", SCALE * 10, source)
