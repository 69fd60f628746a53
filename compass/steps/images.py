"""Steps: bring the bundle's images to the site registry, and know which digests prove each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from compass.bundle.definition import BundleImage
from compass.bundle.open import Bundle
from compass.digests import Digest
from compass.documents import Document
from compass.errors import InvalidInput
from compass.images.archives.normalise import normalise, survey
from compass.images.identity import published
from compass.images.layout import FilesLayout, Layout
from compass.images.load import LoadedImage, load, need_base
from compass.images.model import BlobSource, StoredImage
from compass.images.registry.sessions import Sessions
from compass.images.registry.slots import LockedSlots, Slots, slots_folder
from compass.images.relied import NO_BASE, Base, ReliedBlob
from compass.names import ImageName
from compass.steps.workplace import Workplace


class ImageResult(Document):
    """One image as it is in the site registry now, and what it took."""

    name: str
    target: str
    digest: str
    config_digests: tuple[str, ...]
    bytes_sent: int
    bytes_skipped: int


class LoadResult(Document):
    """All images of a bundle in the site registry, read back."""

    images: tuple[ImageResult, ...]

    @property
    def bytes_sent(self) -> int:
        """How much went over the wire."""
        return sum(x.bytes_sent for x in self.images)

    @property
    def bytes_skipped(self) -> int:
        """How much was there already."""
        return sum(x.bytes_skipped for x in self.images)


class ExpectedImage(Document):
    """One image of the bundle; ``digests`` are all that a node may report for it.

    ``published`` is what the registry's tag points to, empty when there is no such tag.
    """

    name: str
    digests: frozenset[str]
    config_digests: tuple[str, ...]
    published: str = ""
    is_published: bool = False


def known_layout(place: Workplace) -> Layout | None:
    """Return the layout of archives that were read before; ``None``, and no folder made, where there was none."""
    return Layout(place.state.images) if (place.state.images / "archives").is_dir() else None


def some_repository(place: Workplace, archives: Mapping[str, str]) -> str:
    """Return a repository that the bundle will push to; the smallest archive is read for it if none was read before.

    Raises:
        InvalidInput: the archive that was read for it is damaged.
    """
    bundle = place.bundle
    if bundle.definition.images:
        return ImageName.parse(bundle.definition.images[0].name).repository
    if layout := known_layout(place):
        for digest in archives.values():
            if images := layout.recall(Digest(digest)):
                return images[0].name.repository
    smallest = min(bundle.image_archives, key=bundle.files.size)
    found = survey(lambda: bundle.files.open(smallest), f"{bundle.where}: {smallest}")
    return found[0][0].repository


def nothing_to_push(place: Workplace, archives: Mapping[str, str]) -> bool:
    """Tell whether the registry is known to have every image; no archive is read for it, so ``False`` may be wrong."""
    if place.job.choices.exact_images:
        return False
    if not place.bundle.has_layout:
        layout = known_layout(place)
        if layout is None or any(not layout.recall(Digest(x)) for x in archives.values()):
            return not place.bundle.image_archives
    return all(x.is_published for x in expected_images(place, archives))


def upload_slots(place: Workplace) -> Slots:
    """Return the limit that all runs of this user on this machine share for the site registry."""
    folder = slots_folder(place.environ, Path.home(), place.registry.host)
    return LockedSlots(folder, place.job.choices.registry_uploads, place.clock, place.progress.note)


def layout_inside(bundle: Bundle) -> FilesLayout:
    """Return the images of a packed bundle where they lie."""
    return FilesLayout(bundle.files, relied={digest: x.size for digest, x in base_of(bundle).blobs.items()})


def base_of(bundle: Bundle) -> Base:
    """Return what a differential bundle relies on; nothing for a whole one."""
    base = bundle.definition.base
    if base is None:
        return NO_BASE
    return Base(str(base), {Digest(x.digest): ReliedBlob(x.size, x.repositories) for x in base.blobs})


def need_base_loaded(place: Workplace) -> None:
    """Check that the site registry has what a differential bundle relies on; for a whole one it is not asked.

    Raises:
        Refused: the base bundle must be loaded first.
        CompassError: as ``Registry``.
    """
    base = base_of(place.bundle)
    if base.blobs:
        images, source = _open_images(place, {})
        choices = place.job.choices
        need_base(
            images, source, place.registry, base, concurrency=choices.registry_concurrency, exact=choices.exact_images
        )


def load_images(
    place: Workplace, archives: Mapping[str, str], slots: Slots | None = None, *, try_push: bool = False
) -> LoadResult:
    """Push what the registry lacks and read every tag back; ``archives`` are known digests of image archives.

    ``slots`` limits the uploads to the registry, the default those of this machine.  With ``try_push``, whether we may
    push is tried once the first archive is read, so that nobody waits for the others in vain.

    Raises:
        InvalidInput: an archive is damaged, or holds another image than the definition says.
        Refused, Transient, StepFailed: the registry said no, stayed away, or lies.
    """
    images, source = _open_images(place, archives, _TryPush(place) if try_push else None)
    done = _load(place, images, source, slots or upload_slots(place)) if images else []
    return LoadResult(
        images=tuple(
            ImageResult(
                name=str(x.source), target=str(x.target), digest=x.digest, config_digests=x.config_digests,
                bytes_sent=x.bytes_sent, bytes_skipped=x.bytes_skipped,
            )
            for x in done
        )
    )  # fmt: skip


def _load(place: Workplace, images: list[StoredImage], source: BlobSource, slots: Slots) -> list[LoadedImage]:
    concurrency = place.job.choices.registry_concurrency
    sessions = Sessions(place.state.uploads, place.registry.host, place.clock)
    return load(
        images, source, place.registry, place.progress, concurrency=concurrency, slots=slots, sessions=sessions,
        base=base_of(place.bundle), exact=place.job.choices.exact_images,
    )  # fmt: skip


class _TryPush:
    """Tries once whether we may push."""

    def __init__(self, place: Workplace) -> None:
        self._place, self._tried = place, threading.Lock()

    def __call__(self, images: Sequence[StoredImage]) -> None:
        if self._tried.acquire(blocking=False):
            self._place.registry.writable(images[0].name.repository)


def _open_images(
    place: Workplace, archives: Mapping[str, str], on_read: Callable[[Sequence[StoredImage]], None] | None = None
) -> tuple[list[StoredImage], BlobSource]:
    bundle = place.bundle
    if bundle.has_layout:
        inside = layout_inside(bundle)
        images = inside.images()
        _as_declared(bundle, images)
        return images, inside
    if not bundle.image_archives:
        return [], Layout(place.state.images)
    layout = Layout(place.state.images)
    digests = {name: Digest(x) for name, x in archives.items()}
    found = normalise(bundle.files, bundle.image_archives, layout, place.progress, digests=digests, on_read=on_read)
    images = [x for name in sorted(found) for x in found[name]]
    _as_declared(bundle, images)
    return images, layout


def _as_declared(bundle: Bundle, images: list[StoredImage]) -> None:
    """Check that the images are those of the definition, where it names any."""
    wrong = wrong_images(bundle.definition.images, images)
    if bundle.definition.images and wrong:
        name, found, expected = wrong[0]
        raise InvalidInput("read images of", f"{bundle.where}: {name}", found=found, expected=expected)


def wrong_images(
    declared: Iterable[BundleImage], images: Iterable[StoredImage], *, may_be_more: bool = False
) -> list[tuple[str, str, str]]:
    """Return each image that is not as declared: its name, what was found, and what was expected.

    A digest may be declared by that of the config, which is what ``docker inspect`` calls the image's Id.  With
    ``may_be_more`` there may be images that are not declared.
    """
    there = {str(x.name): x for x in images}
    digests = {x.name: x.digest for x in declared}
    wrong = []
    for name in sorted(digests.keys() | there.keys()):
        image, digest = there.get(name), digests.get(name)
        if image is None:
            wrong.append((name, "no such image", digest or "an image of this name"))
        elif name not in digests and not may_be_more:
            wrong.append((name, image.digest, "no image that bundle.yaml does not name"))
        elif digest and digest not in (image.digest, *image.config_digests):
            wrong.append((name, image.digest, digest))
    return wrong


def bundle_configs(place: Workplace, archives: Mapping[str, str]) -> dict[ImageName, tuple[Digest, frozenset[str]]]:
    """Return each image's digests as the bundle has it: any config digest first, then all; nothing is written.

    Raises:
        InvalidInput: an archive is damaged, or the bundle holds other images than its definition says.
    """
    bundle = place.bundle
    if bundle.has_layout:
        images = layout_inside(bundle).images()
        _as_declared(bundle, images)
        return {x.name: (x.config_digests[0], frozenset({x.digest, *x.config_digests})) for x in images}
    known = known_layout(place)
    found: dict[ImageName, tuple[Digest, frozenset[str]]] = {}
    for name in bundle.image_archives:
        stored = known.recall(Digest(archives[name])) if known and name in archives else None
        if stored is not None:
            found |= {x.name: (x.config_digests[0], frozenset({x.digest, *x.config_digests})) for x in stored}
            continue
        where = f"{bundle.where}: {name}"
        for image, config in survey(lambda name=name: bundle.files.open(name), where):  # type: ignore[misc]
            found[image] = (config, found.get(image, (config, frozenset()))[1] | {config})
    return found


def expected_images(place: Workplace, archives: Mapping[str, str]) -> list[ExpectedImage]:
    """Return, for each image of the bundle, the digests that prove it, the registry's own included if it is the same.

    Raises:
        InvalidInput: an archive is damaged.
        Transient, Refused: the registry does not answer or does not let us.
    """
    inside = bundle_configs(place, archives)
    names = {name: name.at(place.registry.host) for name in inside}
    there = published(place.registry, names.values())
    expected = []
    for name, (_, digests) in sorted(inside.items()):
        tag = there[names[name]]
        same = tag is not None and (tag.digest in digests or bool(digests & set(tag.config_digests)))
        proving = digests | ({tag.digest} if tag is not None and same else frozenset())
        configs = tuple(sorted(digests & set(tag.config_digests))) if tag is not None else tuple(sorted(digests))
        expected.append(
            ExpectedImage(
                name=str(name), digests=proving, config_digests=configs, is_published=same,
                published=tag.digest if tag is not None else "",
            )
        )  # fmt: skip
    return expected
