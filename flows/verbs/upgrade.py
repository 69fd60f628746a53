"""Verb ``upgrade``: show the plan, ask, run the flow, show how every cluster came out."""

from __future__ import annotations

from pathlib import Path

from compass.change.plan import Plan
from compass.change.saved import SavedPlan
from compass.errors import EXIT_DONE, exit_status
from compass.job import Job
from compass.markdown import size_text
from compass.report import ClusterReport, RunReport, run_name
from compass.steps.preflight import preflight_site
from compass.steps.prepare import Prepared
from compass.steps.pushing import ToPush
from compass.steps.workplace import Workplace
from flows import engine
from flows.options import Opening
from flows.screen import Screen
from flows.verbs.consent import confirm, stop_on_shared
from flows.verbs.opening import keep_to_windows, longer_window, wait_for
from flows.verbs.plan import planned, show_plans
from flows.verbs.plan_file import Answers, digests_of, read_plan, refuse_another_plan, refuse_unplanned
from flows.verbs.values import values_by_file


def upgrade(place: Workplace, screen: Screen, opening: Opening, *, yes: bool, saved: Path | None = None) -> int:
    """Show the plan, ask, run ``upgrade-site``, and show how every cluster came out.

    With a ``saved`` plan exactly that is done, or nothing.  Outside the windows of the inventory nothing is; what waits
    for one shows its plan and asks before, and does nothing else when it opens.
    """
    agreed = None
    if saved is not None:
        agreed, place.job = read_plan(place.job, saved)
    shown: dict[str, str] | None = None

    def agree_to(prepared: Prepared, answers: Answers, push: ToPush) -> None:
        nonlocal shown
        shown = digests_of(answers)
        _ask(screen, prepared, answers, push, yes=yes)

    def agree() -> None:
        if shown is None:
            agree_to(*_look(place, screen, agreed))

    while True:
        ignored = keep_to_windows(place, screen, opening, agree)
        prepared, answers, push = _look(place, screen, agreed)
        longer = None if ignored else longer_window(place, opening, prepared, answers)
        if shown is None:
            agree_to(prepared, answers, push)
        elif not yes:
            refuse_another_plan(shown, answers)
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


def _ask(screen: Screen, prepared: Prepared, answers: Answers, push: ToPush, *, yes: bool) -> None:
    if any(isinstance(x, Plan) and x.acting for _, x in answers) or push.absent:
        confirm(screen, f"upgrade {len(answers)} clusters to {prepared.name} {prepared.version}", yes=yes)


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
    except OSError:  # the run ended before there was anything to report
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
        screen.say("nothing to change: every cluster has this bundle already", "green")
    screen.say(f"report: {path}")


def _counts(report: ClusterReport) -> str:
    return ", ".join(f"{n} {action}" for action, n in report.counts.items() if n)
