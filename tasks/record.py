"""Tasks: the Record that a cluster keeps of itself, and the report that a run leaves."""

from __future__ import annotations

from compass import markdown
from compass.change.plan import Plan
from compass.cluster.record import Record
from compass.job import Job
from compass.report import ClusterReport, RunReport
from compass.steps import record as core
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target
from tasks.step import publish, step, workplace


@step("begin record")
def begin_record(job: Job, target: Target, prepared: Prepared, plan: Plan) -> Record:
    """Tell the cluster that an upgrade begins (``compass.steps.record``)."""
    with workplace(job, target.name) as place:
        record = core.new_record(place, prepared, plan)
        core.keep_record(place, target, record)
    return record


@step("record")
def keep_record(job: Job, target: Target, record: Record) -> Record:
    """Tell the cluster how far its upgrade is (``compass.steps.record``)."""
    with workplace(job, target.name) as place:
        core.keep_record(place, target, record)
    rows = [(key, value) for key, value in record.model_dump().items() if value]
    text = "\n\n".join([f"## Record of cluster {target.name}", markdown.table(("", ""), rows)])
    publish(f"record-{target.name}", text, f"{record.bundle} {record.version}: {record.state}, {record.step}")
    return record


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
