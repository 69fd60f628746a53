"""Flow ``restore-cluster``: bring one cluster back to a backup, by hand."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from prefect import flow

from compass.clock import system_clock
from compass.cluster.lock import ClusterLock
from compass.errors import Refused, StepFailed
from compass.job import Choices, Job, Where
from compass.report import ClusterReport, Journal, run_name
from compass.steps.backup import BEFORE_RESTORE
from compass.steps.lock import locked
from compass.steps.restore import Selection
from compass.steps.workplace import Target
from flows.engine import FLOW_SETTINGS, as_known, best_effort
from flows.upgrade import only
from tasks import backup, record, restore, sites

TOUCHED = Selection()


@flow(name="restore-cluster", flow_run_name="restore {cluster}", **FLOW_SETTINGS)
def restore_cluster(
    folder: str,
    cluster: str,
    where: Where = Where(),
    choices: Choices = Choices(),
    selection: Selection = TOUCHED,
    plan_digest: str = "",
) -> ClusterReport:
    """Back up what is there now, put back what is selected, wait until it runs, and say what is not as it was.

    Args:
        folder: the backup, on the machine that runs this.
        cluster: name of the cluster.
        where: how to reach it.
        choices: how to go about it.
        selection: what of the backup is put back.
        plan_digest: digest of the plan that a person saw; one that differs now is refused.

    Raises:
        CompassError: the first thing that went wrong; the report of the cluster is published before.
    """
    job = Job(bundle="", where=where.model_copy(update={"clusters": (cluster,)}), choices=choices)
    target = only(sites.find_targets(job))
    clock = system_clock()
    journal = Journal(target.name, target.role, clock, run_name(clock.now(), "restore"))
    lock: ClusterLock | None = None
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(locked(job, target, journal.run, f"restore {Path(folder).name}"))
            journal.guard = lock.refuse_if_lost
            acted = _steps(job, target, folder, selection, plan_digest, journal)
        except Exception as error:
            known = as_known(error, f"cluster {target.name}")
            known.report = journal.close("failed", known)
            best_effort(record.report_cluster, target, known.report)
            raise known from error
    report = journal.close("restored" if acted else "unchanged")
    record.report_cluster(target, report)
    return report


def _steps(
    job: Job, target: Target, folder: str, selection: Selection, plan_digest: str, journal: Journal
) -> bool:  # fmt: skip
    with journal.step("plan restore") as lines:
        planned = restore.make_restore_plan(job, target, folder, selection)
        journal.counts = {k: v for k, v in planned.counts().items() if v}
        lines += [f"{x.action} {x.ref}" for x in planned.acting]
        if plan_digest and plan_digest != planned.digest:
            raise Refused("restore cluster", target.name, found="it has moved since its plan was shown",
                          do="look at the new plan and start again")  # fmt: skip
    if not planned.acting:
        return False
    with journal.step("backup") as lines:
        refs = [x.ref for x in planned.changes]
        saved = backup.back_up(job, target, None, refs, planned, purpose=BEFORE_RESTORE, needed=folder)
        journal.backup = saved.folder
        lines.append(f"{saved.releases} Releases and {saved.objects} objects in {saved.folder}")
    with journal.step("restore") as lines:
        done = restore.restore(job, target, folder, selection, journal.backup)
        lines += done.lines
        if done.not_as_before:
            more = f" (and {len(done.not_as_before) - 1} more)" if len(done.not_as_before) > 1 else ""
            error = StepFailed("restore cluster", target.name, found=f"{done.not_as_before[0]}{more}",
                               expected="as in the backup")  # fmt: skip
            error.aftermath = "not rolled back"
            journal.not_as_before = done.not_as_before
            raise error
    with journal.step("record"):
        record.record_restore(job, target, folder, journal.backup, selection.is_whole)
    return True
