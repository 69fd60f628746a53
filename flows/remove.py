"""Flow ``remove-components``: delete from a control cluster the Releases that the new version no longer has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from prefect import flow

from compass.change.plan import Plan
from compass.clock import iso, system_clock
from compass.cluster.lock import ClusterLock, LockLost
from compass.cluster.record import Record
from compass.errors import CompassError, Transient
from compass.job import Choices, Job, Where
from compass.report import ClusterReport, Journal, run_name
from compass.steps.lock import locked
from compass.steps.prepare import Prepared
from compass.steps.record import without
from compass.steps.workplace import Target
from compass.window.openings import Calendar
from flows.alive import signs_of_life
from flows.engine import FLOW_SETTINGS, as_known, best_effort
from flows.opening import deployed_calendar, keep_to_windows
from flows.reporting import reported
from flows.upgrade import only, roll_back
from tasks import apply, backup, plan, record, sites
from tasks import bundle as bundles

STEP = "remove"


@flow(name="remove-components", flow_run_name="remove {cluster}", **FLOW_SETTINGS)
def remove_components(
    bundle: str,
    cluster: str,
    where: Where = Where(),
    choices: Choices = Choices(),
    calendar: Calendar = Calendar(),
    ignore_window: str = "",
    name: str = "",
) -> ClusterReport:
    """Remove what the bundle names, only after a verified backup, and wait until it is gone.

    Args:
        bundle: path of the bundle on the machine that runs this.
        cluster: name of the cluster; a user cluster holds nothing to remove.
        where: how to reach it.
        choices: how to go about it.
        calendar: when it may be changed; a run outside of it moves itself to the next opening.
        ignore_window: why that does not count this time; the reason is in the report.
        name: what the run and its report are called; empty: by the time.

    Raises:
        CompassError: the first thing that went wrong; the report of the cluster is published before.
    """
    with signs_of_life():
        calendar = deployed_calendar(calendar)
        ignored = keep_to_windows(cluster, calendar, ignore_window)
        job = Job(bundle=bundle, where=where.model_copy(update={"clusters": (cluster,)}), choices=choices)
        prepared = bundles.prepare(job)
        target, run = only(sites.find_targets(job)), name or run_name(system_clock().now(), "remove")
        change = partial(remove_from, job, target, prepared, run, (ignored,) if ignored else ())
        return reported(job, prepared, run, change, "remove")


def remove_from(
    job: Job, target: Target, prepared: Prepared, run: str = "", warnings: tuple[str, ...] = ()
) -> ClusterReport:
    """Plan, back up and remove on one cluster, inside whatever flow is running.

    Raises:
        CompassError: the first thing that went wrong; its ``report`` is the cluster's.
    """
    clock = system_clock()
    journal = Journal(target.name, target.role, clock, run or run_name(clock.now(), "remove"))
    journal.warnings += warnings
    lock: ClusterLock | None = None
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(
                locked(job, target, journal.run, f"remove what {prepared.name} {prepared.version} names")
            )
            journal.guard = lock.refuse_if_lost
            acted = _steps(job, target, prepared, journal)
        except Exception as error:
            known = as_known(error, f"cluster {target.name}")
            known.report = roll_back(job, target, journal, None, lock, known)
            best_effort(record.report_cluster, target, known.report)
            raise known from error
    report = journal.close("upgraded" if acted else "unchanged")
    record.report_cluster(target, report)
    return report


def _steps(job: Job, target: Target, prepared: Prepared, journal: Journal) -> bool:
    with journal.step("plan removal") as lines:
        planned = plan.make_removal_plan(job, target, prepared)
        journal.counts = {k: v for k, v in planned.counts().items() if v}
        lines += [f"{x.action} {x.ref} {x.reason}".rstrip() for x in planned.removals]
    last = record.last_record(job, target)
    interrupted = last if last and last.is_interrupted and last.digest == prepared.digest else None
    if not planned.acting:
        if interrupted and interrupted.step == STEP:
            record.keep_record(job, target, _after(interrupted, planned))
        return False
    with journal.step("backup") as lines:
        saved = backup.back_up(job, target, prepared, [x.ref for x in planned.removals], planned, interrupted)
        journal.backup = saved.folder
        journal.warnings += saved.warnings
        lines.append(f"{saved.releases} Releases and {saved.objects} objects in {saved.folder}")
    with _noted(job, target, last, planned, saved.folder), journal.step(STEP) as lines:
        lines += apply.remove_obsolete(job, target, planned).lines
    return True


@contextmanager
def _noted(job: Job, target: Target, last: Record | None, planned: Plan, folder: str) -> Iterator[None]:
    """Let the cluster's Record say that a removal is under way, and afterwards that it is over."""
    if last is None:
        yield
        return
    begun = last.model_copy(update={"state": "running", "step": STEP, "finished": "", "backup": folder})
    record.keep_record(job, target, begun)
    try:
        yield
    except CompassError as error:
        if not isinstance(error, LockLost | Transient):  # what it had is put back
            best_effort(record.keep_record, job, target, last.model_copy(update={"problem": str(error)}))
        raise
    record.keep_record(job, target, _after(last, planned))


def _after(last: Record, planned: Plan) -> Record:
    """Return what a Record says after a removal: what it said before, unless that was cut off in its removal."""
    if (last.state, last.step) == ("running", STEP):
        last = last.model_copy(update={"state": "done", "step": "record", "finished": iso(system_clock().now())})
    return without(last, planned)
