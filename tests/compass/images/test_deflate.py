"""gzip in blocks: any reader reads it, and it is the same whatever the threads and the pieces that it came in."""

import gzip
import hashlib
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compass.images import deflate
from compass.images.deflate import BLOCK_BYTES, BlockGzip
from tests.material.images import noise

TEXT = b"".join(hashlib.sha256(b"%d" % (n % 5000)).hexdigest().encode() for n in range(40_000))
DATA = TEXT + noise(700_000, "deflate") + bytes(BLOCK_BYTES) + TEXT[:-3]


def packed(data: bytes, threads: int = 2, step: int = 1 << 20) -> bytes:
    with ThreadPoolExecutor(threads) as pool:
        compressor = BlockGzip(pool, 2 * threads)
        done = [compressor.compress(memoryview(data)[n : n + step]) for n in range(0, len(data), step)]
        return b"".join([*done, compressor.flush()])


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, len(DATA)])
def test_what_went_in_comes_out(size: int, tmp_path: Path) -> None:
    data = packed(DATA[:size])
    assert gzip.decompress(data) == DATA[:size]
    (tmp_path / "a.gz").write_bytes(data)
    done = subprocess.run(["gzip", "-dc", "a.gz"], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == DATA[:size]
    assert done.stderr == b""


def test_neither_threads_nor_pieces_change_a_byte() -> None:
    first = packed(DATA)
    for threads, step in ((1, 1 << 20), (4, 1 << 20), (8, 300_001), (2, 1 << 30)):
        assert packed(DATA, threads, step) == first, (threads, step)


def test_it_is_one_member_without_time_name_or_system() -> None:
    data = packed(DATA)
    assert data[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
    decoder = zlib.decompressobj(31)
    assert decoder.decompress(data) == DATA
    assert decoder.unused_data == b""


def test_blocks_cost_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(packed(DATA)) < 1.005 * len(gzip.compress(DATA, deflate.LEVEL))
    monkeypatch.setattr(deflate, "BLOCK_BYTES", 4096)
    repeated = noise(3000, "window") * 100
    assert len(packed(repeated)) < 10_000, "a block finds again what the one before held"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(max_size=90), max_size=12), st.integers(1, 64), st.integers(1, 4))
def test_blocks_of_any_size_come_out_as_they_went_in(pieces: list[bytes], block: int, threads: int) -> None:
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(threads) as pool:
        patch.setattr(deflate, "BLOCK_BYTES", block)
        patch.setattr(deflate, "_WINDOW_BYTES", 16)
        compressor = BlockGzip(pool, 2)
        data = b"".join([*map(compressor.compress, pieces), compressor.flush()])
    assert gzip.decompress(data) == b"".join(pieces)


def test_only_a_few_blocks_wait_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    def counted(level: int, block: bytes, window: bytes, ending: int) -> bytes:
        begun.append(1)
        return block

    monkeypatch.setattr(deflate, "_deflate", counted)
    with ThreadPoolExecutor(1) as pool:
        compressor = BlockGzip(pool, 3)
        given_out = list(accumulate(len(compressor.compress(bytes(BLOCK_BYTES))) for _ in range(10)))
        assert all(n + 1 - given // BLOCK_BYTES <= 3 for n, given in enumerate(given_out)), given_out
        compressor.flush()
    assert len(begun) == 11
