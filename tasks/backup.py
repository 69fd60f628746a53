"""Task: back up a cluster."""

from __future__ import annotations

from compass import markdown
from compass.change.plan import Plan
from compass.cluster.record import Record
from compass.job import Job
from compass.names import ObjectRef
from compass.steps import backup as core
from compass.steps.backup import BackupResult
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target
from tasks.step import publish, step, workplace


@step("backup")
def back_up(
    job: Job,
    target: Target,
    prepared: Prepared | None,
    refs: list[ObjectRef],
    plan: Plan | None = None,
    interrupted: Record | None = None,
    purpose: str = core.BY_HAND,
    needed: str = "",
) -> BackupResult:
    """Write and verify a backup of all Releases and of the named objects (``compass.steps.backup``)."""
    with workplace(job, target.name) as place:
        result = core.back_up(place, target, prepared, refs, plan, interrupted, purpose, needed)
    line = f"{result.releases} Releases and {result.objects} objects backed up to {result.folder}"
    publish(f"backup-{target.name}", markdown.of_backup(result), line)
    return result


@step("find objects")
def objects_of(job: Job, target: Target) -> list[ObjectRef]:
    """Return what the bundle applies to or deletes from a cluster (``compass.steps.backup``)."""
    with workplace(job, target.name) as place:
        return core.objects_of(place, target)
