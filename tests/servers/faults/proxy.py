"""A faulty way to a server: passes everything on, but for what its plan says."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from compass.site.access import Access
from tests.servers.certificates import Authority
from tests.servers.faults.conversation import Conversation, Seen
from tests.servers.faults.kubeconfig import redirected, write_kubeconfig
from tests.servers.faults.peer import Peer
from tests.servers.faults.plan import FaultPlan
from tests.servers.process import free_port

ADDRESS = "127.0.0.1"
_BACKLOG = 512
_PORT_TRIES = 5
_MOMENT_SECONDS = 0.05
T = TypeVar("T")


class FaultProxy:
    """Stands before a server and speaks as it does, https with a certificate of an authority of its own.

    ``url`` is the server, ``ca_pem`` its authority; without ``verify`` any server is taken for the right one.  A client
    certificate is taken when ``knows`` was told of it, and is shown to the server then; every other header and secret
    passes as it is.  ``plan`` may be replaced while it runs.  Connections that are switched to another protocol (exec,
    attach) are not for it.
    """

    host = ADDRESS

    def __init__(
        self, url: str, ca_pem: bytes | str = b"", plan: FaultPlan | None = None, *, verify: bool = True
    ) -> None:
        parts = urlsplit(url)
        self.upstream = url.rstrip("/")
        self.plan = plan or FaultPlan()
        self.scheme = parts.scheme
        self._address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        self._ca_pem = ca_pem.decode() if isinstance(ca_pem, bytes) else ca_pem
        self._verify = verify
        authority = Authority("fault proxy")
        self.ca_pem = authority.cert_pem
        self._tls, self._to_server = None, None
        if self.scheme == "https":
            self._tls = _server_tls(authority)
            self._to_server = self._client_tls()
        self._identities: dict[bytes, ssl.SSLContext] = {}
        self._seen: list[Seen] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._gate = asyncio.Event()
        self._gate.set()
        self._conversations: set[asyncio.Task[None]] = set()
        self._return: asyncio.TimerHandle | None = None
        self._listening = _listen()
        self.port = int(self._listening.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._begin)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """Address and port: a registry's name, and what Cluster objects hold."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where the proxy is."""
        return f"{self.scheme}://{self.endpoint}"

    @property
    def seen(self) -> list[Seen]:
        """Every request so far, in order."""
        return list(self._seen)

    @property
    def met(self) -> list[Seen]:
        """The requests that met a fault."""
        return [x for x in self._seen if x.action]

    def count(self, method: str, part: str = "") -> int:
        """Return how many requests of a method came whose path or query has ``part``."""
        return sum(x.method == method and part in x.target for x in self._seen)

    def close(self) -> None:
        """Break every connection and stop."""
        if self._thread.is_alive():
            self._call(self._end)
            asyncio.run_coroutine_threadsafe(self._ended(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._listening.close()
        self._loop.close()

    # -- being away

    def leave(self, seconds: float | None = None, *, silent: bool = False) -> None:
        """Be away from now on, as ``plan.Leave`` says."""
        self._call(lambda: self._leave(seconds, silent))

    def come_back(self) -> None:
        """Be there again."""
        self._call(self._come_back)

    # -- the way through it

    def knows(self, cert_pem: bytes, key_pem: bytes) -> None:
        """Take a client certificate, and use it at the server for whoever shows it here."""
        assert self._tls
        self._identities[ssl.PEM_cert_to_DER_cert(cert_pem.decode())] = self._client_tls(cert_pem + b"\n" + key_pem)
        self._tls.load_verify_locations(cadata=cert_pem.decode())

    def through(self, access: Access) -> Access:
        """Return an access to the server that leads through the proxy."""
        if access.client_cert_pem:
            self.knows(access.client_cert_pem, access.client_key_pem)
        return replace(
            access, server=self.url, ca_pem=self.ca_pem, skip_tls_verify=False, tls_server_name="", proxy_url=""
        )

    def redirected(self, document: dict[str, Any], folder: Path | None = None) -> dict[str, Any]:
        """Return a kubeconfig whose clusters at the server are reached through the proxy; others stay as they are.

        It may carry maps by name instead of lists, as Cluster objects do; files that it names are below ``folder``.
        """
        found, pairs = redirected(document, self.upstream, self.url, self.ca_pem, folder)
        for cert_pem, key_pem in pairs:
            self.knows(cert_pem, key_pem)
        return found

    def kubeconfig(self, source: Path, target: Path) -> Path:
        """Write a kubeconfig that leads through the proxy, from the server's own, and return where it is."""
        return write_kubeconfig(source, target, self.redirected)

    def cluster_object(self, item: dict[str, Any], *, is_control: bool = False) -> dict[str, Any]:
        """Return the Cluster object of the server as one that leads through the proxy.

        That of a control cluster holds no kubeconfig that anybody uses; it may name another address.
        """
        auth = {**item["spec"]["auth"], "endpointIP": self.host, "endpointPort": str(self.port)}
        if "kubeConfig" in auth and not is_control:
            auth["kubeConfig"] = self.redirected(auth["kubeConfig"])
        return {**item, "spec": {**item["spec"], "auth": auth}}

    # -- on the loop's thread

    def _begin(self) -> None:
        self._loop.add_reader(self._listening, self._accept)

    def _leave(self, seconds: float | None, silent: bool) -> None:
        if self._return:
            self._return.cancel()
            self._return = None
        if silent:
            self._gate.clear()
        else:
            self._gate.set()
            self._end()
        if seconds is not None:
            self._return = self._loop.call_later(seconds, self._come_back)

    def _come_back(self) -> None:
        self._gate.set()
        if self._listening.fileno() < 0:
            self._listening = _listen(self.port)
            self._begin()

    def _end(self) -> None:
        """Take no more connections, and break those that are there but the one that asks."""
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()
        own = asyncio.current_task(self._loop)
        for task in self._conversations:
            if task is not own:
                task.cancel()

    async def _ended(self) -> None:
        if self._return:
            self._return.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        await asyncio.sleep(_MOMENT_SECONDS)  # for the connections to break

    def _accept(self) -> None:
        with suppress(OSError):  # it broke before we came to it
            sock, _ = self._listening.accept()
            task = self._loop.create_task(self._converse(sock))
            self._conversations.add(task)
            task.add_done_callback(self._conversations.discard)

    async def _converse(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            await self._gate.wait()
        except asyncio.CancelledError:
            sock.close()
            raise
        try:
            client = await Peer.accept(sock, self._tls, self._gate)
        except OSError:
            return  # it does not trust us, or has gone
        await Conversation(client, self._meet, self._reach, self._leave).run()

    async def _reach(self, client: Peer) -> Peer:
        tls = self._identities.get(client.certificate, self._to_server)
        return await Peer.connect(*self._address, tls, self._gate)

    def _meet(self, method: str, target: str) -> Seen:
        seen = Seen(len(self._seen) + 1, method, target, self.plan.meet(method, target))
        self._seen.append(seen)
        return seen

    def _call(self, function: Callable[[], T]) -> T:
        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _client_tls(self, pair_pem: bytes = b"") -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self._ca_pem or None)
        if not self._verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if pair_pem:
            _load(context, pair_pem)
        return context


def _server_tls(authority: Authority) -> ssl.SSLContext:
    pair = authority.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    # A client's certificate is trusted by itself, whoever signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _load(context, pair.cert_pem + pair.key_pem)
    return context


def _load(context: ssl.SSLContext, pair_pem: bytes) -> None:
    """Load certificate and key, which OpenSSL reads from a file only: one that is ours alone, and gone at once."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pair.pem"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(pair_pem)
        context.load_cert_chain(file)


def _listen(port: int = 0) -> socket.socket:
    """Return a listening socket; it is said to be TCP, or asyncio would leave Nagle's algorithm on."""
    for left in reversed(range(_PORT_TRIES)):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((ADDRESS, port or free_port()))
            found.listen(_BACKLOG)
            found.setblocking(False)
        except OSError:
            found.close()
            if port or not left:
                raise
        else:
            return found
    raise AssertionError("unreachable")
