"""Step: tell the cluster which bundle it has, so that it can say so itself."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping

from compass import __version__
from compass.change.plan import Plan
from compass.clock import iso
from compass.cluster.record import Record, read_records, write_record
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target, Workplace


def new_record(place: Workplace, prepared: Prepared, plan: Plan) -> Record:
    """Return the Record of a run that begins now."""
    return Record(
        bundle=prepared.name, version=prepared.version, digest=prepared.digest, plan_digest=plan.digest,
        state="running", step="backup", by=who(place.environ), tool=__version__, started=iso(place.clock.now()),
        changes={k: v for k, v in plan.counts().items() if v},
    )  # fmt: skip


def keep_record(place: Workplace, target: Target, record: Record) -> None:
    """Write a Record to the cluster."""
    write_record(place.client(target), record)


def last_record(place: Workplace, target: Target) -> Record | None:
    """Return the newest Record of a cluster, ``None`` when it has none."""
    records = read_records(place.client(target))
    return records[0] if records else None


def who(environ: Mapping[str, str] = os.environ) -> str:
    """Return who runs this: the name behind sudo if there is one, at this host."""
    name = environ.get("COMPASS_BY") or environ.get("SUDO_USER")
    if not name:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # a container's user may have no name
            name = "unknown"
    return f"{name}@{socket.gethostname()}"
