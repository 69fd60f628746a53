"""A layer's gzip out of its archive's: what the archive has compressed is taken over, not compressed once more.

A layer lies in the middle of its archive's deflate stream.  Nearly all of the blocks that it lies in are its own, and
refer to nothing before it: those are copied.  Only the beginning, until a block begins that is far enough inside, and
the end, after the last block that begins inside, are compressed anew.  What is copied is bit for bit what the archive's
own decompressor has read.  Both seams are proven by inflating what lies around them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from compass.igzip import DAMAGED, fast_zlib
from compass.images.blocks import RAW, WINDOW_BYTES, cut_off, find_block, go_on
from compass.images.compression import Compressor, gzip_compressor
from compass.inflating import Inflating, Piece

MIN_LAYER_BYTES = 4 << 20  # a smaller one is compressed before it is worth looking
MOST_LEAD_BYTES = 4 << 20  # of content is held before a block is found
PIECES_TO_BEGIN = 3
PIECES_HELD = 8
# A place that looks like the beginning of a block and is none is followed by the right content at most until what it
# lies in ends, which in a stored block is 64 KiB; more must follow.
PROOF_BYTES = 72 << 10
_LEVEL = 1
_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])  # deflate; no name, no time, no system


class Unspliced(Exception):  # a signal inside this room, no failure
    """The end of a layer's blocks was not found: it must be read again, and compressed."""


@dataclass(frozen=True)
class _Held:
    """A piece, whose content begins at ``place`` in the layer."""

    piece: Piece
    place: int


class Splicing:
    """Writes a layer of ``size`` bytes as gzip; a context, inside of which ``inflating`` gives the layer's content.

    Raises:
        Unspliced: blocks were copied, and it cannot go on like that.
    """

    def __init__(self, inflating: Inflating, write: Callable[[bytes], None], size: int) -> None:
        self._inflating, self._write, self._whole_size = inflating, write, size
        self._compressor: Compressor | None = None
        self._lead = bytearray()  # what was taken before a block was found
        self._held: list[_Held] = []
        self._skip = 0  # how much of the first piece held is written
        self._before = b""  # the content before what is held
        self._sure: tuple[int, int] | None = None  # a block that is proven, where in what is held
        self._is_going = False
        self._member = self._crc = self._size = 0

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
        """Write the rest."""
        if not self._is_going:
            self._compress_all()
        if self._compressor:
            self._put(self._compressor.flush())
            return
        self._write(self._ending() + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))

    def _see(self, piece: Piece) -> None:
        """See what the decompressor has taken next; all that it gave before is taken."""
        if self._compressor:
            return
        if self._is_going:
            self._hold(piece)
        elif piece.content is None or len(self._lead) > MOST_LEAD_BYTES:
            self._compress_all()
        elif len(self._lead) >= WINDOW_BYTES:
            self._held.append(_Held(piece, self._size))
            if len(self._held) == PIECES_TO_BEGIN:
                self._begin()

    def _begin(self) -> None:
        """Look for a block in what is held, and go on from it; without one, look again one piece later."""
        place = self._held[0].place
        self._before = bytes(self._lead[:place][-WINDOW_BYTES:])
        data, content = self._joined(0)
        found = find_block(data, 0, self._before, content, proof_bytes=PROOF_BYTES)
        if found is None or len({x.piece.member for x in self._held}) > 1:
            self._held.pop(0)
            return
        bit, inside = found
        # What the last piece holds is not taken yet.
        lead = (bytes(self._lead[:place]) + content)[: place + inside]
        start = _deflated(lead, fast_zlib.Z_SYNC_FLUSH)
        if place + inside > self._whole_size or not _gives(start + go_on(data, bit), lead + content[inside:]):
            self._compress_all()
            return
        self._skip = -(-bit // 8)
        self._write(_HEADER + start + go_on(data[: self._skip], bit))
        self._member, self._sure = self._held[0].piece.member, found
        while self._skip >= len(self._held[0].piece.data):
            self._skip -= len(self._held[0].piece.data)
            self._forget_first()
        self._lead.clear()
        self._is_going = True

    def _hold(self, piece: Piece) -> None:
        if piece.member != self._member:
            raise Unspliced
        self._held.append(_Held(piece, self._size))
        if len(self._held) > PIECES_HELD:
            self._write_first()

    def _write_first(self) -> None:
        self._put(self._held[0].piece.data[self._skip :])
        self._skip = 0
        self._forget_first()

    def _forget_first(self) -> None:
        piece = self._held.pop(0).piece
        self._before = b"" if piece.content is None else (self._before + piece.content)[-WINDOW_BYTES:]
        bit, place = self._sure or (0, 0)
        is_held = bit >= 8 * len(piece.data)
        self._sure = (bit - 8 * len(piece.data), place - len(piece.content or b"")) if is_held else None

    def _ending(self) -> bytes:
        """Return what is held until the last block that is known to begin inside the layer, and the rest anew."""
        while any(x.piece.content is None for x in self._held) or (self._held and len(self._before) < WINDOW_BYTES):
            self._write_first()
        data, content = self._joined(0)
        sure = self._sure or find_block(data, 8 * self._skip, self._before, content, proof_bytes=PROOF_BYTES)
        for index in reversed(range(len(self._held) if sure else 0)):
            block = self._block_at(index)
            if sure and block and sure < block and block[0] >= 8 * self._skip:
                ending = self._sewn(data, content, sure, block)
                if ending is not None:
                    return ending[self._skip :]
        raise Unspliced

    def _block_at(self, index: int) -> tuple[int, int] | None:
        """Return a block that begins in or after the piece at ``index``, where in all that is held; none too late."""
        earlier = self._held[:index]
        before = self._before + b"".join(x.piece.content or b"" for x in earlier)
        data, content = self._joined(index)
        found = find_block(data, 0, before[-WINDOW_BYTES:], content)
        if found is None:
            return None
        bit = found[0] + 8 * sum(len(x.piece.data) for x in earlier)
        place = found[1] + self._held[index].place - self._held[0].place
        return (bit, place) if self._held[0].place + place <= self._size else None

    def _sewn(self, data: bytes, content: bytes, sure: tuple[int, int], block: tuple[int, int]) -> bytes | None:
        """Return ``data`` until ``block``, and the rest compressed anew, if that gives the layer's content."""
        end = self._size - self._held[0].place
        ending = cut_off(data, block[0]) + _deflated(content[block[1] : end], fast_zlib.Z_FINISH)
        window = (self._before + content[: sure[1]])[-WINDOW_BYTES:]
        stream = go_on(ending, sure[0])
        return ending if _gives(stream, content[sure[1] : end], window, to_its_end=True) else None

    def _joined(self, index: int) -> tuple[bytes, bytes]:
        """Return the data and the content of what is held from ``index`` on."""
        held = self._held[index:]
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


def _gives(stream: bytes, content: bytes, window: bytes = b"", *, to_its_end: bool = False) -> bool:
    """Tell whether a deflate stream gives this content, and no more."""
    decoder = fast_zlib.decompressobj(RAW, zdict=window) if window else fast_zlib.decompressobj(RAW)
    try:
        is_same: bool = decoder.decompress(stream, len(content) + 1) == content
    except DAMAGED:
        return False
    return is_same and (not to_its_end or (decoder.eof and not decoder.unused_data))
