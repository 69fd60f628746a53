"""Compressed archives as plain streams."""

from __future__ import annotations

import gzip
import io
from typing import BinaryIO, cast

from compass.bundle.archive import Archive
from compass.errors import InvalidInput
from compass.igzip import DAMAGED
from compass.inflating import Inflating

GZIP_MAGIC = b"\x1f\x8b"
_OTHERS = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zX": "xz", b"BZh": "bzip2", b"PK\x03\x04": "zip"}

#: What reading a damaged compressed stream raises.
DAMAGE: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, *DAMAGED)


def plain_stream(stream: BinaryIO, where: object) -> BinaryIO:
    """Return ``stream`` decompressed if it is gzip, as it is if it is a tar.

    Raises:
        InvalidInput: it is compressed by something else.
    """
    buffered = (
        stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20)
    )
    magic = buffered.peek(6)[:6]
    if magic.startswith(GZIP_MAGIC):
        return cast(BinaryIO, io.BufferedReader(Inflating(buffered), 1 << 20))
    for start, name in _OTHERS.items():
        if magic.startswith(start):
            raise InvalidInput("open bundle", where, found=f"a {name} file", expected="tar or tar.gz")
    return buffered


def is_plain_tar(archive: Archive) -> bool:
    """Tell whether an archive is a tar that can be read in place."""
    with archive.open() as file:
        head = file.read(512)
    return len(head) == 512 and head[257:262] == b"ustar"


class CountingStream(io.RawIOBase):
    """A stream that counts what is read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` and count."""
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)
