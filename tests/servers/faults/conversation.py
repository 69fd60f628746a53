"""What happens on one connection of a client: request after request, each passed on or met by its fault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import h11

from tests.servers.faults.answers import error_body
from tests.servers.faults.peer import Peer
from tests.servers.faults.plan import Action, Delay, Hang, Leave, Reset, Say

_BROKEN = (OSError, EOFError, h11.ProtocolError)
# What belongs to one connection, not to the message.
_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"expect"})
Then = Callable[[], Awaitable[None]]


@dataclass
class Seen:
    """A request as it came in, the fault that it met, and how far it came at the server."""

    number: int
    method: str
    target: str
    action: Action | None
    server: str = "not asked"

    def __str__(self) -> str:
        return f"{self.number}. {self.method} {self.target}: {self.action or 'passed on'}; server: {self.server}"


class _Break(Exception):
    """The client's connection is to break."""


class _End(Exception):
    """The client's connection is to end, after what was sent."""


class Conversation:
    """One connection of a client, and the one to the server behind it.

    ``meet`` says what a request meets, ``reach`` connects to the server on a client's behalf, ``leave`` takes the
    whole proxy away.
    """

    def __init__(
        self, client: Peer, meet: Callable[[str, str], Seen], reach: Callable[[Peer], Awaitable[Peer]],
        leave: Callable[[float | None, bool], None],
    ) -> None:  # fmt: skip
        self._client, self._meet, self._reach, self._leave = client, meet, reach, leave
        self._server: Peer | None = None

    async def run(self) -> None:
        """Answer requests until one side ends the connection."""
        end = self._client.reset
        try:
            while await self._one():
                self._client.http.start_next_cycle()
            end = self._client.close
        except _End:
            end = self._client.close
        except (_Break, *_BROKEN):
            pass
        finally:  # when it is cancelled, too
            end()
            if self._server:
                self._server.reset()

    async def _one(self) -> bool:
        """Answer one request; return whether another may follow."""
        request = await self._client.event()
        if not isinstance(request, h11.Request):
            return False
        seen = self._meet(request.method.decode(), request.target.decode())
        faults: dict[type, Callable[[Any, h11.Request, Seen], Coroutine[Any, Any, None]]] = {
            Delay: self._delay, Reset: self._break, Say: self._say, Hang: self._hang, Leave: self._away,
        }  # fmt: skip
        if fault := faults.get(type(seen.action)):
            await fault(seen.action, request, seen)
        else:
            await self._pass_on(request, seen)
        return self._client.http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}

    # -- one fault each

    async def _delay(self, action: Delay, request: h11.Request, seen: Seen) -> None:
        await asyncio.sleep(action.seconds)
        await self._pass_on(request, seen)

    async def _break(self, action: Reset, request: h11.Request, seen: Seen) -> None:
        async def lose() -> None:
            raise _Break

        if action.at == "request body":
            await self._send_half(request, seen)
        elif action.at == "answer":
            await self._pass_on(request, seen, instead=lose)
        elif action.at == "answer body":
            await self._pass_on(request, seen, half=True)
        raise _Break

    async def _say(self, action: Say, request: h11.Request, seen: Seen) -> None:
        async def say() -> None:
            body = error_body(action.status, seen.target, action.retry_after_seconds)
            headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
            if action.retry_after_seconds is not None:
                headers.append(("retry-after", str(action.retry_after_seconds)))
            await self._client.send(h11.Response(status_code=action.status, headers=headers))
            if request.method != b"HEAD":
                await self._client.send(h11.Data(body))
            await self._client.send(h11.EndOfMessage())

        if action.done:
            await self._pass_on(request, seen, instead=say)
            return
        async for _ in self._client.body():
            pass
        await say()

    async def _hang(self, action: Hang, request: h11.Request, seen: Seen) -> None:
        async def hang() -> None:
            await asyncio.sleep(action.seconds)
            raise _Break

        if action.done:
            await self._pass_on(request, seen, instead=hang)
        await hang()

    async def _away(self, action: Leave, request: h11.Request, seen: Seen) -> None:
        self._leave(action.seconds, action.silent)
        if not action.silent:
            raise _Break
        await self._pass_on(request, seen)  # once things move again

    # -- the way to the server and back

    async def _pass_on(
        self, request: h11.Request, seen: Seen, *, half: bool = False, instead: Then | None = None
    ) -> None:
        """Let the server do it and give its answer to the client: whole, half of it, or something ``instead``."""
        server = await self._ask(request, seen)

        async def answer() -> None:
            response = await self._head(server)
            seen.server = f"answered {response.status_code}"
            if instead:
                server.reset()  # nobody reads the rest
                await instead()
            elif half:
                await self._give_half(server, response)
            else:
                await self._give(server, response)

        # Side by side: the server may answer before it has the whole body, and the client may go away meanwhile.
        sending, answering = asyncio.create_task(self._send_body(server)), asyncio.create_task(answer())
        try:
            await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise _Break  # the client has gone
            answering.result()
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)
        if self._client.http.their_state is h11.SEND_BODY:
            raise _End  # it has its answer, what it still sends nobody wants

    async def _ask(self, request: h11.Request, seen: Seen) -> Peer:
        if self._server and self._server.reusable:
            self._server.http.start_next_cycle()
        else:
            if self._server:
                self._server.reset()
            seen.server = "out of reach"
            self._server = await self._reach(self._client)
        seen.server = "asked"
        await self._server.send(h11.Request(method=request.method, target=request.target, headers=_passed(request)))
        return self._server

    async def _send_body(self, server: Peer) -> None:
        """Pass the request's body on; return only when the client has gone."""
        is_listening = True
        async for piece in self._client.body():
            try:
                if is_listening:
                    await server.send(piece)
            except _BROKEN:  # perhaps it has answered already
                is_listening = False
        await self._client.hung_up()

    async def _send_half(self, request: h11.Request, seen: Seen) -> None:
        server, left = await self._ask(request, seen), _half(request)
        async for piece in self._client.body():
            if isinstance(piece, h11.Data):
                left = len(piece.data) // 2 if left is None else left
                await server.send(h11.Data(piece.data[:left]))
                left -= len(piece.data)
            if not left or left < 0:
                break
        seen.server = "got half of it"
        server.close()  # in order, so that the half does arrive
        self._server = None

    async def _head(self, server: Peer) -> h11.Response:
        while not isinstance(event := await server.event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise ConnectionResetError("the server ended the connection without an answer")
        return event

    async def _give(self, server: Peer, response: h11.Response) -> None:
        await self._client.send(self._bare(response))
        async for piece in server.body():
            await self._client.send(piece)

    async def _give_half(self, server: Peer, response: h11.Response) -> None:
        left, began = _half(response), False
        async for piece in server.body():
            if not isinstance(piece, h11.Data):
                break
            if not began:
                await self._client.send(self._bare(response))
                began = True
            left = len(piece.data) // 2 if left is None else left
            await self._client.send(h11.Data(piece.data[:left]))
            left -= len(piece.data)
            if left <= 0:
                break
        raise _End if began else _Break

    def _bare(self, response: h11.Response) -> h11.Response:
        """Return a head without what belongs to the server's connection; ours ends when it is early."""
        headers = _passed(response)
        if self._client.http.their_state is h11.SEND_BODY:
            headers.append((b"connection", b"close"))
        return h11.Response(status_code=response.status_code, headers=headers, reason=response.reason)


def _passed(message: h11.Request | h11.Response) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in message.headers if name not in _HOP]


def _half(message: h11.Request | h11.Response) -> int | None:
    """Return half of the length that a head names, ``None`` when it names none."""
    length = dict(message.headers).get(b"content-length")
    return int(length) // 2 if length else None
