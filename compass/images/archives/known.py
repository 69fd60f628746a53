"""Layers that lie in a layout already, whichever archive they came from: they are hashed again, not compressed again.

A run that was killed in the middle of an archive, and an archive that shares a layer with another, go on from here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from compass.digests import Digest, digest_of, hexadecimal, parse_digest
from compass.documents import Document, parse_document
from compass.errors import CompassError
from compass.images.archives.content import Layer
from compass.images.compression import Compression
from compass.images.layout import TEMPORARY_PREFIX, Layout
from compass.images.manifests import read_json
from compass.store import private_folder

VERSION = 1


class LayerNote(Document):
    """``archives/layers/<sha256 of size and member>.json``: a member of an archive, and the blob that it became."""

    version: int
    archive: str
    member: str
    member_size: int
    digest: str
    size: int
    diff_id: str
    compression: Compression
    kept: bool

    @property
    def layer(self) -> Layer:
        """The blob."""
        return Layer(parse_digest(self.digest), self.size, parse_digest(self.diff_id), self.compression, kept=self.kept)


class KnownLayers:
    """The layers of a layout by the name and size of the member that they were; shared by threads and processes.

    The name is a hint: whoever takes a layer hashes the member, and compares.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = notes_folder(layout)
        self._found: dict[tuple[str, int], Layer] = {}

    def get(self, member: str, member_size: int) -> Layer | None:
        """Return the layer that a member of this name and size was before, if it is still there."""
        key = (member, member_size)
        if key not in self._found and (layer := self._read(*key)) is not None:
            self._found[key] = layer
        return self._found.get(key)

    def hold(self, member: str, member_size: int, layer: Layer) -> None:
        """Know a layer in this run alone."""
        self._found[(member, member_size)] = layer

    def put(self, member: str, member_size: int, layer: Layer, archive: Digest) -> None:
        """Know a layer that is in its place now, and write it down."""
        self.hold(member, member_size, layer)
        note = LayerNote(
            version=VERSION, archive=archive, member=member, member_size=member_size, digest=layer.digest,
            size=layer.size, diff_id=layer.diff_id, compression=layer.compression, kept=layer.kept,
        )  # fmt: skip
        # Without the note the layer is only compressed once more; a full disk shows elsewhere.
        with contextlib.suppress(OSError, CompassError, UnicodeEncodeError):
            _write(self._path(member, member_size), note)

    def forget(self, archive: Digest) -> None:
        """Drop the notes of an archive that turned out to be bad."""
        for path, note in notes(self._layout):
            if note is not None and note.archive == archive:
                path.unlink(missing_ok=True)

    def _read(self, member: str, member_size: int) -> Layer | None:
        note = read_note(self._path(member, member_size))
        if note is None or (note.member, note.member_size) != (member, member_size):
            return None
        layer = note.layer
        is_there = layer.digest in self._layout and self._layout.size(layer.digest) == layer.size
        return layer if is_there else None

    def _path(self, member: str, member_size: int) -> Path:
        name = digest_of(f"{member_size} {member}".encode(errors="surrogateescape"))
        return self._folder / f"{hexadecimal(name)}.json"


def notes_folder(layout: Layout) -> Path:
    """Return where a layout's notes lie."""
    return layout.root / "archives" / "layers"


def notes(layout: Layout) -> Iterator[tuple[Path, LayerNote | None]]:
    """Yield every note with its file; ``None`` for one that cannot be read."""
    for path in sorted(notes_folder(layout).glob("*.json")):
        yield path, read_note(path)


def read_note(path: Path) -> LayerNote | None:
    """Return a note; ``None`` when there is none, or none that we understand."""
    try:
        note = parse_document(LayerNote, read_json(path.read_bytes(), str(path)), str(path))
        return note if note.version == VERSION and note.layer else None
    except (OSError, CompassError):
        return None


def _write(path: Path, note: LayerNote) -> None:
    private_folder(path.parent)
    aside = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(note.model_dump_json().encode())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
