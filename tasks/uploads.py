"""At most so many uploads to one registry by a whole site: a global concurrency limit of the Prefect server.

A lease is given for a minute and renewed while its upload goes on, so that a run that dies frees its slots by itself
(Prefect's server looks for leases that have run out every 15 seconds).  It serves several uploads of a run, one after
the other: a server on SQLite that is asked for each of many small ones answers 503 (measured): its database is locked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from compass.clock import Clock
from compass.images.registry.slots import Slots, Turns
from compass.steps import images as core
from compass.steps.workplace import Workplace

LEASE_SECONDS = 60.0  # the shortest that a server gives
RENEWED_EVERY_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 2.0
BUSY_PAUSE_SECONDS = 0.2
# So long a lease serves one upload after another, and so long it may lie idle between two.
REUSED_SECONDS, IDLE_SECONDS = 15.0, 1.0
ANSWER_SECONDS = 10.0
AWAY_SECONDS = 20.0
# A server that lost its leases, as one that keeps them in memory does when it is restarted, never frees their slots.
LONGEST_WAIT_SECONDS = 900.0
TAKEN, BUSY = 423, 503


@dataclass
class _Lease:
    """One slot; times are by the monotonic clock."""

    id: UUID
    given: float
    idle_since: float = 0.0


@contextmanager
def upload_slots(place: Workplace, log: Callable[[str], None]) -> Iterator[Slots]:
    """Give the limit of uploads to the site registry: this machine's, and the Prefect server's where there is one."""
    here = core.upload_slots(place)
    if not PREFECT_API_URL.value():  # only Prefect's own local server, which no other machine knows of
        yield here
        return
    name = limit_name(place.registry.host)
    with get_client(httpx_settings={"timeout": ANSWER_SECONDS}, sync_client=True) as client:
        slots = SiteSlots(client, name, place.job.choices.registry_uploads, here, place.clock, log)
        try:
            yield slots
        finally:
            slots.close()


def limit_name(host: str) -> str:
    """Return what the limit of uploads to a registry is called on the Prefect server."""
    return f"compass-upgrade-uploads-{host}"


class SiteSlots:
    """Slots of a global concurrency limit, each held beside one of this machine.

    The limit is made with ``count`` slots where it is absent; one that is there is its operator's and stays as it is.
    A server that is away for AWAY_SECONDS, or has no free slot for LONGEST_WAIT_SECONDS, is asked no more: this
    machine's limit is kept then, and ``log`` is told.
    """

    def __init__(
        self, client: SyncPrefectClient, name: str, count: int, here: Slots, clock: Clock, log: Callable[[str], None]
    ) -> None:
        self._client, self._name, self._count, self._here = client, name, count, here
        self._clock, self._log = clock, log
        self._turns = Turns(1)
        self._leases: set[UUID] = set()
        self._idle: list[_Lease] = []
        self._is_known = self._is_given_up = False
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="upload leases", daemon=True)
        self._renewing.start()

    def close(self) -> None:
        """Give the idle leases back and renew no other any more; those still held run out."""
        self._closed.set()
        self._renewing.join(ANSWER_SECONDS)
        self._give_back(self._take_idle(0.0))

    @contextmanager
    def hold(self, check: Callable[[], None]) -> Iterator[None]:
        """Wait for a slot and hold it during the block; ``check`` is called while waiting and may raise to give up."""
        with self._here.hold(check):
            lease = self._acquire(check)
            try:
                yield
            finally:
                self._release(lease)

    def _acquire(self, check: Callable[[], None]) -> _Lease | None:
        """Return a lease; ``None`` where the server gives none to anybody."""
        with self._turns.take(1, check):  # one of our threads asks for all that wait
            if lease := self._reused():
                return lease
            began = answered = self._clock.monotonic()
            while not self._is_given_up:
                check()
                try:
                    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                        return self._ask()
                except Exception as error:  # noqa: BLE001  (whatever ails the server, the upload goes on)
                    now, problem, pause = self._clock.monotonic(), _problem(error), _pause(error)
                if not problem:
                    answered = now
                if now - answered > AWAY_SECONDS:
                    self._give_up(problem)
                elif now - began > LONGEST_WAIT_SECONDS:
                    self._give_up(f"had no free slot for {LONGEST_WAIT_SECONDS:.0f} s")
                else:
                    self._clock.sleep(pause)
        return None

    def _reused(self) -> _Lease | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _ask(self) -> _Lease | None:
        if not self._is_known:
            self._make()
            self._is_known = True
        answer = self._client.increment_concurrency_slots_with_lease(
            names=[self._name], slots=1, mode="concurrency", lease_duration=LEASE_SECONDS
        ).json()
        if not answer["limits"]:  # an operator has deleted it meanwhile
            return None
        lease = _Lease(UUID(answer["lease_id"]), self._clock.monotonic())
        with self._lock:
            self._leases.add(lease.id)
        return lease

    def _make(self) -> None:
        try:
            self._client.read_global_concurrency_limit_by_name(self._name)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # another run was faster
                self._client.create_global_concurrency_limit(
                    GlobalConcurrencyLimitCreate(name=self._name, limit=self._count)
                )

    def _give_up(self, what: str) -> None:
        self._is_given_up = True
        self._log(f"the Prefect server {what}: uploads are limited on this machine only; "
                  f"see prefect gcl inspect {self._name}")  # fmt: skip

    def _release(self, lease: _Lease | None) -> None:
        """Keep a lease for the next upload, unless others should have their turn."""
        if lease is None:
            return
        now = self._clock.monotonic()
        if now - lease.given > REUSED_SECONDS or self._closed.is_set():
            self._give_back([lease])
            return
        lease.idle_since = now
        with self._lock:
            self._idle.append(lease)

    def _take_idle(self, longer_than_seconds: float) -> list[_Lease]:
        now = self._clock.monotonic()
        with self._lock:
            old = [x for x in self._idle if now - x.idle_since >= longer_than_seconds]
            self._idle = [x for x in self._idle if x not in old]
        return old

    def _give_back(self, leases: Iterable[_Lease]) -> None:
        for lease in leases:
            with self._lock:
                self._leases.discard(lease.id)
            with suppress(Exception), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # it runs out by itself
                self._client.release_concurrency_slots_with_lease(lease_id=lease.id)

    def _renew(self) -> None:
        renewed = self._clock.monotonic()
        while not self._closed.wait(IDLE_SECONDS):
            self._give_back(self._take_idle(IDLE_SECONDS))
            if self._clock.monotonic() - renewed < RENEWED_EVERY_SECONDS:
                continue
            renewed = self._clock.monotonic()
            with self._lock:
                leases = list(self._leases)
            for lease in leases:
                with suppress(Exception):  # the upload goes on, a slot is taken by somebody else at worst
                    self._client.renew_concurrency_lease(lease_id=lease, lease_duration=LEASE_SECONDS)


def _problem(error: Exception) -> str:
    """Return what is wrong with a server that gave no lease, nothing if all slots are taken."""
    if not isinstance(error, PrefectHTTPStatusError):
        return f"did not answer ({type(error).__name__})"
    status = error.response.status_code
    return "" if status == TAKEN else f"answered {status}"


def _pause(error: Exception) -> float:
    """Return when to ask again: the server's own word, but not for long."""
    wanted = error.response.headers.get("Retry-After", "") if isinstance(error, PrefectHTTPStatusError) else ""
    if isinstance(error, PrefectHTTPStatusError) and error.response.status_code == BUSY:
        return BUSY_PAUSE_SECONDS
    try:
        return min(float(wanted), LONGEST_PAUSE_SECONDS)
    except ValueError:  # none, or a date
        return LONGEST_PAUSE_SECONDS
