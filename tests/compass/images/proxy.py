"""A faulty way to a registry: a real HTTP server on loopback that passes requests on, but for what a rule says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

CHUNK = 1 << 16


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Say:
    """Answer this, without asking the registry."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Break:
    """Pass on so much of the request's body, then drop the connection."""

    after_bytes: int


@dataclass(frozen=True)
class Alter:
    """Pass on, and change the answer's headers."""

    headers: Mapping[str, str]


Rule = Callable[[Seen], Say | Break | Alter | None]


@dataclass
class Proxy:
    """Where the proxy listens, and what it saw."""

    host: str
    seen: list[Seen] = field(default_factory=list)
    answer: Callable[[Seen, bytes], Say] | None = None  # instead of the rule, and with the request's body

    def count(self, method: str, part: str = "") -> int:
        return sum(x.method == method and part in x.path for x in self.seen)


@contextmanager
def proxy(upstream: str, rule: Rule) -> Iterator[Proxy]:
    """Run a proxy in front of ``upstream`` (``http://host:port``); empty when the rule answers everything."""
    with httpx.Client(base_url=upstream, trust_env=False, timeout=30) as client:
        server = _Server(client, rule)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.state
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    """The listening side, with what its requests need."""

    daemon_threads = True

    def __init__(self, client: httpx.Client, rule: Rule) -> None:
        self.client, self.rule, self.state = client, rule, Proxy("")
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state.host = f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def _any(self) -> None:
        state = self.server.state
        seen = Seen(self.command, self.path, dict(self.headers))
        state.seen.append(seen)
        length = int(self.headers.get("Content-Length", 0))
        what = state.answer(seen, self.rfile.read(length)) if state.answer else self.server.rule(seen)
        if isinstance(what, Say):
            self.rfile.read(0 if state.answer else length)
            self._answer(what.status, what.headers, what.body)
        elif isinstance(what, Break):
            self._break(length, what.after_bytes)
        else:
            self._pass_on(length, what)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

    def _body(self, length: int) -> Iterator[bytes]:
        while length and (piece := self.rfile.read(min(CHUNK, length))):
            length -= len(piece)
            yield piece

    def _break(self, length: int, after: int) -> None:
        def some() -> Iterator[bytes]:
            yield from self._body(min(after, length))
            raise ConnectionError("broken on purpose")

        with suppress(ConnectionError, httpx.HTTPError):
            self.server.client.request(self.command, self.path, headers=self._headers(), content=some())
        self.close_connection = True
        self.connection.close()

    def _headers(self) -> dict[str, str]:
        return {k: v for k, v in self.headers.items() if k.lower() != "connection"}

    def _pass_on(self, length: int, what: Alter | None) -> None:
        content = self._body(length) if length else None
        answer = self.server.client.request(self.command, self.path, headers=self._headers(), content=content)
        headers = {k: v for k, v in answer.headers.items() if k not in ("connection", "content-length", "date")}
        if what:
            headers |= {k.lower(): v for k, v in what.headers.items()}
        self._answer(answer.status_code, headers, answer.content)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass
