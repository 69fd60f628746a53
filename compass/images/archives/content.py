"""What one pass over an image archive leaves: small documents in memory, layers wherever they are put."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, cast

from compass.digests import Digest
from compass.errors import InvalidInput
from compass.images.archives.members import BLOCK, DID, Link, Member, members
from compass.images.compression import Compression, Tap, compression_of
from compass.images.manifests import MAX_MANIFEST_BYTES
from compass.inflating import Readable

MAX_DOCUMENTS_BYTES = 64 << 20
MAX_LINKS = 32
_BLOB_NAME = re.compile(r"blobs/sha256/([0-9a-f]{64})")


@dataclass(frozen=True)
class Layer:
    """A blob of an archive that is in the layout now.

    ``kept`` tells that it is there byte for byte; else it was a plain tar and ``digest`` is that of our gzip.
    ``compression`` is empty for a blob that is neither (what an artifact carries).
    """

    digest: Digest
    size: int
    diff_id: Digest
    compression: Compression
    kept: bool


@dataclass
class Content:
    """Documents and layers by their names in the archive."""

    where: str
    documents: dict[str, bytes] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    held: int = 0

    def resolve(self, name: str) -> str:
        """Return the name of the file that a name stands for, links followed."""
        for _ in range(MAX_LINKS):
            if name not in self.links:
                return name
            name = self.links[name]
        raise InvalidInput(DID, f"{self.where}: {name!r}", found="links that lead in a circle")

    def document(self, name: str) -> bytes | None:
        """Return a small JSON member; ``None`` when the archive has none of that name."""
        return self.documents.get(self.resolve(name))

    def layer(self, name: str) -> Layer | None:
        """Return a layer; ``None`` when the archive has none of that name."""
        return self.layers.get(self.resolve(name))


class LayerStore(Protocol):
    """Takes layers as they come by."""

    def plain(self, member: Member, where: str) -> Layer:
        """Take an uncompressed layer."""

    def kept(self, member: Member, kind: Compression, where: str) -> Layer:
        """Take a blob as it is."""


class Passing:
    """Layers are not looked at."""

    def plain(self, member: Member, where: str) -> Layer:
        """Pass it."""
        return _UNREAD

    def kept(self, member: Member, kind: Compression, where: str) -> Layer:
        """Pass it."""
        return _UNREAD


_UNREAD = Layer(Digest(""), 0, Digest(""), "", kept=True)


def read_content(stream: BinaryIO, where: str, store: LayerStore, watch: Callable[[memoryview], None]) -> Content:
    """Read an archive once, giving its layers to ``store``; ``watch`` sees the archive's bytes as they are read.

    Raises:
        InvalidInput: the archive is bad; archive and member are named.
        Mistaken, Unspliced: as ``Storing`` does.
    """
    head = stream.read(BLOCK)
    content = Content(where)
    for member in members(Tap(head, cast(Readable, stream), watch), head, where):
        if isinstance(member, Link):
            content.links[member.name] = member.target
        else:
            _take(content, member, store)
    return content


def _take(content: Content, member: Member, store: LayerStore) -> None:
    where = f"{content.where}: {member.name}"
    if member.name in content.names:
        raise InvalidInput(DID, where, found="the same member twice")
    content.names.add(member.name)
    kind, blob = compression_of(member.head), _BLOB_NAME.fullmatch(member.name)
    if _is_tar(member.head):
        layer = store.plain(member, where)
        _check_blob_name(blob, layer.diff_id, where)
        content.layers[member.name] = layer
    elif _is_json(member.head) and member.size <= MAX_MANIFEST_BYTES:
        _hold(content, member, blob, where)
    elif kind or blob:
        layer = store.kept(member, kind, where)
        _check_blob_name(blob, layer.digest, where)
        content.layers[member.name] = layer
    elif _is_json(member.head):
        raise InvalidInput(DID, where, found=f"{member.size} bytes", expected=f"at most {MAX_MANIFEST_BYTES}")


def _hold(content: Content, member: Member, blob: re.Match[str] | None, where: str) -> None:
    data = member.head + member.rest.readall()
    _check_blob_name(blob, Digest(f"sha256:{hashlib.sha256(data).hexdigest()}"), where)
    content.documents[member.name] = data
    content.held += len(data)
    if content.held > MAX_DOCUMENTS_BYTES:
        raise InvalidInput(DID, where, found=f"more than {MAX_DOCUMENTS_BYTES} bytes of JSON")


def _check_blob_name(blob: re.Match[str] | None, found: Digest, where: str) -> None:
    if blob and found and found != f"sha256:{blob[1]}":
        raise InvalidInput(DID, where, found=f"content with digest {found}", expected=f"sha256:{blob[1]}")


def _is_json(head: bytes) -> bool:
    return head.lstrip()[:1] in (b"{", b"[")


def _is_tar(head: bytes) -> bool:
    """Tell whether a first block is a tar header by its checksum (POSIX.1-2017, pax), or the zeros of an empty tar."""
    block = head[:BLOCK]
    if len(block) < BLOCK:
        return False
    if block == bytes(BLOCK):
        return True
    field = block[148:156].strip(b" \0")
    try:
        return int(field, 8) == sum(block) - sum(block[148:156]) + 8 * 32
    except ValueError:
        return False
