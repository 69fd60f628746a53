"""Progress told while work goes on: bytes and objects done, never backwards."""

from __future__ import annotations

from typing import Protocol


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
