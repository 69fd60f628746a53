"""Verb ``plan``: every change that an upgrade would make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.change.plan import MARKS, Plan
from compass.errors import EXIT_DIFFERENT, EXIT_DONE, CompassError, shared_status
from compass.markdown import size_text
from compass.steps.clusters import ask_each
from compass.steps.images import expected_images, need_base_loaded
from compass.steps.plan import make_plan
from compass.steps.preflight import preflight_cluster
from compass.steps.prepare import Prepared, prepare
from compass.steps.pushing import ToPush, to_push
from compass.steps.render import render
from compass.steps.workplace import Target, Workplace
from flows.screen import Screen
from flows.verbs.plan_file import read_plan, refuse_unplanned, save_plan


def plan(place: Workplace, screen: Screen, save: Path | None = None, agreed: Path | None = None) -> int:
    """Show every change that an upgrade would make, by server-side dry run; exit status 3 when there are any.

    With ``save``, the plans are written to a file that ``upgrade --plan`` takes; ``agreed`` is such a file, which they
    must still be equal to.
    """
    saved = None
    if agreed is not None:
        saved, place.job = read_plan(place.job, agreed)
    prepared, answers, push = planned(place)
    if saved is not None:
        refuse_unplanned(place, saved, prepared, answers)
    show_plans(screen, answers, push)
    if save is not None:
        save_plan(place, save, prepared, answers)
        screen.tell(f"plan saved to {save}: give it to upgrade --plan")
    return _plan_status(answers, push)


def planned(place: Workplace) -> tuple[Prepared, list[tuple[Target, Plan | CompassError]], ToPush]:
    """Return the plans of all clusters and what is to be pushed; nothing is changed."""
    prepared = prepare(place)
    need_base_loaded(place)
    for each in place.targets:
        render(place, each)  # what is wrong in a template is wrong for all, whichever cluster it goes to

    def one(target: Target) -> Plan:
        preflight_cluster(place, target)
        return make_plan(place, target, prepared)

    answers = ask_each(place, one)
    expected = expected_images(place, prepared.archives)
    return prepared, answers, to_push(place, prepared.archives, expected)


def show_plans(
    screen: Screen, answers: Sequence[tuple[Target, Plan | CompassError]], push: ToPush | None = None
) -> None:
    """Print plans, a line per object and field; ``push`` is what a load would send, where images are asked for."""
    images = push.images if push else ()
    value = {
        "clusters": [_plan_json(target, x) for target, x in answers],
        "images": [{"name": x.name, "isThere": x.is_published, "published": x.published} for x in images],
        "bytesToPush": push.size_bytes if push else 0,
        "bytesToPushAreExact": push.is_exact if push else True,
    }

    def text() -> None:
        for target, answer in answers:
            screen.say(f"cluster {target.name} ({target.role})", "bold")
            if isinstance(answer, CompassError):
                screen.say(f"  cannot be planned: {answer}", "red")
            else:
                _show_plan(screen, answer)
        for target, answer in answers:
            if isinstance(answer, Plan) and len(answers) > 1:
                counts = [
                    f"{n} to {_WILL[x]}" for x, n in answer.counts().items() if n and x not in ("unchanged", "skipped")
                ]
                screen.say(f"{target.name}: {', '.join(counts) or 'nothing to change'}")
        if push is not None:
            _show_push(screen, push)

    screen.result(value, text)


def _plan_json(target: Target, answer: Plan | CompassError) -> dict[str, Any]:
    if isinstance(answer, CompassError):
        return {"cluster": target.name, "role": target.role, "problem": str(answer)}
    return {**answer.model_dump(mode="json"), "digest": answer.digest}


_WILL = {"created": "create", "configured": "configure", "deleted": "delete", "skipped": "skip"}
_WILL["unchanged"] = "unchanged"


def _show_plan(screen: Screen, plan: Plan) -> None:
    styles = {"created": "green", "configured": "yellow", "deleted": "red"}
    for change in (*plan.changes, *plan.removals):
        note = f" ({change.reason})" if change.reason else " (its data is lost)" if change.loses_data else ""
        screen.say(
            f"  {MARKS[change.action]} {_WILL[change.action]} {change.ref}{note}", styles.get(change.action, "dim")
        )
        for line in change.differences:
            screen.say(f"      {line}")
    if not plan.acting:
        screen.say("  nothing to change")


def _show_push(screen: Screen, push: ToPush) -> None:
    most = "" if push.is_exact else "at most "
    size = f", {most}{size_text(push.size_bytes)}" if push.absent else ""
    screen.say(f"images: {len(push.absent)} of {len(push.images)} to push{size}", "bold")
    for name in push.absent:
        screen.say(f"  + {name}")


def _plan_status(answers: Sequence[tuple[Target, Plan | CompassError]], push: ToPush) -> int:
    failed = shared_status([x for _, x in answers if isinstance(x, CompassError)])
    if failed:
        return failed
    acting = any(isinstance(x, Plan) and x.acting for _, x in answers)
    return EXIT_DIFFERENT if acting or push.absent else EXIT_DONE
