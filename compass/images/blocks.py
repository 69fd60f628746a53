"""Where the blocks of a deflate stream begin, and how a stream is made that goes on in the middle of another one.

Nothing in a deflate stream marks the beginning of a block, and it may lie at any bit.  It is found by what it looks
like, and proven by decompressing from there: the content must be what is known to follow.

Source: RFC 1951, sections 3.2.3 to 3.2.7.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from compass.igzip import DAMAGED, fast_zlib

WINDOW_BYTES = 32 << 10
RAW = -15  # 15 bits of window, neither header nor trailer
LEAST_CONTENT_BYTES = 16 << 10  # that must follow a beginning, so that it is no chance
MOST_CANDIDATES = 1000  # of which nearly all fail at once

_DYNAMIC = 0b100  # BFINAL 0, BTYPE 10
# What blocks of real content have; one that has not is passed, and the next one found.
_LITERALS = range(10, 30)  # HLIT: lengths of 14 and more; at most 286 codes
_DISTANCES = range(16, 30)  # HDIST: distances of 257 and more; at most 30 codes
_ODD = range(1, 256, 2)  # the highest bit of HCLEN: 12 lengths or more
_CODE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_SHARES = [0, *(128 >> length for length in range(1, 8))]  # of the code space, in 128ths, by length of a code
_SHARES_OF_FOUR = [sum(_SHARES[value >> at & 7] for at in (0, 3, 6, 9)) for value in range(1 << 12)]
_LENGTHS = [(1 << 3 * (count + 4)) - 1 for count in range(16)]  # by HCLEN
_HEADER_BYTES = 10
_NO_WINDOW = bytes(WINDOW_BYTES)
_STRIDE = 2048


def _one_of(values: Iterable[int]) -> bytes:
    return b"[" + b"".join(re.escape(bytes([x])) for x in values) + b"]"


_HEADER = re.compile(
    b"(?="
    + _one_of(_DYNAMIC | count << 3 for count in _LITERALS)
    + _one_of(x for x in range(256) if x & 31 in _DISTANCES)
    + _one_of(_ODD)
    + b")",
    re.DOTALL,
)


def find_block(
    data: bytes, first_bit: int, before: bytes, content: bytes, *, proof_bytes: int = 0
) -> tuple[int, int] | None:
    """Return where a block begins in ``data``, at or after ``first_bit``: its bit there, and its place in ``content``.

    ``content`` is all that a decompressor gives after ``data``; ``before`` is what it had given, at least
    WINDOW_BYTES of it.  ``None``: there is none, or it is not followed by enough to prove it: ``proof_bytes`` of
    ``data`` and LEAST_CONTENT_BYTES of ``content``.
    """
    last_bit = 8 * (len(data) - proof_bytes)
    for bit in islice(_candidates(data, first_bit), MOST_CANDIDATES):
        if bit > last_bit:
            break
        stream = go_on(data, bit)
        expanded = _expand(stream, _NO_WINDOW, len(content) + 1)
        if expanded is None or not LEAST_CONTENT_BYTES <= len(expanded) <= len(content):
            continue
        place = len(content) - len(expanded)
        window = (before[-WINDOW_BYTES:] + content[:place])[-WINDOW_BYTES:]
        if _expand(stream, window, len(expanded) + 1) == content[place:]:
            return bit, place
    return None


def _candidates(data: bytes, first_bit: int) -> Iterator[int]:
    """Yield the bits at which there could be a block with codes of its own, in their order."""
    for start in range(first_bit // 8, len(data), _STRIDE):
        part = int.from_bytes(data[start : start + _STRIDE + _HEADER_BYTES], "little")
        found = []
        for shift in range(8):
            shifted = (part >> shift).to_bytes(_STRIDE + _HEADER_BYTES, "little")
            places = (x.start() for x in _HEADER.finditer(shifted) if x.start() < _STRIDE)
            found += [(start + x) * 8 + shift for x in places if _is_whole_code(shifted[x + 1 : x + _HEADER_BYTES])]
        yield from sorted(x for x in found if x >= first_bit)


def _is_whole_code(header: bytes) -> bool:
    """Tell whether the lengths that follow HDIST, in the first five bits, are those of a complete code."""
    value = int.from_bytes(header, "little") >> 5
    lengths = value >> 4 & _LENGTHS[value & 15]
    return sum(_SHARES_OF_FOUR[lengths >> at & 4095] for at in range(0, 60, 12)) == 128


def _expand(stream: bytes, window: bytes, most_bytes: int) -> bytes | None:
    try:
        expanded: bytes = fast_zlib.decompressobj(RAW, zdict=window).decompress(stream, most_bytes)
    except DAMAGED:
        return None
    return expanded


def go_on(data: bytes, bit: int) -> bytes:
    """Return a deflate stream that goes on with ``data`` from ``bit``: empty blocks before it lead to that bit."""
    fill, size = _FILLS[bit % 8]
    if bit % 8 == 0:
        return fill.to_bytes(size // 8, "little") + data[bit // 8 :]
    shared = fill | data[bit // 8] >> bit % 8 << size
    return shared.to_bytes(size // 8 + 1, "little") + data[bit // 8 + 1 :]


def cut_off(data: bytes, bit: int) -> bytes:
    """Return ``data`` until ``bit``, where a block begins, and an empty stored block that ends at a whole byte."""
    whole, odd = divmod(bit, 8)
    last = data[whole] & (1 << odd) - 1 if odd else 0
    return data[:whole] + last.to_bytes((odd + 3 + 7) // 8, "little") + b"\x00\x00\xff\xff"


Bits = tuple[int, int]  # the first bit is the lowest; how many there are


def _row(parts: Sequence[Bits]) -> Bits:
    value = size = 0
    for part, count in parts:
        value, size = value | part << size, size + count
    return value, size


def _empty_blocks(bits: int) -> Bits:
    """Return empty blocks whose bits are so many more than whole bytes."""
    # With fixed codes: BFINAL 0, BTYPE 01, the end of the block. It is 10 bits, so an odd count needs another one.
    fixed: Bits = (0b0000000_01_0, 10)
    if bits % 2 == 0:
        return _row([fixed] * (bits // 2))
    # With codes of its own: one bit for 255 and for the end, and for two distances. HCLEN 15 makes it 95 bits.
    lengths = [(int(symbol in (1, 18)), 3) for symbol in _CODE_ORDER]  # codes: 0 for length 1, 1 for many zeros
    zeros = [(1, 1), (138 - 11, 7), (1, 1), (255 - 138 - 11, 7)]
    odd = _row([(_DYNAMIC, 3), (0, 5), (1, 5), (15, 4), *lengths, *zeros, *[(0, 1)] * 4, (1, 1)])
    return _row([odd, *[fixed] * ((bits - odd[1]) % 8 // 2)])


_FILLS = [_empty_blocks(bits) for bits in range(8)]
