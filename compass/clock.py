"""Time, passed in: what waits or stamps takes a ``Clock``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from compass import stopping


@dataclass(frozen=True)
class Clock:
    """``now`` is aware and UTC; ``monotonic`` and ``sleep`` count seconds."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]


def system_clock() -> Clock:
    """Return the clock of this machine; its sleep ends early when somebody asks to stop."""
    return Clock(now=lambda: datetime.now(UTC), monotonic=time.monotonic, sleep=stopping.sleep)


def stamp(moment: datetime) -> str:
    """Return a moment as folders are named by it: ``20260131T020000Z``."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def iso(moment: datetime) -> str:
    """Return a moment as Kubernetes writes it: ``2026-01-31T02:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
