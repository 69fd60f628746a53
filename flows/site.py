"""Flow ``upgrade-site``: a control cluster and all its user clusters, side by side, each one's trouble its own."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from compass import stopping
from compass.change.plan import Plan
from compass.clock import iso, system_clock
from compass.errors import Aftermath, CompassError, InvalidInput, Refused, StepFailed, exit_status
from compass.job import Choices, Job, Where
from compass.report import ClusterReport, RunReport, report_of, run_name
from compass.steps.clusters import shared_error
from compass.steps.images import LoadResult
from compass.steps.preflight import Findings
from compass.steps.workplace import Target
from compass.window.openings import Calendar
from flows.engine import FLOW_SETTINGS, best_effort
from flows.remove import remove_from
from flows.reporting import keep_report, report_path
from flows.upgrade import ClusterUpgrade, closing
from tasks import bundle as bundles
from tasks import images, plan, record, sites

MOST_CLUSTERS_AT_ONCE = 64


@flow(
    name="upgrade-site",
    flow_run_name="upgrade site",
    task_runner=ThreadPoolTaskRunner(max_workers=MOST_CLUSTERS_AT_ONCE),  # type: ignore[arg-type]
    **FLOW_SETTINGS,
)
def upgrade_site(
    bundle: str,
    where: Where = Where(),
    choices: Choices = Choices(),
    plan_digests: dict[str, str] | None = None,
    run_name: str = "",
    calendar: Calendar = Calendar(),
    ignored: str = "",
) -> RunReport:
    """Upgrade every cluster that ``where`` leads to: plan all, load once, the control cluster, then the others.

    What the control cluster no longer needs is removed last, and only when every cluster came out well.

    Args:
        bundle: path of the bundle on the machine that runs this.
        where: which clusters, and their registry.
        choices: how to go about it.
        plan_digests: by cluster, the digest of the plan that a person saw; one that differs now is refused.
        run_name: what the report is called, below ``reports`` in the state directory.
        calendar: when they may be changed; whoever starts this has looked whether that is now.
        ignored: why that does not count this time, for the reports.

    Raises:
        CompassError: the input is wrong, or at least one cluster failed; the report is written before.
    """
    job = Job(bundle=bundle, where=where, choices=choices, calendar=calendar)
    run = _SiteRun(job, run_name, plan_digests or {}, ignored)
    return run.run()


class _SiteRun:
    """One run over a site; collects a report per cluster."""

    def __init__(self, job: Job, name: str, plan_digests: dict[str, str], ignored: str = "") -> None:
        self.job, self.plan_digests, self.ignored = job, plan_digests, ignored
        self.clock = system_clock()
        self.closes = closing(job.calendar, ignored)
        self.started = self.clock.now()
        self.name = name or run_name(self.started)
        self.path = report_path(job, self.name)
        self.reports: dict[str, ClusterReport] = {}
        self.errors: dict[str, CompassError] = {}

    def run(self) -> RunReport:
        self.prepared = bundles.prepare(self.job)
        self.targets = sites.find_targets(self.job)
        sites.preflight_site(self.job, self.prepared)
        plan.render_all(self.job, self.targets)
        plans = self._plan_all()
        loaded = LoadResult(images=())
        if not shared_error([(x, self.errors.get(x.name)) for x in self.targets]):
            loaded = images.load_images(self.job, self.prepared)
            self._upgrade_all(plans)
            self._remove(plans)
        report = self._report(loaded)
        if keep_report(self.path, report):
            best_effort(record.report_run, report, str(self.path))
        if self.errors:
            raise _worst(list(self.errors.items()), len(self.targets))
        return report

    def _plan_all(self) -> dict[str, Plan]:
        """Plan every cluster side by side; one that cannot be planned is failed, and the others go on."""
        plans: dict[str, Plan] = {}
        for batch in _batches(self.targets, self.job.choices.parallel_clusters):
            looked = [(x, sites.preflight_cluster.submit(self.job, x)) for x in batch if self._reachable(x)]
            answered = [(x, y.result(raise_on_failure=False)) for x, y in looked]
            asked = []
            for target, result in answered:
                if isinstance(result, Findings):
                    asked.append((target, plan.make_plan.submit(self.job, target, self.prepared)))
                else:
                    self._fail(target, result)
            for target, future in asked:
                self._accept(target, future.result(raise_on_failure=False), plans)
        return plans

    def _reachable(self, target: Target) -> bool:
        if target.problem:
            self._fail(target, InvalidInput("reach cluster", target.name, found=target.problem))
        return not target.problem

    def _accept(self, target: Target, planned: object, plans: dict[str, Plan]) -> None:
        if not isinstance(planned, Plan):
            self._fail(target, planned)
            return
        shown = self.plan_digests.get(target.name)
        if self.plan_digests and shown != planned.digest:
            error = Refused("upgrade cluster", target.name, found="it has moved since its plan was shown",
                            do="look at the new plan and start again")  # fmt: skip
            self._fail(target, error)
        else:
            plans[target.name] = planned

    def _fail(self, target: Target, error: object) -> None:
        if not isinstance(error, CompassError):
            error = StepFailed("upgrade cluster", target.name, found=f"{type(error).__name__}: {error}")
        self.errors[target.name] = error
        self.reports.setdefault(
            target.name,
            ClusterReport(
                cluster=target.name,
                role=target.role,
                state="failed",
                problem=str(error),
                exit_status=exit_status(error),
            ),
        )

    def _control_failed(self) -> bool:
        return any(x.role == "control" and x.name in self.errors for x in self.targets)

    def _upgrade_all(self, plans: dict[str, Plan]) -> None:
        for role in ("control", "user"):
            if self._control_failed():
                return
            chosen = [x for x in self.targets if x.role == role and x.name in plans]
            side_by_side(lambda x: self._upgrade_one(x, plans[x.name]), chosen, self.job.choices.parallel_clusters)

    def _upgrade_one(self, target: Target, planned: Plan) -> None:
        job = self.job.for_cluster(target.name)
        if target.role == "control":  # removal comes at the very end, once every cluster came out well
            choices = self.job.choices.model_copy(update={"keep_obsolete": True, "prune": False})
            job, planned = job.model_copy(update={"choices": choices}), planned.without_removals()
        if (why := self._why_not()) is not None:
            self._fail(target, why)
            self.reports[target.name] = _not_started(target)
            return
        try:
            upgrade = ClusterUpgrade(job, target, self.prepared, planned, self.name, self.closes)
            upgrade.journal.warnings += [self.ignored] if self.ignored else []
            self.reports[target.name] = upgrade.run()
        except CompassError as error:
            if isinstance(error.report, ClusterReport):
                self.reports[target.name] = error.report
            self._fail(target, error)

    def _why_not(self) -> CompassError | None:
        """Return why no other cluster is begun."""
        if stopping.requested():
            return StepFailed("begin", "the next cluster", found="interrupted")
        if self.closes and self.clock.now() >= self.closes:
            return Refused("begin", "the next cluster", found=f"the window ended at {iso(self.closes)}",
                           do="give the same command in the next window: it does the rest")  # fmt: skip
        return None

    def _remove(self, plans: dict[str, Plan]) -> None:
        """Remove what is obsolete on the control cluster, once nobody needs it any more."""
        control = next((x for x in self.targets if x.role == "control" and x.name in plans), None)
        if control is None or not any(x.acts for x in plans[control.name].removals):
            return
        is_late = self.closes is not None and self.clock.now() >= self.closes
        is_late = is_late and self.job.choices.at_window_end != "finish-cluster"
        if self.errors or is_late:
            before = self.reports[control.name]
            why = "the window has ended" if is_late else "not every cluster came out well"
            note = f"nothing was removed, because {why}"
            self.reports[control.name] = before.model_copy(update={"warnings": (*before.warnings, note)})
            return
        try:
            after = remove_from(self.job.for_cluster(control.name), control, self.prepared, self.name)
        except CompassError as error:
            if error.aftermath == "rolled back":  # the Releases are back, and the upgrade itself stands
                error.aftermath = ""
            self._fail(control, error)
            after = error.report.model_copy(update={"state": "upgraded", "exit_status": exit_status(error)})
        self.reports[control.name] = joined(self.reports[control.name], after, plans[control.name])

    def _report(self, loaded: LoadResult) -> RunReport:
        clusters = tuple(self.reports.get(x.name) or _not_started(x) for x in self.targets)
        failed, now = bool(self.errors), self.clock.now()
        return report_of("upgrade", self.prepared, self.started, now, clusters, loaded.images, failed=failed)


def joined(before: ClusterReport, removal: ClusterReport, planned: Plan) -> ClusterReport:
    """Return the report of a cluster whose obsolete Releases were removed, or not, after all others came out well."""
    return removal.model_copy(
        update={
            "steps": (*before.steps, *removal.steps),
            "counts": planned.counts(),
            "warnings": (*before.warnings, *removal.warnings),
            "backup": before.backup or removal.backup,
        }
    )


def _not_started(target: Target) -> ClusterReport:
    return ClusterReport(cluster=target.name, role=target.role, state="not started")


def _batches(targets: Sequence[Target], size: int) -> list[Sequence[Target]]:
    return [targets[at : at + size] for at in range(0, len(targets), size)]


def side_by_side(run: Callable[[Target], None], targets: Sequence[Target], most: int) -> None:
    """Call ``run`` for each target in threads that Prefect knows as part of this run."""
    if not targets:
        return
    pool = ThreadPoolExecutor(max_workers=most)
    try:
        futures = [pool.submit(contextvars.copy_context().run, run, x) for x in targets]
        for future in futures:
            future.result()
    except BaseException:  # interrupted a second time: what has not begun does not begin
        stopping.request()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _worst(errors: Sequence[tuple[str, CompassError]], clusters: int) -> CompassError:
    """Return one error for all: of the family that all share, with the first one's words."""
    name, first = errors[0]
    statuses = {exit_status(x) for _, x in errors}
    kind = next((x for x in (InvalidInput, Refused) if len(statuses) == 1 and isinstance(first, x)), StepFailed)
    error = kind("upgrade", f"{len(errors)} of {clusters} clusters failed; {name}", found=str(first))
    aftermaths = {x.aftermath for _, x in errors}
    worse: tuple[Aftermath, ...] = ("not rolled back", "rolled back")
    error.aftermath = next((x for x in worse if x in aftermaths), "")
    return error
