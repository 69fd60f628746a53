"""One blob sent to a registry as a stream; a broken upload goes on where it broke, or begins again.

Source: OCI distribution specification 1.1, sections POST then PUT, and Pushing a blob in chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

from compass.digests import CHUNK_BYTES, Digest, digest_of_stream
from compass.errors import InvalidInput, Refused, StepFailed, Transient
from compass.images.model import BlobSource
from compass.images.registry.client import Registry, error_codes, push
from compass.images.registry.sessions import Record
from compass.images.registry.wire import Answer
from compass.patience import patiently

_SESSION_LOST = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "RANGE_INVALID"})
_STREAM = {"Content-Type": "application/octet-stream"}


def upload(
    registry: Registry,
    repository: str,
    digest: Digest,
    source: BlobSource,
    *,
    told: Callable[[int], None],
    location: str | None = None,
    record: Record | None = None,
    sending: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> int:
    """Send a blob and return how many bytes of it the registry had not got from an earlier run.

    ``told`` gets the bytes that are done, never one twice; ``location`` is an upload already open.  ``sending`` gives
    the block that the body is sent in, which may wait.  Patience is counted from the last progress, so a slow upload
    that breaks late is not given up.

    Raises:
        CompassError: as ``Registry``; InvalidInput when the stored blob is damaged.
    """
    record = record or Record()
    task = _Upload(registry, repository, digest, source, told, location, record)
    if patiently(task.open, registry.patience_seconds):
        with sending():
            _send(task, registry.patience_seconds)
    record.forget()
    return task.sent


def _send(task: _Upload, patience_seconds: float) -> None:
    while True:
        before = task.high
        try:
            return patiently(task.attempt, patience_seconds)
        except Transient:
            if task.high == before:
                raise


class _Upload:
    def __init__(
        self,
        registry: Registry,
        repository: str,
        digest: Digest,
        source: BlobSource,
        told: Callable[[int], None],
        location: str | None,
        record: Record,
    ) -> None:
        self._registry, self._repository, self._digest, self._source = registry, repository, digest, source
        self._told, self._fresh, self._record = told, location, record
        self._location = record.location
        self._size = source.size(digest)
        self._subject = f"{registry.host}/{repository} {digest}"
        self._broken = self._is_former = self._location is not None
        self._refused_once = self._is_open = False
        self._offset = self._refused_at = 0
        self.sent = self._size
        self.high = 0

    def open(self) -> bool:
        """Find out where the upload goes on, or begin one; tell whether anything is to be sent."""
        if self._broken and self._registry.head_blob(self._repository, self._digest):
            self.sent = 0 if self._is_former else self.sent
            self._tell(self._size)  # it had arrived, only the answer was lost
            return False
        self._offset = self._resume() if self._broken else 0
        if self._location is None:
            self._offset, self.sent, self._is_former = 0, self._size, False
            fresh, self._fresh = self._fresh, None
            self._go_to(fresh or self._registry.begin_upload(self._repository))
        self._broken = self._is_open = True
        return True

    def attempt(self) -> None:
        """Send what the registry has not got yet.

        Raises:
            Transient: it broke; the next attempt goes on from there.
        """
        if not self._is_open and not self.open():
            return
        self._is_open = False
        if self._offset:
            self._patch(self._offset)
            self._offset = self._size
        self._put(self._offset)
        self._tell(self._size)

    def _go_to(self, location: str) -> None:
        self._location = location
        self._record.keep(location)

    def _resume(self) -> int:
        """Return how much the registry has of the upload; forget the upload if it does not say."""
        offset = self._reached()
        if self._is_former:
            self._is_former = False
            self.sent = self._size - offset
            self._tell(offset)
        return offset

    def _reached(self) -> int:
        if self._location is None:
            return 0
        location, self._location = self._location, None
        try:
            answer = self._registry.ask_once("GET", location, push(self._repository))
        except Transient:
            self._location = location
            raise
        except (Refused, StepFailed):
            return 0  # whether we may upload at all shows when a new one is opened
        first, dash, last = answer.headers.get("range", "").removeprefix("bytes=").partition("-")
        # "0-0" is what registries say of an empty upload too.
        offset = int(last) + 1 if last.isdigit() and last != "0" else 0
        if answer.status != 204 or not dash or first != "0" or not last.isdigit() or offset > self._size:
            return 0
        self._location = location
        self._follow(answer)
        return offset

    def _patch(self, offset: int) -> None:
        if offset == self._size or self._location is None:
            return
        headers = {
            **_STREAM,
            "Content-Length": str(self._size - offset),
            "Content-Range": f"{offset}-{self._size - 1}",
        }
        answer = self._send("PATCH", self._location, headers, offset)
        if answer.status != 202:
            self._fail(answer)
        self._follow(answer)

    def _put(self, offset: int) -> None:
        if self._location is None:
            return
        mark = "&" if "?" in self._location else "?"
        headers = {**_STREAM, "Content-Length": str(self._size - offset)}
        answer = self._send("PUT", f"{self._location}{mark}digest={self._digest}", headers, offset)
        if answer.status not in (201, 204):
            self._fail(answer)
        said = answer.headers.get("docker-content-digest", self._digest)
        if said != self._digest:
            raise StepFailed("upload blob", self._subject, found=f"the registry stored {said}", expected=self._digest)

    def _send(self, method: str, location: str, headers: dict[str, str], offset: int) -> Answer:
        scopes = push(self._repository)
        with self._source.open(self._digest) as stream:
            return self._registry.ask_once(
                method, location, scopes, headers=headers, body=lambda: self._pieces(stream, offset)
            )

    def _pieces(self, stream: BinaryIO, offset: int) -> Iterator[bytes]:
        stream.seek(offset)
        position = offset
        while position < self._size and (piece := stream.read(min(CHUNK_BYTES, self._size - position))):
            yield piece
            position += len(piece)
            self._tell(position)

    def _tell(self, position: int) -> None:
        if position > self.high:
            self._told(position - self.high)
            self.high = position

    def _follow(self, answer: Answer) -> None:
        if location := answer.headers.get("location"):
            self._go_to(self._registry.inside(location, "upload blob", self._subject))

    def _fail(self, answer: Answer) -> None:
        codes = error_codes(answer)
        if "DIGEST_INVALID" in codes:
            self._location = None
            self._check_source()
            if not self._refused_once:
                self._refused_once = True
                raise Transient("upload blob", self._subject, found="the registry received other bytes")
        elif answer.status == 416 and self._offset != self._refused_at:
            # It was still taking in what an earlier connection had brought: it is asked once more how far it is.
            self._refused_at = self._offset
            raise Transient("upload blob", self._subject, found=f"the registry did not go on at byte {self._offset}")
        elif answer.status in (404, 416) or _SESSION_LOST.intersection(codes):
            self._location = None
            raise Transient("upload blob", self._subject, found="the registry dropped the upload")
        self._registry.fail("upload blob", f"{self._repository} {self._digest}", answer)

    def _check_source(self) -> None:
        with self._source.open(self._digest) as stream:
            found = digest_of_stream(stream)
        if found != self._digest:
            do = "if it lies in the state directory remove it there, and run again"
            raise InvalidInput("upload blob", self._digest, found=f"a stored blob with digest {found}", do=do)
