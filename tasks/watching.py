"""Progress of tasks: told to whoever watches this process, else logged now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable

from compass.progress import Progress

EVERY = 0.25
_watching: list[Callable[[str], Progress]] = []


def watch(make: Callable[[str], Progress] | None) -> None:
    """Tell progress to what ``make`` returns for a label, instead of the log; ``None`` ends it."""
    _watching[:] = [make] if make else []


def watcher(label: str, log: Callable[[str], None]) -> Progress:
    """Return the progress that a task tells."""
    return _watching[0](label) if _watching else LoggedProgress(log)


class LoggedProgress:
    """Progress as log lines: one per quarter of what there is to do."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._unit: dict[str, str] = {}
        self._told: dict[str, int] = {}

    def begin(self, what: str, total: int, unit: str) -> None:
        """Count ``what`` up to ``total``."""
        with self._lock:
            self._total[what] = max(total, self._total.get(what, 0))
            self._unit[what] = unit

    def advance(self, what: str, amount: int) -> None:
        """Count, and log when another quarter is done."""
        with self._lock:
            self._done[what] = self._done.get(what, 0) + amount
            total = self._total.get(what, 0)
            quarter = int(self._done[what] / total / EVERY) if total else 0
            if quarter <= self._told.get(what, 0):
                return
            self._told[what] = quarter
            text = f"{what}: {self._done[what]} of {total} {self._unit.get(what, '')}"
        self._log(text)

    def note(self, text: str) -> None:
        """Log a line."""
        self._log(text)
