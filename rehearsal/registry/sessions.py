"""Open uploads: a file that grows, its hash on the way, and the state that a client carries from call to call."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import secrets
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from compass.digests import Digest, chunks
from rehearsal.registry.errors import RegistryError
from rehearsal.registry.layout import Layout


@dataclass
class Session:
    """One open upload; ``hasher`` has seen the ``size`` bytes that ``data`` holds."""

    repository: str
    id: str
    data: Path
    size: int = 0
    hasher: Any = field(default_factory=hashlib.sha256)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def append(self, file: BinaryIO, chunk: bytes) -> None:
        """Write and hash some bytes."""
        file.write(chunk)
        self.hasher.update(chunk)
        self.size += len(chunk)

    @property
    def digest(self) -> Digest:
        """The digest of what has arrived."""
        return Digest(f"sha256:{self.hasher.hexdigest()}")


class Sessions:
    """All open uploads; those of an earlier start are found again on the disk."""

    def __init__(self, layout: Layout, folder: Path, *, resumable: bool = False) -> None:
        self._layout, self._resumable = layout, resumable
        self._open: dict[str, Session] = {}
        self._secret = _secret(folder / "upload.key")

    def begin(self, repository: str) -> Session:
        """Open an upload."""
        identity = str(uuid.uuid4())
        session = Session(repository, identity, self._layout.uploads(repository) / identity / "data")
        session.data.parent.mkdir(parents=True)
        session.data.touch()
        self._open[identity] = session
        return session

    async def resume(self, repository: str, identity: str, state: str) -> Session:
        """Return an open upload if the client knows how far it is.

        Source: distribution 2.8, handlers/blobupload.go, ResumeBlobUpload: a location that is not the latest one is
        refused, so whoever lost an answer in the middle begins again.

        Raises:
            RegistryError: there is no such upload, or the state is not its latest.
        """
        known = self._read(state)
        if (known["Name"], known["UUID"]) != (repository, identity):
            raise RegistryError("BLOB_UPLOAD_INVALID")
        session = self._open.get(identity)
        if session is None:
            found = await asyncio.to_thread(self._found, repository, identity)
            session = self._open.setdefault(identity, found)
        if session.size != known["Offset"] and not self._resumable:
            raise RegistryError("BLOB_UPLOAD_INVALID")
        return session

    def state(self, session: Session) -> str:
        """Return what the client carries to its next call."""
        known = json.dumps({"Name": session.repository, "UUID": session.id, "Offset": session.size}).encode()
        return base64.urlsafe_b64encode(self._sign(known) + known).decode()

    def writing(self, session: Session) -> BinaryIO:
        """Open the file of an upload to append to it.

        Raises:
            RegistryError: the upload was lost meanwhile.
        """
        try:
            return session.data.open("ab", buffering=0)
        except FileNotFoundError:
            raise RegistryError("BLOB_UPLOAD_UNKNOWN", {}) from None

    def keep(self, session: Session, digest: Digest) -> None:
        """Turn an upload into a blob.

        Raises:
            RegistryError: the upload was lost meanwhile.
        """
        try:
            self._layout.keep(session.data, digest)
        except FileNotFoundError:
            raise RegistryError("BLOB_UPLOAD_UNKNOWN", {}) from None

    def end(self, session: Session) -> None:
        """Forget an upload."""
        self._open.pop(session.id, None)
        shutil.rmtree(session.data.parent, ignore_errors=True)

    def lose(self) -> int:
        """Forget every upload and return how many there were."""
        folders = list(self._layout.repositories_folder.glob("**/_uploads/*"))
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        self._open.clear()
        return len(folders)

    def stopped(self) -> None:
        """Drop what belongs to the event loop that has ended; the files stay."""
        self._open.clear()

    def _found(self, repository: str, identity: str) -> Session:
        session = Session(repository, identity, self._layout.uploads(repository) / identity / "data")
        try:
            with session.data.open("rb") as file:
                for chunk in chunks(file):
                    session.hasher.update(chunk)
                    session.size += len(chunk)
        except FileNotFoundError:
            raise RegistryError("BLOB_UPLOAD_UNKNOWN", {}) from None
        return session

    def _sign(self, known: bytes) -> bytes:
        return hmac.digest(self._secret, known, "sha256")

    def _read(self, state: str) -> dict[str, Any]:
        try:
            raw = base64.urlsafe_b64decode(state)
        except (binascii.Error, ValueError):
            raw = b""
        if not hmac.compare_digest(raw[:32], self._sign(raw[32:])):
            raise RegistryError("BLOB_UPLOAD_INVALID", {})
        known: dict[str, Any] = json.loads(raw[32:])
        return known


def _secret(path: Path) -> bytes:
    """Return the key that states are signed with; it stays, so uploads go on after a restart."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(32))
    return path.read_bytes()
