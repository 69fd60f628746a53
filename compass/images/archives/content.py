"""What one pass over an image archive leaves: small documents in memory, layers compressed in a layout."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, cast

from compass.digests import Digest
from compass.errors import InvalidInput
from compass.images.archives.aside import Aside, Inline
from compass.images.archives.members import BLOCK, DID, Link, Member, members
from compass.images.compression import (
    Compression,
    Compressor,
    Expanded,
    Readable,
    Tap,
    compression_of,
    drain,
    gzip_compressor,
)
from compass.images.layout import BlobWriter, Layout
from compass.images.manifests import MAX_MANIFEST_BYTES

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


NO_LAYERS: Mapping[Digest, Layer] = {}


class Mistaken(Exception):  # a signal inside this room, no failure
    """A layer was taken for one seen before, by its name and size, and is another one."""


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


class Known(Protocol):
    """Layers that are in the layout already, by the name and size of the member that they were."""

    def get(self, member: str, member_size: int) -> Layer | None:
        """Return the layer that a member of this name and size was before; ``None`` when it is not known."""

    def hold(self, member: str, member_size: int, layer: Layer) -> None:
        """Know a layer in this run alone."""

    def put(self, member: str, member_size: int, layer: Layer, archive: Digest) -> None:
        """Know a layer that is in its place now, and write it down."""


class LayerStore(Protocol):
    """Takes layers as they come by."""

    def plain(self, member: Member, where: str) -> Layer:
        """Take an uncompressed layer."""

    def kept(self, member: Member, kind: Compression, where: str) -> Layer:
        """Take a blob as it is."""


class Compressing:
    """Layers go into a layout, each as soon as it is whole; those that ``known`` has are hashed and compared only.

    ``archive`` is the digest of what they come from.  Layers that ``elsewhere`` has, by diff ID, are taken from there
    and not kept.  ``spare`` tells whether a processor has nothing to do, so that a second thread helps.
    """

    def __init__(
        self,
        layout: Layout,
        known: Known,
        archive: Digest,
        *,
        trusting: bool = True,
        spare: Callable[[], bool] = lambda: False,
        compressor: Callable[[], Compressor] = gzip_compressor,
        elsewhere: Mapping[Digest, Layer] = NO_LAYERS,
    ) -> None:
        self._layout, self._known, self._archive, self._trusting = layout, known, archive, trusting
        self._compressor, self._elsewhere = compressor, elsewhere
        self._spare = spare

    def plain(self, member: Member, where: str) -> Layer:
        """Hash a layer and compress it on the way."""
        if seen := self._seen(member):
            return seen
        with self._layout.batch() as batch:
            writer, diff = batch.writer(), hashlib.sha256()
            self._compress(member, writer, diff.update)
            diff_id = Digest(f"sha256:{diff.hexdigest()}")
            if layer := self._elsewhere.get(diff_id):
                writer.discard()
                self._known.hold(member.name, member.size, layer)
                return layer
            layer = Layer(writer.finish(), writer.size, diff_id, "gzip", kept=False)
        self._known.put(member.name, member.size, layer, self._archive)
        return layer

    def _compress(self, member: Member, writer: BlobWriter, hash_piece: Callable[[memoryview | bytes], None]) -> None:
        compressor = self._compressor()

        def pack(piece: bytes | memoryview) -> None:
            if packed := compressor.compress(piece):
                writer.write(packed)

        with self._follow(pack) as follower:

            def take(piece: bytes | memoryview) -> None:
                hash_piece(piece)
                follower.put(piece)

            take(member.head)
            drain(member.rest, take)
        writer.write(compressor.flush())

    def _follow(self, take: Callable[[bytes | memoryview], None]) -> Aside | Inline:
        return Aside(take) if self._spare() else Inline(take)

    def kept(self, member: Member, kind: Compression, where: str) -> Layer:
        """Copy a blob and hash what it expands to."""
        if seen := self._seen(member):
            return seen
        with self._layout.batch() as batch:
            writer, diff = batch.writer(), hashlib.sha256()
            tap = Tap(member.head, member.rest, writer.write)
            with self._follow(diff.update) as follower:
                drain(Expanded(tap, kind, DID, where), follower.put)
            drain(tap, lambda _: None)
            layer = Layer(writer.finish(), writer.size, Digest(f"sha256:{diff.hexdigest()}"), kind, kept=True)
        self._known.put(member.name, member.size, layer, self._archive)
        return layer

    def _seen(self, member: Member) -> Layer | None:
        """Return the layer that a member is known to be, hashed and compared; ``None`` when it is not known."""
        if not self._trusting or (seen := self._known.get(member.name, member.size)) is None:
            return None
        hasher = hashlib.sha256(member.head)
        drain(member.rest, hasher.update)
        if f"sha256:{hasher.hexdigest()}" != (seen.digest if seen.kept else seen.diff_id):
            raise Mistaken
        return seen


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
        Mistaken: as ``Compressing`` does.
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
