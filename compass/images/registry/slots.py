"""At most so many uploads to one registry at a time, whoever sends them: threads, runs and processes alike.

Source: flock(2): a lock belongs to the open file, and ends with the process however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from compass.clock import Clock
from compass.errors import CompassError, StepFailed
from compass.store import private_folder

UPLOADS = 8
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.5
TELL_AFTER_SECONDS = 10.0


class Slots(Protocol):
    """Who may upload now; shared by threads."""

    def hold(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        """Wait for a slot and hold it during the block; ``check`` is called while waiting and may raise to give up."""


class NoLimit:
    """As many uploads as there are threads."""

    def hold(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        """Wait for nothing."""
        return contextlib.nullcontext()


class Turns:
    """Whose turn it is among the threads of one run: those who have one together weigh no more than ``most``.

    Somebody who weighs more than that has it alone.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = self._holders = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, weight: int, check: Callable[[], None]) -> Iterator[Callable[[], None]]:
        """Wait for a turn; give what ends it before the block does.  ``check`` is as in ``Slots.hold``."""
        with self._changed:
            while self._holders and self._weight + weight > self._most:
                check()
                self._changed.wait(LONGEST_PAUSE_SECONDS)
            self._holders += 1
            self._weight += weight
        ended = False

        def end() -> None:
            nonlocal ended
            with self._changed:
                if not ended:
                    ended = True
                    self._holders -= 1
                    self._weight -= weight
                    self._changed.notify_all()

        try:
            yield end
        finally:
            end()


class LockedSlots:
    """Slots as files, one each, held by locking one; all who name the same folder share them.

    Runs that differ in ``count`` share the first files, so there are never more uploads than the largest ``count``.
    ``tell`` gets a line, once, when somebody has to wait for long.
    """

    def __init__(self, folder: Path, count: int, clock: Clock, tell: Callable[[str], None]) -> None:
        self._folder, self._count, self._clock, self._tell = folder, count, clock, tell
        self._is_told = False

    @contextlib.contextmanager
    def hold(self, check: Callable[[], None]) -> Iterator[None]:
        """Wait for a slot and hold it during the block; ``check`` is called while waiting and may raise to give up.

        Raises:
            StepFailed: the folder cannot be written to, or somebody asked to stop.
        """
        descriptor = self._wait(check)
        try:
            yield
        finally:
            os.close(descriptor)

    def _wait(self, check: Callable[[], None]) -> int:
        try:
            private_folder(self._folder)
        except CompassError as error:
            raise _no_folder(self._folder, error.found) from None
        began, pause = self._clock.monotonic(), FIRST_PAUSE_SECONDS
        while (descriptor := self._try()) is None:
            check()
            if not self._is_told and self._clock.monotonic() - began > TELL_AFTER_SECONDS:
                self._is_told = True
                self._tell(
                    f"waiting: as many uploads to {self._folder.name} as are allowed ({self._count}) are under way"
                )
            self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return descriptor

    def _try(self) -> int | None:
        """Return the locked file of a free slot; ``None`` when none is free."""
        for number in range(self._count):
            path = self._folder / str(number)
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                raise _no_folder(path, error.strerror) from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            except OSError as error:
                os.close(descriptor)
                raise _no_folder(path, error.strerror) from None
            else:
                return descriptor
        return None


def slots_folder(environ: Mapping[str, str], home: Path, host: str) -> Path:
    """Return where the runs of this user on this machine meet for one registry."""
    cache = environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored (XDG Base Directory Specification).
    root = Path(cache) if cache.startswith("/") else home / ".cache"
    return root / "compass-upgrade" / "uploads" / host


def _no_folder(path: Path, found: object) -> StepFailed:
    return StepFailed("count uploads by", path, found=found, do="set XDG_CACHE_HOME to a folder of yours")
