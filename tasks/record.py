"""Tasks: the Record that a cluster keeps of itself, and the report that a run leaves."""

from __future__ import annotations

from pathlib import Path

from compass import markdown
from compass.change.plan import Plan
from compass.cluster.record import Record
from compass.job import Job
from compass.report import ClusterReport, RunReport
from compass.steps import record as core
from compass.steps.failure import Undone
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target
from tasks.step import publish, step, workplace


@step("begin record")
def begin_record(job: Job, target: Target, prepared: Prepared, plan: Plan, last: Record | None, backup: str) -> Record:
    """Tell the cluster that an upgrade begins (``compass.steps.record``)."""
    with workplace(job, target.name) as place:
        record = core.new_record(place, prepared, plan, last, backup)
        core.keep_record(place, target, record)
    return record


@step("record")
def keep_record(job: Job, target: Target, record: Record) -> Record:
    """Tell the cluster how far its upgrade is (``compass.steps.record``)."""
    with workplace(job, target.name) as place:
        core.keep_record(place, target, record)
    rows = [(key, value) for key, value in record.model_dump(exclude={"applied"}).items() if value]
    text = "\n\n".join([f"## Record of cluster {target.name}", markdown.table(("", ""), rows)])
    publish(f"record-{target.name}", text, f"{record.bundle} {record.version}: {record.state}, {record.step}")
    return record


@step("note step")
def note_step(job: Job, target: Target, record: Record) -> None:
    """Tell the cluster which step begins (``compass.steps.record``)."""
    with workplace(job, target.name) as place:
        core.keep_record(place, target, record)


@step("record")
def record_restore(job: Job, target: Target, folder: str, backup: str, is_whole: bool) -> None:
    """Tell the cluster that it was restored; a restore of single objects leaves its version as it is."""
    if is_whole:
        with workplace(job, target.name) as place:
            core.keep_record(place, target, core.restored(place, target, Path(folder), backup))


@step("last record")
def last_record(job: Job, target: Target) -> Record | None:
    """Return the newest Record of a cluster (``compass.steps.record``)."""
    with workplace(job, target.name) as place:
        return core.last_record(place, target)


@step("report")
def report_run(report: RunReport, path: str) -> None:
    """Publish how a run came out; its report is on disk already."""
    publish("report", markdown.of_run(report), f"report written to {path}")


@step("cluster report")
def report_cluster(target: Target, report: ClusterReport) -> None:
    """Publish how one cluster came out."""
    publish(f"cluster-{target.name}", markdown.of_cluster(report), f"cluster {target.name}: {report.state}")


@step("roll back")
def report_rollback(target: Target, undone: Undone) -> None:
    """Publish what was put back after a failure, and what was not; it is done already."""
    if not undone.aftermath and not undone.not_as_before:
        return
    text = "\n\n".join(
        [
            markdown.bulleted(f"Put back on cluster {target.name}", undone.lines),
            markdown.bulleted("Not as before", undone.not_as_before),
        ]
    )
    line = f"cluster {target.name}: {undone.aftermath or 'left as it is'}, {len(undone.not_as_before)} not as before"
    publish(f"rollback-{target.name}", text, line)
