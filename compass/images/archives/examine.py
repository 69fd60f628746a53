"""Whether an image archive is whole: every layer read and compared with its config, nothing kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import BinaryIO

from compass.digests import Digest
from compass.images.archives.assemble import Assembled, Assembler
from compass.images.archives.content import Layer, read_content
from compass.images.archives.members import DID, Member
from compass.images.compression import Compression, Expanded, Tap, drain


def examine(open_archive: Callable[[], BinaryIO], where: str, watch: Callable[[memoryview], None]) -> list[Assembled]:
    """Read an archive to its end and return its images; ``watch`` sees its bytes.

    The digests of manifests that are made when layers are compressed are not those of a loaded image; those of configs
    are.

    Raises:
        InvalidInput: the archive, or an image in it, is not whole.
    """
    with open_archive() as stream:
        content = read_content(stream, where, Hashing(), watch)
    return Assembler(content).images()


class Hashing:
    """Layers are hashed and dropped."""

    def plain(self, member: Member, where: str) -> Layer:
        """Hash a layer."""
        diff = hashlib.sha256(member.head)
        drain(member.rest, diff.update)
        diff_id = Digest(f"sha256:{diff.hexdigest()}")
        return Layer(diff_id, member.size, diff_id, "gzip", kept=False)

    def kept(self, member: Member, kind: Compression, where: str) -> Layer:
        """Hash a blob, and what it expands to."""
        blob, diff = hashlib.sha256(), hashlib.sha256()
        tap = Tap(member.head, member.rest, blob.update)
        drain(Expanded(tap, kind, DID, where), diff.update)
        drain(tap, lambda _: None)
        digests = (Digest(f"sha256:{x.hexdigest()}") for x in (blob, diff))
        return Layer(next(digests), member.size, next(digests), kind, kept=True)
