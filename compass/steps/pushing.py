"""Step: say how much a load would send, from what the registry has; nothing is sent and nothing unpacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compass.digests import Digest
from compass.documents import Document
from compass.images.load import locate
from compass.images.model import BlobSource, StoredImage
from compass.steps.images import ExpectedImage, known_layout, layout_inside
from compass.steps.workplace import Workplace


class ToPush(Document):
    """What the registry has of a bundle's images, and what a load would send.

    ``size_bytes`` is what it would send: exactly, where the images' blobs are known (a packed bundle, archives that
    were read before), else at most.
    """

    images: tuple[ExpectedImage, ...] = ()
    size_bytes: int = 0
    is_exact: bool = True

    @property
    def absent(self) -> tuple[str, ...]:
        """The images that would be pushed."""
        return tuple(x.name for x in self.images if not x.is_published)


def to_push(place: Workplace, archives: Mapping[str, str], expected: Sequence[ExpectedImage]) -> ToPush:
    """Return what a load would push; ``archives`` are the digests of the bundle's image archives.

    Raises:
        CompassError: as ``compass.images.load.locate``.
    """
    images = tuple(expected)
    if all(x.is_published for x in images):
        return ToPush(images=images)
    known = _known(place, archives)
    if known is None:
        return ToPush(images=images, size_bytes=sum(map(place.bundle.files.size, archives)), is_exact=False)
    concurrency = place.job.choices.registry_concurrency
    found = locate(*known, place.registry, concurrency=concurrency)
    return ToPush(images=images, size_bytes=sum(x.bytes_to_send for x in found))


def _known(place: Workplace, archives: Mapping[str, str]) -> tuple[list[StoredImage], BlobSource] | None:
    """Return the bundle's images where no archive must be read for it."""
    if place.bundle.has_layout:
        inside = layout_inside(place.bundle)
        return inside.images(), inside
    if (layout := known_layout(place)) is None:
        return None
    images: list[StoredImage] = []
    for digest in archives.values():
        stored = layout.recall(Digest(digest))
        if stored is None:
            return None
        images += stored
    return images, layout
