"""The uploads of one load: who sends when, and what the run after it needs to go on with them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

from compass.digests import Digest
from compass.images.model import BlobSource
from compass.images.registry.client import Registry
from compass.images.registry.sessions import Record, Sessions
from compass.images.registry.slots import Slots, Turns
from compass.images.registry.upload import upload

# What is half sent when a run is killed may have to be sent again: distribution's registry forgets an upload whose last
# answer was lost.  So the blobs on their way at a time are a small part of the whole, or no more than the largest blob,
# which is on its way at some time in any case; more would be a little faster.
PART_ON_THE_WAY = 1 / 20


class Sent(NamedTuple):
    """One upload: the bytes that were told as done, and those of them that went over the wire."""

    done: int
    over_the_wire: int


class Sender:
    """Brings blobs to repositories; shared by the threads of one load.

    ``sizes_bytes`` are those of all its blobs; ``told`` gets what is done; setting ``stop`` ends every upload.
    """

    def __init__(
        self,
        registry: Registry,
        source: BlobSource,
        slots: Slots,
        sessions: Sessions | None,
        sizes_bytes: Collection[int],
        told: Callable[[int], None],
    ) -> None:
        self._registry, self._source, self._slots, self._sessions = registry, source, slots, sessions
        self._turns = Turns(max(int(sum(sizes_bytes) * PART_ON_THE_WAY), *sizes_bytes, 0))
        self._told = told
        self.stop = threading.Event()

    def has(self, repository: str, digest: Digest) -> bool:
        """Tell whether a repository has a blob; what an earlier run remembers of sending it there is forgotten then."""
        has = self._registry.head_blob(repository, digest)
        if has and self._sessions:
            self._sessions.forget(repository, digest)
        return has

    def send(self, repository: str, digest: Digest, location: str | None) -> Sent:
        """Upload a blob, once it is its turn; ``location`` is an upload already open."""
        done, size = 0, self._source.size(digest)
        end_turn: Callable[[], None] = self._go_on

        @contextmanager
        def sending() -> Iterator[None]:
            nonlocal end_turn
            with self._turns.take(size, self._go_on) as end_turn, self._slots.hold(self._go_on):
                yield

        def told(amount: int) -> None:
            nonlocal done
            self._go_on()
            done += amount
            self._told(amount)
            if done == size:
                end_turn()  # the registry's answer is waited for, and the next body goes

        with self._record(repository, digest) as record:
            sent = upload(
                self._registry, repository, digest, self._source,
                told=told, location=location, record=record, sending=sending,
            )  # fmt: skip
        return Sent(done, sent)

    def _record(self, repository: str, digest: Digest) -> AbstractContextManager[Record]:
        return self._sessions.record(repository, digest) if self._sessions else nullcontext(Record())

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise _Stopped


class _Stopped(Exception):
    """Another part of the load failed."""
