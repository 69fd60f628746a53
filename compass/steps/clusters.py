"""One question put to several clusters at a time: an answer or an error from each, nobody waits for another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from compass.errors import CompassError, InvalidInput
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
