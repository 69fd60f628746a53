"""Blobs by digest on disk: the OCI image layout of the state directory, and the one inside a packed bundle.

Source: OCI image specification 1.1, image-layout.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from compass.bundle.files import BundleFiles
from compass.digests import Digest, hexadecimal, parse_digest
from compass.documents import Document, parse_document
from compass.errors import InvalidInput, StepFailed
from compass.images.manifests import Index, annotated_name, fit, read_json, stored_image
from compass.images.model import BlobSource, StoredImage
from compass.names import ImageName
from compass.store import disk_error

TEMPORARY_PREFIX = ".writing-"
STALE_SECONDS = 24 * 3600
NOTHING: Mapping[Digest, int] = {}


class IndexedImage(Document):
    """One image of an archive, as the index file names it."""

    name: str
    digest: str


class IndexedArchive(Document):
    """``archives/<sha256 of the archive>.json``: the images that an archive was found to hold."""

    version: int
    images: list[IndexedImage]


class Layout:
    """A folder of blobs, ``blobs/sha256/<hexadecimal>``; several processes may write to it at once.

    Nothing is synced to the disk: what is here can be read from the bundle again. A blob that a loss of power cut short
    has not the size that its manifest names, and counts as not being here; a registry checks the digest.
    Blobs of the source ``beneath`` count as being here too.
    """

    def __init__(self, root: Path, beneath: BlobSource | None = None) -> None:
        self.root = root
        self._beneath = beneath
        self._blobs = root / "blobs" / "sha256"
        self._archives = root / "archives"
        for folder in (root, root / "blobs", self._blobs, self._archives):
            _make_private(folder)
        for folder in (self._blobs, self._archives):
            _remove_stale(folder)

    def __str__(self) -> str:
        return str(self.root)

    def _path(self, digest: Digest) -> Path:
        return self._blobs / hexadecimal(parse_digest(digest))

    def open(self, digest: Digest) -> BinaryIO:
        """Return a seekable stream of one blob, at its start."""
        if beneath := self._below(digest):
            return beneath.open(digest)
        try:
            return self._path(digest).open("rb")
        except OSError as error:
            raise StepFailed("read blob", self._path(digest), found=_reason(error)) from None

    def size(self, digest: Digest) -> int:
        """Return the size of a blob in bytes."""
        if beneath := self._below(digest):
            return beneath.size(digest)
        try:
            return self._path(digest).stat().st_size
        except OSError as error:
            raise StepFailed("read blob", self._path(digest), found=_reason(error)) from None

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and (self._path(Digest(digest)).is_file() or bool(self._below(Digest(digest))))

    def _below(self, digest: Digest) -> BlobSource | None:
        """Return the source beneath if it is the one to ask for a blob."""
        is_below = self._beneath is not None and digest in self._beneath and not self._path(digest).is_file()
        return self._beneath if is_below else None

    def take(self, digest: Digest) -> BinaryIO:
        """Return a stream of one blob of the folder that is there no more once the stream is closed."""
        stream = self.open(digest)
        self._path(digest).unlink(missing_ok=True)
        return stream

    @contextlib.contextmanager
    def batch(self) -> Iterator[Batch]:
        """Give a batch of blobs that is kept when the block ends, and leaves nothing behind when it fails."""
        batch = Batch(self._blobs)
        try:
            yield batch
            batch.keep()
        finally:
            batch.discard()

    def remember(self, archive: Digest, images: list[StoredImage]) -> None:
        """Write down which images an archive holds, so that it need not be read again."""
        entries = [{"name": str(image.name), "digest": image.digest} for image in images]
        data = json.dumps({"version": 1, "images": entries}, indent=1).encode()
        _write_aside(self._archives / f"{hexadecimal(archive)}.json", data)

    def recall(self, archive: Digest) -> list[StoredImage] | None:
        """Return the images of an archive read before; ``None`` when it was not, or when a blob of them is gone."""
        path = self._archives / f"{hexadecimal(archive)}.json"
        try:
            value = read_json(path.read_bytes(), str(path))
            entry = parse_document(IndexedArchive, value, str(path))
            if entry.version != 1:
                return None
            return [stored_image(ImageName.parse(x.name), self, parse_digest(x.digest)) for x in entry.images]
        except (OSError, InvalidInput):
            return None  # the archive is read again, which mends whatever is wrong here


class FilesLayout:
    """The OCI image layout inside a bundle, read in place: nothing is unpacked.

    ``relied`` are the sizes of blobs that the bundle has no bytes of: they count as being here, and cannot be opened.
    """

    def __init__(self, files: BundleFiles, folder: str = "oci", relied: Mapping[Digest, int] = NOTHING) -> None:
        self._files, self._folder, self._relied = files, folder, relied
        self._names = frozenset(files.names())

    def _name(self, digest: Digest) -> str:
        return f"{self._folder}/blobs/sha256/{hexadecimal(digest)}"

    def open(self, digest: Digest) -> BinaryIO:
        """Return a seekable stream of one blob, at its start.

        Raises:
            InvalidInput: the bundle does not hold it.
        """
        return self._files.open(self._name(digest))

    def size(self, digest: Digest) -> int:
        """Return the size of a blob in bytes."""
        return self._files.size(self._name(digest)) if self.holds(digest) else self._relied[digest]

    def holds(self, digest: Digest) -> bool:
        """Tell whether the bundle has the bytes of a blob."""
        return self._name(digest) in self._names

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and (self.holds(Digest(digest)) or digest in self._relied)

    def images(self) -> list[StoredImage]:
        """Return the images that ``index.json`` names, every blob checked to be there.

        Raises:
            InvalidInput: the index does not fit, an image has no name, or a blob is absent.
        """
        return [stored_image(name, self, digest) for name, digest in self.named()]

    def named(self) -> list[tuple[ImageName, Digest]]:
        """Return the names and digests of ``index.json``; whether the images are whole is not looked at.

        Raises:
            InvalidInput: the index does not fit, or an image has no name.
        """
        where = f"{self._folder}/index.json"
        with self._files.open(where) as stream:
            index = fit(Index, read_json(stream.read(), where), where)
        found = [(annotated_name(descriptor), descriptor.digest) for descriptor in index.manifests]
        for name, digest in found:
            if name is None:
                raise InvalidInput("read", where, found=f"image {digest} without a name and tag")
        return [(name, digest) for name, digest in found if name is not None]


class Batch:
    """Blobs written aside, to be kept together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: list[BlobWriter] = []

    def writer(self) -> BlobWriter:
        """Return a writer for one more blob."""
        writer = BlobWriter(self._folder)
        self._written.append(writer)
        return writer

    def put(self, data: bytes) -> Digest:
        """Write a small blob and return its digest."""
        writer = self.writer()
        writer.write(data)
        return writer.finish()

    def keep(self) -> None:
        """Move every finished blob to its place."""
        for writer in self._written:
            writer.keep()

    def discard(self) -> None:
        """Remove what was not kept."""
        for writer in self._written:
            writer.discard()


class BlobWriter:
    """A blob on its way to disk: written aside, hashed as it goes.

    Raises from ``write``, ``finish`` and ``keep``:
        Refused: the disk is full.
        StepFailed: the disk said no for another reason.
    """

    def __init__(self, folder: Path) -> None:
        self.size = 0
        self._hasher = hashlib.sha256()
        with _disk("write blob", folder):
            number, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=folder)
        self._file, self._path = open(number, "wb", buffering=0), Path(name)  # noqa: PTH123, SIM115
        self._digest: Digest | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Add ``data`` to the blob."""
        self._hasher.update(data)
        rest = memoryview(data)
        with _disk("write blob", self._path):
            while len(rest):
                count = self._file.write(rest)
                rest = rest[count:]
        self.size += len(data)

    def finish(self) -> Digest:
        """Close the blob and return its digest."""
        self._digest = Digest("sha256:" + self._hasher.hexdigest())
        with _disk("write blob", self._path):
            self._file.close()
        return self._digest

    def keep(self) -> None:
        """Move the blob to its place; a blob already there has the same content and stays."""
        if self._digest is None:
            return
        target = self._path.with_name(hexadecimal(self._digest))
        with _disk("write blob", target):
            if target.is_file() and target.stat().st_size == self.size:
                self._path.unlink()
            else:
                self._path.replace(target)
        self._path = target

    def discard(self) -> None:
        """Remove the blob unless it was kept."""
        self._file.close()
        if self._path.name.startswith(TEMPORARY_PREFIX):
            self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def _disk(did: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        do = f"free space on the file system of {path.parent}, or work on another one"
        raise disk_error(did, path, error, do=do) from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _make_private(folder: Path) -> None:
    with _disk("make folder", folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _remove_stale(folder: Path) -> None:
    """Remove what runs that were killed left behind; a day's age spares those that still write."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process may have removed it
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()


def _write_aside(target: Path, data: bytes) -> None:
    with _disk("write", target):
        number, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=target.parent)
        try:
            with open(number, "wb") as stream:  # noqa: PTH123
                stream.write(data)
            Path(name).replace(target)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
