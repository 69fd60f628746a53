"""The door to the state directory: private folders, files that are whole or absent, space."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compass.errors import CompassError, Refused, StepFailed

SPACE_RESERVE_BYTES = 64 << 20
ELSEWHERE = "free space, or pass --state-dir on another disk"


class StateDirectory:
    """Where a run keeps what must outlive it; folders are 0700 and files 0600."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def bundles(self) -> Path:
        """Unpacked archives, by the sha256 of the archive."""
        return self.root / "bundles"

    @property
    def images(self) -> Path:
        """The OCI layout that legacy image archives are normalised into."""
        return self.root

    def backups(self, cluster: str) -> Path:
        """The backups of one cluster, a folder each, named by time and bundle."""
        return self.root / "backups" / cluster

    @property
    def uploads(self) -> Path:
        """Uploads that are under way, and where each goes on."""
        return self.root / "uploads"

    @property
    def reports(self) -> Path:
        """What each run ended with, as JSON."""
        return self.root / "reports"


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter, and those above it.

    Raises:
        StepFailed: the disk says no.
    """
    try:
        for folder in (*reversed(path.parents), path):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise disk_error("create folder", path, error) from error
    return path


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole: aside, synced, then renamed into place; mode 0600.

    Raises:
        Refused: the disk is full.
        StepFailed: the disk says no for another reason.
    """
    private_folder(path.parent)
    aside = path.parent / f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise disk_error("write", path, error) from error


def sync_folder(path: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(did: str, path: Path, error: OSError, do: str = ELSEWHERE) -> CompassError:
    """Return what an operating system's error means to us; ``do`` helps against a full disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refused(did, path, found="the disk is full", do=do)
    # A limit on the size of files is met like a full disk, but no space helps by itself.
    return StepFailed(did, path, found=error.strerror or str(error), do=do if error.errno == errno.EFBIG else "")


def free_bytes(path: Path) -> int:
    """Return the free space of the file system that ``path`` lies on, or would lie on."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def need_space(path: Path, size_bytes: int, what: str, do: str = ELSEWHERE) -> None:
    """Check that ``size_bytes`` more fit below ``path``, and a reserve.

    Raises:
        Refused: they do not.
    """
    free = free_bytes(path)
    if free < size_bytes + SPACE_RESERVE_BYTES:
        raise Refused(
            f"{what} below", path, found=f"{free >> 20} MiB free",
            expected=f"{(size_bytes + SPACE_RESERVE_BYTES) >> 20} MiB", do=do,
        )  # fmt: skip


@contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """Give a private folder below ``parent`` that vanishes when the block ends; those of dead processes go before.

    Raises:
        Refused: the disk is full.
        StepFailed: the disk says no for another reason.
    """
    drop_leftovers(parent)
    path = parent / f".partial-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise disk_error("write below", parent, error) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def folder_aside(target: Path) -> Iterator[Path]:
    """Fill a new folder; it becomes ``target`` when the block ends well, and vanishes when it does not.

    Where ``target`` has come to be in the meantime, the new folder is dropped.  Folders above that were made for
    it and stay empty vanish with it, so that a failed try leaves nothing behind.
    """
    made = [x for x in (target.parent, *target.parent.parents) if not x.exists()]
    private_folder(target.parent)
    drop_leftovers(target.parent)
    aside = target.parent / f".partial-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        aside.mkdir(mode=0o700)
        yield aside
        for folder in (aside, *(x for x in aside.rglob("*") if x.is_dir() and not x.is_symlink())):
            sync_folder(folder)
        if not target.exists():
            aside.rename(target)
            sync_folder(target.parent)
    except OSError as error:
        raise disk_error("write below", target, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        for folder in made:
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()


def drop_leftovers(folder: Path) -> None:
    """Remove the partial folders of processes that are dead."""
    for partial in folder.glob(".partial-*-*"):
        pid = partial.name.split("-")[1]
        if pid.isdecimal() and not _alive(int(pid)):
            shutil.rmtree(partial, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
