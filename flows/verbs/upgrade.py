"""Verb ``upgrade``: show the plan, ask, run the flow, show how every cluster came out."""

from __future__ import annotations

from pathlib import Path

from compass.change.plan import Plan
from compass.change.saved import SavedPlan
from compass.errors import EXIT_DONE, exit_status
from compass.job import Job
from compass.markdown import size_text
from compass.report import ClusterReport, RunReport, report_of, run_name
from compass.steps.preflight import preflight_site
from compass.steps.prepare import Prepared
from compass.steps.pushing import ToPush
from compass.steps.record import last_record
from compass.steps.workplace import Workplace
from flows import engine
from flows.options import Opening
from flows.screen import Screen
from flows.verbs.consent import confirm, stop_on_shared
from flows.verbs.opening import keep_to_windows, longer_window, refuse_too_long, wait_for
from flows.verbs.plan import planned, show_plans
from flows.verbs.plan_file import Answers, digests_of, read_plan, refuse_another_plan, refuse_unplanned
from flows.verbs.values import values_by_file

NOTHING = "nothing to change: every cluster has this bundle already"


def upgrade(place: Workplace, screen: Screen, opening: Opening, *, yes: bool, saved: Path | None = None) -> int:
    """Show the plan, ask, run ``upgrade-site``, and show how every cluster came out.

    With a ``saved`` plan exactly that is done, or nothing.  Outside the windows of the inventory nothing is; what waits
    for one shows its plan and asks before, and does nothing else when it opens.
    """
    agreed = None
    if saved is not None:
        agreed, place.job = read_plan(place.job, saved)
    consent = _Consent(place, screen, agreed, yes=yes)
    while True:
        ignored = keep_to_windows(place, screen, opening, consent.before_a_wait)
        if ignored is None:
            return EXIT_DONE
        prepared, answers, push = _look(place, screen, agreed)
        longer = None if ignored else longer_window(place, opening, prepared, answers)
        consent.ask(prepared, answers, push)
        if longer is None:
            break
        wait_for(place, screen, longer)
    digests = digests_of(answers)
    name = run_name(place.clock.now())
    with values_by_file(place) as job:
        status, problem = _run_site(job, screen, digests, name, ignored)
    _show_report(screen, Path(place.state.reports) / f"{name}.json")
    if problem:
        screen.fail(problem)
    return status


class _Consent:
    """What somebody was shown and gave leave for; after a wait, nothing else is done."""

    def __init__(self, place: Workplace, screen: Screen, agreed: SavedPlan | None, *, yes: bool) -> None:
        self._place, self._screen, self._agreed, self._yes = place, screen, agreed, yes
        self._shown: dict[str, str] | None = None

    def before_a_wait(self) -> bool:
        """Show what is to be done and ask; tell whether there is anything to wait for."""
        if self._shown is None:
            prepared, answers, push = _look(self._place, self._screen, self._agreed)
            if _is_done(self._place, prepared, answers, push):
                _show_unchanged(self._place, self._screen, prepared, answers)
                return False
            refuse_too_long(self._place, prepared, answers)
            self.ask(prepared, answers, push)
        return True

    def ask(self, prepared: Prepared, answers: Answers, push: ToPush) -> None:
        """Ask for leave, or see that it was given for just this."""
        if self._shown is not None:
            if not self._yes:
                refuse_another_plan(self._shown, answers)
            return
        self._shown = digests_of(answers)
        if any(isinstance(x, Plan) and x.acting for _, x in answers) or push.absent:
            line = f"upgrade {len(answers)} clusters to {prepared.name} {prepared.version}"
            confirm(self._screen, line, yes=self._yes)


def _look(place: Workplace, screen: Screen, agreed: SavedPlan | None) -> tuple[Prepared, Answers, ToPush]:
    """Plan, and show it; what stands in the way of all clusters, or of what was agreed to, stops it here."""
    if screen.output == "text":
        screen.tell("planning")
    prepared, answers, push = planned(place)
    stop_on_shared(answers)
    if agreed is not None:
        refuse_unplanned(place, agreed, prepared, answers)
    preflight_site(place, prepared.archives)
    if screen.output == "text":
        show_plans(screen, answers, push)
    return prepared, answers, push


def _is_done(place: Workplace, prepared: Prepared, answers: Answers, push: ToPush) -> bool:
    """Tell whether every cluster has this bundle, and says so: there is nothing to wait for."""
    if push.absent or any(not isinstance(x, Plan) or x.acting for _, x in answers):
        return False
    records = [last_record(place, target) for target, _ in answers]
    return all(x is not None and (x.digest, x.state) == (str(prepared.digest), "done") for x in records)


def _show_unchanged(place: Workplace, screen: Screen, prepared: Prepared, answers: Answers) -> None:
    now = place.clock.now()
    clusters = [ClusterReport(cluster=x.name, role=x.role, state="unchanged") for x, _ in answers]
    report = report_of("upgrade", prepared, now, now, clusters, failed=False)
    screen.result(report.model_dump(mode="json"), lambda: screen.say(NOTHING, "green"))


def _run_site(job: Job, screen: Screen, digests: dict[str, str], name: str, ignored: str) -> tuple[int, str]:
    """Run the flow and return the exit status with what went wrong, empty when nothing did."""
    engine.set_up()
    screen.tell("starting Prefect (some seconds)")
    from flows.site import upgrade_site
    from tasks.watching import watch

    with screen.progress() as make, engine.on_this_machine(), engine.stops_on_signal(screen.tell) as stopped:
        watch(make)
        try:
            upgrade_site(job.bundle, job.where, job.choices, digests, name, job.calendar, ignored)
        except Exception as error:  # noqa: BLE001  (whatever it was, it ends in one line)
            known = engine.as_known(error, "the site")
            return stopped() or exit_status(known), str(known)
        finally:
            watch(None)
    return EXIT_DONE, ""


def _show_report(screen: Screen, path: Path) -> None:
    try:
        report = RunReport.model_validate_json(path.read_bytes())
    except OSError as error:  # the run ended before there was anything to report, or the disk said no
        screen.tell(f"there is no report at {path}: {error.strerror}", "yellow")
        return
    screen.result(report.model_dump(mode="json"), lambda: _show_clusters(screen, report, path))


def _show_clusters(screen: Screen, report: RunReport, path: Path) -> None:
    rows = [
        (x.cluster, x.role, x.state, _counts(x), f"{sum(y.seconds for y in x.steps):.1f} s") for x in report.clusters
    ]
    screen.say("")
    screen.table(("cluster", "role", "state", "changes", "time"), rows)
    for cluster in report.clusters:
        for warning in cluster.warnings:
            screen.tell(f"warning: cluster {cluster.cluster}: {warning}", "yellow")
        if cluster.problem:
            screen.say(f"cluster {cluster.cluster}: {cluster.problem}", "red")
        for line in cluster.not_as_before:
            screen.say(f"not as before on {cluster.cluster}: {line}", "red")
        if cluster.backup:
            screen.say(f"backup of {cluster.cluster}: {cluster.backup}")
    sent = sum(x.bytes_sent for x in report.images)
    screen.say(f"{len(report.images)} images in the registry, {size_text(sent)} sent")
    if report.state == "unchanged":
        screen.say(NOTHING, "green")
    screen.say(f"report: {path}")


def _counts(report: ClusterReport) -> str:
    counts = ", ".join(f"{n} {action}" for action, n in report.counts.items() if n)
    return counts if not counts or report.state in ("upgraded", "unchanged") else f"planned: {counts}"
