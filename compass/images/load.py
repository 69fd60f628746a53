"""Images from a source into a registry: what is there is not sent, what is shared is sent once, tags come last."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from compass.digests import Digest
from compass.errors import InvalidInput, StepFailed
from compass.images.identity import same_content
from compass.images.manifests import Tree, read_tree
from compass.images.model import BlobSource, StoredImage
from compass.images.registry.client import Registry
from compass.images.registry.sending import Sender
from compass.images.registry.sessions import Sessions
from compass.images.registry.slots import NoLimit, Slots
from compass.images.relied import NO_BASE, Base, Origins
from compass.names import ImageName
from compass.progress import Progress
from compass.together import together

STEP = "load images"
CONCURRENCY = 8


@dataclass(frozen=True)
class LoadedImage:
    """An image that the registry has now; ``digest`` is what its tag points to there.

    ``bytes_sent`` and ``bytes_skipped`` add up to the image's size; a blob shared by several images counts as sent
    for the first of them.  An image that was there under another manifest keeps that (``digest`` differs from ours).
    """

    source: ImageName
    target: ImageName
    digest: Digest
    config_digests: tuple[Digest, ...]
    bytes_sent: int
    bytes_skipped: int

    @property
    def as_json(self) -> dict[str, Any]:
        """The image as reports carry it."""
        return {
            "source": str(self.source),
            "target": str(self.target),
            "digest": self.digest,
            "configDigests": list(self.config_digests),
            "bytesSent": self.bytes_sent,
            "bytesSkipped": self.bytes_skipped,
        }


@dataclass(frozen=True)
class Located:
    """What a registry has of an image; ``digest`` is that of its tag when it is there, else empty."""

    source: ImageName
    target: ImageName
    digest: Digest | None
    bytes_to_send: int

    @property
    def is_there(self) -> bool:
        """Tell whether the tag points to this image."""
        return self.digest is not None


@dataclass
class _Pending:
    """An image on its way."""

    image: StoredImage
    tree: Tree
    target: ImageName
    exact: bool = False
    there: Digest | None = None
    sent: dict[Digest, int] = field(default_factory=dict)

    @property
    def repository(self) -> str:
        return self.target.repository


def load(
    images: Iterable[StoredImage],
    source: BlobSource,
    registry: Registry,
    progress: Progress,
    *,
    concurrency: int = CONCURRENCY,
    slots: Slots | None = None,
    sessions: Sessions | None = None,
    base: Base = NO_BASE,
    exact: bool = False,
) -> list[LoadedImage]:
    """Bring images into a registry under their own repositories and tags; what is there already is not sent.

    Every tag is read back at the end.  Nothing is tagged before every blob of every image is there.  ``concurrency``
    is the limit of requests, ``slots`` that of uploads; an upload that ``sessions`` knows of goes on where it stopped.
    What ``base`` names is taken over from where it lies in the registry; that it is there is asked before anything.
    With ``exact``, an image that is there under another manifest is not: ours is pushed, and gets the tag.

    Raises:
        Refused: a blob of the base is not there.
        InvalidInput: two images of one name, or a blob is absent or damaged.
        CompassError: as ``Registry``.
    """
    pending = _pending(images, source, registry, exact=exact)
    progress.begin(STEP, sum(_size(x) for x in pending), "bytes")
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        sizes = {digest: size for x in pending for digest, size in x.tree.blob_sizes().items()}
        told = partial(progress.advance, STEP)
        sender = Sender(registry, source, slots or NoLimit(), sessions, sizes.values(), told)
        run = _Run(registry, sizes, sender, progress, Origins(base, registry))
        together(pool, run.look, pending, run.stop)
        absent = [x for x in pending if x.there is None]
        _find_base(pool, run.origins, absent, run.stop)
        together(pool, lambda job: run.blob(*job), _by_blob(absent), run.stop)
        together(pool, run.tag, absent, run.stop)
    return [_loaded(x) for x in pending]


def need_base(
    images: Iterable[StoredImage],
    source: BlobSource,
    registry: Registry,
    base: Base,
    *,
    concurrency: int = CONCURRENCY,
    exact: bool = False,
) -> None:
    """Check that a registry has what a load would take over from a base; images that are there need nothing of it.

    Raises:
        CompassError: as ``load``.
    """
    pending = _pending(images, source, registry, exact=exact)
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        together(pool, lambda x: _look(registry, x), pending, stop)
        _find_base(pool, Origins(base, registry), [x for x in pending if x.there is None], stop)


def _find_base(pool: ThreadPoolExecutor, origins: Origins, absent: list[_Pending], stop: threading.Event) -> None:
    jobs = [(digest, users) for digest, users in _by_blob(absent) if digest in origins.base.blobs]
    together(pool, lambda job: origins.look(job[0], (x.repository for x in job[1])), jobs, stop)
    origins.refuse_missing()


def locate(
    images: Iterable[StoredImage], source: BlobSource, registry: Registry, *, concurrency: int = CONCURRENCY
) -> list[Located]:
    """Return what a registry has of each image and what a load would send; shared blobs count for the first image.

    Raises:
        CompassError: as ``load``.
    """
    pending = _pending(images, source, registry, exact=False)
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        together(pool, lambda x: _look(registry, x), pending, stop)
        jobs = _by_blob([x for x in pending if x.there is None])
        together(pool, lambda job: _mark_absent(registry, *job), jobs, stop)
    return [Located(x.image.name, x.target, x.there, _sent_bytes(x)) for x in pending]


def _pending(images: Iterable[StoredImage], source: BlobSource, registry: Registry, *, exact: bool) -> list[_Pending]:
    return [
        _Pending(x, read_tree(source, x.digest, str(x.name)), x.name.at(registry.host), exact) for x in _once(images)
    ]


class _Run:
    """What the threads of one load share."""

    def __init__(
        self, registry: Registry, sizes: Mapping[Digest, int], sender: Sender, progress: Progress, origins: Origins
    ) -> None:
        self._registry, self._sizes, self._sender, self._progress = registry, sizes, sender, progress
        self.origins, self.stop = origins, sender.stop

    def look(self, pending: _Pending) -> None:
        """Find out whether the tag is there."""
        _look(self._registry, pending)
        if pending.there is not None:
            self._progress.advance(STEP, _size(pending))

    def blob(self, digest: Digest, users: list[_Pending]) -> None:
        """Bring one blob to every repository that needs it: sent at most once, taken over from there by the others."""
        repositories = list(dict.fromkeys(x.repository for x in users))
        having = [x for x in repositories if self._sender.has(x, digest)]
        origin = having[0] if having else self.origins.of(digest)
        told = 0
        for repository in repositories:
            if repository in having:
                continue
            location = self._registry.mount(repository, digest, origin) if origin else None
            if location and digest in self.origins.base.blobs:
                self.origins.refuse_upload(repository, digest, location, origin)
            if not origin or location:
                sent = self._sender.send(repository, digest, location)
                told += sent.done
                next(x for x in users if x.repository == repository).sent[digest] = sent.over_the_wire
            origin = origin or repository
        self._progress.advance(STEP, self._sizes[digest] * len(users) - told)

    def tag(self, pending: _Pending) -> None:
        """Store the manifests of an image, its tag last, and read that back."""
        for tree in pending.tree.walk():
            reference = pending.target.tag if tree is pending.tree else tree.digest
            self._registry.put_manifest(pending.repository, reference, tree.data, tree.media_type)
            pending.sent[tree.digest] = len(tree.data)
            self._progress.advance(STEP, len(tree.data))
        found = self._registry.get_manifest(pending.repository, pending.target.tag)
        if found is None or found.digest != pending.tree.digest:
            said = f"tag points to {found.digest}" if found else "no such tag"
            raise StepFailed("read back", pending.target, found=said, expected=pending.tree.digest)
        pending.there = found.digest


def _once(images: Iterable[StoredImage]) -> list[StoredImage]:
    """Return the images, each name once, and check that they can be tagged."""
    found: dict[ImageName, StoredImage] = {}
    for image in images:
        key = image.name.at("")
        if not key.tag:
            raise InvalidInput("load image", image.name, found="no tag", expected="name:tag")
        if found.setdefault(key, image).digest != image.digest:
            names = f"{found[key].digest} and {image.digest}"
            raise InvalidInput("load image", image.name, found=f"two images of this name, {names}", expected="one")
    return list(found.values())


def _look(registry: Registry, pending: _Pending) -> None:
    repository, tag = pending.repository, pending.target.tag
    found = registry.head_manifest(repository, tag)
    if found is None or found == pending.tree.digest:
        pending.there = found
    elif pending.exact:
        return
    elif (remote := registry.get_manifest(repository, tag)) and same_content(remote, pending.tree):
        pending.there = remote.digest


def _mark_absent(registry: Registry, digest: Digest, users: list[_Pending]) -> None:
    if not any(registry.head_blob(x, digest) for x in dict.fromkeys(x.repository for x in users)):
        users[0].sent[digest] = users[0].tree.sizes()[digest]


def _by_blob(pending: list[_Pending]) -> list[tuple[Digest, list[_Pending]]]:
    """Return each blob with the images that need it, the largest first: begun last it would be waited for alone."""
    users: dict[Digest, list[_Pending]] = {}
    sizes: dict[Digest, int] = {}
    for x in pending:
        for digest, size in x.tree.blob_sizes().items():
            users.setdefault(digest, []).append(x)
            sizes[digest] = size
    return sorted(users.items(), key=lambda item: -sizes[item[0]])


def _size(pending: _Pending) -> int:
    return sum(pending.tree.sizes().values())


def _sent_bytes(pending: _Pending) -> int:
    return sum(pending.sent.values())


def _loaded(pending: _Pending) -> LoadedImage:
    sent = _sent_bytes(pending)
    if pending.there is None:  # tag() has set it, or raised
        raise StepFailed("load image", pending.target, found="no tag")
    image = pending.image
    return LoadedImage(image.name, pending.target, pending.there, image.config_digests, sent, _size(pending) - sent)
