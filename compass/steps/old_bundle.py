"""Step: the older bundle that a differential one relies on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from compass.bundle.checksums import refuse_wrong
from compass.bundle.definition import BaseBundle
from compass.bundle.definition import ReliedBlob as DeclaredBlob
from compass.bundle.open import open_bundle, verify_bundle
from compass.digests import Digest
from compass.errors import InvalidInput
from compass.images.archives.content import Layer
from compass.images.model import BlobSource
from compass.images.relied import ReliedBlob, layers_by_content, layers_of
from compass.steps.images import layout_inside, wrong_images
from compass.steps.verify import wrong_blobs
from compass.steps.workplace import Workplace


@dataclass(frozen=True)
class OldBundle:
    """A packed bundle that sites have loaded: ``blobs`` are in a registry then, ``layers`` are the same by content."""

    name: str
    version: str
    digest: Digest
    blobs: Mapping[Digest, ReliedBlob]
    layers: Mapping[Digest, Layer]
    source: BlobSource

    def relied_on(self, needed: Iterable[Digest]) -> BaseBundle | None:
        """Return what a bundle that needs some blobs relies on; ``None`` when that is nothing."""
        blobs = tuple(
            DeclaredBlob(digest=x, size=self.blobs[x].size, repositories=self.blobs[x].repositories)
            for x in sorted(set(needed) & self.blobs.keys())
        )
        return BaseBundle(name=self.name, to=self.version, digest=self.digest, blobs=blobs) if blobs else None


def open_old(place: Workplace, path: Path) -> OldBundle:
    """Open a packed bundle and check every byte of it; it may be a differential one itself.

    Raises:
        InvalidInput: it is damaged, or not packed.
    """
    old = open_bundle(path, place.state.bundles, place.progress)
    if not (old.has_layout and old.definition.checksums):
        raise InvalidInput("read base", path, found="a bundle that is not packed", do="pack it first")
    digest, sums = verify_bundle(old, place.progress)
    source = layout_inside(old)
    images = source.images()
    wrong = wrong_images(old.definition.images, images)
    refuse_wrong([*wrong_blobs(sums), *(f"{x[0]}: {x[1]}, expected {x[2]}" for x in wrong)], old.where)
    metadata = old.definition.metadata
    return OldBundle(
        name=metadata.name, version=metadata.to, digest=digest, blobs=layers_of(images, source),
        layers=layers_by_content(images, source), source=source,
    )  # fmt: skip
