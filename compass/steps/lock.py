"""Step: hold a cluster's lock while it is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from compass.cluster.lease import REF, Holder, read_lock
from compass.cluster.lock import ClusterLock, LockLost
from compass.errors import Refused
from compass.job import Job
from compass.steps.record import who
from compass.steps.workplace import Target, Workplace


@contextmanager
def locked(
    job: Job, target: Target, run: str, doing: str, environ: Mapping[str, str] = os.environ
) -> Iterator[ClusterLock]:
    """Hold the cluster's Lease while the block runs, on a connection of its own.

    ``run`` is what the run is called, ``doing`` its verb and bundle: what others who want the lock are told.

    Raises:
        Refused: somebody else holds it; who, and until when, is said.
    """
    with Workplace(job, environ) as place:
        holder = Holder.here(who(environ), run, doing)
        with ClusterLock(place.client(target), holder, place.clock) as lock:
            yield lock


def refuse_locked(place: Workplace, target: Target) -> None:
    """Check that nobody is at work on a cluster, so that a run which must wait anyway says so before it begins.

    Only ``locked`` decides; a lock that may have expired is left to it.

    Raises:
        Refused: somebody holds the lock, and renewed it just now.
    """
    client = place.client(target)
    state = read_lock(client)
    if state is None or state.has_ended or state.renewed is None:
        return
    if abs((place.clock.now() - state.renewed).total_seconds()) < state.duration_seconds:
        raise Refused("lock", f"{REF} on {client.where}", found=f"held by {state}", expected="free",
                      do="wait until it ends; see compass-upgrade status")  # fmt: skip


def is_ours(lock: ClusterLock | None) -> bool:
    """Tell whether the lock is held now, renewed at this moment."""
    if lock is None:
        return False
    try:
        lock.refuse_if_lost()
    except LockLost:
        return False
    return True
