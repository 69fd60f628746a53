"""Step: is every byte of a bundle what it should be: checksums, blobs, images, signature; no cluster is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from compass.bundle.checksums import bundle_digest, refuse_wrong, sum_files
from compass.bundle.files import TarFiles
from compass.bundle.open import Bundle, check_signature, wrong_files
from compass.documents import Document
from compass.errors import InvalidInput
from compass.images.archives.assemble import Assembled
from compass.images.archives.examine import examine
from compass.images.manifests import stored_image
from compass.images.model import StoredImage
from compass.names import ImageName
from compass.steps.images import layout_inside, wrong_images
from compass.steps.prepare import signing_key
from compass.steps.workplace import Workplace

BLOBS = "oci/blobs/sha256/"
STEP = "read images"


class Verified(Document):
    """What was found right; ``relies_on`` counts the blobs of the base, which are not looked at."""

    name: str
    version: str
    digest: str
    files: int
    size_bytes: int
    has_checksums: bool
    images: int
    blobs: int
    base: str = ""
    relies_on: int = 0
    signature: Literal["absent", "not checked", "valid"] = "absent"


def verify(place: Workplace) -> Verified:
    """Read every byte of the bundle.

    Raises:
        InvalidInput: something is wrong, the first of it is named, and how many more; or it is not signed by the key
            that was named.
    """
    bundle = place.bundle
    key = signing_key(place.job)
    sums = sum_files(bundle.files, bundle.covered, place.progress)
    # What follows from a wrong file is not told beside it: it would be the same thing twice.
    wrong = wrong_files(bundle, sums) or wrong_blobs(sums) or _wrong_images(place)
    if wrong and isinstance(bundle.files, TarFiles):
        bundle.files.archive.refuse_wrong_part()
    refuse_wrong(wrong, bundle.where)
    if key:
        check_signature(bundle, key)
    base = bundle.definition.base
    return Verified(
        name=bundle.definition.metadata.name,
        version=bundle.definition.metadata.to,
        digest=bundle_digest(sums),
        files=len(sums),
        size_bytes=sum(bundle.files.size(x) for x in sums),
        has_checksums=bool(bundle.definition.checksums),
        images=len(layout_inside(bundle).named()) if bundle.has_layout else len(bundle.image_archives),
        blobs=sum(x.startswith(BLOBS) for x in sums),
        base=str(base) if base else "",
        relies_on=len(base.blobs) if base else 0,
        signature="valid" if key else "not checked" if bundle.signature else "absent",
    )


def wrong_blobs(sums: Mapping[str, str]) -> list[str]:
    """Say of each blob whose content is not what its name says; ``sums`` are the sha256 of a bundle's files."""
    blobs = ((name, name.removeprefix(BLOBS), x) for name, x in sorted(sums.items()) if name.startswith(BLOBS))
    return [f"{name} has sha256 {found}" for name, expected, found in blobs if found != expected]


def _wrong_images(place: Workplace) -> list[str]:
    return list(_wrong_in_layout(place.bundle) if place.bundle.has_layout else _wrong_in_archives(place))


def _wrong_in_layout(bundle: Bundle) -> Iterator[str]:
    inside = layout_inside(bundle)
    images: list[StoredImage] = []
    for name, digest in inside.named():
        try:
            images.append(stored_image(name, inside, digest))
        except InvalidInput as error:
            yield str(error)
    if bundle.definition.images:
        there = {str(x.name) for x in images}
        broken = {str(name) for name, _ in inside.named()} - there
        for image, found, expected in wrong_images(bundle.definition.images, images):
            if image not in broken:
                yield f"image {image}: {found}, expected {expected}"


def _wrong_in_archives(place: Workplace) -> Iterator[str]:
    bundle, progress = place.bundle, place.progress
    progress.begin(STEP, sum(map(bundle.files.size, bundle.image_archives)), "bytes")
    found: dict[str, list[Assembled]] = {}
    for name in bundle.image_archives:
        try:
            found[name] = examine(
                lambda name=name: bundle.files.open(name), f"{bundle.where}/{name}",  # type: ignore[misc]
                lambda piece: progress.advance(STEP, len(piece)),
            )  # fmt: skip
        except InvalidInput as error:
            yield str(error)
    if len(found) == len(bundle.image_archives):  # what a broken one holds is not known
        yield from _wrong_together(bundle, found)


def _wrong_together(bundle: Bundle, found: Mapping[str, list[Assembled]]) -> Iterator[str]:
    """Say which images of the archives contradict each other, or what the definition names."""
    seen: dict[ImageName, tuple[str, Assembled]] = {}
    for archive, image in ((archive, image) for archive, images in found.items() for image in images):
        for name in image.names:
            first_archive, first = seen.setdefault(name.at(""), (archive, image))
            if first.config_digests != image.config_digests:
                both = f"{_identity(first)} in {first_archive}, {_identity(image)} in {archive}"
                yield f"image {name}: two images of this name, {both}"
    declared = {x.name for x in bundle.definition.images}
    there = {str(name) for images in found.values() for image in images for name in image.names}
    if declared:
        yield from (f"image {x}: no such image, expected an image of this name" for x in sorted(declared - there))
        yield from (f"image {x}: bundle.yaml does not name it" for x in sorted(there - declared))


def _identity(image: Assembled) -> str:
    return image.config_digests[0] if image.config_digests else image.digest
