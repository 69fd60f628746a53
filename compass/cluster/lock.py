"""The lock: one run at a time changes a cluster, whoever runs it and from wherever; kept as a Lease.

Every write to the Lease goes by its uid and resourceVersion, so that of several at once the API server lets one
through.  A lock that somebody has is taken

- at once, when its holder is a process of this machine that has ended;
- never, when the API server saw it renewed less than its duration ago;
- at once, when that was ten durations ago or more;
- else when it was watched for its whole duration, by the monotonic clock as client-go does, and did not change.

Clocks of different machines are never compared.  When a lease was renewed and what time it is now are both told by
the API server: it dates what is applied (``managedFields``), and a dry run of the take-over is dated now.  The watch is
for what that leaves open: API servers of one cluster whose clocks differ, and a holder that is not this tool.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from compass.clock import Clock, iso
from compass.cluster.client import ClusterClient
from compass.cluster.lease import (
    DURATION_SECONDS,
    LONGEST_SECONDS,
    REF,
    Holder,
    LockState,
    free_lease,
    lease_over,
    lock_state,
    written,
)
from compass.cluster.transport import Exists
from compass.errors import CompassError, InvalidInput, Refused, StepFailed
from compass.patience import patiently

Json = dict[str, Any]
_LONG_EXPIRED = 10  # durations
_LONGEST_WATCH_SECONDS = 120.0  # nobody looks at a screen for longer
_TRIES = 5  # while somebody else writes to the Lease
_RELEASE_SECONDS = 5.0
_log = logging.getLogger(__name__)
#: Locks of this process that are over, though the API server could not be told.
_let_go: set[str] = set()


class LockLost(StepFailed):
    """The lock is no longer ours: the cluster must not be changed any more, not even back."""


@dataclass
class _Watch:
    """A holder that may be dead: what its Lease said, and since when, by the monotonic clock."""

    spec: Json | None = None
    since: float = 0.0


class ClusterLock:
    """Hold the lock of a cluster for the length of one ``with`` block.

    It is renewed in the background every third of its duration.  While that fails it is tried again; once the
    duration is over the lock does not count as held, until a renewal succeeds after all, which shows that nobody else
    had it meanwhile.  Whoever deletes the Lease takes the lock away.  A lock that cannot be released ends by itself.

    Raises:
        Refused: somebody else has it.
        Transient: the API server did not answer for as long as the client is patient.
    """

    def __init__(
        self, client: ClusterClient, holder: Holder, clock: Clock, *, duration_seconds: float = DURATION_SECONDS
    ) -> None:
        if not 1 <= duration_seconds <= LONGEST_SECONDS:
            raise InvalidInput("lock for", f"{duration_seconds} s", expected=f"1 to {LONGEST_SECONDS:.0f} s")
        # One request must not use up the time that there is to try again.
        self._client = client.hasty(max(duration_seconds / 6, 1.0))
        self._patience_seconds = client.patience_seconds
        self._holder = holder.model_copy(update={"token": secrets.token_hex(8)})
        self._clock = clock
        self._duration_seconds = duration_seconds
        self._mutex = threading.Lock()
        self._leaving = threading.Event()
        self._renewing = threading.Thread(target=self._keep, name="renew lock", daemon=True)
        self._item: Json = {}
        self._renewed_at = -math.inf
        self._trouble = ""
        self._taken = ""

    def __enter__(self) -> Self:
        watch = _Watch()
        while (pause := patiently(lambda: self._try(watch), self._patience_seconds)) is not None:
            self._clock.sleep(pause)
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._renewing.join(self._duration_seconds)
        try:
            patiently(self._release, min(self._patience_seconds, _RELEASE_SECONDS))
        except CompassError as error:
            _let_go.add(self._holder.identity)
            _log.warning("the lock is not released and ends in %.0f s: %s", self._duration_seconds, error)
        self._item = {}

    def held(self) -> bool:
        """Tell whether the lock is ours, as far as is known without asking."""
        age = self._clock.monotonic() - self._renewed_at
        return bool(self._item) and not self._taken and age < self._duration_seconds

    def refuse_if_lost(self) -> None:
        """Renew the lock now, so that what comes next has a whole duration before it.

        An API server that does not answer is no loss yet.

        Raises:
            LockLost: somebody else has it, or it could not be renewed for its duration.
        """
        with self._mutex:
            if self._item and not self._taken:
                self._renew()
        if not self.held():
            late = f"not renewed for {self._duration_seconds:.0f} s ({self._trouble})" if self._item else "not held"
            raise LockLost(
                "keep", self._subject, found=self._taken or late, expected=f"held by {self._holder.by}",
                do="see compass-upgrade status, then give the same command again",
            )  # fmt: skip

    @property
    def _subject(self) -> str:
        return f"{REF} on {self._client.where}"

    def _try(self, watch: _Watch) -> float | None:
        """Look at the Lease once; return ``None`` when it is ours now, else after how many seconds to look again."""
        item = self._client.get(REF)
        if item is None:
            self._create()
            return 0.0
        state = lock_state(item)
        if state is None or self._is_ours(state) or state.has_ended or self._has_expired(item, state, watch):
            return None if self._write(item, self._holder) else 0.0
        return min(state.duration_seconds / 10, 2.0)

    def _create(self) -> None:
        """Make the Lease, that nobody holds; several may do so at once."""
        with suppress(Exists):
            self._client.create(free_lease())

    def _is_ours(self, state: LockState) -> bool:
        """Tell whether the lock is ours to take: the answer to our own write was lost, or this process let go of it."""
        return state.identity == self._holder.identity or state.identity in _let_go

    def _has_expired(self, item: Json, state: LockState, watch: _Watch) -> bool:
        """Tell whether a lock may be taken from its holder; no means: look again.

        Raises:
            Refused: the holder is alive.
        """
        if watch.spec == item["spec"]:
            return self._clock.monotonic() - watch.since > state.duration_seconds
        if watch.spec is not None:  # renewed, or taken by another one
            raise self._refused(state, state.duration_seconds)
        age = self._age(item, state)
        if age is not None and age < state.duration_seconds:
            raise self._refused(state, state.duration_seconds - age)
        if age is not None and age >= _LONG_EXPIRED * state.duration_seconds:
            return True
        if state.duration_seconds > _LONGEST_WATCH_SECONDS:
            raise Refused(
                "lock", self._subject, found=f"held by {state}, for {state.duration_seconds:.0f} s at a time",
                expected="free", do="see whether its holder lives; if it does not, delete the Lease",
            )  # fmt: skip
        _log.warning(
            "%s: held by %s; watching for %.0f s whether it lives", self._subject, state, state.duration_seconds
        )
        watch.spec, watch.since = item["spec"], self._clock.monotonic()
        return False

    def _age(self, item: Json, state: LockState) -> float | None:
        """Return how long ago a lease was renewed, by the API server's clock; ``None`` when that cannot be told."""
        if state.holder is None or state.written is None:
            return None
        try:
            tried = self._client.apply(self._lease(item, self._holder), dry_run=True, force=True)
        except StepFailed:  # it has moved, or a webhook knows no dry runs
            return None
        now = written(tried)
        return (now - state.written).total_seconds() if now else None

    def _refused(self, state: LockState, left_seconds: float) -> Refused:
        until = iso(self._clock.now() + timedelta(seconds=left_seconds))
        return Refused(
            "lock", self._subject, found=f"held by {state}", expected="free",
            do=f"wait until it ends, or until {until} if it is dead; see compass-upgrade status",
        )  # fmt: skip

    def _lease(self, item: Json, holder: Holder | None) -> Json:
        return lease_over(item, holder, self._duration_seconds, self._clock.now())

    def _write(self, item: Json, holder: Holder | None) -> bool:
        """Write the Lease over ``item``; tell whether that was still what is there."""
        began = self._clock.monotonic()
        try:
            now = self._client.apply(self._lease(item, holder), force=True)
        except StepFailed:
            found = self._client.get(REF)
            if found and found["metadata"]["resourceVersion"] == item["metadata"]["resourceVersion"]:
                raise
            return False
        self._item, self._renewed_at, self._trouble = now, began, ""
        return True

    def _keep(self) -> None:
        """Renew the lock until the block ends."""
        usual, soon = self._duration_seconds / 3, min(self._duration_seconds / 20, 2.0)
        while not self._leaving.wait(soon if self._trouble else usual) and not self._taken:
            with self._mutex:
                self._renew()

    def _renew(self) -> None:
        try:
            for _ in range(_TRIES):
                if self._write(self._item, self._holder) or not self._look_again():
                    return
            self._trouble = "somebody else writes to it all the time"
        except CompassError as error:
            self._trouble = str(error)
            _log.info("%s is not renewed: %s", self._subject, error)

    def _look_again(self) -> bool:
        """After the Lease has moved: tell whether it is ours all the same."""
        item = self._client.get(REF)
        state = lock_state(item) if item else None
        if item and state and state.identity == self._holder.identity:
            self._item = item
            return True
        self._taken = f"held by {state}" if state else "freed by somebody else" if item else "deleted"
        return False

    def _release(self) -> None:
        for _ in range(_TRIES):
            if self._taken or self._write(self._item, None) or not self._look_again():
                return
