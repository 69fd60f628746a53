"""Blobs: asked for, read whole or in part, taken away (specification, sections Pulling blobs and Deleting Blobs)."""

from __future__ import annotations

from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from compass.digests import CHUNK_BYTES, Digest
from rehearsal.registry.call import Call
from rehearsal.registry.errors import RegistryError
from rehearsal.registry.layout import Layout


class Blobs:
    """What answers at ``/v2/<name>/blobs/<digest>``."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    async def read(self, call: Call) -> Response:
        """Answer GET and HEAD, with ranges (RFC 9110, section 14)."""
        digest = call.digest
        if not self._layout.has_layer(call.name, digest):
            raise RegistryError("BLOB_UNKNOWN", digest)
        headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"', "Cache-Control": "max-age=31536000"}
        if call.request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        path = self._layout.blob(digest)
        return _Blob(path, headers=headers, media_type="application/octet-stream", stat_result=path.stat())

    async def delete(self, call: Call) -> Response:
        """Answer DELETE."""
        digest = call.digest
        if not self._layout.has_layer(call.name, digest):
            raise RegistryError("BLOB_UNKNOWN")
        self._layout.remove_layer(call.name, digest)
        return Response(status_code=202)


def created(call: Call, digest: Digest) -> Response:
    """Return the answer to a blob that a repository has now."""
    headers = {"Location": f"{call.created}/blobs/{digest}", "Docker-Content-Digest": digest}
    return Response(status_code=201, headers=headers)


class _Blob(FileResponse):
    """A file sent in large pieces."""

    chunk_size = CHUNK_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def checked(message: Message) -> None:
            # Starlette says 400 to a range that it cannot read; Go's server, and so distribution, says 416.
            await send({**message, "status": 416} if message.get("status") == 400 else message)

        await super().__call__(scope, receive, checked)
