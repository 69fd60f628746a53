"""Verb ``check``: what the registry has and the pods run, against what the bundle holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compass.errors import EXIT_DIFFERENT, EXIT_DONE, CompassError, shared_status
from compass.steps import check as checking
from compass.steps.check import CheckResult, ImageProof
from compass.steps.clusters import ask_each
from compass.steps.images import expected_images
from compass.steps.prepare import prepare
from compass.steps.workplace import Target, Workplace
from flows.screen import Screen


def check(place: Workplace, screen: Screen) -> int:
    """Compare the registry and what the pods run with the bundle; exit status 3 when something differs."""
    prepared = prepare(place)
    expected = expected_images(place, prepared.archives)
    proofs = checking.check_registry(place, expected)
    answers = ask_each(place, lambda target: checking.check_cluster(place, target, expected))
    value = {
        "images": [x.model_dump(mode="json") for x in proofs],
        "clusters": [_check_json(target, x) for target, x in answers],
    }
    screen.result(value, lambda: _show_check(screen, proofs, answers))
    failed = shared_status([x for _, x in answers if isinstance(x, CompassError)])
    equal = all(x.is_equal for x in proofs) and all(isinstance(x, CheckResult) and x.is_equal for _, x in answers)
    return failed or (EXIT_DONE if equal else EXIT_DIFFERENT)


def _check_json(target: Target, answer: CheckResult | CompassError) -> dict[str, Any]:
    if isinstance(answer, CompassError):
        return {"cluster": target.name, "problem": str(answer)}
    return {**answer.model_dump(mode="json"), "isEqual": answer.is_equal}


def _show_check(
    screen: Screen, proofs: Sequence[ImageProof], answers: Sequence[tuple[Target, CheckResult | CompassError]]
) -> None:
    """Print the old scripts' line for every image that is equal everywhere, and a line for whatever is not."""
    different: Mapping[str, bool] = {
        x.image.rpartition("/")[2]: True
        for _, answer in answers
        if isinstance(answer, CheckResult)
        for x in answer.differences
    }
    for proof in proofs:
        if proof.is_equal and proof.short not in different:
            screen.say(proof.short)
    for proof in proofs:
        if not proof.is_equal:
            screen.say(f"different: {proof.short}: {proof.reason}", "red")
    for target, answer in answers:
        if isinstance(answer, CompassError):
            screen.say(f"cluster {target.name} cannot be checked: {answer}", "red")
            continue
        for x in answer.differences:
            runs = f", runs {x.running}, expected {x.expected}" if x.running else ""
            where = f" in pod {x.pod}" if x.pod else ""
            screen.say(f"different on {target.name}: {x.workload}: {x.image}{where}: {x.reason}{runs}", "red")
        for x in answer.unproven:
            screen.tell(f"not proven on {target.name}: {x.workload}: {x.image}: {x.reason}")
