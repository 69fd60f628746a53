"""An archive is read to its end, and whatever is wrong with it is found, without keeping anything."""

from pathlib import Path

import pytest

from compass.errors import InvalidInput
from compass.images.archives.examine import examine
from compass.names import ImageName
from tests.compass.images.saved import spec
from tests.material.archives import Compression, Style, corrupt_layer, docker_save, truncate

TWO = [spec(), spec("harbor.caicloud.xyz/release/other:v2", "other")]


def examined(path: Path) -> tuple[set[tuple[ImageName, str]], int]:
    read = [0]

    def watch(piece: memoryview) -> None:
        read[0] += len(piece)

    found = examine(lambda: path.open("rb"), str(path), watch)
    return {(name, config) for x in found for name in x.names for config in x.config_digests}, read[0]


@pytest.mark.parametrize("style", ["legacy", "oci", "containerd"])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_whole_archive_tells_its_images(style: Style, compression: Compression, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    saved = docker_save(TWO, path, style, compression)
    assert examined(path) == ({(x.name, x.config_digest) for x in saved}, path.stat().st_size)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("style", ["legacy", "oci", "containerd"])
def test_one_changed_byte_in_a_layer_is_found(style: Style, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    docker_save(TWO, path, style)
    corrupt_layer(path)
    with pytest.raises(InvalidInput, match=f"read image archive {path}: "):
        examined(path)


def test_an_archive_that_is_cut_off_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    docker_save(TWO, path)
    truncate(path)
    with pytest.raises(InvalidInput, match="cut short"):
        examined(path)
