"""Steps: delete what is replaced, apply what is new, wait until it runs, remove what is obsolete."""

from __future__ import annotations

from collections.abc import Sequence

from compass.change.health import POD_MAKERS
from compass.change.plan import Change, Plan
from compass.cluster import apply as one
from compass.cluster.wait import wait_gone, wait_ready
from compass.documents import Document
from compass.names import ObjectRef
from compass.steps.render import fit, render
from compass.steps.workplace import Target, Workplace

_WAITED_BEFORE_OTHERS = ("Namespace", "CustomResourceDefinition")


class Outcome(Document):
    """What a step did, a line per object."""

    lines: tuple[str, ...] = ()


def delete_replaced(place: Workplace, target: Target, plan: Plan) -> Outcome:
    """Delete what the plan names for deletion before apply, and wait until it is gone.

    Raises:
        StepFailed: an object stays; its finalizers are named.
    """
    return _delete(place, target, [x for x in plan.changes if x.action == "deleted"])


def remove_obsolete(place: Workplace, target: Target, plan: Plan) -> Outcome:
    """Delete the plan's removals, only the very objects that the plan met, and wait until they are gone.

    Raises:
        StepFailed: an object stays; its finalizers are named.
    """
    return _delete(place, target, [x for x in plan.removals if x.action == "deleted"])


def _delete(place: Workplace, target: Target, changes: Sequence[Change]) -> Outcome:
    client = place.client(target)
    for change in changes:
        if not change.owner:
            client.delete(change.ref, uid=change.uid)
    gone = [(x.ref, x.uid) for x in changes]
    wait_gone(client, gone, place.clock, place.job.choices.timeout_seconds, place.progress)
    return Outcome(lines=tuple(f"deleted {x.ref}" for x in changes))


def apply_plan(place: Workplace, target: Target, plan: Plan) -> Outcome:
    """Apply every object that the plan creates or configures, in its order.

    What is to be created again is deleted first, the very object that the plan met.

    Raises:
        Conflict, StepFailed, InvalidInput: the server refuses one; those before it are applied.
    """
    client = place.client(target)
    acting = {x.ref.identity: x for x in plan.changes if x.action in ("created", "configured")}
    raw = render(place, target)
    # The kinds that the bundle defines are served only once their definitions are applied.
    wanted = [x for x in fit(client, raw) if x.ref.identity in acting]
    place.progress.begin("apply", len(wanted), "objects")
    lines: list[str] = []
    first, types = True, one.Types(client)
    for item in wanted:
        if first and item.ref.kind not in _WAITED_BEFORE_OTHERS:
            _wait_for_ground(place, target, [x.ref for x in wanted])
            first = False
        change = acting[item.ref.identity]
        if change.recreate:
            lines += _delete(place, target, [change]).lines
        one.apply(client, item, force_conflicts=place.job.choices.force_conflicts, types=types)
        lines.append(f"{'created' if change.recreate else change.action} {item.ref}")
        place.progress.advance("apply", 1)
    return Outcome(lines=tuple(lines))


def _wait_for_ground(place: Workplace, target: Target, refs: Sequence[ObjectRef]) -> None:
    ground = [x for x in refs if x.kind in _WAITED_BEFORE_OTHERS]
    if ground:
        wait_ready(place.client(target), ground, place.clock, place.job.choices.timeout_seconds, place.progress)


def wait_rolled_out(place: Workplace, target: Target, plan: Plan) -> Outcome:
    """Wait until everything that the bundle applies is rolled out, changed by this run or not.

    Raises:
        StepFailed: one is stuck, with the cluster's own reason, or the time is over.
    """
    refs = [x.ref for x in plan.changes if x.action in ("created", "configured", "unchanged")]
    waited = [x for x in refs if x.kind in POD_MAKERS | {"Pod", *_WAITED_BEFORE_OTHERS, "PersistentVolumeClaim"}]
    seconds = place.job.choices.timeout_seconds
    done = wait_ready(place.client(target), waited, place.clock, seconds, place.progress)
    return Outcome(lines=tuple(f"{x.ref}: {x.text} ({x.seconds:.1f} s)" for x in done))
