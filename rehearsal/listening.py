"""Listening for one cluster: a port, TLS, and requests handed to its API server by uvicorn's protocol."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from typing import Any, cast

import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from rehearsal.api.reviews import certificate_user
from rehearsal.api.server import ApiServer

ADDRESS = "127.0.0.1"
_BACKLOG = 128
# Below the range from which the kernel takes the source ports of outgoing connections: a cluster that is away for
# a while finds its port free again.
_PORTS = range(15000, 32000)
_TRIES = 20


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request; the cluster is the one whose port the connection came in at."""
    request = Request(scope, receive)
    server: ApiServer = request.state.server
    try:
        response = await server.answer(request)
    except ClientDisconnect:  # in the middle of its request: nobody waits for an answer
        return
    await response(scope, receive, send)


def configuration() -> uvicorn.Config:
    """Return the settings that all clusters share."""
    config = uvicorn.Config(
        application, http="h11", ws="none", lifespan="off", loop="asyncio", interface="asgi3", log_config=None,
        log_level="error", access_log=False, server_header=False, date_header=False, proxy_headers=False,
        timeout_keep_alive=75, h11_max_incomplete_event_size=1 << 20,
    )  # fmt: skip
    config.load()
    return config


class _Protocol(H11Protocol):
    """One connection; it knows the cluster, and who the client's certificate says it is."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = transport.get_extra_info("peercert")
        self.app_state = {**self.app_state, "certificate_user": certificate_user(cast("dict[str, Any] | None", peer))}
        super().connection_made(transport)


class Listener:
    """The port of one cluster; it stays the same while the cluster goes away and comes back."""

    def __init__(self, server: ApiServer, config: uvicorn.Config, tls: ssl.SSLContext) -> None:
        self._server = server
        self._config = config
        self._tls = tls
        self._state = ServerState()
        self._listening: asyncio.Server | None = None
        self._reserved: socket.socket | None = _listen(0)
        self.port = int(self._reserved.getsockname()[1])

    async def start(self) -> None:
        """Take connections."""
        if self._listening is None:
            found, self._reserved = self._reserved or _listen(self.port), None
            loop = asyncio.get_running_loop()
            self._listening = await loop.create_server(self._protocol, sock=found, ssl=self._tls)

    def _protocol(self) -> asyncio.Protocol:
        return _Protocol(self._config, self._state, {"server": self._server})

    async def stop(self) -> None:
        """Refuse connections, and break those that are there."""
        self._server.end_watches()
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        for connection in list(self._state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)


def _listen(port: int) -> socket.socket:
    for some in [port] if port else [*random.sample(_PORTS, _TRIES), 0]:
        # Says that it is TCP, which socket.create_server does not: only then does asyncio switch off Nagle's
        # algorithm, which would hold every answer back for 40 ms.
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((ADDRESS, some))
            found.listen(_BACKLOG)
        except OSError:
            found.close()
            if some == port:
                raise
        else:
            return found
    raise AssertionError("unreachable")
