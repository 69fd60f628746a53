"""Layers of an archive on their way into a layout: each stored once, whatever archives it lies in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Protocol

from compass.digests import Digest
from compass.images.archives.aside import Aside, Inline
from compass.images.archives.content import Layer
from compass.images.archives.members import DID, Member
from compass.images.archives.splicing import MIN_LAYER_BYTES, Splicing
from compass.images.compression import Compression, Compressor, Expanded, Tap, drain, gzip_compressor
from compass.images.layout import BlobWriter, Layout

NO_LAYERS: Mapping[Digest, Layer] = {}
Take = Callable[[bytes | memoryview], None]


class Mistaken(Exception):  # a signal inside this room, no failure
    """A layer was taken for one that is known, by its name and size, and is another one."""


class Known(Protocol):
    """Layers that are in the layout already, by the name and size of the member that they were."""

    def get(self, member: str, member_size: int) -> Layer | None:
        """Return the layer that a member of this name and size was before; ``None`` when it is not known."""

    def hold(self, member: str, member_size: int, layer: Layer) -> None:
        """Know a layer in this run alone."""

    def put(self, member: str, member_size: int, layer: Layer, archive: Digest) -> None:
        """Know a layer that is in its place now, and write it down."""


class Storing:
    """Puts layers into a layout, each as soon as it is whole; one that ``known`` has is not stored again.

    ``archive`` is the digest of what they come from.  Layers that ``elsewhere`` has, by diff ID, are taken from there
    and not kept.  ``spare`` tells whether a processor has nothing to do, so that a second thread helps.

    With a ``compressor`` every layer is compressed anew; without one, what is ``splicing`` takes over what the archive
    has compressed.  Only what is ``trusting`` looks for known layers, by name and size; it hashes each and compares.

    Raises:
        Mistaken, Unspliced: the archive must be read again by what is not trusting, or not splicing.
    """

    def __init__(
        self,
        layout: Layout,
        known: Known,
        archive: Digest,
        *,
        trusting: bool = True,
        splicing: bool = True,
        spare: Callable[[], bool] = lambda: False,
        compressor: Callable[[], Compressor] | None = None,
        elsewhere: Mapping[Digest, Layer] = NO_LAYERS,
    ) -> None:
        self._layout, self._known, self._archive = layout, known, archive
        self._trusting, self._splicing = trusting, splicing and compressor is None
        self._compressor, self._elsewhere, self._spare = compressor, elsewhere, spare

    def plain(self, member: Member, where: str) -> Layer:
        """Hash a layer and write it as gzip."""
        if seen := self._seen(member):
            return seen
        with self._layout.batch() as batch:
            writer, diff = batch.writer(), hashlib.sha256()
            if self._splicing and member.inflating and member.size >= MIN_LAYER_BYTES:
                self._splice(member, Splicing(member.inflating, writer.write, member.size), diff.update)
            else:
                self._compress(member, writer, diff.update)
            diff_id = Digest(f"sha256:{diff.hexdigest()}")
            if layer := self._elsewhere.get(diff_id):
                writer.discard()
                self._known.hold(member.name, member.size, layer)
                return layer
            layer = Layer(writer.finish(), writer.size, diff_id, "gzip", kept=False)
        self._known.put(member.name, member.size, layer, self._archive)
        return layer

    def _compress(self, member: Member, writer: BlobWriter, hash_piece: Take) -> None:
        compressor = (self._compressor or gzip_compressor)()

        def pack(piece: bytes | memoryview) -> None:
            if packed := compressor.compress(piece):
                writer.write(packed)

        with self._follow(pack) as follower:
            _take(member, hash_piece, follower.put)
        writer.write(compressor.flush())

    def _splice(self, member: Member, splicing: Splicing, hash_piece: Take) -> None:
        with splicing, self._follow(hash_piece) as follower:
            _take(member, splicing.take, follower.put)
            splicing.finish()

    def _follow(self, take: Take) -> Aside | Inline:
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
        hasher = hashlib.sha256()
        _take(member, hasher.update)
        if f"sha256:{hasher.hexdigest()}" != (seen.digest if seen.kept else seen.diff_id):
            raise Mistaken
        return seen


def _take(member: Member, *takers: Take) -> None:
    def take(piece: bytes | memoryview) -> None:
        for taker in takers:
            taker(piece)

    take(member.head)
    drain(member.rest, take)
