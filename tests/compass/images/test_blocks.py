"""Where the blocks of a deflate stream begin is found and proven; a stream goes on from any bit and ends at any."""

from __future__ import annotations

import subprocess
import zlib
from typing import Any

import pytest

from compass.igzip import fast_zlib
from compass.images.blocks import LEAST_CONTENT_BYTES, RAW, WINDOW_BYTES, cut_off, find_block, go_on
from tests.material.images import noise, prose

TEXT = prose(1_500_000, "blocks")
ZLIBS = [zlib, fast_zlib]


def deflated(data: bytes, level: int, memory: int = 8, module: Any = zlib) -> bytes:
    compressor = module.compressobj(level, zlib.DEFLATED, RAW, memory)
    packed: bytes = compressor.compress(data) + compressor.flush()
    return packed


def inflated_by_gzip(stream: bytes, content: bytes) -> bytes:
    # A decompressor passes what follows the last block, but gzip needs its ending just there.
    decoder = zlib.decompressobj(RAW)
    assert decoder.decompress(stream) == content
    stream = stream[: len(stream) - len(decoder.unused_data)]
    ending = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    data = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255]) + stream + ending
    return subprocess.run(["gzip", "-dc"], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("bit", range(8))
def test_a_stream_goes_on_from_any_bit(bit: int) -> None:
    packed = deflated(TEXT[:5000], 6)
    moved = (int.from_bytes(packed, "little") << bit | (1 << bit) - 1).to_bytes(len(packed) + 1, "little")
    stream = go_on(moved, bit)
    for module in ZLIBS:
        assert module.decompress(stream, RAW) == TEXT[:5000]
    assert inflated_by_gzip(stream, TEXT[:5000]) == TEXT[:5000]


@pytest.mark.parametrize("memory", [1, 8, 9])
@pytest.mark.parametrize(
    ("module", "level"), [(zlib, 1), (zlib, 2), (zlib, 6), (zlib, 9), (fast_zlib, 1), (fast_zlib, 2)]
)
def test_from_every_block_that_is_found_the_rest_follows(level: int, memory: int, module: Any) -> None:
    data = deflated(TEXT, level, memory, module)
    half = len(data) // 3
    before = fast_zlib.decompressobj(RAW).decompress(data[:half])
    content = TEXT[len(before) :]
    bit, found = 0, 0
    while found < 20 and (block := find_block(data[half:], bit, before, content)):
        bit, place = block
        window = (before + content[:place])[-WINDOW_BYTES:]
        assert zlib.decompressobj(RAW, zdict=window).decompress(go_on(data[half:], bit)) == content[place:]
        assert bit == 0 or place > 0
        bit, found = bit + 1, found + 1
    assert found >= 1


def test_a_stream_that_is_cut_off_at_a_block_gives_what_is_before_it_and_can_be_added_to() -> None:
    data = deflated(TEXT, 6)
    start = len(data) // 3
    before = fast_zlib.decompressobj(RAW).decompress(data[:start])
    block = find_block(data[start:], 0, before, TEXT[len(before) :])
    assert block is not None
    bit, place = block
    stream = cut_off(data, 8 * start + bit) + deflated(b"and more", 1)
    expected = TEXT[: len(before) + place] + b"and more"
    for module in ZLIBS:
        assert module.decompress(stream, RAW) == expected
    assert inflated_by_gzip(stream, expected) == expected


@pytest.mark.parametrize(("level", "content"), [(0, TEXT), (6, noise(300_000, "no blocks")), (6, bytes(300_000))])
def test_where_no_block_has_codes_of_its_own_none_is_found(level: int, content: bytes) -> None:
    data = deflated(bytes(WINDOW_BYTES) + content, level)
    half = len(data) // 2
    before = fast_zlib.decompressobj(RAW).decompress(data[:half])
    assert find_block(data[half:], 0, before[-WINDOW_BYTES:].rjust(WINDOW_BYTES), content[len(before) :]) is None


def test_what_too_little_follows_is_not_found() -> None:
    data = deflated(TEXT, 6)
    start = len(data) // 3
    before = fast_zlib.decompressobj(RAW).decompress(data[:start])
    content = TEXT[len(before) :]
    bit, places = 0, []
    while block := find_block(data[start:], bit, before, content):
        bit = block[0] + 1
        places.append(block[1])
    assert places
    assert len(content) - places[-1] >= LEAST_CONTENT_BYTES


def test_other_content_than_what_follows_proves_nothing() -> None:
    data = deflated(TEXT, 6)
    start = len(data) // 3
    before = fast_zlib.decompressobj(RAW).decompress(data[:start])
    content = bytearray(TEXT[len(before) :])
    content[-1] ^= 1
    assert find_block(data[start:], 0, before, bytes(content)) is None
