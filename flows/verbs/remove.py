"""Verb ``remove``: delete what the new version no longer has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compass.change.plan import Plan
from compass.errors import EXIT_DIFFERENT, EXIT_DONE, InvalidInput, exit_status
from compass.job import Job
from compass.report import run_name
from compass.steps.clusters import ask_each
from compass.steps.plan import make_removal_plan
from compass.steps.prepare import Prepared, prepare
from compass.steps.record import last_record
from compass.steps.workplace import Target, Workplace
from flows import engine
from flows.options import Opening
from flows.screen import Screen
from flows.verbs.consent import confirm, stop_on_shared
from flows.verbs.opening import keep_to_windows
from flows.verbs.plan import show_plans
from flows.verbs.plan_file import Answers, digests_of, refuse_another_plan
from flows.verbs.values import values_by_file


def remove(place: Workplace, screen: Screen, opening: Opening, *, yes: bool, dry_run: bool) -> int:
    """Show what would be removed, ask, and run ``remove-components`` on the control cluster.

    Outside the windows of the inventory nothing is removed.
    """
    shown: dict[str, str] | None = None

    def agree() -> bool:
        nonlocal shown
        prepared, answers = _look(place)
        if not _is_work(place, prepared, answers):
            show_plans(screen, answers)
            return False
        shown = digests_of(answers)
        _ask(screen, answers, yes=yes)
        return True

    if not dry_run and keep_to_windows(place, screen, opening, agree) is None:
        return EXIT_DONE
    prepared, answers = _look(place)
    if dry_run or not _is_work(place, prepared, answers):
        show_plans(screen, answers)
        return EXIT_DIFFERENT if _acts(answers) else EXIT_DONE
    if shown is None:
        _ask(screen, answers, yes=yes)
    elif not yes:
        refuse_another_plan(shown, answers)
    with values_by_file(place) as job:
        planned = [target for target, x in answers if isinstance(x, Plan)]
        names = {x.name: run_name(place.clock.now(), "remove") for x in planned}
        status = _run_removals(job, screen, names, opening.ignore_window or "")
    for name in names.values():
        if (path := Path(place.state.reports) / f"{name}.json").exists():
            screen.tell(f"report: {path}")
    return status


def _acts(answers: Answers) -> bool:
    return any(isinstance(x, Plan) and x.acting for _, x in answers)


def _is_work(place: Workplace, prepared: Prepared, answers: Answers) -> bool:
    """Tell whether something is to be removed, or a removal that was cut off is to be ended."""
    return _acts(answers) or any(_was_cut_off(place, x, str(prepared.digest)) for x, _ in answers)


def _look(place: Workplace) -> tuple[Prepared, Answers]:
    """Plan the removals on the clusters that hold Releases."""
    prepared = prepare(place)
    holders = [x for x in place.targets if x.role == "control"]
    if not holders:
        raise InvalidInput("remove", ", ".join(x.name for x in place.targets), found="no control cluster",
                           expected="the cluster that holds Releases")  # fmt: skip
    found = ask_each(place, lambda target: make_removal_plan(place, target, prepared))
    answers = [(target, x) for target, x in found if target in holders]
    stop_on_shared(answers)
    return prepared, answers


def _ask(screen: Screen, answers: Answers, *, yes: bool) -> None:
    if screen.output == "text":
        show_plans(screen, answers)
    if count := sum(len(x.acting) for _, x in answers if isinstance(x, Plan)):
        confirm(screen, f"remove {count} Releases", yes=yes)


def _was_cut_off(place: Workplace, target: Target, digest: str) -> bool:
    """Tell whether the cluster still says that a removal is under way: all is gone, and its Record is to be ended."""
    last = last_record(place, target)
    return last is not None and (last.digest, last.state, last.step) == (digest, "running", "remove")


def _run_removals(job: Job, screen: Screen, names: Mapping[str, str], ignore_window: str) -> int:
    engine.set_up()
    screen.tell("starting Prefect (some seconds)")
    from flows.remove import remove_components
    from tasks.watching import watch

    reports: list[dict[str, Any]] = []
    status = EXIT_DONE
    with screen.progress() as make, engine.on_this_machine(), engine.stops_on_signal(screen.tell) as stopped:
        watch(make)
        for cluster, name in names.items():
            try:
                report = remove_components(
                    job.bundle, cluster, job.where, job.choices, job.calendar, ignore_window, name
                )
                reports.append(report.model_dump(mode="json"))
            except Exception as error:  # noqa: BLE001  (whatever it was, it ends in one line)
                known = engine.as_known(error, f"cluster {cluster}")
                screen.fail(str(known))
                status = stopped() or exit_status(known)
        watch(None)
    screen.result(reports, lambda: _show_removed(screen, reports))
    return status


def _show_removed(screen: Screen, reports: Sequence[dict[str, Any]]) -> None:
    for report in reports:
        for warning in report["warnings"]:
            screen.tell(f"warning: cluster {report['cluster']}: {warning}", "yellow")
        for line in (line for step in report["steps"] if step["name"] == "remove" for line in step["lines"]):
            screen.say(line)
        if report["backup"]:
            screen.say(f"backup of {report['cluster']}: {report['backup']}")
