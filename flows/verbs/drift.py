"""Verb ``check --drift``: where clusters no longer are what their last upgrade left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compass.errors import EXIT_DIFFERENT, EXIT_DONE, CompassError, shared_status
from compass.steps.clusters import ask_each
from compass.steps.drift import Drifted, find_drift
from compass.steps.prepare import prepare
from compass.steps.workplace import Target, Workplace
from flows.screen import Screen

Answers = Sequence[tuple[Target, list[Drifted] | CompassError]]


def drift(place: Workplace, screen: Screen) -> int:
    """Show what has drifted on every cluster, by the fields that this tool applied; exit status 3 when anything has."""
    prepared = prepare(place)
    answers = ask_each(place, lambda target: find_drift(place, target, prepared))
    screen.result([_json(target, x) for target, x in answers], lambda: _show(screen, answers))
    drifted = any(not isinstance(x, CompassError) and x for _, x in answers)
    failed = shared_status([x for _, x in answers if isinstance(x, CompassError)])
    return failed or (EXIT_DIFFERENT if drifted else EXIT_DONE)


def _json(target: Target, answer: list[Drifted] | CompassError) -> dict[str, Any]:
    if isinstance(answer, CompassError):
        return {"cluster": target.name, "problem": str(answer)}
    return {"cluster": target.name, "drifted": [x.model_dump(mode="json") for x in answer]}


def _show(screen: Screen, answers: Answers) -> None:
    for target, answer in answers:
        if isinstance(answer, CompassError):
            screen.say(f"cluster {target.name}: {answer}", "red")
        elif not answer:
            screen.say(f"cluster {target.name}: as its last upgrade left it", "green")
        else:
            screen.say(f"cluster {target.name}: {len(answer)} objects have drifted", "bold")
        for each in answer if not isinstance(answer, CompassError) else ():
            by = f", by {'; '.join(each.by)}" if each.by else ""
            screen.say(f"  {each.object}: {each.found}{by}", "yellow")
            for line in each.lines:
                screen.say(f"      {line}")
