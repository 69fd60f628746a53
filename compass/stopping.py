"""A wish to stop, from a signal: the step that runs comes to its end, and no other begins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from compass.errors import StepFailed

_wish = threading.Event()
_here = threading.local()


def request() -> None:
    """Ask everything in this process to stop."""
    _wish.set()


def withdraw() -> None:
    """Go on as if nobody had asked."""
    _wish.clear()


def requested() -> bool:
    """Tell whether somebody asked."""
    return _wish.is_set() and not getattr(_here, "deaf", False)


@contextmanager
def ignored() -> Iterator[None]:
    """Let this thread finish what must not be left half done, whoever asks to stop."""
    before, _here.deaf = getattr(_here, "deaf", False), True
    try:
        yield
    finally:
        _here.deaf = before


def sleep(seconds: float) -> None:
    """Sleep, and wake up when somebody asks to stop.

    Raises:
        StepFailed: somebody asked.
    """
    if getattr(_here, "deaf", False):
        time.sleep(seconds)
    elif _wish.wait(seconds):
        raise StepFailed("wait", found="interrupted", do="give the same command again to go on")


def refuse(what: str) -> None:
    """Check that ``what`` may begin.

    Raises:
        StepFailed: somebody asked to stop.
    """
    if requested():
        raise StepFailed("begin", what, found="interrupted", do="give the same command again to go on")
