"""Step: tell the cluster which bundle it has, so that it can say so itself."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from compass import __version__
from compass.change.plan import Plan
from compass.clock import Clock, iso
from compass.cluster.backup import read_index
from compass.cluster.record import Record, read_records, write_record, written_ref
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target, Workplace


def new_record(place: Workplace, prepared: Prepared, plan: Plan, last: Record | None, backup: str) -> Record:
    """Return the Record of a run that begins now; what earlier runs applied stays listed until it is deleted."""
    applies = [x.ref for x in plan.changes if x.action in ("created", "configured", "unchanged")]
    applied = {*(last.applied if last else ()), *(written_ref(x) for x in applies)}
    return Record(
        bundle=prepared.name, version=prepared.version, digest=prepared.digest, plan_digest=plan.digest,
        state="running", step="backup", by=who(place.environ), tool=__version__, started=iso(place.clock.now()),
        changes={k: v for k, v in plan.counts().items() if v}, backup=backup, applied=tuple(sorted(applied)),
    )  # fmt: skip


def ended(record: Record, plan: Plan, clock: Clock, seconds: Mapping[str, float]) -> Record:
    """Return the Record of a run that ended well."""
    update = {"state": "done", "step": "record", "finished": iso(clock.now()), "seconds": dict(seconds)}
    return without(record.model_copy(update=update), plan)


def without(record: Record, plan: Plan) -> Record:
    """Return the Record once what the plan deletes is gone."""
    gone = {written_ref(x.ref) for x in (*plan.changes, *plan.removals) if x.action == "deleted"}
    return record.model_copy(update={"applied": tuple(x for x in record.applied if x not in gone)})


def restored(place: Workplace, target: Target, folder: Path, backup: str) -> Record:
    """Return the Record of a restore: the cluster has the version again that it had before the backup was made."""
    index = read_index(folder)
    records = read_records(place.client(target))
    before = next((x for x in records if x.state in ("done", "restored") and x.finished <= index.taken), None)
    now = iso(place.clock.now())
    gone = {written_ref(x.ref) for x in index.absent}
    return Record(
        bundle=before.bundle if before else "unknown", version=before.version if before else "",
        digest=before.digest if before else "", plan_digest="", state="restored", step=f"restore {folder.name}",
        by=who(place.environ), tool=__version__, started=now, finished=now, backup=backup,
        applied=tuple(x for x in (records[0].applied if records else ()) if x not in gone),
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
