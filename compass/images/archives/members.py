"""The members of a tar, read once as a stream, with bounds on all that an archive could make us hold.

``tarfile`` parses each header; its own stream mode is not used because it copies every byte three times, takes a
damaged header for the end of the archive, and reads an extended header of any size into memory.

Source: POSIX.1-2017, pax, sections ustar interchange format and pax header; GNU tar manual, Basic Tar Format.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from compass.errors import InvalidInput
from compass.images.compression import Expanded, Tap, compression_of, drain
from compass.inflating import Inflating

MAX_MEMBERS = 100_000
MAX_EXTENDED_BYTES = 1 << 20
BLOCK = 512
DID = "read image archive"
_LONG_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


@dataclass(frozen=True)
class Member:
    """A file of an archive, to be read before the next one; ``head`` is its first block, ``rest`` what follows.

    ``inflating`` is what gives them, where the archive is compressed by gzip.
    """

    name: str
    size: int
    head: bytes
    rest: io.RawIOBase
    inflating: Inflating | None = None


@dataclass(frozen=True)
class Link:
    """A link of an archive; ``target`` is a name inside the archive."""

    name: str
    target: str


def members(tap: Tap, head: bytes, where: str) -> Iterator[Member | Link]:
    """Yield the files and links of an archive that begins with ``head``, plain, gzip or zstd, in their order.

    Raises:
        InvalidInput: it is no tar, cut short, damaged, a bomb, or has members that an image archive never has.
    """
    stream = Expanded(tap, compression_of(head), DID, where)
    count, extended = 0, _Extended()
    while info := _header(stream, where, first=not count):
        count += 1
        if count > MAX_MEMBERS:
            raise InvalidInput(DID, where, found=f"more than {MAX_MEMBERS} members")
        if info.type in _LONG_NAMES or info.type in _EXTENDED or info.type == tarfile.XGLTYPE:
            extended.read(info, _extended_bytes(stream, info, where), where)
            continue
        extended.apply(info, where)
        yield from _member(stream, info, where)
        extended = _Extended()
    _check_end(stream, where)


class _Part(io.RawIOBase):
    """The content of one member."""

    def __init__(self, stream: io.RawIOBase, size: int, where: str) -> None:
        self._stream, self._left, self._where = stream, size, where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = min(len(buffer), self._left)
        if not room:
            return 0
        count: int = self._stream.readinto(memoryview(buffer)[:room]) or 0
        if not count:
            raise _cut_short(self._where)
        self._left -= count
        return count


@dataclass
class _Extended:
    """What the headers before a member say of it."""

    values: dict[str, str] = field(default_factory=dict)

    def read(self, info: tarfile.TarInfo, data: bytes, where: str) -> None:
        if info.type in _LONG_NAMES:
            self.values[_LONG_NAMES[info.type]] = data.rstrip(b"\0").decode(errors="surrogateescape")
        elif info.type in _EXTENDED:  # global headers say nothing that matters here
            self.values.update(_pax_records(data, where))

    def apply(self, info: tarfile.TarInfo, where: str) -> None:
        info.name = self.values.get("path", info.name)
        info.linkname = self.values.get("linkpath", info.linkname)
        size = self.values.get("size", str(info.size))
        if not size.isdecimal() or any(key.startswith("GNU.sparse") for key in self.values):
            raise InvalidInput(DID, f"{where}: {info.name!r}", found="a sparse file or no size", expected="plain files")
        info.size = int(size)


def _pax_records(data: bytes, where: str) -> Iterator[tuple[str, str]]:
    """Yield the records of a pax header, each ``LENGTH KEY=VALUE`` and a line feed, where LENGTH counts all of it."""
    at = 0
    while at < len(data):
        digits, space, _ = data[at : at + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = data[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if not (space and equals and value.endswith(b"\n")):
            raise InvalidInput(DID, where, found="a damaged pax header", expected="a whole tar archive")
        yield key.decode(errors="replace"), value[:-1].decode(errors="surrogateescape")
        at += length


def _header(stream: Expanded, where: str, *, first: bool) -> tarfile.TarInfo | None:
    """Return the next header; ``None`` at the end marker."""
    block = _exactly(stream, BLOCK, where)
    if block == bytes(BLOCK):
        if first:
            raise InvalidInput(DID, where, found="no member", expected="a tar archive with images")
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        found = "no tar header" if first else f"a damaged tar header ({error})"
        expected = "a tar, plain or compressed by gzip or zstd" if first else "a whole tar archive"
        raise InvalidInput(DID, where, found=found, expected=expected) from None
    if info.size < 0:
        raise InvalidInput(DID, f"{where}: {info.name!r}", found=f"size {info.size}")
    return info


def _member(stream: Expanded, info: tarfile.TarInfo, where: str) -> Iterator[Member | Link]:
    name = posixpath.normpath(info.name)
    if _leads_out(name):
        raise InvalidInput(DID, f"{where}: {info.name!r}", found="a path that leads out of the archive")
    if info.issym():
        yield _link(name, posixpath.join(posixpath.dirname(name), info.linkname), where)
    elif info.islnk():
        yield _link(name, info.linkname, where)
    elif info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
        part = _Part(stream, info.size, f"{where}: {name}")
        yield Member(name, info.size, _exactly(part, min(BLOCK, info.size), where), part, stream.inflating)
        drain(part, _ignore)
        _exactly(stream, -info.size % BLOCK, where)
    elif not info.isdir():
        raise InvalidInput(DID, f"{where}: {name!r}", found="a special file", expected="files, folders and links")


def _link(name: str, target: str, where: str) -> Link:
    path = posixpath.normpath(target)
    if _leads_out(path):
        raise InvalidInput(DID, f"{where}: {name!r}", found=f"a link to {target!r}, out of the archive")
    return Link(name, path)


def _leads_out(path: str) -> bool:
    return path.startswith(("/", "../")) or path == ".."


def _extended_bytes(stream: io.RawIOBase, info: tarfile.TarInfo, where: str) -> bytes:
    if info.size > MAX_EXTENDED_BYTES:
        raise InvalidInput(DID, where, found=f"a tar header of {info.size} bytes", expected=f"<= {MAX_EXTENDED_BYTES}")
    return _exactly(stream, info.size + -info.size % BLOCK, where)[: info.size]


def _exactly(stream: io.RawIOBase, size: int, where: str) -> bytes:
    data = bytearray(size)
    at = 0
    while at < size:
        count = stream.readinto(memoryview(data)[at:])
        if not count:
            raise _cut_short(where)
        at += count
    return bytes(data)


def _check_end(stream: io.RawIOBase, where: str) -> None:
    """Read on to the very end: only then are the checksums of the compression known to be right."""
    size = 0
    buffer = bytearray(1 << 16)
    while count := stream.readinto(buffer):
        size += count
        if any(memoryview(buffer)[:count]):
            raise InvalidInput(DID, where, found="data after the end of the tar")
    if size < BLOCK:
        raise _cut_short(where)


def _cut_short(where: str) -> InvalidInput:
    return InvalidInput(DID, where, found="the archive is cut short", expected="a whole tar archive")


def _ignore(_: memoryview) -> None:
    return
