"""Ask again while the other side is away: exponential back-off with jitter, for the transient family only."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import stamina

from compass import stopping
from compass.errors import Transient

PATIENCE_SECONDS = 90.0
TOLD_AFTER_TRIES = 3  # a second or two, or three times as long as one waits for a connection
T = TypeVar("T")
_log = logging.getLogger(__name__)
# One line per new try is ours below, with the error's own words.
stamina.instrumentation.set_on_retry_hooks(())


def patiently(call: Callable[[], T], patience_seconds: float = PATIENCE_SECONDS) -> T:
    """Return what ``call`` returns, calling again on ``Transient`` for up to ``patience_seconds``.

    A server's own word on when to come back (Retry-After) is followed.  From the third new try on, each is logged as a
    warning; those before are information.

    Raises:
        Transient: it stayed away that long.
    """
    tries = 0

    def decide(error: Exception) -> bool | float:
        nonlocal tries
        if not isinstance(error, Transient) or patience_seconds <= 0 or stopping.requested():
            return False
        tries += 1
        _log.log(logging.INFO if tries < TOLD_AFTER_TRIES else logging.WARNING, "asking again: %s", error)
        return True if error.retry_after_seconds is None else error.retry_after_seconds

    for attempt in stamina.retry_context(
        on=decide, attempts=None, timeout=max(patience_seconds, 0.001), wait_initial=0.25, wait_max=5.0, wait_jitter=0.5
    ):
        with attempt:
            return call()
    raise AssertionError("unreachable: the loop returns or raises")
