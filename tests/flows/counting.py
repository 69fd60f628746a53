"""A way to a server that counts what goes in: plain TCP, so that nothing else about the connection changes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Counted:
    """Where the way begins, and how many bytes went along it, those of HTTP's own lines among them."""

    host: str
    received_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def counted(host: str) -> Iterator[Counted]:
    """Open a way to ``host`` (address and port)."""
    name, _, port = host.rpartition(":")
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    way = Counted(f"127.0.0.1:{listening.getsockname()[1]}")

    def accept() -> None:
        with suppress(OSError):  # closed: nobody comes any more
            while True:
                client, _ = listening.accept()
                threading.Thread(target=pass_on, args=(client,), daemon=True).start()

    def pass_on(client: socket.socket) -> None:
        with client, socket.create_connection((name, int(port))) as server:
            back = threading.Thread(target=_copy, args=(server, client, None), daemon=True)
            back.start()
            _copy(client, server, way)
            back.join()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield way
    finally:
        listening.close()


def _copy(source: socket.socket, target: socket.socket, way: Counted | None) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 18):
            if way:
                with way.lock:
                    way.received_bytes += len(piece)
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
