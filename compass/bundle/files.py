"""The files of a bundle, whether they lie in a directory or inside an uncompressed tar."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from compass.bundle.archive import Archive
from compass.errors import InvalidInput

MAX_MEMBERS = 100_000
KNOWN_FOLDERS = frozenset({"images", "templates", "scripts", "oci"})


def is_left_out(name: str) -> bool:
    """Tell whether a file lies where a run leaves things beside a bundle, and is no part of it."""
    parts = name.split("/")
    return parts[0] in ("compass-state", "release_backup") or ".git" in parts


def _is_output(name: str) -> bool:
    """Tell whether a file at the top is what somebody's shell wrote there."""
    return "/" not in name and name.endswith((".log", ".out", ".err", ".txt", ".json"))


def _is_state(folder: Path) -> bool:
    """Tell whether a folder is somebody's state directory, whatever its name."""
    return (folder / "backups").is_dir() or (folder / "reports").is_dir()


class BundleFiles(Protocol):
    """Files by their path inside the bundle, ``/`` between the parts."""

    def names(self) -> list[str]:
        """Return every file's path, sorted."""

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""

    def open(self, name: str) -> BinaryIO:
        """Return a seekable stream of one file; streams do not share a position."""


class DirectoryFiles:
    """The files below a directory; links that lead out of it are refused.

    Somebody may stand in it (``in_place``): what they write there, a log or a state directory, is no part of the
    bundle, unless its checksums say what is.
    """

    def __init__(self, root: Path, *, in_place: bool = False) -> None:
        self.root = root.resolve()
        self._is_desk = in_place and not (self.root / "checksums.txt").is_file()

    def __str__(self) -> str:
        return str(self.root)

    def names(self) -> list[str]:
        """Return every file's path, sorted; what a run leaves beside the bundle is not part of it."""
        return sorted(x for x in self._walk(self.root) if not (self._is_desk and _is_output(x)))

    def _walk(self, folder: Path) -> Iterator[str]:
        for path in folder.iterdir():
            if is_left_out(path.relative_to(self.root).as_posix()):
                continue
            if path.is_dir() and not path.is_symlink():
                if self._is_desk and folder == self.root and _is_state(path):
                    continue
                yield from self._walk(path)
            else:
                yield path.relative_to(self.root).as_posix()

    def _path(self, name: str) -> Path:
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root):
            raise InvalidInput(
                "read bundle file", self.root / name, found=f"a link to {path}", expected="a file inside"
            )
        if not path.is_file():
            raise InvalidInput("read bundle file", self.root / name, found="no such file")
        return path

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        return self._path(name).stat().st_size

    def open(self, name: str) -> BinaryIO:
        """Return a stream of one file."""
        try:
            return self._path(name).open("rb")
        except OSError as error:
            raise InvalidInput("read bundle file", self.root / name, found=error.strerror) from None


class TarFiles:
    """The files inside an uncompressed tar, read in place; the one folder that all of them may lie in is left out."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._spans: dict[str, tuple[int, int]] = {}
        self._read()
        self._strip_common_folder()

    def _read(self) -> None:
        try:
            with self.archive.open() as file, tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    self._add(member)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise self._not_whole(str(error)) from None
        end = self.archive.size
        if not _ends_as_a_tar(self.archive) or any(start + size > end for start, size in self._spans.values()):
            raise self._not_whole("the archive is cut short")

    def _not_whole(self, found: str) -> InvalidInput:
        do = f"see whether a part is missing after {self.archive.parts[-1].name}" if self.archive.is_split else ""
        return InvalidInput("read bundle", self.archive, found=found, expected="a whole tar archive", do=do)

    def __str__(self) -> str:
        return str(self.archive)

    def _add(self, member: tarfile.TarInfo) -> None:
        if member.isdir():
            return
        name = member.name.removeprefix("./")
        if not member.isreg() or name.startswith("/") or ".." in name.split("/"):
            raise InvalidInput("read bundle", self.archive, found=f"{member.name!r}, no plain file inside")
        if len(self._spans) >= MAX_MEMBERS:
            raise InvalidInput("read bundle", self.archive, found=f"more than {MAX_MEMBERS} files")
        if name in self._spans:
            raise InvalidInput("read bundle", self.archive, found=f"{name!r} twice")
        self._spans[name] = (member.offset_data, member.size)

    def _strip_common_folder(self) -> None:
        tops = {name.partition("/")[0] for name in self._spans}
        if len(tops) == 1 and not tops & KNOWN_FOLDERS and all("/" in name for name in self._spans):
            self._spans = {name.partition("/")[2]: span for name, span in self._spans.items()}

    def names(self) -> list[str]:
        """Return every file's path, sorted."""
        return sorted(self._spans)

    def _span(self, name: str) -> tuple[int, int]:
        try:
            return self._spans[name]
        except KeyError:
            raise InvalidInput("read bundle file", f"{self.archive}:{name}", found="no such file") from None

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        return self._span(name)[1]

    def open(self, name: str) -> BinaryIO:
        """Return a stream of one file, reading the archive in place."""
        return self.archive.slice(*self._span(name))


def _ends_as_a_tar(archive: Archive) -> bool:
    """Tell whether the end marker is there: two blocks of zeros (POSIX.1-2017, pax, ustar interchange format)."""
    with archive.open() as file:
        file.seek(max(0, archive.size - 1024))
        return file.read() == bytes(1024)
