"""The images of a bundle's archives, brought into a layout: each archive is read once, as a stream."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import BinaryIO

from compass.bundle.files import BundleFiles
from compass.digests import Digest, digest_of_stream
from compass.errors import InvalidInput
from compass.images.archives.assemble import Assembled, Assembler
from compass.images.archives.content import Content, Layer, Passing, read_content
from compass.images.archives.known import KnownLayers
from compass.images.archives.members import DID
from compass.images.archives.splicing import Unspliced
from compass.images.archives.storing import NO_LAYERS, Mistaken, Storing
from compass.images.archives.sweep import in_use
from compass.images.compression import Compressor
from compass.images.layout import Layout
from compass.images.manifests import stored_image
from compass.images.model import StoredImage
from compass.names import ImageName
from compass.progress import Progress
from compass.together import together

STEP = "read images"
_NO_DIGESTS: Mapping[str, Digest] = {}


def survey(open_archive: Callable[[], BinaryIO], where: str) -> list[tuple[ImageName, Digest]]:
    """Return the names and config digests of an archive's images; nothing is written, layers are not looked at.

    Raises:
        InvalidInput: the archive is bad; ``where`` names it.
    """
    with open_archive() as stream:
        content = read_content(stream, where, Passing(), lambda _: None)
    images = Assembler(content).images()
    return [(name, config) for image in images for name in image.names for config in image.config_digests]


def normalise(
    files: BundleFiles,
    names: list[str],
    layout: Layout,
    progress: Progress,
    *,
    workers: int | None = None,
    digests: Mapping[str, Digest] = _NO_DIGESTS,
    compressor: Callable[[], Compressor] | None = None,
    elsewhere: Mapping[Digest, Layer] = NO_LAYERS,
    on_read: Callable[[Sequence[StoredImage]], None] | None = None,
) -> dict[str, list[StoredImage]]:
    """Bring the images of archives into a layout and return them by archive name.

    An archive read before is found again by its sha256; ``digests`` are those already known from checking the
    bundle's checksums, others are taken here.  As many archives as there are ``workers`` (default: processors)
    are read at a time.  ``elsewhere`` are layers by diff ID that need not be kept: the layout has them beneath.
    ``on_read`` gets the images of each archive that was read now, once it is, and may raise to end it all.  With a
    ``compressor`` every layer is compressed by it; else what an archive has compressed may be taken over.

    Raises:
        InvalidInput: an archive is bad; nothing of it is left in the layout.
        StepFailed: the disk said no.
    """
    store = partial(Storing, compressor=compressor, elsewhere=elsewhere)
    run = _Run(files, layout, progress, digests, store, len(names), on_read)
    progress.begin(STEP, sum(files.size(name) for name in names), "bytes")
    most = max(1, min(workers or os.cpu_count() or 1, len(names)))
    with in_use(layout), ThreadPoolExecutor(max_workers=most) as pool:
        # The largest first: a large one that begins last would be waited for alone.
        order = sorted(names, key=files.size, reverse=True)
        found = dict(zip(order, together(pool, run.archive, order, run.stop), strict=True))
    return {name: found[name] for name in names}


class _Stopped(Exception):
    """Another archive failed."""


class _Run:
    """What the threads of one ``normalise`` share."""

    def __init__(
        self,
        files: BundleFiles,
        layout: Layout,
        progress: Progress,
        digests: Mapping[str, Digest],
        store: Callable[..., Storing],
        count: int,
        on_read: Callable[[Sequence[StoredImage]], None] | None,
    ) -> None:
        self._files, self._layout, self._progress, self._digests = files, layout, progress, digests
        self._store, self._known, self._on_read = store, KnownLayers(layout), on_read
        self._left, self._processors = count, os.cpu_count() or 1
        self._lock = threading.Lock()
        self.stop = threading.Event()

    def archive(self, name: str) -> list[StoredImage]:
        """Return the images of one archive, from the index or by reading it."""
        try:
            return self._archive(name)
        finally:
            with self._lock:
                self._left -= 1

    def _archive(self, name: str) -> list[StoredImage]:
        digest = self._digests.get(name) or self._digest(name)
        if (images := self._layout.recall(digest)) is not None:
            self._progress.advance(STEP, self._files.size(name))
            return images
        images = self._read_until_sure(name, digest)
        self._layout.remember(digest, images)
        if self._on_read:
            self._on_read(images)
        return images

    def _read_until_sure(self, name: str, digest: Digest) -> list[StoredImage]:
        told = _Told(self._progress, self.stop)
        trusting = splicing = True
        while True:
            try:
                return self._read(name, digest, told, trusting=trusting, splicing=splicing)
            except Mistaken:
                trusting = False
            except Unspliced:
                splicing = False

    def _spare(self) -> bool:
        return self._left < self._processors

    def _digest(self, name: str) -> Digest:
        with self._files.open(name) as stream:
            return digest_of_stream(stream)

    def _read(self, name: str, digest: Digest, told: _Told, *, trusting: bool, splicing: bool) -> list[StoredImage]:
        where = f"{self._files}/{name}"
        told.position = 0
        store = self._store(self._layout, self._known, digest, trusting=trusting, splicing=splicing, spare=self._spare)
        try:
            with self._files.open(name) as stream:
                content = read_content(stream, where, store, told.watch)
            with self._layout.batch() as batch:
                images = self._assemble(content, batch.put)
        except InvalidInput:
            self._known.forget(digest)
            raise
        return [stored_image(name, self._layout, image.digest) for image in images for name in image.names]

    def _assemble(self, content: Content, put: Callable[[bytes], Digest]) -> list[Assembled]:
        assembler = Assembler(content)
        images = assembler.images()
        _check_one_name_each(images, content.where)
        for data in assembler.documents.values():
            put(data)
        return images


class _Told:
    """Bytes of one archive told to the progress, never the same one twice."""

    def __init__(self, progress: Progress, stop: threading.Event) -> None:
        self._progress, self._stop = progress, stop
        self.position = self.high = 0

    def watch(self, piece: memoryview) -> None:
        if self._stop.is_set():
            raise _Stopped
        self.position += len(piece)
        if self.position > self.high:
            self._progress.advance(STEP, self.position - self.high)
            self.high = self.position


def _check_one_name_each(images: list[Assembled], where: str) -> None:
    seen: set[ImageName] = set()
    for name in (name for image in images for name in image.names):
        if name in seen:
            raise InvalidInput(DID, where, found=f"two images named {name}", expected="one")
        seen.add(name)
