"""A layout kept clean: what a killed or failed run left, and nobody refers to, goes when the next run begins."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator

from compass.digests import Digest, hexadecimal
from compass.errors import StepFailed
from compass.images.archives.known import notes, notes_folder
from compass.images.layout import TEMPORARY_PREFIX, Layout
from compass.images.manifests import read_tree

# A run that was killed is gone on with in days, or never.
UNFINISHED_SECONDS = 7 * 24 * 3600
LOCK = ".lock"
_BLOB_NAME = re.compile(r"[0-9a-f]{64}")


@contextlib.contextmanager
def in_use(layout: Layout) -> Iterator[None]:
    """Write to a layout during the block; where nobody else does, what is left over is swept before it.

    It is swept after a block that failed too, so that nothing of a bad archive stays.

    Raises:
        StepFailed: the disk says no.
    """
    path = layout.root / "archives" / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StepFailed("lock", path, found=error.strerror) from None
    try:
        _sweep_alone(layout, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            yield
        except Exception:
            _sweep_alone(layout, descriptor)
            raise
    finally:
        os.close(descriptor)


def _sweep_alone(layout: Layout, descriptor: int) -> None:
    with contextlib.suppress(OSError):  # somebody writes to it; the next run sweeps
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sweep(layout, time.time() - UNFINISHED_SECONDS)


def sweep(layout: Layout, oldest: float) -> None:
    """Remove every blob that neither an archive nor a layer noted since ``oldest`` needs; nobody may be writing."""
    if (layout.root / "oci-layout").exists():
        return  # somebody's own: it has blobs that no note of ours tells of
    needed = _of_archives(layout)
    for path, note in notes(layout):
        if note is not None and (note.digest in needed or path.stat().st_mtime >= oldest):
            needed.add(note.layer.digest)
        else:
            path.unlink()
    kept = {hexadecimal(x) for x in needed}
    blobs = layout.root / "blobs" / "sha256"
    for path in blobs.iterdir():
        if _BLOB_NAME.fullmatch(path.name) and path.name not in kept:
            path.unlink()
    for folder in (blobs, layout.root / "archives", notes_folder(layout)):
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            path.unlink()


def _of_archives(layout: Layout) -> set[Digest]:
    """Return what the archives that were read need; the note of one of which something is gone is removed."""
    needed: set[Digest] = set()
    for path in (layout.root / "archives").glob("*.json"):
        images = layout.recall(Digest(f"sha256:{path.stem}"))
        if images is None:
            path.unlink()
            continue
        for image in images:
            needed.update(read_tree(layout, image.digest, str(image.name)).sizes())
    return needed
