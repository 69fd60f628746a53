"""The verbs that change clusters: each shows its plan, asks, and runs a flow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.change.plan import Plan
from compass.errors import EXIT_DIFFERENT, EXIT_DONE, CompassError, InvalidInput, Refused, exit_status
from compass.job import Job
from compass.markdown import size_text
from compass.report import ClusterReport, RunReport, run_name
from compass.steps.clusters import ask_each, shared_error
from compass.steps.plan import make_removal_plan
from compass.steps.preflight import preflight_site
from compass.steps.prepare import prepare
from compass.steps.workplace import Target, Workplace
from flows import engine, questions
from flows.screen import Screen


def upgrade(place: Workplace, screen: Screen, *, yes: bool) -> int:
    """Show the plan, ask, run ``upgrade-site``, and show how every cluster came out."""
    if screen.output == "text":
        screen.tell("planning")
    prepared, answers, expected = questions.planned(place)
    _stop_on_wrong_input(answers)
    preflight_site(place, prepared.archives)
    if screen.output == "text":
        questions.show_plans(screen, answers, expected)
    acting = any(isinstance(x, Plan) and x.acting for _, x in answers) or any(not x.is_published for x in expected)
    if acting:
        confirm(screen, f"upgrade {len(answers)} clusters to {prepared.name} {prepared.version}", yes=yes)
    digests = {target.name: str(x.digest) for target, x in answers if isinstance(x, Plan)}
    name = run_name(place.clock.now())
    status, problem = _run_site(place.job, screen, digests, name)
    _show_report(screen, Path(place.state.reports) / f"{name}.json")
    if problem:
        screen.fail(problem)
    return status


def _stop_on_wrong_input(answers: Sequence[tuple[Target, Plan | CompassError]]) -> None:
    error = shared_error(answers)
    if error:
        raise error


def confirm(screen: Screen, what: str, *, yes: bool) -> None:
    """Ask the person at the terminal.

    Raises:
        Refused: the answer is no, or there is nobody to ask.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(what, found="no terminal to ask at", expected="leave to go on", do="pass --yes")
    if not screen.ask(what):
        raise Refused(what, found="the answer was no")


def _run_site(job: Job, screen: Screen, digests: dict[str, str], name: str) -> tuple[int, str]:
    """Run the flow and return the exit status with what went wrong, empty when nothing did."""
    engine.set_up()
    screen.tell("starting Prefect (some seconds)")
    from flows.site import upgrade_site
    from tasks.watching import watch

    with screen.progress() as make, engine.on_this_machine(), engine.stops_on_signal(screen.tell) as stopped:
        watch(make)
        try:
            upgrade_site(job.bundle, job.where, job.choices, digests, name)
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


def remove(place: Workplace, screen: Screen, *, yes: bool, dry_run: bool) -> int:
    """Show what would be removed, ask, and run ``remove-components`` on the control cluster."""
    prepared = prepare(place)
    holders = [x for x in place.targets if x.role == "control"]
    if not holders:
        raise InvalidInput("remove", ", ".join(x.name for x in place.targets), found="no control cluster",
                           expected="the cluster that holds Releases")  # fmt: skip
    answers = [
        (target, x)
        for target, x in ask_each(place, lambda t: make_removal_plan(place, t, prepared))
        if target in holders
    ]
    _stop_on_wrong_input(answers)
    plans = [(target, x) for target, x in answers if isinstance(x, Plan)]
    acting = any(x.acting for _, x in plans)
    if dry_run or not acting:
        questions.show_plans(screen, answers, ())
        return EXIT_DIFFERENT if acting else EXIT_DONE
    if screen.output == "text":
        questions.show_plans(screen, answers, ())
    confirm(screen, f"remove {sum(len(x.acting) for _, x in plans)} Releases", yes=yes)
    return _run_removals(place.job, screen, [target for target, _ in plans])


def _run_removals(job: Job, screen: Screen, targets: Sequence[Target]) -> int:
    engine.set_up()
    screen.tell("starting Prefect (some seconds)")
    from flows.remove import remove_components
    from tasks.watching import watch

    reports: list[dict[str, Any]] = []
    status = EXIT_DONE
    with screen.progress() as make, engine.on_this_machine(), engine.stops_on_signal(screen.tell) as stopped:
        watch(make)
        for target in targets:
            try:
                report = remove_components(job.bundle, target.name, job.where, job.choices)
                reports.append(report.model_dump(mode="json"))
            except Exception as error:  # noqa: BLE001  (whatever it was, it ends in one line)
                known = engine.as_known(error, f"cluster {target.name}")
                screen.fail(str(known))
                status = stopped() or exit_status(known)
        watch(None)
    screen.result(reports, lambda: _show_removed(screen, reports))
    return status


def _show_removed(screen: Screen, reports: Sequence[dict[str, Any]]) -> None:
    for report in reports:
        for step in report["steps"]:
            for line in step["lines"]:
                screen.say(line)
