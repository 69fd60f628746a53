"""A tar as a stream, the same bytes for the same members: no time, no owner, one mode, nothing but files.

Source: POSIX.1-2017, pax, ustar interchange format.  A pax header precedes a member only where its name or its size
needs one.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from compass.errors import StepFailed

MODE = 0o644
_END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class TarMember:
    """A file to be put into a tar; ``content`` is called once, and must give ``size`` bytes.

    They must have ``sha256`` too, unless that is empty because it is not known beforehand.
    """

    name: str
    size: int
    content: Callable[[], Iterator[bytes]]
    sha256: str = ""

    @property
    def header(self) -> bytes:
        """The blocks that precede the content."""
        info = tarfile.TarInfo(self.name)
        info.size, info.mode = self.size, MODE
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def tar_size(members: Sequence[TarMember]) -> int:
    """Return the size of the tar that ``tar_stream`` gives."""
    return sum(len(x.header) + x.size + _padding(x.size) for x in members) + len(_END)


def tar_stream(members: Sequence[TarMember]) -> Generator[bytes, None, None]:
    """Yield the tar of members in their order; each is read when its turn comes.

    Raises:
        StepFailed: a member is not what it was said to be.
    """
    for member in members:
        yield member.header
        yield from _content(member)
        yield bytes(_padding(member.size))
    yield _END


def _content(member: TarMember) -> Iterator[bytes]:
    hasher, size = hashlib.sha256(), 0
    for piece in member.content():
        size += len(piece)
        if size > member.size:
            break
        if member.sha256:
            hasher.update(piece)
        yield piece
    changed = size != member.size or (member.sha256 and hasher.hexdigest() != member.sha256)
    if changed:
        raise StepFailed("pack", member.name, found="it changed while it was read", do="pack again")


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE
