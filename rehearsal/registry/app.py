"""The registry as an ASGI application: trouble first, then the door, then whoever answers."""

from __future__ import annotations

import re
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from rehearsal.registry.access import Access
from rehearsal.registry.blobs import Blobs
from rehearsal.registry.call import MAX_NAME, Call, Route
from rehearsal.registry.errors import RegistryError, json_response
from rehearsal.registry.faults import Faults
from rehearsal.registry.layout import Layout
from rehearsal.registry.listing import Listing
from rehearsal.registry.manifests import Manifests
from rehearsal.registry.sessions import Sessions
from rehearsal.registry.traffic import Traffic
from rehearsal.registry.uploads import ConnectionCut, Uploads

VERSION = "registry/2.0"
_UNREAD_BYTES = 16 << 20
_NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}


class Application:
    """What uvicorn calls for each request; ``cut`` ends a connection."""

    def __init__(
        self, layout: Layout, sessions: Sessions, access: Access, faults: Faults, traffic: Traffic,
        cut: Callable[[Scope], None], *, relative_locations: bool = False,
    ) -> None:  # fmt: skip
        self._access, self._faults, self._cut = access, faults, cut
        self._relative = relative_locations
        uploads = Uploads(layout, sessions, faults, traffic)
        self._routes = _routes(Blobs(layout), uploads, Manifests(layout), Listing(layout))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
            if answer.status_code >= 400:
                await _drain(request)
            await answer(scope, receive, send)
        except ConnectionCut:
            self._cut(scope)
        except ClientDisconnect:
            return  # nobody is left to be answered

    async def _answer(self, request: Request) -> Response:
        try:
            answer = await self._met_by_trouble(request) or await self._routed(request)
        except RegistryError as error:
            answer = error.response()
        if request.url.path.startswith("/v2"):
            answer.headers["Docker-Distribution-API-Version"] = VERSION
        if "docker-content-digest" in answer.headers:
            answer.headers["Docker-Content-Digest"] = self._faults.digest(answer.headers["Docker-Content-Digest"])
        return answer

    async def _met_by_trouble(self, request: Request) -> Response | None:
        fault = self._faults.unavailable(request.method, request.url.path)
        if fault is None:
            return None
        wait = fault.retry_after_seconds
        error = RegistryError(
            "TOOMANYREQUESTS" if fault.status == 429 else "UNAVAILABLE",
            headers={} if wait is None else {"Retry-After": str(wait)},
        )
        error.status = fault.status
        return error.response()

    async def _routed(self, request: Request) -> Response:
        path = request.url.path
        if (better := _cleaned(path)) != path:
            query = f"?{request.url.query}" if request.url.query else ""
            return Response(status_code=301, headers={"Location": better + query})
        base = "" if self._relative else f"{request.url.scheme}://{request.headers.get('host', '')}"
        if path == "/":
            return Response(headers={"Cache-Control": "no-cache"})
        if path == "/token" and self._access.login and self._access.login.tokens:
            return await self._access.token(request)
        for route in self._routes:
            if (found := route.match(path)) is not None:
                return await self._handled(route, Call(request, *found, base), path)
        return PlainTextResponse("404 page not found\n", 404, _NO_SNIFFING)

    async def _handled(self, route: Route, call: Call, path: str) -> Response:
        front = call.base or f"{call.request.url.scheme}://{call.request.headers.get('host', '')}"
        self._access.check(call.request, call.name, path, front)
        if len(call.name) > MAX_NAME:
            raise RegistryError("NAME_INVALID", {"Name": call.name})
        method = call.request.method
        if method == "OPTIONS":
            return Response(headers={"Allow": route.allowed})
        if method not in route.handlers:
            return PlainTextResponse("Method not allowed\n", 405, {"Allow": route.allowed, **_NO_SNIFFING})
        return await route.handlers[method](call)


def _routes(blobs: Blobs, uploads: Uploads, manifests: Manifests, listing: Listing) -> list[Route]:
    return [
        Route.of("/v2/", {"GET": _supported, "HEAD": _supported}),
        Route.of("/v2/_catalog", {"GET": listing.repositories}),
        Route.of("/v2/{name}/tags/list", {"GET": listing.tags}),
        Route.of("/v2/{name}/blobs/uploads/", {"POST": uploads.begin}),
        Route.of(
            "/v2/{name}/blobs/uploads/{upload}",
            {"GET": uploads.status, "HEAD": uploads.status, "PATCH": uploads.chunk, "PUT": uploads.finish,
             "DELETE": uploads.cancel},
        ),
        Route.of("/v2/{name}/blobs/{digest}", {"GET": blobs.read, "HEAD": blobs.read, "DELETE": blobs.delete}),
        Route.of(
            "/v2/{name}/manifests/{reference}",
            {"GET": manifests.read, "HEAD": manifests.read, "PUT": manifests.put, "DELETE": manifests.delete},
        ),
        Route.of("/v2/{name}/referrers/{digest}", {"GET": manifests.referrers}),
    ]  # fmt: skip


async def _supported(_: Call) -> Response:
    """Answer at ``/v2/`` (specification, section Determining Support)."""
    answer = json_response({})
    answer.body = b"{}"
    answer.headers["Content-Length"] = "2"
    return answer


def _cleaned(path: str) -> str:
    """Return the path that distribution's router leads to."""
    path = re.sub("/{2,}", "/", path)
    return f"{path}/" if path == "/v2" or re.fullmatch(r"/v2/.+/blobs/uploads", path) else path


async def _drain(request: Request) -> None:
    """Read some of a body that nobody wants, so that the client hears the answer.

    A connection that is closed with bytes unread is reset, and the answer with it (Go's server waits instead).
    """
    has_body = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
    if "expect" in request.headers or not has_body:
        return
    unread = 0
    try:
        async for chunk in request.stream():
            unread += len(chunk)
            if unread > _UNREAD_BYTES:
                return
    except RuntimeError:
        return  # it was read to its end before
