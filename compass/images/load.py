"""Images from a source into a registry: what is there is not sent, what is shared is sent once, tags come last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

from compass.digests import Digest
from compass.errors import InvalidInput, StepFailed
from compass.images.identity import same_content
from compass.images.manifests import Tree, read_tree
from compass.images.model import BlobSource, StoredImage
from compass.images.registry import Registry
from compass.images.upload import upload
from compass.names import ImageName
from compass.progress import Progress

STEP = "load images"
CONCURRENCY = 8
A = TypeVar("A")
B = TypeVar("B")


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
    there: Digest | None = None
    sent: set[Digest] = field(default_factory=set)

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
) -> list[LoadedImage]:
    """Bring images into a registry under their own repositories and tags; what is there already is not sent.

    Every tag is read back at the end.  Nothing is tagged before every blob of every image is there.

    Raises:
        InvalidInput: two images of one name, or a blob is absent or damaged.
        CompassError: as ``Registry``.
    """
    pending = [_Pending(x, read_tree(source, x.digest, str(x.name)), x.name.at(registry.host)) for x in _once(images)]
    progress.begin(STEP, sum(_size(x) for x in pending), "bytes")
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        run = _Run(registry, source, progress)
        _all(pool, run.look, pending, run.stop)
        absent = [x for x in pending if x.there is None]
        _all(pool, lambda job: run.blob(*job), _by_blob(absent), run.stop)
        _all(pool, run.tag, absent, run.stop)
    return [_loaded(x) for x in pending]


def locate(
    images: Iterable[StoredImage], source: BlobSource, registry: Registry, *, concurrency: int = CONCURRENCY
) -> list[Located]:
    """Return what a registry has of each image and what a load would send; shared blobs count for the first image.

    Raises:
        CompassError: as ``load``.
    """
    pending = [_Pending(x, read_tree(source, x.digest, str(x.name)), x.name.at(registry.host)) for x in _once(images)]
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        _all(pool, lambda x: _look(registry, x), pending, stop)
        jobs = _by_blob([x for x in pending if x.there is None])
        _all(pool, lambda job: _mark_absent(registry, *job), jobs, stop)
    return [Located(x.image.name, x.target, x.there, _sent_bytes(x)) for x in pending]


class _Run:
    """What the threads of one load share."""

    def __init__(self, registry: Registry, source: BlobSource, progress: Progress) -> None:
        self._registry, self._source, self._progress = registry, source, progress
        self.stop = threading.Event()

    def look(self, pending: _Pending) -> None:
        """Find out whether the tag is there."""
        _look(self._registry, pending)
        if pending.there is not None:
            self._progress.advance(STEP, _size(pending))

    def blob(self, digest: Digest, users: list[_Pending]) -> None:
        """Bring one blob to every repository that needs it: sent at most once, taken over from there by the others."""
        size = self._source.size(digest)
        repositories = list(dict.fromkeys(x.repository for x in users))
        having = [x for x in repositories if self._registry.head_blob(x, digest)]
        told = 0
        for repository in repositories:
            if repository in having:
                continue
            location = self._registry.mount(repository, digest, having[0]) if having else None
            if not having or location:
                told += self._send(repository, digest, location)
                next(x for x in users if x.repository == repository).sent.add(digest)
            having.append(repository)
        self._progress.advance(STEP, size * len(users) - told)

    def _send(self, repository: str, digest: Digest, location: str | None) -> int:
        """Upload a blob and return how many bytes the progress was told of."""
        count = 0

        def tell(amount: int) -> None:
            nonlocal count
            if self.stop.is_set():
                raise _Stopped
            count += amount
            self._progress.advance(STEP, amount)

        upload(self._registry, repository, digest, self._source, told=tell, location=location)
        return count

    def tag(self, pending: _Pending) -> None:
        """Store the manifests of an image, its tag last, and read that back."""
        for tree in pending.tree.walk():
            reference = pending.target.tag if tree is pending.tree else tree.digest
            self._registry.put_manifest(pending.repository, reference, tree.data, tree.media_type)
            pending.sent.add(tree.digest)
            self._progress.advance(STEP, len(tree.data))
        found = self._registry.get_manifest(pending.repository, pending.target.tag)
        if found is None or found.digest != pending.tree.digest:
            said = f"tag points to {found.digest}" if found else "no such tag"
            raise StepFailed("read back", pending.target, found=said, expected=pending.tree.digest)
        pending.there = found.digest


class _Stopped(Exception):
    """Another part of the load failed."""


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
    elif (remote := registry.get_manifest(repository, tag)) and same_content(remote, pending.tree):
        pending.there = remote.digest


def _mark_absent(registry: Registry, digest: Digest, users: list[_Pending]) -> None:
    if not any(registry.head_blob(x, digest) for x in dict.fromkeys(x.repository for x in users)):
        users[0].sent.add(digest)


def _by_blob(pending: list[_Pending]) -> list[tuple[Digest, list[_Pending]]]:
    """Return each blob with the images that need it, the largest first: begun last it would be waited for alone."""
    users: dict[Digest, list[_Pending]] = {}
    sizes: dict[Digest, int] = {}
    for x in pending:
        for digest, size in x.tree.blob_sizes().items():
            users.setdefault(digest, []).append(x)
            sizes[digest] = size
    return sorted(users.items(), key=lambda item: -sizes[item[0]])


def _all(pool: ThreadPoolExecutor, call: Callable[[A], B], items: Iterable[A], stop: threading.Event) -> None:
    """Call for every item in threads; after the first failure the others end soon, and that failure is raised."""
    futures = [pool.submit(call, item) for item in items]
    try:
        done, rest = wait(futures, return_when=FIRST_EXCEPTION)
    except BaseException:
        stop.set()
        raise
    if failed := next((future for future in done if future.exception()), None):
        stop.set()
        for future in rest:
            future.cancel()
        failed.result()


def _size(pending: _Pending) -> int:
    return sum(pending.tree.sizes().values())


def _sent_bytes(pending: _Pending) -> int:
    sizes = pending.tree.sizes()
    return sum(sizes[digest] for digest in pending.sent)


def _loaded(pending: _Pending) -> LoadedImage:
    sent = _sent_bytes(pending)
    if pending.there is None:  # tag() has set it, or raised
        raise StepFailed("load image", pending.target, found="no tag")
    image = pending.image
    return LoadedImage(image.name, pending.target, pending.there, image.config_digests, sent, _size(pending) - sent)
