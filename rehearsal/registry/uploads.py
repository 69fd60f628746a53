"""Uploads: in one request, in two, in chunks, or taken over from another repository.

Source: OCI distribution specification 1.1, section Pushing blobs.
"""

from __future__ import annotations

import re

from starlette.responses import Response

from rehearsal.registry.blobs import created
from rehearsal.registry.call import Call, digest_from
from rehearsal.registry.errors import RegistryError
from rehearsal.registry.faults import Faults
from rehearsal.registry.layout import Layout
from rehearsal.registry.sessions import Session, Sessions
from rehearsal.registry.traffic import Traffic

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d+)-(\d+)(?:/.*)?")


class ConnectionCut(Exception):
    """The connection shall end here, without an answer."""


class Uploads:
    """What answers at ``/v2/<name>/blobs/uploads/``."""

    def __init__(self, layout: Layout, sessions: Sessions, faults: Faults, traffic: Traffic) -> None:
        self._layout, self._sessions, self._faults, self._traffic = layout, sessions, faults, traffic

    async def begin(self, call: Call) -> Response:
        """Answer POST: a mount if it can be, the whole blob if a digest is named, else a new upload."""
        if self._mounted(call):
            return created(call, digest_from(call.query["mount"]))
        session = self._sessions.begin(call.name)
        if "digest" in call.query:
            with self._traffic.upload():
                await self._receive(call, session)
                return self._complete(call, session)
        return self._progress(call, session, 202)

    async def status(self, call: Call) -> Response:
        """Answer GET and HEAD of an upload."""
        return self._progress(call, await self._resume(call), 204)

    async def chunk(self, call: Call) -> Response:
        """Answer PATCH."""
        session = await self._resume(call)
        _check_type(call)
        _check_order(call, session)
        with self._traffic.upload():
            await self._receive(call, session)
        return self._progress(call, session, 202)

    async def finish(self, call: Call) -> Response:
        """Answer PUT: the rest of the blob, if any, and the digest of the whole."""
        session = await self._resume(call)
        digest_from(call.query.get("digest", ""))
        _check_order(call, session)
        with self._traffic.upload():
            await self._receive(call, session)
            return self._complete(call, session)

    async def cancel(self, call: Call) -> Response:
        """Answer DELETE."""
        session = await self._resume(call)
        self._sessions.end(session)
        return Response(status_code=204, headers={"Docker-Upload-UUID": session.id})

    def _mounted(self, call: Call) -> bool:
        """Take a blob over from another repository; tell whether that could be done."""
        source = call.query.get("from", "")
        try:
            digest = digest_from(call.query.get("mount", ""))
        except RegistryError:
            return False
        if not re.fullmatch(r"[a-z0-9._/-]+", source) or not self._layout.has_layer(source, digest):
            return False
        self._layout.add_layer(call.name, digest)
        return True

    async def _resume(self, call: Call) -> Session:
        return await self._sessions.resume(call.name, call.rest, call.query.get("_state", ""))

    async def _receive(self, call: Call, session: Session) -> None:
        """Append the body to the upload; what had arrived when a connection breaks stays."""
        received = 0
        async with session.lock:
            with self._sessions.writing(session) as file:
                async for chunk in call.request.stream():
                    session.append(file, chunk)
                    self._traffic.receive(len(chunk))
                    received += len(chunk)
                    self._break(session, received)

    def _break(self, session: Session, received: int) -> None:
        fault = self._faults.broken_upload(received) if received else None
        if fault is None:
            return
        if fault.forgotten:
            self._sessions.end(session)
        raise ConnectionCut

    def _complete(self, call: Call, session: Session) -> Response:
        """Turn an upload into a blob; one that is not what it should be is thrown away."""
        try:
            digest = digest_from(call.query["digest"])
            if session.digest != digest:
                raise RegistryError("DIGEST_INVALID", {})
            self._sessions.keep(session, digest)
            self._layout.add_layer(session.repository, digest)
        finally:
            self._sessions.end(session)
        return created(call, digest)

    def _progress(self, call: Call, session: Session, status: int) -> Response:
        where = f"{call.created}/blobs/uploads/{session.id}?_state={self._sessions.state(session)}"
        # "0-0" is said of an empty upload too, as distribution does.
        reach = f"0-{max(session.size - 1, 0)}"
        return Response(
            status_code=status, headers={"Location": where, "Range": reach, "Docker-Upload-UUID": session.id}
        )


def _check_type(call: Call) -> None:
    if call.request.headers.get("content-type", "application/octet-stream") != "application/octet-stream":
        raise RegistryError("UNKNOWN", {})


def _check_order(call: Call, session: Session) -> None:
    """Refuse a chunk that does not follow what is there (section Pushing a blob in chunks)."""
    text = call.request.headers.get("content-range")
    if text is None:
        return
    found = _CONTENT_RANGE.fullmatch(text)
    if not found or int(found[1]) != session.size or int(found[2]) < int(found[1]):
        raise RegistryError("RANGE_INVALID", {}, headers={"Range": f"0-{max(session.size - 1, 0)}"})
    length = call.request.headers.get("content-length")
    if length is not None and int(length) != int(found[2]) - int(found[1]) + 1:
        raise RegistryError("SIZE_INVALID", {})
