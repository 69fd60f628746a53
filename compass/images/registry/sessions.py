"""Uploads that are under way, written down: the run after one that was killed goes on with them.

Source: OCI distribution specification 1.1, section Pushing a blob in chunks (an upload can be asked how far it is).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from compass.clock import Clock
from compass.digests import Digest, digest_of, hexadecimal
from compass.documents import Document, parse_document
from compass.errors import CompassError
from compass.images.manifests import read_json
from compass.store import private_folder

# Registries forget an upload that nobody ends, distribution after a week.
KEPT_SECONDS = 7 * 24 * 3600
VERSION = 1


class Session(Document):
    """One open upload; ``location`` is where it goes on at the registry, a path that only we shall know."""

    version: int
    registry: str
    repository: str
    digest: str
    location: str


class Record:
    """What is written down of the upload of one blob; held by one process at a time.

    It is a help, not a need: where the disk does not take it, the next run begins that upload again.
    """

    def __init__(self, session: Session | None = None, path: Path | None = None, descriptor: int = -1) -> None:
        self._session, self._path, self._descriptor = session, path, descriptor

    @property
    def location(self) -> str | None:
        """Where an earlier run's upload goes on; ``None`` when there was none."""
        return self._session.location if self._session and self._session.location else None

    def keep(self, location: str) -> None:
        """Write down where the upload goes on."""
        if self._session is None or self._path is None:
            return
        data = self._session.model_copy(update={"location": location}).model_dump_json().encode()
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, data, 0)

    def forget(self) -> None:
        """Drop it: the blob is there."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


class Sessions:
    """The open uploads to one registry, a file each below a folder of the state directory."""

    def __init__(self, folder: Path, registry: str, clock: Clock) -> None:
        self._folder, self._registry = folder, registry
        _drop_old(folder, clock.now().timestamp() - KEPT_SECONDS)

    @contextlib.contextmanager
    def record(self, repository: str, digest: Digest) -> Iterator[Record]:
        """Give the record of one blob's upload, an empty one while another process sends the same."""
        path, blank = self._path(repository, digest), self._blank(repository, digest)
        descriptor = self._lock(path)
        if descriptor is None:
            yield Record()
            return
        try:
            yield Record(_read(descriptor, blank, str(path)) or blank, path, descriptor)
        finally:
            os.close(descriptor)

    def forget(self, repository: str, digest: Digest) -> None:
        """Drop the record of a blob that is there: its run was killed before it could."""
        with contextlib.suppress(OSError):
            self._path(repository, digest).unlink(missing_ok=True)

    def _path(self, repository: str, digest: Digest) -> Path:
        name = digest_of(f"{self._registry}/{repository}@{digest}".encode())
        return self._folder / f"{hexadecimal(name)}.json"

    def _blank(self, repository: str, digest: Digest) -> Session:
        return Session(version=VERSION, registry=self._registry, repository=repository, digest=digest, location="")

    def _lock(self, path: Path) -> int | None:
        """Return the open, locked file; ``None`` when another process has it, or the disk does not let us."""
        with contextlib.suppress(OSError, CompassError):
            private_folder(self._folder)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:  # else it was dropped between our two calls
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        return None


def _read(descriptor: int, blank: Session, where: str) -> Session | None:
    """Return what a file says; ``None`` where that is nothing, damaged, or of something else."""
    try:
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        session = parse_document(Session, read_json(data, where), where)
    except (OSError, CompassError):
        return None
    is_same = session.model_copy(update={"location": ""}) == blank
    # Only the registry itself is ever spoken to, whatever stands in a file.
    return session if is_same and session.location.startswith("/v2/") else None


def _drop_old(folder: Path, oldest: float) -> None:
    for path in folder.glob("*.json"):
        with contextlib.suppress(OSError):  # another process may have dropped it
            if path.stat().st_mtime < oldest:
                path.unlink()
