"""Wait: until objects are rolled out, until they are gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compass.change.health import POD_MAKERS, Health, assess, waiting_reasons
from compass.clock import Clock
from compass.cluster.client import ClusterClient
from compass.cluster.pods import event_messages, pods_of
from compass.errors import StepFailed
from compass.names import ObjectRef
from compass.progress import Progress

_FIRST_SECONDS, _LONGEST_SECONDS = 0.5, 3.0


@dataclass(frozen=True)
class Rollout:
    """How one object came out, and how long it was waited for."""

    ref: ObjectRef
    text: str
    seconds: float


def wait_ready(
    client: ClusterClient, refs: Sequence[ObjectRef], clock: Clock, timeout_seconds: float, progress: Progress
) -> list[Rollout]:
    """Wait until every object is rolled out, in no order; the first that cannot become ready ends it at once.

    Raises:
        StepFailed: one is stuck (with the cluster's own reason), or the time is over (with what is waited for).
    """
    what = "roll out"
    progress.begin(what, len(refs), "objects")
    began, pause = clock.monotonic(), _FIRST_SECONDS
    pending, done = list(refs), []
    while pending:
        still: list[ObjectRef] = []
        for ref in pending:
            health = examine(client, ref)
            if health.state == "failed":
                raise StepFailed("roll out", ref, found=health.text, expected="a rollout that ends")
            if health.state == "ready":
                done.append(Rollout(ref, health.text, clock.monotonic() - began))
                progress.advance(what, 1)
            else:
                still.append(ref)
        pending = still
        if pending and clock.monotonic() - began > timeout_seconds:
            raise _late(client, pending[0], len(pending), timeout_seconds)
        if pending:
            clock.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_SECONDS)
    return done


def examine(client: ClusterClient, ref: ObjectRef) -> Health:
    """Return the health of one object, with its pods and their events where it makes pods."""
    item = client.get(ref)
    health = assess(item)
    if item is None or health.state != "progressing" or ref.kind not in POD_MAKERS | {"Pod"}:
        return health
    pods = _current_pods(client, item)
    health = assess(item, pods)
    if health.state == "failed" or not _any_pull(pods):
        return health
    return assess(item, pods, event_messages(client, pods))


def _current_pods(client: ClusterClient, item: dict[str, Any]) -> list[dict[str, Any]]:
    return pods_of(client, item, current=True)


def _any_pull(pods: Sequence[dict[str, Any]]) -> bool:
    statuses = [
        one
        for pod in pods
        for key in ("initContainerStatuses", "containerStatuses")
        for one in (pod.get("status") or {}).get(key) or []
    ]
    return any("Image" in str(((x.get("state") or {}).get("waiting") or {}).get("reason")) for x in statuses)


def _late(client: ClusterClient, ref: ObjectRef, pending: int, timeout_seconds: float) -> StepFailed:
    item = client.get(ref)
    reasons: list[str] = []
    if item is not None and ref.kind in POD_MAKERS:
        pods = _current_pods(client, item)
        reasons = waiting_reasons(pods, event_messages(client, pods))
    others = f" (and {pending - 1} other objects)" if pending > 1 else ""
    found = f"{assess(item).text} after {timeout_seconds:.0f} s{others}"
    return StepFailed("roll out", ref, found="; ".join([found, *reasons[:3]]), expected="a rollout that ends",
                      do="see what the pods wait for, or pass --timeout")  # fmt: skip


def wait_gone(
    client: ClusterClient, targets: Sequence[tuple[ObjectRef, str]], clock: Clock, timeout_seconds: float,
    progress: Progress,
) -> None:  # fmt: skip
    """Wait until every object, given with its uid, is gone or replaced by another one of its name.

    Raises:
        StepFailed: one stays; the finalizers that hold it are named.
    """
    progress.begin("remove", len(targets), "objects")
    began, pause, pending = clock.monotonic(), _FIRST_SECONDS, list(targets)
    while pending:
        still, held = [], ""
        for ref, uid in pending:
            item = client.get(ref)
            if item is not None and (not uid or item["metadata"]["uid"] == uid):
                still.append((ref, uid))
                held = held or _held_by(item)
            else:
                progress.advance("remove", 1)
        pending = still
        if pending and clock.monotonic() - began > timeout_seconds:
            others = f" (and {len(pending) - 1} more)" if len(pending) > 1 else ""
            raise StepFailed("remove", pending[0][0], found=f"still there after {timeout_seconds:.0f} s{others}{held}",
                             expected="gone", do="see why its controller does not finish")  # fmt: skip
        if pending:
            clock.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_SECONDS)


def _held_by(item: dict[str, Any]) -> str:
    finalizers = item["metadata"].get("finalizers") or []
    return f", held by finalizer {', '.join(finalizers)}" if finalizers else ""
