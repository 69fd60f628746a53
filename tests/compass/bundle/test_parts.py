"""Archives in parts: written, found by any of their names, read as one, and each wrong part named."""

import io
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compass.bundle import parts as module
from compass.bundle.archive import Archive
from compass.bundle.files import TarFiles
from compass.bundle.parts import ArchiveWriter, find_archive, parts_beside
from compass.errors import InvalidInput
from tests.compass.bundle.packing import contents, opened, tar, written
from tests.material.bundles import packed_bundle
from tests.material.images import noise

DATA = noise(10_500, "parts")


def split(folder: Path, data: bytes = DATA, size: int = 1000, name: str = "b.tar") -> list[Path]:
    """Write data in parts, and the listing."""
    with ArchiveWriter(folder, name, size) as writer:
        writer.write(data)
        return writer.finish()


def found(path: Path) -> Archive:
    archive = find_archive(path)
    assert archive
    return archive


def test_parts_are_what_cat_joins_and_sha256sum_checks(tmp_path: Path) -> None:
    files = split(tmp_path)
    assert [x.name for x in files] == [*(f"b.tar.{n:03}" for n in range(11)), "b.tar.sha256"]
    assert [x.stat().st_size for x in files[:-1]] == [1000] * 10 + [500]
    joined = subprocess.run(["sh", "-c", "cat b.tar.0*"], cwd=tmp_path, capture_output=True, check=True)
    assert joined.stdout == DATA
    checked = subprocess.run(["sha256sum", "-c", "b.tar.sha256"], cwd=tmp_path, capture_output=True, check=True)
    assert checked.stdout.count(b": OK") == 11


def test_a_file_that_is_not_split_is_one_file_without_listing(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path, "b.tar") as writer:
        for n in range(0, len(DATA), 700):
            writer.write(DATA[n : n + 700])
        assert writer.finish() == [tmp_path / "b.tar"]
    assert writer.size == len(DATA)
    assert (tmp_path / "b.tar").read_bytes() == DATA


def test_more_parts_than_can_be_numbered_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PARTS", 10)
    with pytest.raises(InvalidInput, match="more than 10 parts of 1000 bytes; choose larger parts"):
        split(tmp_path)


@pytest.mark.parametrize("name", ["b.tar", "b.tar.000", "b.tar.007"])
@pytest.mark.parametrize("listed", [True, False])
def test_the_whole_is_found_by_its_name_or_that_of_any_part(tmp_path: Path, name: str, listed: bool) -> None:
    *_, listing = split(tmp_path)
    if not listed:
        listing.unlink()
    archive = found(tmp_path / name)
    assert (archive.path, archive.size, archive.is_split) == (tmp_path / "b.tar", len(DATA), True)
    with archive.open() as stream:
        assert stream.read() == DATA


def test_a_file_is_an_archive_of_one_part_whatever_lies_beside_it(tmp_path: Path) -> None:
    split(tmp_path, name="other.tar")
    path = written(tmp_path / "b.tar", DATA)
    written(tmp_path / "b.tar.sha256", b"0" * 64 + b"  b.tar\n")
    assert found(path) == Archive.of(path)
    assert parts_beside(path) == []
    path.unlink()
    assert find_archive(path) is None, "the checksum of a file is no listing of parts"
    assert find_archive(tmp_path / "none" / "b.tar") is None


def test_a_file_whose_name_only_looks_like_a_part_is_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "b.123", DATA)
    assert not found(path).is_split


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 60)), max_size=20), st.integers(1, 120))
def test_the_joined_stream_is_the_same_file_wherever_it_is_read(reads: list[tuple[int, int]], size: int) -> None:
    data = bytes(range(110))
    with TemporaryDirectory() as folder:
        split(Path(folder), data, size)
        with found(Path(folder, "b.tar")).open() as stream, io.BytesIO(data) as plain:
            for at, count in reads:
                assert stream.seek(at) == plain.seek(at)
                assert stream.read(count) == plain.read(count)
                assert stream.tell() == plain.tell()
            assert stream.seek(-3, io.SEEK_END) == 107
            assert stream.read() == data[-3:]


def test_streams_of_one_archive_do_not_share_a_position(tmp_path: Path) -> None:
    split(tmp_path)
    archive = found(tmp_path / "b.tar")
    with archive.slice(990, 20) as one, archive.slice(5000, 3000) as two:
        assert one.read() == DATA[990:1010]
        assert two.read(10) == DATA[5000:5010]
        assert one.seek(15) == 15
        assert one.read() == DATA[1005:1010]
        assert one.read() == b""


def test_a_packed_bundle_in_parts_is_the_same_bundle(tmp_path: Path) -> None:
    whole = packed_bundle(tmp_path / "b.tar")
    parts = tmp_path / "parts"
    parts.mkdir()
    split(parts, whole.read_bytes(), 7000)
    bundle = opened(parts / "b.tar.000")
    assert isinstance(bundle.files, TarFiles)
    assert bundle.where == str(parts / "b.tar")
    assert contents(bundle) == contents(opened(whole))
    assert not (parts / "state").exists(), "nothing is joined or unpacked"


@pytest.mark.parametrize("number", [0, 4, 10])
def test_a_part_that_is_missing_is_named(tmp_path: Path, number: int) -> None:
    split(tmp_path)[number].unlink()
    for name in ("b.tar", "b.tar.003"):
        with pytest.raises(InvalidInput, match=rf"b\.tar\.{number:03}: the part is missing"):
            find_archive(tmp_path / name)


def test_a_part_that_is_missing_is_named_without_a_listing(tmp_path: Path) -> None:
    whole = packed_bundle(tmp_path / "whole.tar").read_bytes()
    files = split(tmp_path, whole, 7000)
    files[-1].unlink()
    files[-2].unlink()
    with pytest.raises(InvalidInput, match=rf"see whether a part is missing after {files[-3].name}"):
        opened(tmp_path / "b.tar")
    files[2].unlink()
    with pytest.raises(InvalidInput, match=r"b\.tar\.002: the part is missing"):
        opened(tmp_path / "b.tar")


@pytest.mark.parametrize("number", [0, 2])
def test_a_part_that_is_short_is_named(tmp_path: Path, number: int) -> None:
    path = split(tmp_path, packed_bundle(tmp_path / "whole.tar").read_bytes(), 7000)[number]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match=rf"b\.tar\.{number:03}: a part of 6999 bytes, expected 7000"):
        opened(tmp_path / "b.tar")


def test_the_last_part_that_is_short_is_named(tmp_path: Path) -> None:
    whole = packed_bundle(tmp_path / "whole.tar").read_bytes()
    path = split(tmp_path, whole, len(whole) - 15_000)[-2]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidInput, match=rf"{path.name}: a part with sha256 "):
        opened(tmp_path / "b.tar")


@pytest.mark.parametrize("pair", [(0, 1), (2, 3)])
def test_parts_that_were_swapped_are_named(tmp_path: Path, pair: tuple[int, int]) -> None:
    files = split(tmp_path, packed_bundle(tmp_path / "whole.tar").read_bytes(), 7000)
    one, two = (files[n] for n in pair)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(InvalidInput, match=rf"{one.name}: a part with sha256 \w+, that of {two.name}, expected"):
        opened(tmp_path / "b.tar")


def test_one_changed_byte_names_its_part(tmp_path: Path) -> None:
    path = split(tmp_path, packed_bundle(tmp_path / "whole.tar").read_bytes(), 7000)[3]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"b\.tar\.003: a part with sha256 "):
        opened(tmp_path / "b.tar")


def test_a_part_that_nobody_may_read_is_named(tmp_path: Path) -> None:
    split(tmp_path, tar([("a", b"x" * 3000)]), 1000)
    archive = found(tmp_path / "b.tar")
    part = tmp_path / "b.tar.002"
    part.unlink()
    part.mkdir()  # for root too: a folder cannot be read
    with pytest.raises(InvalidInput, match=r"b\.tar\.002: is a directory"), archive.open() as stream:
        stream.read()
