"""Signs of life: a run whose process died with its worker would be called Running for ever, and hold its only place.

A run under a deployment says every half minute that it is at work, and at its end that it is no more.  The automation
that ``deploy`` makes ends those that fall silent in between (``deployments/watch.py``).  Prefect's own heartbeats do
not serve: one that arrives after a run has moved itself to its next opening would end that run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import runtime
from prefect.events import Event, emit_event

ALIVE, AT_REST = "compass-upgrade.run.alive", "compass-upgrade.run.at-rest"
EVERY_SECONDS = 30.0


@contextmanager
def signs_of_life() -> Iterator[None]:
    """Let the run give signs of life while the block lasts; a run of no deployment has somebody who looks at it."""
    if not runtime.deployment.id:
        yield
        return
    resource = {"prefect.resource.id": f"prefect.flow-run.{runtime.flow_run.id}"}
    tags = [{"prefect.resource.id": f"prefect.tag.{x}", "prefect.resource.role": "tag"} for x in runtime.flow_run.tags]
    ended = threading.Event()
    last: Event | None = None

    def tell() -> None:
        nonlocal last
        while True:
            last = emit_event(ALIVE, resource, related=tags)
            if ended.wait(EVERY_SECONDS):
                return

    teller = threading.Thread(target=tell, name="signs of life", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
        # The server works on several events at a time: only what is said to follow is looked at afterwards.
        emit_event(AT_REST, resource, related=tags, follows=last)
