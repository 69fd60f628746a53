"""A bundle's archive on disk: one file, or the parts that it was split into, read as one without joining them."""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from compass.digests import CHUNK_BYTES, chunks
from compass.errors import InvalidInput


@dataclass(frozen=True)
class Archive:
    """``path`` is the name of the whole; ``sums`` are the sha256 of the parts by name, where somebody wrote them."""

    path: Path
    parts: tuple[Path, ...]
    sizes: tuple[int, ...]
    sums: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> Archive:
        """Return a file as an archive.

        Raises:
            InvalidInput: there is no such file.
        """
        return cls(path, (path,), (_size(path),))

    def __str__(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        """How many bytes there are in all."""
        return sum(self.sizes)

    @property
    def is_split(self) -> bool:
        """Tell whether it lies there in parts."""
        return self.parts != (self.path,)

    def open(self) -> BinaryIO:
        """Return a seekable stream of the whole; streams do not share a position."""
        return io.BufferedReader(_Joined(self.parts, self.sizes), CHUNK_BYTES)

    def slice(self, start: int, size: int) -> BinaryIO:
        """Return a seekable stream of ``size`` bytes from ``start`` on."""
        return io.BufferedReader(_Slice(_Joined(self.parts, self.sizes), start, size), CHUNK_BYTES)

    def refuse_wrong_part(self) -> None:
        """Read all parts and compare them with their checksums; it says which one made the whole unreadable.

        Raises:
            InvalidInput: a part is another one.
        """
        for part in self.parts:
            expected = self.sums.get(part.name)
            if expected is None:
                continue
            with _opened(part) as stream:
                found = _sha256(stream)
            if found != expected:
                twin = next((f", that of {name}" for name, x in self.sums.items() if x == found), "")
                raise InvalidInput(
                    "read bundle", part, found=f"a part with sha256 {found}{twin}", expected=expected,
                    do="copy the part again from its source",
                )  # fmt: skip


def _sha256(stream: BinaryIO) -> str:
    hasher = hashlib.sha256()
    for chunk in chunks(stream):
        hasher.update(chunk)
    return hasher.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InvalidInput("read bundle", path, found=(error.strerror or str(error)).lower()) from None


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise InvalidInput("read bundle", path, found=(error.strerror or str(error)).lower()) from None


class _Joined(io.RawIOBase):
    """Files one after the other as one stream; one of them is open at a time."""

    def __init__(self, parts: tuple[Path, ...], sizes: tuple[int, ...]) -> None:
        self._parts, self._at = parts, 0
        self._starts = [0, *accumulate(sizes)]
        self._number, self._file = 0, _opened(parts[0])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._at >= self._starts[-1]:
            return 0
        number = bisect_right(self._starts, self._at) - 1
        if number != self._number:
            self._file.close()
            self._number, self._file = number, _opened(self._parts[number])
        room = min(len(buffer), self._starts[number + 1] - self._at)
        self._file.seek(self._at - self._starts[number])
        count = self._file.readinto(memoryview(buffer)[:room]) or 0  # type: ignore[attr-defined]
        if not count:
            raise InvalidInput("read bundle", self._parts[number], found="it became shorter while it was read")
        self._at += count
        return int(count)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Slice(io.RawIOBase):
    """A part of a stream as a stream of its own."""

    def __init__(self, stream: _Joined, start: int, size: int) -> None:
        self._stream, self._start, self._size, self._at = stream, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        room = max(0, min(len(buffer), self._size - self._at))
        if not room:
            return 0
        self._stream.seek(self._start + self._at)
        count = self._stream.readinto(memoryview(buffer)[:room])
        self._at += count
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()
