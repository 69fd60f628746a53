"""gzip read as a stream; whoever wants to sees which compressed bytes each part of the content came from.

Source: RFC 1952, section 2.2: a gzip file is a series of members, one after the other.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from compass.igzip import fast_zlib

PIECE_BYTES = 64 << 10
MAX_CONTENT_BYTES = 1 << 20  # of one piece; what expands to more is given out in parts
_WINDOW_BITS = 31  # 15 bits of window, and 16 for gzip's header and trailer
_MAGIC = b"\x1f\x8b"


class Readable(Protocol):
    """A binary stream, buffered or raw."""

    def readinto(self, buffer: Any, /) -> int | None:
        """Fill ``buffer`` with what comes next and return how much that is."""


@dataclass(frozen=True)
class Piece:
    """Compressed bytes, and all the content that the stream has given after them and had not before.

    ``content`` is ``None`` where that is too much to be held; ``member`` is the number of the gzip member.
    """

    data: bytes
    content: bytes | None
    member: int


class Inflating(io.RawIOBase):
    """The content of a gzip file; ``follow`` is called with each piece before any of its content is given out.

    Raises from ``readinto``:
        EOFError: it is cut short.
        BadGzipFile: what follows a member is no other member.
        DAMAGED: anything else that is wrong with it.
    """

    def __init__(self, stream: Readable) -> None:
        self.follow: Callable[[Piece], None] | None = None
        self._stream = stream
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self._content = memoryview(b"")
        self._decoder: Any = None
        self._member = 0
        self._ahead = b""  # what was read beyond the end of a member
        self._left: bytes | None = None  # what a piece has still to give, beyond MAX_CONTENT_BYTES

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with what comes next and return how much that is."""
        view = memoryview(buffer)
        while not len(self._content):
            if self._left is not None:
                self._expand(self._left)
            elif not self._next():
                return 0
        count = min(len(view), len(self._content))
        view[:count] = self._content[:count]
        self._content = self._content[count:]
        return count

    def _next(self) -> bool:
        """Expand the next piece; tell whether there was one."""
        data = self._ahead or self._read()
        self._ahead = b""
        if self._decoder is None and not (data := self._begin(data)):
            return False
        if not data:
            raise EOFError
        content = self._expand(data)
        if self.follow:
            used = data[: len(data) - len(self._ahead)]
            self.follow(Piece(used, content if self._left is None else None, self._member))
        return True

    def _read(self) -> bytes:
        return bytes(self._buffer[: self._stream.readinto(self._buffer) or 0])

    def _begin(self, data: bytes) -> bytes:
        """Begin a member, past the zeros that may lie before it; return what there is of it, nothing at the end."""
        data = data.lstrip(b"\0")
        while len(data) < len(_MAGIC) and (more := self._read()):
            data = (data + more).lstrip(b"\0")
        if data and not data.startswith(_MAGIC):
            raise gzip.BadGzipFile(f"not a gzip file: {data[:2]!r}")
        if data:
            self._decoder = fast_zlib.decompressobj(_WINDOW_BITS)
            self._member += 1
        return data

    def _expand(self, data: bytes) -> bytes:
        content: bytes = self._decoder.decompress(data, MAX_CONTENT_BYTES)
        self._content = memoryview(content)
        tail = self._decoder.unconsumed_tail
        self._left = tail if tail or len(content) == MAX_CONTENT_BYTES else None
        if self._decoder.eof:
            self._ahead, self._left, self._decoder = self._decoder.unused_data, None, None
        return content
