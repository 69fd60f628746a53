"""Flow ``upgrade-cluster``: one cluster from one bundle, nothing touched before everything is known to be good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

from prefect import flow

from compass.change.plan import Plan
from compass.clock import iso, system_clock
from compass.cluster.lock import ClusterLock
from compass.cluster.record import Record
from compass.errors import CompassError, InvalidInput, Refused, StepFailed
from compass.job import Choices, Job, Where
from compass.report import ClusterReport, Journal, StepState
from compass.steps.failure import after_failure
from compass.steps.lock import is_ours, locked
from compass.steps.prepare import Prepared
from compass.steps.record import ended
from compass.steps.workplace import Target
from compass.window.openings import Calendar
from flows.alive import signs_of_life
from flows.engine import FLOW_SETTINGS, as_known, best_effort
from flows.opening import deployed_calendar, keep_to_room, keep_to_windows
from flows.reporting import reported
from tasks import apply, backup, check, estimate, images, plan, record, sites
from tasks import bundle as bundles


@flow(name="upgrade-cluster", flow_run_name="upgrade {cluster}", **FLOW_SETTINGS)
def upgrade_cluster(
    bundle: str,
    cluster: str,
    where: Where = Where(),
    choices: Choices = Choices(),
    calendar: Calendar = Calendar(),
    ignore_window: str = "",
) -> ClusterReport:
    """Upgrade one cluster: verify, preflight, plan, back up, load, delete, apply, wait, check, remove, record.

    Args:
        bundle: path of the bundle on the machine that runs this.
        cluster: its name; with a kubeconfig of one cluster, what to call it.
        where: how to reach it, and its registry.
        choices: how to go about it.
        calendar: when it may be changed; a run outside of it moves itself to the next opening.
        ignore_window: why that does not count this time; the reason is in the report.

    Raises:
        CompassError: the first thing that went wrong; the report of the cluster is published before.
    """
    with signs_of_life():
        calendar = deployed_calendar(calendar)
        ignored = keep_to_windows(cluster, calendar, ignore_window)
        job = Job(bundle=bundle, where=where.model_copy(update={"clusters": (cluster,)}), choices=choices)
        prepared = bundles.prepare(job)
        target = only(sites.find_targets(job))
        sites.preflight_site(job, prepared)
        if calendar.is_bounded and not ignored:
            keep_to_room(cluster, calendar, estimate.expected(job, target, prepared))
            keep_to_windows(cluster, calendar)  # making ready takes its time, too
        upgrade = ClusterUpgrade(job, target, prepared, closes=closing(calendar, ignored))
        upgrade.journal.warnings += [ignored] if ignored else []
        return reported(job, prepared, upgrade.journal.run, upgrade.run)


def closing(calendar: Calendar, ignored: str = "") -> datetime | None:
    """Return when the window ends that is open now, or was just before; ``None`` when windows do not count."""
    if ignored or not calendar.is_bounded:
        return None
    now = system_clock().now()
    opening = calendar.current(now)
    return opening.end if opening else now


def only(targets: list[Target]) -> Target:
    """Return the one target of a run for one cluster.

    Raises:
        InvalidInput: there are more.
    """
    if len(targets) != 1:
        raise InvalidInput("find cluster", found=f"{len(targets)} clusters", expected="one", do="pass --cluster")
    return targets[0]


class ClusterUpgrade:
    """The steps of one cluster, with the journal that becomes its report; runs inside whatever flow is running.

    In a run over a whole site the images are loaded already, and ``planned`` is the plan that was agreed to: a
    cluster that has moved since is refused.  ``closes`` is when its window ends.
    """

    def __init__(
        self, job: Job, target: Target, prepared: Prepared, planned: Plan | None = None, run: str = "",
        closes: datetime | None = None,
    ) -> None:  # fmt: skip
        self.job, self.target, self.prepared, self.agreed = job, target, prepared, planned
        self.closes = closes if job.choices.at_window_end != "finish-cluster" else None
        self.journal = Journal(target.name, target.role, system_clock(), run)
        self.plan: Plan | None = None
        self.record: Record | None = None
        self.lock: ClusterLock | None = None
        self.is_late = False

    def run(self) -> ClusterReport:
        """Take every step under the cluster's lock and return the report.

        Raises:
            CompassError: the first thing that went wrong; its ``report`` is the cluster's.
        """
        with ExitStack() as stack:
            try:
                changed = self._steps(stack)
            except Exception as error:
                known = as_known(error, f"cluster {self.target.name}")
                known.report = self._failed(known)
                best_effort(record.report_cluster, self.target, known.report)
                raise known from error
        report = self.journal.close("upgraded" if changed else "unchanged")
        record.report_cluster(self.target, report)
        return report

    def _steps(self, stack: ExitStack) -> bool:
        """Take every step; return whether anything was changed."""
        journal, job, target = self.journal, self.job, self.target
        if target.problem:
            raise InvalidInput("reach cluster", target.name, found=target.problem)
        with journal.step("preflight") as lines:
            findings = sites.preflight_cluster(job, target)
            lines += findings.lines
            journal.warnings += findings.warnings
        doing = f"upgrade to {self.prepared.name} {self.prepared.version}"
        self.lock = stack.enter_context(locked(job, target, journal.run, doing))
        journal.guard = self.lock.refuse_if_lost
        with journal.step("plan") as lines:
            self.plan = planned = plan.make_plan(job, target, self.prepared)
            journal.counts = {k: v for k, v in planned.counts().items() if v}
            lines += [f"{x.action} {x.ref}" for x in planned.acting]
            if self.agreed:
                _refuse_moved(planned, self.agreed)
        last = record.last_record(job, target)
        interrupted = last if last and last.is_interrupted and last.digest == self.prepared.digest else None
        if planned.acting or interrupted:
            self._refuse_after_window()
            self._back_up(planned, interrupted)
        self._refuse_after_window()
        self._load()
        self._begin_record(planned, last)
        self._change(planned)
        self._prove(planned)
        self._remove(planned)
        self._end_record(planned)
        return bool(planned.acting or journal.bytes_sent)

    def _back_up(self, planned: Plan, interrupted: Record | None) -> None:
        with self.journal.step("backup") as lines:
            refs = [x.ref for x in (*planned.changes, *planned.removals)]
            saved = backup.back_up(self.job, self.target, self.prepared, refs, planned, interrupted)
            self.journal.backup = saved.folder
            self.journal.warnings += saved.warnings
            lines.append(f"{saved.releases} Releases and {saved.objects} objects in {saved.folder}")
            lines += [f"continues the run of {x.by} from {x.started}" for x in (interrupted,) if x]

    def _load(self) -> None:
        if self.agreed:
            self.journal.skip("load images", "loaded once for all clusters")
            return
        with self.journal.step("load images") as lines:
            loaded = images.load_images(self.job, self.prepared)
            self.journal.bytes_sent = loaded.bytes_sent
            lines += [f"{x.target} {x.digest}" for x in loaded.images]

    def _begin_record(self, planned: Plan, last: Record | None) -> None:
        """Write the Record, unless the cluster already says that it has this bundle and nothing is to be done."""
        if planned.acting or last is None or (last.digest, last.state) != (self.prepared.digest, "done"):
            words = (self.job, self.target, self.prepared, planned, last, self.journal.backup)
            self.record = record.begin_record(*words)

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        """Take a step that changes the cluster, and let its Record say so."""
        if name != "wait":  # what was applied is waited for, whatever the time
            self._refuse_after_window()
        if self.record is not None:
            self.record = self.record.model_copy(update={"step": name})
            record.note_step(self.job, self.target, self.record)
        with self.journal.step(name) as lines:
            yield lines

    def _change(self, planned: Plan) -> None:
        with self._step("delete replaced") as lines:
            lines += apply.delete_replaced(self.job, self.target, planned).lines
        with self._step("apply") as lines:
            lines += apply.apply_plan(self.job, self.target, planned).lines
        with self._step("wait") as lines:
            try:
                lines += apply.wait_rolled_out(self._in_time(), self.target, planned).lines
            except StepFailed as error:
                if self.job.choices.at_window_end == "rollback" and self.closes and system_clock().now() >= self.closes:
                    expected = f"{error.expected or 'rolled out'} before its window ended at {iso(self.closes)}"
                    raise StepFailed(
                        error.did, error.subject, found=error.found, expected=expected, do=error.do
                    ) from error
                raise

    def _refuse_after_window(self) -> None:
        """Check that the window has not ended, where that ends the upgrade.

        Raises:
            Refused: it has.
        """
        if self.closes and system_clock().now() >= self.closes:
            self.is_late = True
            raise Refused(
                "go on with", f"cluster {self.target.name}", found=f"its window ended at {iso(self.closes)}",
                expected="time left", do="give the same command in its next window: it goes on from here",
            )  # fmt: skip

    def _in_time(self) -> Job:
        """Return the job for a rollout that is taken back when it has not ended by the end of the window."""
        choices = self.job.choices
        if self.closes is None or choices.at_window_end != "rollback":
            return self.job
        left = max((self.closes - system_clock().now()).total_seconds(), 1.0)
        seconds = min(left, choices.timeout_seconds)
        return self.job.model_copy(update={"choices": choices.model_copy(update={"timeout_seconds": seconds})})

    def _prove(self, planned: Plan) -> None:
        with self.journal.step("check") as lines:
            expected = check.expect_images(self.job, self.prepared)
            result = check.check_cluster(self.job, self.target, expected)
            lines += [f"{x.verdict} {x.workload} {x.container} {x.image} {x.running}" for x in result.evidence]
            self.journal.warnings += [f"{x.workload}: {x.image}: {x.reason}" for x in result.unproven]
            if result.differences:
                first = result.differences[0]
                raise StepFailed(
                    "check", first.workload, found=f"{first.image} {first.verdict}: {first.reason or first.running}",
                    expected=first.expected, do="see the report for every difference",
                )  # fmt: skip

    def _remove(self, planned: Plan) -> None:
        if not planned.removals:
            return
        with self._step("remove") as lines:
            lines += apply.remove_obsolete(self.job, self.target, planned).lines
            lines += [f"{x.reason}: {x.ref}" for x in planned.removals if x.action == "skipped"]

    def _end_record(self, planned: Plan) -> None:
        if self.record is None:
            return
        with self.journal.step("record"):
            done = ended(self.record, planned, system_clock(), self.journal.seconds)
            record.keep_record(self.job, self.target, done)

    def _failed(self, error: CompassError) -> ClusterReport:
        """Take the cluster back to its backup once anything was changed, and tell it how the upgrade ended.

        One that stopped after a step because its window ended stays as it is.
        """
        job = self.job
        if self.is_late and job.choices.at_window_end == "finish-step":
            job = job.model_copy(update={"choices": job.choices.model_copy(update={"rollback": False})})
        return roll_back(job, self.target, self.journal, self.record, self.lock, error)


def roll_back(
    job: Job, target: Target, journal: Journal, begun: Record | None, lock: ClusterLock | None, error: CompassError
) -> ClusterReport:
    """Undo what a failed run did to a cluster and return its report; the error is told what became of the cluster."""
    clock = system_clock()
    began, step = clock.monotonic(), journal.current
    undone = after_failure(job, target, journal.backup, begun, str(error), step, is_locked=is_ours(lock))
    error.aftermath = undone.aftermath
    if undone.aftermath:
        state: StepState = "done" if undone.aftermath == "rolled back" else "failed"
        journal.note("roll back", state, clock.monotonic() - began, undone.lines)
    report = journal.close(
        "rolled back" if undone.aftermath == "rolled back" else "failed", error, undone.not_as_before
    )
    best_effort(record.report_rollback, target, undone)
    return report


def _refuse_moved(planned: Plan, agreed: Plan) -> None:
    if planned.digest != agreed.digest:
        raise Refused(
            "upgrade cluster", planned.cluster, found="the cluster has moved since its plan was made",
            expected="the plan that was shown", do="look at the new plan and start again",
        )  # fmt: skip
