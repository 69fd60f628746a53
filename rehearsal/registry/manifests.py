"""Manifests and indexes, by tag or digest.

Source: OCI distribution specification 1.1, sections Pulling manifests, Pushing Manifests, Deleting, Listing Referrers.
"""

from __future__ import annotations

from starlette.responses import Response

from compass.digests import Digest, digest_of
from compass.images.model import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST
from rehearsal.registry.call import Call, digest_from
from rehearsal.registry.errors import RegistryError, json_response
from rehearsal.registry.layout import Layout
from rehearsal.registry.parsing import Parsed, parse, reread

MAX_BYTES = 4 << 20
_UNSUPPORTED = {
    OCI_MANIFEST: "OCI manifest found, but accept header does not support OCI manifests",
    OCI_INDEX: "OCI index found, but accept header does not support OCI indexes",
}


class Manifests:
    """What answers at ``/v2/<name>/manifests/<reference>``."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    async def read(self, call: Call) -> Response:
        """Answer GET and HEAD."""
        digest = self._resolve(call)
        if call.request.headers.get("if-none-match") in (digest, f'"{digest}"'):
            return Response(status_code=304)
        found = self._read(call, digest)
        accepted = {x.partition(";")[0].strip() for x in call.request.headers.get("accept", "").split(",")}
        if found.media_type in _UNSUPPORTED and found.media_type not in accepted:
            raise RegistryError("MANIFEST_UNKNOWN", message=_UNSUPPORTED[found.media_type])
        if found.media_type == DOCKER_LIST and DOCKER_LIST not in accepted and ":" not in call.rest:
            # As distribution does for clients from before there were lists.
            digest = found.default_child(call.rest)
            found = self._read(call, digest)
        headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        # Starlette adds a charset to text only, so the media type goes out as it is.
        return Response(found.data, headers=headers, media_type=found.media_type)

    async def put(self, call: Call) -> Response:
        """Answer PUT: everything that the manifest names must be there."""
        data = await _body(call)
        parsed = parse(data, call.request.headers.get("content-type", ""))
        if ":" in call.rest and call.rest != digest_of(data):
            raise RegistryError("DIGEST_INVALID")
        if missing := [x for x in parsed.needed if not self._has(call.name, x, parsed.is_index)]:
            raise RegistryError("MANIFEST_BLOB_UNKNOWN", *missing)
        digest = self._layout.add_manifest(call.name, data)
        if ":" not in call.rest:
            self._layout.tag(call.name, call.rest, digest)
        headers = {"Location": f"{call.created}/manifests/{digest}", "Docker-Content-Digest": digest}
        if parsed.subject:
            headers["OCI-Subject"] = parsed.subject
        return Response(status_code=201, headers=headers)

    async def delete(self, call: Call) -> Response:
        """Answer DELETE: of a tag, or of a manifest with every tag that points to it."""
        if ":" not in call.rest:
            if not self._layout.untag(call.name, call.rest):
                raise RegistryError("MANIFEST_UNKNOWN", {"Tag": call.rest})
            return Response(status_code=202)
        digest = call.digest
        if not self._layout.has_manifest(call.name, digest):
            raise RegistryError("MANIFEST_UNKNOWN")
        self._layout.remove_manifest(call.name, digest)
        return Response(status_code=202)

    async def referrers(self, call: Call) -> Response:
        """Answer GET of what refers to a manifest; an empty index when nothing does."""
        subject, wanted = call.digest, call.query.get("artifactType")
        found = []
        for digest in self._layout.manifests(call.name):
            data = self._layout.manifest(call.name, digest)
            parsed = reread(data) if data else None
            if parsed and parsed.subject == subject and wanted in (None, parsed.artifact_type):
                found.append(parsed.referrer(digest))
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        answer = json_response(index, headers={"OCI-Filters-Applied": "artifactType"} if wanted else {})
        answer.headers["Content-Type"] = OCI_INDEX
        return answer

    def _resolve(self, call: Call) -> Digest:
        if ":" in call.rest:
            return digest_from(call.rest)
        digest = self._layout.tagged(call.name, call.rest)
        if digest is None:
            raise RegistryError("MANIFEST_UNKNOWN", {"Tag": call.rest})
        return digest

    def _read(self, call: Call, digest: Digest) -> Parsed:
        data = self._layout.manifest(call.name, digest)
        if data is None:
            raise RegistryError("MANIFEST_UNKNOWN", {"Name": call.name, "Revision": digest})
        return reread(data)

    def _has(self, repository: str, digest: Digest, is_index: bool) -> bool:
        # Distribution takes a blob for a child of an index too.
        return self._layout.has_layer(repository, digest) or (
            is_index and self._layout.has_manifest(repository, digest)
        )


async def _body(call: Call) -> bytes:
    """Return the body, unless it is larger than any manifest (distribution's limit)."""
    data = bytearray()
    async for chunk in call.request.stream():
        data += chunk
        if len(data) > MAX_BYTES:
            raise RegistryError("MANIFEST_INVALID", "http: request body too large", headers={"Connection": "close"})
    return bytes(data)
