"""The members of a tar, read once as a stream, with bounds on all that an archive could make us hold."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from compass.digests import CHUNK_BYTES
from compass.errors import InvalidInput
from compass.images.compression import Expanded, Tap, compression_of, drain

MAX_MEMBERS = 100_000
MAX_HEADER_BYTES = 8 << 20
BLOCK = 512
DID = "read image archive"


@dataclass(frozen=True)
class Member:
    """A file of an archive, to be read before the next one; ``head`` is its beginning, ``rest`` what follows."""

    name: str
    size: int
    head: bytes
    rest: BinaryIO


@dataclass(frozen=True)
class Link:
    """A link of an archive; ``target`` is a name inside the archive."""

    name: str
    target: str


class _Metered(io.RawIOBase):
    """The tar as a stream that gives only so much while headers are read, and knows how it ended."""

    def __init__(self, stream: io.RawIOBase, where: str) -> None:
        self._stream, self._where = stream, where
        self.header_room: int | None = None
        self.tail = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._stream.readinto(buffer) or 0
        if self.header_room is not None:
            self.header_room -= count
            if self.header_room < 0:
                raise InvalidInput(DID, self._where, found=f"a tar header of more than {MAX_HEADER_BYTES} bytes")
        if count:
            self.tail = (self.tail + bytes(memoryview(buffer)[max(0, count - BLOCK) : count]))[-BLOCK:]
        return count


def members(tap: Tap, head: bytes, where: str) -> Iterator[Member | Link]:
    """Yield the files and links of an archive that begins with ``head``, plain, gzip or zstd, in their order.

    Raises:
        InvalidInput: it is no tar, cut short, damaged, a bomb, or has members that an image archive never has.
    """
    metered = _Metered(Expanded(tap, compression_of(head), DID, where), where)
    try:
        with tarfile.open(fileobj=metered, mode="r|", bufsize=CHUNK_BYTES) as tar:
            yield from _walk(tar, metered, where)
    except tarfile.TarError as error:
        raise InvalidInput(DID, where, found=f"{error}".lower(), expected="a whole tar archive") from None


def _walk(tar: tarfile.TarFile, metered: _Metered, where: str) -> Iterator[Member | Link]:
    count = 0
    while info := _next(tar, metered):
        count += 1
        if count > MAX_MEMBERS:
            raise InvalidInput(DID, where, found=f"more than {MAX_MEMBERS} members")
        tar.members = []  # type: ignore[misc]  # tarfile keeps every header otherwise
        yield from _member(tar, info, where)
    _check_end(tar, metered, where)


def _next(tar: tarfile.TarFile, metered: _Metered) -> tarfile.TarInfo | None:
    metered.header_room = MAX_HEADER_BYTES
    info = tar.next()
    metered.header_room = None
    return info


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo, where: str) -> Iterator[Member | Link]:
    name = posixpath.normpath(info.name)
    if name.startswith(("/", "../")) or name == "..":
        raise InvalidInput(DID, f"{where}: {info.name!r}", found="a path that leads out of the archive")
    if info.issym():
        yield _link(name, posixpath.join(posixpath.dirname(name), info.linkname), where)
    elif info.islnk():
        yield _link(name, info.linkname, where)
    elif info.isreg() and not info.issparse():
        stream = tar.extractfile(info)
        if stream is None:  # tarfile gives a stream for every regular file
            raise InvalidInput(DID, f"{where}: {name!r}", found="no content")
        head = stream.read(CHUNK_BYTES)
        yield Member(name, info.size, head, stream)  # type: ignore[arg-type]
        drain(stream, lambda _: None)  # type: ignore[arg-type]
    elif not info.isdir():
        raise InvalidInput(DID, f"{where}: {name!r}", found="a special file", expected="files, folders and links")


def _link(name: str, target: str, where: str) -> Link:
    path = posixpath.normpath(target)
    if path.startswith(("/", "../")) or path == "..":
        raise InvalidInput(DID, f"{where}: {name!r}", found=f"a link to {target!r}, out of the archive")
    return Link(name, path)


def _check_end(tar: tarfile.TarFile, metered: _Metered, where: str) -> None:
    """Refuse what tarfile takes for an end: a header that is damaged or cut; and read on, to see the checksum."""
    only_zeros = True

    def look(piece: memoryview) -> None:
        nonlocal only_zeros
        only_zeros = only_zeros and not any(piece)

    rest: Any = tar.fileobj
    while piece := rest.read(CHUNK_BYTES):
        look(memoryview(piece))
    if not only_zeros or metered.tail != bytes(BLOCK):
        raise InvalidInput(DID, where, found="no end of the tar, or more after it", expected="a whole tar archive")
