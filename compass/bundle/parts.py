"""Archives in parts: ``FILE.000``, ``FILE.001`` and so on, with ``FILE.sha256`` beside them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from compass.bundle.archive import Archive
from compass.bundle.checksums import parse_checksums, write_checksums
from compass.documents import read_text
from compass.errors import InvalidInput
from compass.store import disk_error, sync_folder

MAX_PARTS = 1000
LISTING = ".sha256"
ELSEWHERE = "free space, or write to another disk"
_PART = re.compile(r"(?s)(.+)\.([0-9]{3})")


def part_name(name: str, number: int) -> str:
    """Return what a part of the file ``name`` is called; parts count from 0."""
    return f"{name}.{number:03}"


def parts_beside(whole: Path) -> list[Path]:
    """Return the parts of a file, and the listing of their checksums, that lie where it would lie."""
    if not whole.parent.is_dir() or not (_listed(whole) or _is_split(whole)):
        return []  # a name that ends in three digits may be anybody's
    found = [x for x in sorted(whole.parent.iterdir()) if _stem(x.name) == whole.name]
    listing = whole.with_name(whole.name + LISTING)
    return [*found, listing] if _listed(whole) else found


def whole_of(path: Path) -> Path:
    """Return what the whole is called that a file is a part of; a file that is no part is one itself."""
    return path.with_name(_stem(path.name) or path.name)


def find_archive(path: Path) -> Archive | None:
    """Return the archive at ``path``: a file, or the parts of one, named by any of them or by the whole's name.

    Returns:
        ``None`` when there is nothing of that name.

    Raises:
        InvalidInput: a part is missing, or shorter than the others.
    """
    stem = _stem(path.name)
    if stem and _is_split(path.with_name(stem)):
        return _join(path.with_name(stem))
    if path.is_file():
        return Archive.of(path)
    return _join(path) if _is_split(path) else None


def _stem(name: str) -> str:
    """Return the name of the whole that a part belongs to; empty for what is no part."""
    match = _PART.fullmatch(name)
    return match[1] if match else ""


def _is_split(whole: Path) -> bool:
    return whole.with_name(part_name(whole.name, 0)).is_file() or bool(_listed(whole))


def _listed(whole: Path) -> dict[str, str]:
    """Return the sha256 of each part as the listing has it; a listing of other files is none of ours."""
    listing = whole.with_name(whole.name + LISTING)
    if not listing.is_file():
        return {}
    sums = parse_checksums(read_text(listing, "checksums of the parts"), str(listing))
    return sums if all(_stem(x) == whole.name for x in sums) else {}


def _join(whole: Path) -> Archive:
    sums = _listed(whole)
    names = sorted(sums) or [x.name for x in parts_beside(whole)]
    for number, name in enumerate(names):
        expected = whole.with_name(part_name(whole.name, number))
        if name != expected.name or not expected.is_file():
            raise InvalidInput("read bundle", expected, found="the part is missing", do="copy it beside the others")
    parts = tuple(whole.with_name(x) for x in names)
    sizes = tuple(x.stat().st_size for x in parts)
    for part, size in zip(parts[:-1], sizes, strict=False):
        if size != max(sizes):
            raise InvalidInput(
                "read bundle", part, found=f"a part of {size} bytes", expected=f"{max(sizes)}, as the others",
                do="copy the part again from its source",
            )  # fmt: skip
    return Archive(whole, parts, sizes, sums)


class ArchiveWriter:
    """A file that is written in parts of ``part_bytes``, or whole where that is ``None``; ``finish`` makes it durable.

    Raises from every call:
        Refused: the disk is full.
        InvalidInput: there would be more than MAX_PARTS parts.
        StepFailed: the disk says no for another reason.
    """

    def __init__(self, folder: Path, name: str, part_bytes: int | None = None) -> None:
        self.size = 0
        self._folder, self._name, self._part_bytes = folder, name, part_bytes
        self._sums: dict[str, str] = {}
        self._hasher = hashlib.sha256()
        self._files: list[Path] = []
        self._file: BinaryIO | None = None
        self._in_file = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def write(self, data: bytes) -> None:
        """Add ``data``, in as many parts as it takes."""
        rest = memoryview(data)
        while len(rest):
            is_full = self._in_file == self._part_bytes
            file = self._next() if self._file is None or is_full else self._file
            rest = rest[self._write_some(file, rest) :]

    def _write_some(self, file: BinaryIO, data: memoryview) -> int:
        piece = data if self._part_bytes is None else data[: self._part_bytes - self._in_file]
        with _disk(self._files[-1]):
            file.write(piece)
        if self._part_bytes is not None:
            self._hasher.update(piece)
        self._in_file += len(piece)
        self.size += len(piece)
        return len(piece)

    def _next(self) -> BinaryIO:
        self._close()
        if len(self._files) == MAX_PARTS:
            raise InvalidInput(
                "split bundle",
                found=f"more than {MAX_PARTS} parts of {self._part_bytes} bytes",
                do="choose larger parts",
            )
        name = self._name if self._part_bytes is None else part_name(self._name, len(self._files))
        path = self._folder / name
        self._files.append(path)
        self._in_file, self._hasher = 0, hashlib.sha256()
        with _disk(path):
            self._file = path.open("xb")
        return self._file

    def _close(self) -> None:
        if self._file is None:
            return
        with _disk(self._files[-1]):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        self._file = None
        if self._part_bytes is not None:
            self._sums[self._files[-1].name] = self._hasher.hexdigest()

    def finish(self) -> list[Path]:
        """Close what was written and return it: the file, or the parts and at last the listing of their checksums."""
        self._close()
        if self._part_bytes is not None:
            listing = self._folder / (self._name + LISTING)
            with _disk(listing), listing.open("xb") as file:
                file.write(write_checksums(self._sums).encode())
                file.flush()
                os.fsync(file.fileno())
            self._files.append(listing)
        with _disk(self._folder):
            sync_folder(self._folder)
        return self._files


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error("write bundle", path, error, do=ELSEWHERE) from error
