"""gzip as a stream gives what gzip gives, refuses what gzip refuses, and says truly which bytes gave what."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compass.igzip import DAMAGED, fast_zlib
from compass.inflating import MAX_CONTENT_BYTES, PIECE_BYTES, Inflating, Piece
from tests.material.images import noise, prose

TEXT = prose(700_000, "inflating")


class Dripping(io.RawIOBase):
    """A stream that gives at most so many bytes at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        self._inner, self._most = io.BytesIO(data), most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._inner.readinto(memoryview(buffer)[: self._most])


def expanded(data: bytes, most: int = 1 << 30) -> tuple[bytes, list[Piece]]:
    stream = Inflating(Dripping(data, most))
    pieces: list[Piece] = []
    stream.follow = pieces.append
    return io.BufferedReader(stream).read(), pieces


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 9), st.integers(0, 40)), min_size=1, max_size=4),
    most=st.sampled_from([1, 7, 1000, PIECE_BYTES, 1 << 20]),
)
def test_members_with_zeros_between_them_give_what_gzip_gives(parts: Sequence[tuple[int, int, int]], most: int) -> None:
    if most < 1000:
        parts = [(size // 100, level, zeros) for size, level, zeros in parts]
    data = b"".join(gzip.compress(TEXT[:size], level) + bytes(zeros) for size, level, zeros in parts)
    content, pieces = expanded(data, most)
    assert content == gzip.decompress(data)
    assert [x.member for x in pieces] == sorted(x.member for x in pieces)
    assert b"".join(x.content or b"" for x in pieces) == content


def test_a_piece_is_followed_by_all_that_it_gives_and_by_nothing_of_the_next() -> None:
    data = gzip.compress(TEXT, 6)
    _, pieces = expanded(data)
    assert len(pieces) > 3
    decoder = fast_zlib.decompressobj(31)
    for piece in pieces:
        assert piece.content == decoder.decompress(piece.data)
    assert b"".join(x.data for x in pieces) == data


def test_what_expands_to_very_much_is_given_in_parts_and_not_held() -> None:
    size = 300 << 20
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)) + compressor.flush()
    stream, seen, given_bytes = Inflating(io.BytesIO(data)), [], 0
    stream.follow = seen.append
    buffer = memoryview(bytearray(1 << 20))
    tracemalloc.start()
    while count := stream.readinto(buffer):
        given_bytes += count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert given_bytes == size
    assert peak < 8 * MAX_CONTENT_BYTES
    assert any(x.content is None for x in seen)


@pytest.mark.parametrize("left", [1, 2, 9, 12, 5000, -1, -8, -9])
def test_a_stream_that_is_cut_short_is_told(left: int) -> None:
    with pytest.raises((EOFError, gzip.BadGzipFile)):
        expanded(gzip.compress(TEXT)[:left])


@pytest.mark.parametrize("more", [b"x", b"\0\0more", noise(100_000, "more"), b"\x1f"])
def test_what_follows_a_member_must_be_a_member(more: bytes) -> None:
    with pytest.raises((gzip.BadGzipFile, EOFError)):
        expanded(gzip.compress(TEXT) + more)


@pytest.mark.parametrize("at", [3, 100, 50_000, -8, -5, -4, -1])
def test_a_changed_byte_is_told(at: int) -> None:
    data = bytearray(gzip.compress(TEXT))
    data[at] ^= 0xFF
    with pytest.raises((EOFError, OSError, *DAMAGED)):
        expanded(bytes(data))


def test_nothing_is_left_to_say_at_the_end() -> None:
    stream = Inflating(io.BytesIO(gzip.compress(b"a")))
    buffer = bytearray(10)
    assert [stream.readinto(buffer) for _ in range(3)] == [1, 0, 0]
