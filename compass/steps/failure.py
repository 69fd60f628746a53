"""After a failure: take the cluster back to what it was, and tell it, as far as it still answers.

Called by the flows directly, not as tasks: it must work when Prefect's own server is what went away.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from compass import stopping
from compass.clock import iso
from compass.cluster.backup import read_index
from compass.cluster.record import Record
from compass.documents import Document
from compass.errors import Aftermath, CompassError
from compass.job import Job
from compass.steps.record import keep_record
from compass.steps.restore import Selection, compare, restore
from compass.steps.workplace import Target, Workplace

PATIENCE_SECONDS = 10.0


class Undone(Document):
    """What became of a cluster after a failure; ``lines`` are what was put back."""

    aftermath: Aftermath = ""
    lines: tuple[str, ...] = ()
    not_as_before: tuple[str, ...] = ()


def after_failure(
    job: Job, target: Target, backup: str, record: Record | None, problem: str, step: str, *, is_locked: bool,
    environ: Mapping[str, str] = os.environ,
) -> Undone:  # fmt: skip
    """Roll the cluster back to ``backup``, unless nothing was changed, and write how the run ended to its Record.

    Without the lock another run may be at work: then nothing is touched, and what is not as before is named.
    """
    with stopping.ignored():
        undone = _undo(job, target, Path(backup), environ, may_change=is_locked) if backup else Undone()
        if record is not None and is_locked:
            _tell(job, target, record, undone, problem, step, environ)
    return undone


def _undo(job: Job, target: Target, backup: Path, environ: Mapping[str, str], *, may_change: bool) -> Undone:
    with Workplace(_impatient(job), environ) as place:
        try:
            changed = compare(place, target, backup, Selection())
        except CompassError as error:
            changed = _unknown(backup, error)
    if not changed:
        return Undone()
    if not job.choices.rollback:
        return Undone(not_as_before=tuple(changed))
    if not may_change:
        return Undone(aftermath="not rolled back", not_as_before=tuple(changed))
    with Workplace(job, environ) as place:
        try:
            done = restore(place, target, backup, Selection())
        except CompassError:
            return Undone(aftermath="not rolled back", not_as_before=tuple(changed))
    aftermath: Aftermath = "not rolled back" if done.not_as_before else "rolled back"
    return Undone(aftermath=aftermath, lines=done.lines, not_as_before=done.not_as_before)


def _unknown(backup: Path, error: CompassError) -> list[str]:
    """Name every object that may have been changed on a cluster that does not answer."""
    try:
        index = read_index(backup)
    except CompassError as damage:
        return [f"not known: {error}", str(damage)]
    return [f"{x.ref}: not known: {error}" for x in (*index.touched, *index.absent)]


def _tell(
    job: Job, target: Target, record: Record, undone: Undone, problem: str, step: str, environ: Mapping[str, str]
) -> None:
    """Write the Record; a cluster that does not answer is not waited for long."""
    with Workplace(_impatient(job), environ) as place:
        state = "rolled back" if undone.aftermath == "rolled back" else "failed"
        update = {"state": state, "step": step, "finished": iso(place.clock.now()), "problem": problem}
        try:
            keep_record(place, target, record.model_copy(update=update))
        except CompassError as error:
            place.progress.note(f"cluster {target.name} could not be told that its upgrade failed: {error}")


def _impatient(job: Job) -> Job:
    seconds = min(PATIENCE_SECONDS, job.choices.patience_seconds)
    return job.model_copy(update={"choices": job.choices.model_copy(update={"patience_seconds": seconds})})
