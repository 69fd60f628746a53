"""What a differential bundle leaves out because an older bundle holds it: the base that must be in the registry."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from compass.digests import Digest
from compass.errors import CompassError, Refused, StepFailed
from compass.images.archives.assemble import CONFIG_TYPES, read_diff_ids
from compass.images.archives.content import Layer
from compass.images.manifests import Tree, read_tree
from compass.images.model import GZIP_LAYERS, BlobSource, StoredImage
from compass.images.registry.client import Registry


@dataclass(frozen=True)
class ReliedBlob:
    """A blob that lies in a registry once the base is loaded, in each of ``repositories``."""

    size: int
    repositories: tuple[str, ...]


@dataclass(frozen=True)
class Base:
    """The bundle called ``name`` and what of it is relied on."""

    name: str
    blobs: Mapping[Digest, ReliedBlob]


NO_BASE = Base("", {})


def layers_of(images: Iterable[StoredImage], source: BlobSource) -> dict[Digest, ReliedBlob]:
    """Return every blob of images but manifests and configs, and where loading the images puts it.

    Raises:
        InvalidInput: as ``read_tree``.
    """
    repositories: dict[Digest, set[str]] = {}
    sizes: dict[Digest, int] = {}
    for image in images:
        tree = read_tree(source, image.digest, str(image.name))
        documents = tree.documents()
        for digest, size in tree.blob_sizes().items():
            if digest not in documents:
                repositories.setdefault(digest, set()).add(image.name.repository)
                sizes[digest] = size
    return {digest: ReliedBlob(sizes[digest], tuple(sorted(found))) for digest, found in repositories.items()}


def layers_by_content(images: Iterable[StoredImage], source: BlobSource) -> dict[Digest, Layer]:
    """Return the gzipped layers of images by diff ID, the digest of their uncompressed content.

    Raises:
        InvalidInput: as ``read_tree``, or a config does not fit its manifest.
    """
    found: dict[Digest, Layer] = {}
    for image in images:
        for tree in read_tree(source, image.digest, str(image.name)).walk():
            found.update(_by_content(tree, source))
    return found


def _by_content(tree: Tree, source: BlobSource) -> Iterable[tuple[Digest, Layer]]:
    if not tree.blobs or tree.is_attestation or tree.blobs[0].mediaType not in CONFIG_TYPES:
        return
    config, *layers = tree.blobs
    with source.open(config.digest) as stream:
        diff_ids = read_diff_ids(stream.read(), f"config {config.digest}")
    for layer, diff_id in zip(layers, diff_ids, strict=False):
        if layer.mediaType in GZIP_LAYERS:
            yield Digest(diff_id), Layer(layer.digest, layer.size, Digest(diff_id), "gzip", kept=False)


class Origins:
    """Where in a registry the blobs of a base lie; shared by threads."""

    def __init__(self, base: Base, registry: Registry) -> None:
        self.base = base
        self._registry = registry
        self._found: dict[Digest, str] = {}
        self._missing: set[Digest] = set()
        self._lock = threading.Lock()

    def look(self, digest: Digest, repositories: Iterable[str]) -> None:
        """Look for a blob where the base put it, then in ``repositories``."""
        places = dict.fromkeys([*self.base.blobs[digest].repositories, *repositories])
        found = next((x for x in places if self._has(x, digest)), None)
        with self._lock:
            if found is None:
                self._missing.add(digest)
            else:
                self._found[digest] = found

    def _has(self, repository: str, digest: Digest) -> bool:
        try:
            return self._registry.head_blob(repository, digest)
        except Refused:  # some registries say so of a repository that does not exist
            return False

    def refuse_missing(self) -> None:
        """Check that every blob that was looked for is there.

        Raises:
            Refused: one is not; the base must be loaded first.
        """
        if not self._missing:
            return
        first = min(self._missing)
        where = f"{self._registry.host}/{self.base.blobs[first].repositories[0]}"
        wanted = len(self._missing) + len(self._found)
        raise Refused(
            "load images", self._registry.host,
            found=f"{len(self._missing)} of {wanted} blobs that the bundle relies on are absent, first {where}@{first}",
            expected=f"those of {self.base.name}",
            do="load that bundle first, with --exact if its images came there another way",
        )  # fmt: skip

    def of(self, digest: Digest) -> str | None:
        """Return a repository that has a blob; ``None`` for a blob that was not looked for."""
        return self._found.get(digest)

    def refuse_upload(self, repository: str, digest: Digest, location: str, origin: str | None) -> NoReturn:
        """Give up an upload that a registry opened instead of taking a blob over: there are no bytes to send.

        Raises:
            StepFailed: always.
        """
        with suppress(CompassError):  # what is not given up the registry forgets by itself
            self._registry.cancel_upload(repository, location)
        raise StepFailed(
            "mount blob", f"{self._registry.host}/{repository} {digest}",
            found=f"the registry does not take it over from {origin}",
            do="load a bundle that is packed without --base",
        )  # fmt: skip
