"""One end of the proxy: HTTP/1.1 over a connection, whose rules h11 keeps."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from typing import Any

import h11

PIECE_BYTES = 1 << 16
_HEAD_BYTES = 1 << 20
# Closing with this sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


class Peer:
    """A connection to a client (role ``h11.SERVER``) or to the server (role ``h11.CLIENT``).

    Nothing moves on it while ``gate`` is closed.  What is read waits to be taken, and what is written waits to be
    sent, so a body of any size takes a few pieces of memory.

    Raises from every call:
        OSError, h11.ProtocolError: the connection is broken, or what came is no HTTP.
    """

    def __init__(
        self, role: type[h11.CLIENT] | type[h11.SERVER], reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        gate: asyncio.Event,
    ) -> None:  # fmt: skip
        self.http = h11.Connection(role, max_incomplete_event_size=_HEAD_BYTES)
        self._reader, self._writer, self._gate = reader, writer, gate

    @classmethod
    async def accept(cls, sock: socket.socket, tls: ssl.SSLContext | None, gate: asyncio.Event) -> Peer:
        """Return the client on an accepted connection."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(PIECE_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=tls)
        return cls(h11.SERVER, reader, asyncio.StreamWriter(transport, protocol, reader, loop), gate)

    @classmethod
    async def connect(cls, host: str, port: int, tls: ssl.SSLContext | None, gate: asyncio.Event) -> Peer:
        """Return the server, connected to."""
        reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=PIECE_BYTES)
        return cls(h11.CLIENT, reader, writer, gate)

    @property
    def certificate(self) -> bytes:
        """The certificate that the other side showed, in DER; empty without one."""
        tls = self._writer.get_extra_info("ssl_object")
        return (tls.getpeercert(binary_form=True) or b"") if tls else b""

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on this connection."""
        idle = self.http.our_state is h11.DONE and self.http.their_state is h11.DONE
        return idle and not self._reader.at_eof() and not self._writer.is_closing()

    async def event(self) -> Any:
        """Return the next event of h11; an end without a message is ``h11.ConnectionClosed``."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            await self._fill()
        return event

    async def body(self) -> AsyncIterator[h11.Data | h11.EndOfMessage]:
        """Give the body that follows a head, piece by piece, and its end."""
        if self.http.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))
        while True:
            event = await self.event()
            if not isinstance(event, h11.Data | h11.EndOfMessage):
                raise ConnectionResetError("the body broke off")
            yield event
            if isinstance(event, h11.EndOfMessage):
                return

    async def hung_up(self) -> None:
        """Return when the other side has closed the connection; what it sends until then is kept."""
        while not self._reader.at_eof():
            await self._fill()

    async def _fill(self) -> None:
        await self._gate.wait()
        self.http.receive_data(await self._reader.read(PIECE_BYTES))
        await self._gate.wait()  # it may have been closed meanwhile

    async def send(self, event: Any) -> None:
        """Send an event of h11."""
        await self._gate.wait()
        self._writer.write(self.http.send(event) or b"")
        await self._writer.drain()

    def close(self) -> None:
        """End the connection in order, after what was written."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()
