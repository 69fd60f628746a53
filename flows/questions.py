"""The verbs that change no cluster: they run the core directly, without Prefect, and answer at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compass.bundle.open import Bundle
from compass.bundle.unpack import OtherPackage
from compass.change.plan import MARKS, Plan
from compass.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_FAILED, CompassError, exit_status
from compass.markdown import size_text
from compass.steps import check as checking
from compass.steps.backup import BackupResult, back_up, objects_of
from compass.steps.check import CheckResult, ImageProof
from compass.steps.clusters import ask_each
from compass.steps.images import ExpectedImage, bundle_configs, expected_images
from compass.steps.plan import make_plan
from compass.steps.preflight import preflight_cluster
from compass.steps.prepare import Prepared, prepare
from compass.steps.render import render
from compass.steps.workplace import Target, Workplace
from flows.screen import Screen


def inspect(place: Workplace, screen: Screen) -> int:
    """Show what a bundle is, and what was concluded where it does not say."""
    bundle = place.bundle
    prepared = prepare(place)
    images = bundle_configs(place, prepared.archives)
    value = {
        "bundle": prepared.model_dump(mode="json", exclude={"conclusions", "archives"}),
        "definition": bundle.definition.model_dump(mode="json", by_alias=True),
        "conclusions": list(bundle.conclusions),
        "images": [{"name": str(name), "digests": sorted(digests)} for name, (_, digests) in sorted(images.items())],
        "others": [x.model_dump() for x in bundle.others],
    }

    def text() -> None:
        screen.say(f"{prepared.name} {prepared.version}", "bold")
        screen.say(f"digest  {prepared.digest}")
        checked = bundle.definition.checksums or bundle.unpacked_sums is not None
        sums = "every checksum right" if checked else "no checksums to compare them with"
        screen.say(f"files   {prepared.files}, {size_text(prepared.size_bytes)}; {sums}")
        for line in bundle.conclusions:
            screen.say(f"  {line}")
        _show_components(bundle, screen)
        screen.say("")
        rows = [(name, config) for name, (config, _) in sorted(images.items())]
        screen.table(("image", "config digest"), rows)
        _show_others(bundle.others, screen)

    screen.result(value, text)
    return EXIT_DONE


def _show_components(bundle: Bundle, screen: Screen) -> None:
    screen.say("")
    rows = [
        (x.name, ", ".join(x.roles), ", ".join([*x.templates, *(f"delete {y.ref}" for y in x.delete)]))
        for x in bundle.definition.components
    ]
    screen.table(("component", "clusters", "what"), rows)
    for namespace, names in bundle.definition.remove.items():
        if names:
            screen.say(f"remove from {namespace}: {', '.join(names)}")


def _show_others(others: Sequence[OtherPackage], screen: Screen) -> None:
    if others:
        screen.say("")
        screen.say("beside it in the outer package, left alone:")
        screen.table(("package", "size", "sha256"), [(x.name, size_text(x.size), x.sha256) for x in others])


def plan(place: Workplace, screen: Screen) -> int:
    """Show every change that an upgrade would make, by server-side dry run; exit status 3 when there are any."""
    _, answers, expected = planned(place)
    show_plans(screen, answers, expected)
    return _plan_status(answers, expected)


def planned(place: Workplace) -> tuple[Prepared, list[tuple[Target, Plan | CompassError]], list[ExpectedImage]]:
    """Return the plans of all clusters and the state of the images; nothing is changed."""
    prepared = prepare(place)
    for each in place.targets:
        render(place, each)  # what is wrong in a template is wrong for all, whichever cluster it goes to

    def one(target: Target) -> Plan:
        preflight_cluster(place, target)
        return make_plan(place, target, prepared)

    answers = ask_each(place, one)
    return prepared, answers, expected_images(place, prepared.archives)


def show_plans(
    screen: Screen, answers: Sequence[tuple[Target, Plan | CompassError]], expected: Sequence[ExpectedImage]
) -> None:
    """Print plans, a line per object and field."""
    value = {
        "clusters": [_plan_json(target, x) for target, x in answers],
        "images": [{"name": x.name, "isThere": x.is_published, "published": x.published} for x in expected],
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
        absent = [x for x in expected if not x.is_published]
        screen.say(f"images: {len(absent)} of {len(expected)} to push", "bold")
        for image in absent:
            screen.say(f"  + {image.name}")

    screen.result(value, text)


def _plan_json(target: Target, answer: Plan | CompassError) -> dict[str, Any]:
    if isinstance(answer, CompassError):
        return {"cluster": target.name, "role": target.role, "problem": str(answer)}
    return {**answer.model_dump(mode="json"), "digest": answer.digest}


_WILL = {"created": "create", "configured": "configure", "deleted": "delete", "skipped": "skip"}
_WILL["unchanged"] = "unchanged"


def _short(plan: Plan) -> str:
    counts = {_WILL[x]: n for x, n in plan.counts().items() if n and x in ("created", "configured", "deleted")}
    return ", ".join(f"{n} to {action}" for action, n in counts.items()) or "nothing to change"


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


def _plan_status(answers: Sequence[tuple[Target, Plan | CompassError]], expected: Sequence[ExpectedImage]) -> int:
    failed = failed_status([x for _, x in answers if isinstance(x, CompassError)])
    if failed:
        return failed
    acting = any(isinstance(x, Plan) and x.acting for _, x in answers)
    return EXIT_DIFFERENT if acting or any(not x.is_published for x in expected) else EXIT_DONE


def failed_status(errors: Sequence[CompassError]) -> int:
    """Return the exit status of several errors: the one that they share, else 1; 0 when there are none."""
    statuses = {exit_status(x) for x in errors}
    return statuses.pop() if len(statuses) == 1 else EXIT_FAILED if statuses else EXIT_DONE


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
    failed = failed_status([x for _, x in answers if isinstance(x, CompassError)])
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


def backup(place: Workplace, screen: Screen) -> int:
    """Back up every cluster: all Releases, and what the bundle would touch."""
    answers = ask_each(place, lambda target: back_up(place, target, None, objects_of(place, target)))
    value = {"clusters": [_backup_json(target, x) for target, x in answers]}

    def text() -> None:
        for target, answer in answers:
            if isinstance(answer, BackupResult):
                screen.say(f"cluster {target.name}: {answer.releases} Releases and {answer.objects} other objects")
                screen.say(f"  {answer.folder}")
            else:
                screen.say(f"cluster {target.name} is not backed up: {answer}", "red")

    screen.result(value, text)
    return failed_status([x for _, x in answers if isinstance(x, CompassError)])


def _backup_json(target: Target, answer: BackupResult | CompassError) -> dict[str, Any]:
    if isinstance(answer, CompassError):
        return {"cluster": target.name, "problem": str(answer)}
    return answer.model_dump(mode="json")
