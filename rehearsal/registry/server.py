"""A registry in a thread of the calling process."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import uvicorn
from starlette.types import Scope

from rehearsal.registry.access import Access, Login
from rehearsal.registry.app import Application
from rehearsal.registry.faults import Fault, Faults, NoConnection
from rehearsal.registry.layout import Layout
from rehearsal.registry.sessions import Sessions
from rehearsal.registry.traffic import Traffic

ADDRESS = "127.0.0.1"
_BACKLOG = 512
# Below the range from which the kernel takes the source ports of outgoing connections.
_PORTS = range(15000, 32000)
_TRIES = 20


@dataclass(frozen=True)
class Tls:
    """The files, both PEM, that a registry speaks https with."""

    certificate: Path
    key: Path


class SimulatedRegistry:
    """An OCI registry on the loopback; ``with`` starts and stops it, the files below ``folder`` stay.

    With ``resumable`` an upload goes on from any location that it ever had, as in registries that keep no state in it;
    distribution wants the latest.  ``traffic`` counts what uploads bring.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self, folder: Path, *, port: int = 0, login: Login | None = None, tls: Tls | None = None,
        relative_locations: bool = False, resumable: bool = False,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.login, self.tls = folder, login, tls
        self._layout = Layout(folder)
        self._sessions = Sessions(self._layout, folder, resumable=resumable)
        self._faults = Faults()
        self.traffic = Traffic()
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()
        self._running: _Running | None = None
        self._application = Application(
            self._layout, self._sessions, Access(login), self._faults, self.traffic, self._cut,
            relative_locations=relative_locations,
        )  # fmt: skip
        self.port = port
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def host(self) -> str:
        """Address and port, as an image name begins."""
        return f"{ADDRESS}:{self.port}"

    @property
    def scheme(self) -> str:
        """How it is spoken to: http or https."""
        return "https" if self.tls else "http"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://{self.host}"

    def start(self) -> None:
        """Listen, at the port of before when there was one."""
        with self._lock:
            if self._running is None:
                listening = _listen(self.port)
                self.port = listening.getsockname()[1]
                self._running = _Running(self._application, listening, self.tls)

    def stop(self) -> None:
        """Break every connection and listen no more; what was stored stays, open uploads too."""
        with self._lock:
            if self._running is not None:
                self._running.end()
                self._running = None
                self._sessions.stopped()

    def close(self) -> None:
        """Stop for good."""
        with self._lock:
            self._forget_timer()
            self.stop()

    # -- trouble

    def fault(self, fault: Fault) -> None:
        """Switch a fault on, while the registry runs."""
        if not isinstance(fault, NoConnection):
            return self._faults.add(fault)
        with self._lock:
            self._forget_timer()
            self.stop()
            self._timer = threading.Timer(fault.seconds, self.start)
            self._timer.daemon = True
            self._timer.start()
            return None

    def heal(self) -> None:
        """Switch every fault off."""
        self._faults.clear()
        with self._lock:
            if self._timer:
                self._forget_timer()
                self.start()

    def lose_uploads(self) -> int:
        """Forget every open upload and return how many there were."""
        return self._sessions.lose()

    def forget_tag(self, repository: str, tag: str) -> bool:
        """Forget a tag; tell whether there was one."""
        return self._layout.untag(repository, tag)

    # -- what it holds

    def repositories(self) -> list[str]:
        """Return the names of all repositories, sorted."""
        return sorted(self._layout.repositories())

    def tags(self, repository: str) -> dict[str, str]:
        """Return the tags of a repository with the digest that each points to."""
        tags = self._layout.tags(repository) or []
        return {tag: digest for tag in tags if (digest := self._layout.tagged(repository, tag))}

    def _forget_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _cut(self, scope: Scope) -> None:
        running = self._running
        if running:
            running.cut(tuple(scope["client"]))


def _listen(port: int) -> socket.socket:
    """Return a socket that listens; a port of 0 means a free one that stays free while we are away for a while."""
    for some in [port] if port else [*random.sample(_PORTS, _TRIES), 0]:
        try:
            return socket.create_server((ADDRESS, some), backlog=_BACKLOG)
        except OSError:
            if some == port:
                raise
    raise AssertionError("unreachable")


class _Running:
    """One uvicorn in a thread with an event loop of its own."""

    def __init__(self, application: Application, listening: socket.socket, tls: Tls | None) -> None:
        config = uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            loop="asyncio",
            interface="asgi3",
            log_config=None,
            log_level="error",  # a client that tries https first is no news
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=str(tls.key) if tls else None,
        )
        config.load()  # here, so that a certificate that cannot be read is the caller's error
        self._server = uvicorn.Server(config)
        self._loop = asyncio.new_event_loop()
        name = f"registry {listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, args=(listening,), name=name, daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.002)

    def end(self) -> None:
        """Break every connection and wait until the thread has ended."""
        self._server.should_exit = True
        self._loop.call_soon_threadsafe(self._abort_all)
        self._thread.join()

    def cut(self, client: tuple[str, int]) -> None:
        """Break one connection; called in the loop's thread."""
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == client:
                connection.transport.abort()

    def _abort_all(self) -> None:
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    def _run(self, listening: socket.socket) -> None:
        asyncio.set_event_loop(self._loop)
        with listening, asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve(sockets=[listening]))
