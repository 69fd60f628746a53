"""One question put to several clusters at a time: an answer or an error from each, nobody waits for another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from compass.errors import CompassError, InvalidInput, StepFailed
from compass.steps.workplace import Target, Workplace

T = TypeVar("T")


def ask_each(place: Workplace, ask: Callable[[Target], T]) -> list[tuple[Target, T | CompassError]]:
    """Return what ``ask`` says of each target, in the order of the targets; errors are answers too."""

    def one(target: Target) -> T | CompassError:
        try:
            if target.problem:
                raise InvalidInput("reach cluster", target.name, found=target.problem)
            return ask(target)
        except CompassError as error:
            return error

    targets = place.targets
    with ThreadPoolExecutor(place.job.choices.parallel_clusters) as pool:
        return list(zip(targets, pool.map(one, targets), strict=True))


def shared_error(answers: Sequence[tuple[Target, object]]) -> CompassError | None:
    """Return the error that stops a run before anything is touched; a single cluster's trouble stays its own.

    It is the control cluster's, the one of a run in which no cluster can go on, or what every user cluster finds wrong
    in the bundle: then it is the bundle's, not the cluster's.
    """
    errors = [x for _, x in answers if isinstance(x, CompassError)]
    control = [x for target, x in answers if target.role == "control" and isinstance(x, CompassError)]
    if errors and (control or len(errors) == len(answers)):
        return (control or errors)[0]
    asked = [x for target, x in answers if target.role == "user" and not target.problem]
    wrong = [x for x in asked if isinstance(x, InvalidInput | StepFailed)]
    return wrong[0] if wrong and len(wrong) == len(asked) else None
