"""Work that follows a stream in a thread of its own, so that one archive keeps two processors busy."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

PIECES_BEHIND = 4


class Inline:
    """Calls ``take`` at once: for when every processor has an archive of its own."""

    def __init__(self, take: Callable[[bytes | memoryview], None]) -> None:
        self.put = take

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""


class Aside:
    """Calls ``take`` with each piece, in order, in another thread; ``with`` waits for the last.

    Raises from ``put`` and at the end of the block: what ``take`` raised.
    """

    def __init__(self, take: Callable[[bytes | memoryview], None]) -> None:
        self._take = take
        self._pieces: queue.Queue[bytes | None] = queue.Queue(PIECES_BEHIND)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="aside", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._drop()
        self._pieces.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def put(self, piece: bytes | memoryview) -> None:
        """Hand a copy of the next piece over; waits while the other thread is PIECES_BEHIND behind."""
        if self._error is not None:
            raise self._error
        self._pieces.put(bytes(piece))

    def _drop(self) -> None:
        self._error = self._error or _Dropped()
        with contextlib.suppress(queue.Empty):
            while True:
                self._pieces.get_nowait()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._error is not None:
                continue  # the end is waited for, so that whoever puts is never stuck
            try:
                self._take(piece)
            except BaseException as error:  # noqa: BLE001  (raised where the pieces come from)
                self._error = error


class _Dropped(Exception):
    """The block failed; what is left is for nobody."""
