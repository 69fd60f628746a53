"""A queue of work that is done on the event loop, each piece once however often it was asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)
AT_ONCE = 20  # pieces before others get their turn on the loop
RETRY_SECONDS = 1.0


class WorkQueue:
    """Call ``work`` for every key that was added; a key that fails is tried again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[tuple[Any, ...]], None]) -> None:
        self._loop = loop
        self._work = work
        self._waiting: dict[tuple[Any, ...], None] = {}
        self._timers: dict[tuple[Any, ...], asyncio.TimerHandle] = {}
        self._scheduled = False
        self._closed = False

    def add(self, key: tuple[Any, ...]) -> None:
        """Have a key worked on soon."""
        if self._closed:
            return
        self._waiting[key] = None
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def add_after(self, key: tuple[Any, ...], seconds: float) -> None:
        """Have a key worked on later; the last word counts."""
        old = self._timers.pop(key, None)
        if old:
            old.cancel()
        if not self._closed:
            self._timers[key] = self._loop.call_later(max(seconds, 0.0), self._due, key)

    def close(self) -> None:
        """Work on nothing any more."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._waiting.clear()

    def _due(self, key: tuple[Any, ...]) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _drain(self) -> None:
        self._scheduled = False
        for key in list(self._waiting)[:AT_ONCE]:
            self._waiting.pop(key, None)
            try:
                self._work(key)
            except Exception:
                log.exception("controller failed on %s", key)
                self.add_after(key, RETRY_SECONDS)
        if self._waiting and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._drain)
