"""Progress told while work goes on: bytes and objects done, never backwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

PACE_SECONDS = 30.0


class Progress(Protocol):
    """What a long step tells; called from several threads at once."""

    def begin(self, what: str, total: int, unit: str) -> None:
        """Count ``what`` up to ``total`` of ``unit`` (``bytes`` or ``objects``); a second call raises the total."""

    def advance(self, what: str, amount: int) -> None:
        """Count ``amount`` more of ``what``."""

    def note(self, text: str) -> None:
        """Tell one line that matters by itself."""


class Silent:
    """Progress that nobody watches."""

    def begin(self, what: str, total: int, unit: str) -> None:
        """Ignore it."""

    def advance(self, what: str, amount: int) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""


class Pace:
    """How fast a count goes, over the last PACE_SECONDS, and how long the rest will take."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: deque[tuple[float, int]] = deque()

    def reach(self, done: int) -> None:
        """Take note that so much is done now."""
        now = self._monotonic()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[0][0] < now - PACE_SECONDS:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """How much is done in a second; 0 when that cannot be told yet."""
        if len(self._seen) < 2:
            return 0.0
        (first, before), (last, done) = self._seen[0], self._seen[-1]
        return (done - before) / (last - first) if last > first else 0.0

    def seconds_left(self, total: int) -> float | None:
        """How long the rest takes at this rate; ``None`` when that cannot be told."""
        return max(0, total - self._seen[-1][1]) / self.rate if self.rate > 0 else None
