"""A layer's gzip out of its archive's: what the archive has compressed is taken over, not compressed once more.

A layer lies in the middle of its archive's deflate stream.  Nearly all of the blocks that it lies in are its own, and
refer to nothing before it: those are copied.  Only the beginning, until a block begins that is far enough inside, and
the end, after the last block that ends inside, are compressed anew.  What is copied is bit for bit what the archive's
own decompressor has read, between two places that were proven to be beginnings of blocks.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from compass.igzip import fast_zlib
from compass.images.blocks import RAW, WINDOW_BYTES, cut_off, find_block, go_on
from compass.images.compression import Compressor, gzip_compressor
from compass.inflating import Inflating, Piece

MIN_LAYER_BYTES = 1 << 20  # a smaller one is compressed before a block is found
MOST_TRIES = 8  # pieces without a block are passed before it is given up: it may be compressed not at all
PIECES_HELD = 8  # the end is looked for in them; a block is seldom half as long as one
_LEVEL = 1
_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])  # deflate; no name, no time, no system


class Unspliced(Exception):  # a signal inside this room, no failure
    """The end of a layer's blocks was not found: it must be read again, and compressed."""


@dataclass
class _Held:
    """A piece whose data from ``first`` on is still to be written; its content begins at ``place`` in the layer."""

    piece: Piece
    place: int
    first: int = 0


class Splicing:
    """Writes a layer as gzip; a context, inside of which ``inflating`` gives the layer's content."""

    def __init__(self, inflating: Inflating, write: Callable[[bytes], None]) -> None:
        self._inflating, self._write = inflating, write
        self._compressor: Compressor | None = None
        self._lead = bytearray()  # what was taken before a block was found
        self._held: deque[_Held] = deque()
        self._before = b""  # the content before what is held
        self._tries = 0
        self._is_going = False
        self._crc = self._size = 0

    def __enter__(self) -> Splicing:
        self._inflating.follow = self._see
        return self

    def __exit__(self, *_: object) -> None:
        self._inflating.follow = None

    def take(self, content: bytes | memoryview) -> None:
        """Take the next part of the layer."""
        self._size += len(content)
        if self._compressor:
            self._put(self._compressor.compress(content))
            return
        self._crc = fast_zlib.crc32(content, self._crc)
        if not self._is_going:
            self._lead += content

    def finish(self) -> None:
        """Write the rest.

        Raises:
            Unspliced: blocks were copied, and none was found that begins near the layer's end.
        """
        if not self._is_going:
            self._compress_all()
        if self._compressor:
            self._put(self._compressor.flush())
            return
        self._end()
        self._write(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))

    def _see(self, piece: Piece) -> None:
        """See what the decompressor has taken next; all that it gave before is taken."""
        if self._compressor:
            return
        if self._is_going:
            self._hold(_Held(piece, self._size))
            return
        if len(self._lead) < WINDOW_BYTES:
            return
        if piece.content is None or (self._held and piece.member != self._held[0].piece.member):
            self._compress_all()
            return
        self._held.append(_Held(piece, self._size))
        if len(self._held) == 2 and not self._begin():
            self._held.popleft()
            self._tries += 1
            if self._tries == MOST_TRIES:
                self._compress_all()

    def _begin(self) -> bool:
        """Look for a block in what is held; if one begins there, go on from it."""
        place = self._held[0].place
        data, content = self._joined(0)
        before = bytes(self._lead[:place][-WINDOW_BYTES:])
        found = find_block(data, 0, before, content)
        if found is None:
            return False
        bit, inside = found
        # The content of the second piece is not taken yet.
        lead = bytes(self._lead[:place]) + content[:inside]
        start = _deflated(lead, fast_zlib.Z_SYNC_FLUSH)
        if fast_zlib.decompressobj(RAW).decompress(start + go_on(data, bit)) != lead + content[inside:]:
            return False
        first = bit // 8 + (1 if bit % 8 else 0)
        self._write(_HEADER + start + go_on(data[:first], bit))
        self._skip(first)
        self._before = before
        self._lead.clear()
        self._is_going = True
        return True

    def _skip(self, first: int) -> None:
        for held in self._held:
            held.first = min(first, len(held.piece.data))
            first -= held.first

    def _hold(self, held: _Held) -> None:
        self._held.append(held)
        if len(self._held) > PIECES_HELD:
            old = self._held.popleft()
            self._put(old.piece.data[old.first :])
            self._before = (self._before + (old.piece.content or b""))[-WINDOW_BYTES:]

    def _end(self) -> None:
        """Write what is held until the last block that is known to begin inside the layer, and the rest anew."""
        for index in reversed(range(len(self._held))):
            if self._is_one(index) and (found := self._last_block(index)):
                bit, rest = found
                self._write_until(index, bit)
                self._write(_deflated(rest, fast_zlib.Z_FINISH))
                return
        raise Unspliced

    def _is_one(self, index: int) -> bool:
        """Tell whether what is held from ``index`` on is known, and of the member that it began in."""
        held = list(self._held)
        known = all(x.piece.content is not None for x in held[index:])
        return known and held[-1].piece.member == held[0].piece.member

    def _last_block(self, index: int) -> tuple[int, bytes] | None:
        """Return where a block begins after the piece at ``index`` does, and the layer's content from there."""
        held = self._held[index]
        data, content = self._joined(index)
        before = self._before + b"".join(x.piece.content or b"" for x in list(self._held)[:index])
        found = find_block(data, 8 * held.first, before[-WINDOW_BYTES:], content)
        if found is None or held.place + found[1] > self._size:
            return None
        return found[0], content[found[1] : self._size - held.place]

    def _write_until(self, index: int, bit: int) -> None:
        for held in list(self._held)[:index]:
            self._put(held.piece.data[held.first :])
        first = self._held[index].first
        self._put(cut_off(self._joined(index)[0][first:], bit - 8 * first))

    def _joined(self, index: int) -> tuple[bytes, bytes]:
        held = list(self._held)[index:]
        return b"".join(x.piece.data for x in held), b"".join(x.piece.content or b"" for x in held)

    def _compress_all(self) -> None:
        if self._compressor is None:
            self._compressor = gzip_compressor()
            self._held.clear()
            self._put(self._compressor.compress(memoryview(self._lead)))
            self._lead.clear()

    def _put(self, data: bytes) -> None:
        if data:
            self._write(data)


def _deflated(content: bytes, ending: int) -> bytes:
    compressor = fast_zlib.compressobj(_LEVEL, fast_zlib.DEFLATED, RAW)
    packed: bytes = compressor.compress(content) + compressor.flush(ending)
    return packed
