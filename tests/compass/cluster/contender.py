"""One who wants the lock, as a process of its own: says what became of it, and holds it until its input ends."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from compass.clock import system_clock
from compass.cluster.client import ClusterClient
from compass.cluster.lease import Holder
from compass.cluster.lock import ClusterLock, LockLost
from compass.errors import Refused
from compass.site.access import read_access


def main(kubeconfig: str, by: str, duration_seconds: str) -> None:
    with ClusterClient(read_access(Path(kubeconfig)), patience_seconds=10) as client:
        client.version()
        say("ready")
        sys.stdin.readline()
        lock = ClusterLock(
            client,
            Holder.here(by, "run of a test", "upgrade"),
            system_clock(),
            duration_seconds=float(duration_seconds),
        )
        try:
            with lock:
                say("held")
                while lock.held():
                    time.sleep(0.02)
                lock.refuse_if_lost()
        except (LockLost, Refused) as error:
            say(f"{type(error).__name__}: {error}")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
