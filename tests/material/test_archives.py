"""The archives are what Docker wrote, and break in one place only."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any, get_args

import pytest

from compass.digests import Digest, digest_of
from tests.material.archives import Compression, Style, corrupt_layer, docker_save, truncate
from tests.material.bundles import component_images

STYLES = get_args(Style)


def read(path: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return ``manifest.json`` and every file, links followed, of an archive."""
    with tarfile.open(path) as tar:
        files = {x.name: tar.extractfile(x) for x in tar if not x.isdir()}
        data = {name: file.read() for name, file in files.items() if file}
    return json.loads(data["manifest.json"]), data


def diff_ids(names: list[str], data: dict[str, bytes]) -> tuple[Digest, ...]:
    layers = [data[name] for name in names]
    return tuple(digest_of(gzip.decompress(x) if x.startswith(b"\x1f\x8b") else x) for x in layers)


@pytest.mark.parametrize("style", STYLES)
def test_an_archives_content_is_what_was_said(tmp_path: Path, style: Style) -> None:
    saved = docker_save(component_images(), tmp_path / "a.tar.gz", style)
    manifest, data = read(tmp_path / "a.tar.gz")
    for entry, image in zip(manifest, saved, strict=True):
        assert entry["RepoTags"] == [str(image.name)]
        assert digest_of(data[str(entry["Config"])]) == image.config_digest
        assert diff_ids(list(entry["Layers"]), data) == image.diff_ids


@pytest.mark.parametrize("style", STYLES)
def test_an_archive_has_the_same_bytes_every_time(tmp_path: Path, style: Style) -> None:
    for name in ("a", "b"):
        docker_save(component_images(), tmp_path / name, style)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("style", STYLES)
def test_a_corrupted_archive_is_whole_but_for_one_layer(tmp_path: Path, style: Style, compression: Compression) -> None:
    path = tmp_path / "a"
    docker_save(component_images()[:1], path, style, compression)
    _, before = read(path)
    corrupt_layer(path)
    _, after = read(path)
    assert before.keys() == after.keys()
    assert len([name for name in before if before[name] != after[name]]) == 1


def test_a_shared_layer_of_the_old_layout_is_a_link(tmp_path: Path) -> None:
    base = component_images()[0].layers[:1]
    specs = [component_images()[0], type(component_images()[0])("harbor.caicloud.xyz/release/base:v1", base)]
    docker_save(specs, tmp_path / "a", "legacy", "none")
    with tarfile.open(tmp_path / "a") as tar:
        links = [x for x in tar if x.issym()]
        assert [tar.extractfile(x) is not None for x in links] == [True]
        assert links[0].linkname.startswith("../")


def test_a_truncated_archive_cannot_be_read(tmp_path: Path) -> None:
    docker_save(component_images(), tmp_path / "a", "legacy")
    truncate(tmp_path / "a")
    with pytest.raises(EOFError):
        gzip.decompress((tmp_path / "a").read_bytes())
