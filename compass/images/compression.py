"""gzip and zstd as streams that cannot expand without end, and gzip written the same way every time.

igzip (ISA-L) reads and writes gzip several times faster than zlib; where there is no wheel of it, zlib does.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from typing import Any, Literal, Protocol

from compass.digests import CHUNK_BYTES
from compass.errors import InvalidInput
from compass.igzip import DAMAGED, fast_zlib
from compass.inflating import Inflating, Readable

Compression = Literal["", "gzip", "zstd"]

MAX_RATIO = 500
FREE_BYTES = 100 << 20
_MAGIC: tuple[tuple[bytes, Compression], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_GZIP_WINDOW_BITS = 31  # 15 bits of window, and 16 for a gzip header and trailer: time 0, no name
_LEVEL = 1
_ZSTD_MODULES = ("compression.zstd", "backports.zstd")  # Python 3.14 has it; the other is its copy for older ones


class Compressor(Protocol):
    """What ``zlib.compressobj`` gives."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Return what is compressed so far."""

    def flush(self) -> bytes:
        """Return the rest."""


def gzip_compressor() -> Compressor:
    """Return a compressor whose output depends on its input alone (for one library and version)."""
    compressor: Compressor = fast_zlib.compressobj(_LEVEL, fast_zlib.DEFLATED, _GZIP_WINDOW_BITS)
    return compressor


def compression_of(head: bytes) -> Compression:
    """Return how a stream that begins with ``head`` is compressed, by its magic bytes."""
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")


class Tap(io.RawIOBase):
    """A stream that begins with ``head``, counts what is read from it, and shows each piece to ``watch``."""

    def __init__(self, head: bytes, stream: Readable, watch: Callable[[memoryview], None]) -> None:
        self._head, self._stream, self._watch = memoryview(head), stream, watch
        self.taken = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with what comes next and return how much that is."""
        view = memoryview(buffer)
        if len(self._head):
            count = min(len(view), len(self._head))
            view[:count] = self._head[:count]
            self._head = self._head[count:]
        else:
            count = self._stream.readinto(view) or 0
        if count:
            self._watch(view[:count])
            self.taken += count
        return count


class Expanded(io.RawIOBase):
    """The decompressed content of a ``Tap``; every way in which it can be bad is an ``InvalidInput``.

    Raises:
        InvalidInput: cut short, damaged, or more than MAX_RATIO times as large as what it came from.
    """

    def __init__(self, tap: Tap, kind: Compression, did: str, where: str) -> None:
        self._tap, self._kind, self._did, self._where = tap, kind, did, where
        self._stream, self._errors = _decoder(tap, kind, did, where)
        self._given = 0

    @property
    def inflating(self) -> Inflating | None:
        """What reads gzip; ``None`` for other streams."""
        return self._stream if isinstance(self._stream, Inflating) else None

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with what comes next and return how much that is."""
        try:
            count: int = self._stream.readinto(buffer)
        except EOFError:
            raise InvalidInput(self._did, self._where, found=f"the {self._kind} data is cut short") from None
        except self._errors as error:
            found = f"damaged {self._kind} data ({_one_line(error)})" if self._kind else _one_line(error)
            raise InvalidInput(self._did, self._where, found=found) from None
        self._given += count
        if self._given > FREE_BYTES and self._given > MAX_RATIO * self._tap.taken:
            found = f"{self._given} bytes out of {self._tap.taken}: a decompression bomb"
            raise InvalidInput(self._did, self._where, found=found, expected=f"at most {MAX_RATIO} to 1")
        return count


def _decoder(tap: Tap, kind: Compression, did: str, where: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return a stream of the decompressed content, and what it raises when that is bad."""
    if kind == "gzip":
        return Inflating(tap), (OSError, *DAMAGED)
    if kind == "zstd":
        return _zstd_decoder(tap, did, where)
    return tap, (OSError,)


def _zstd_decoder(tap: Tap, did: str, where: str) -> tuple[Any, tuple[type[Exception], ...]]:
    for name in _ZSTD_MODULES:
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue
        return module.ZstdFile(tap, "rb"), (OSError, module.ZstdError)
    do = "install the Python package backports.zstd, or save the image with gzip"
    raise InvalidInput(did, where, found="zstd, which this Python cannot read", do=do)


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def drain(stream: io.RawIOBase, watch: Callable[[memoryview], None]) -> None:
    """Read a stream to its end and show each piece, of at most CHUNK_BYTES, to ``watch``."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while count := stream.readinto(buffer):
        watch(buffer[:count])
