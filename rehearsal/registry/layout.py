"""What a registry keeps, as files.

Source: distribution 2.8, registry/storage/paths.go; the layout is the same, so that either server starts on the
folder of the other::

    docker/registry/v2/blobs/sha256/<2 digits>/<digest>/data
    docker/registry/v2/repositories/<name>/_layers/sha256/<digest>/link
    docker/registry/v2/repositories/<name>/_manifests/revisions/sha256/<digest>/link
    docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/current/link
    docker/registry/v2/repositories/<name>/_manifests/tags/<tag>/index/sha256/<digest>/link
    docker/registry/v2/repositories/<name>/_uploads/<uuid>/data
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from compass.digests import Digest, digest_of, hexadecimal


class Layout:
    """Blobs, and which repository has which of them under which tag; every change is one rename."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "docker/registry/v2"
        self.repositories_folder = self._root / "repositories"
        self.repositories_folder.mkdir(parents=True, exist_ok=True)

    # -- blobs

    def blob(self, digest: Digest) -> Path:
        """Return where the bytes of a blob are, or would be."""
        digits = hexadecimal(digest)
        return self._root / "blobs/sha256" / digits[:2] / digits / "data"

    def has_layer(self, repository: str, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""
        return self._layer(repository, digest).is_file() and self.blob(digest).is_file()

    def add_layer(self, repository: str, digest: Digest) -> None:
        """Give a repository a blob that is there."""
        _write(self._layer(repository, digest), digest)

    def remove_layer(self, repository: str, digest: Digest) -> None:
        """Take a blob from a repository; its bytes stay for the others."""
        shutil.rmtree(self._layer(repository, digest).parent)

    def keep(self, data: Path, digest: Digest) -> None:
        """Move a file whose digest is known to where the blob belongs."""
        target = self.blob(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        data.replace(target)

    # -- manifests

    def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Tell whether a repository has a manifest."""
        return self._revision(repository, digest).is_file() and self.blob(digest).is_file()

    def manifest(self, repository: str, digest: Digest) -> bytes | None:
        """Return the bytes of a manifest, or ``None``."""
        return self.blob(digest).read_bytes() if self.has_manifest(repository, digest) else None

    def manifests(self, repository: str) -> list[Digest]:
        """Return the digests of all manifests of a repository, sorted."""
        return [Digest(f"sha256:{x}") for x in _names(self._of(repository) / "_manifests/revisions/sha256")]

    def add_manifest(self, repository: str, data: bytes) -> Digest:
        """Keep a manifest in a repository and return its digest."""
        digest = digest_of(data)
        _write_bytes(self.blob(digest), data)
        _write(self._revision(repository, digest), digest)
        return digest

    def remove_manifest(self, repository: str, digest: Digest) -> None:
        """Take a manifest from a repository, with every tag that points to it."""
        shutil.rmtree(self._revision(repository, digest).parent)
        for tag in self.tags(repository) or ():
            if self.tagged(repository, tag) == digest:
                self.untag(repository, tag)

    # -- tags

    def tag(self, repository: str, tag: str, digest: Digest) -> None:
        """Let a tag point to a manifest."""
        folder = self._tags(repository) / tag
        _write(folder / "index/sha256" / hexadecimal(digest) / "link", digest)
        _write(folder / "current/link", digest)

    def tagged(self, repository: str, tag: str) -> Digest | None:
        """Return what a tag points to, or ``None``."""
        try:
            return Digest((self._tags(repository) / tag / "current/link").read_text())
        except FileNotFoundError:
            return None

    def untag(self, repository: str, tag: str) -> bool:
        """Forget a tag; tell whether there was one."""
        there = (self._tags(repository) / tag).is_dir()
        shutil.rmtree(self._tags(repository) / tag, ignore_errors=True)
        return there

    def tags(self, repository: str) -> list[str] | None:
        """Return the tags of a repository, sorted; ``None`` when it never had one."""
        folder = self._tags(repository)
        return _names(folder) if folder.is_dir() else None

    # -- repositories

    def repositories(self) -> Iterator[str]:
        """Yield the names of all repositories that ever had a blob, in the order of the catalog."""
        return _repositories(self.repositories_folder, "")

    def uploads(self, repository: str) -> Path:
        """Return the folder of a repository's open uploads."""
        return self._of(repository) / "_uploads"

    def _of(self, repository: str) -> Path:
        return self.repositories_folder / repository

    def _layer(self, repository: str, digest: Digest) -> Path:
        return self._of(repository) / "_layers/sha256" / hexadecimal(digest) / "link"

    def _revision(self, repository: str, digest: Digest) -> Path:
        return self._of(repository) / "_manifests/revisions/sha256" / hexadecimal(digest) / "link"

    def _tags(self, repository: str) -> Path:
        return self._of(repository) / "_manifests/tags"


def _repositories(folder: Path, name: str) -> Iterator[str]:
    parts = _names(folder)
    if "_layers" in parts:
        yield name
    # A slash sorts before any other character, so what is below a repository follows it at once.
    for part in parts:
        if not part.startswith("_"):
            yield from _repositories(folder / part, f"{name}/{part}" if name else part)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - a path for each of thousands of names is only slower
    except FileNotFoundError:
        return []


def _write(link: Path, digest: Digest) -> None:
    _write_bytes(link, digest.encode())


def _write_bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{uuid.uuid4()}")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
