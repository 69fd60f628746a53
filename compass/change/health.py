"""Is a rollout done, on its way, or stuck: decided from the objects alone, with the reason in one line.

Sources: kubectl's ``rollout status`` conditions (observedGeneration, replica counts); the waiting reasons of
k8s.io/kubernetes pkg/kubelet/images and pkg/kubelet/kuberuntime.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ready", "progressing", "failed"]
CRASHES_TOLERATED = 3

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_AT_ONCE = frozenset(
    {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "ImageInspectError", "RunContainerError"}
)
# Asking again does not help: the registry answered, and its answer was no.
_PULL_FINAL = re.compile(
    r"not found|manifest unknown|name unknown|does not exist|unauthorized|authentication required|denied|forbidden"
    r"|invalid reference|no match for platform",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Health:
    """``text`` is for people: how far it is, or why it failed."""

    state: State
    text: str


_NOT_OBSERVED = Health("progressing", "not seen by its controller yet")


def assess(item: dict[str, Any] | None, pods: Sequence[dict[str, Any]] = (), events: Sequence[str] = ()) -> Health:
    """Return the health of one object; ``pods`` are those of its current revision, ``events`` their messages."""
    if item is None:
        return Health("progressing", "not there yet")
    if (item.get("metadata") or {}).get("deletionTimestamp"):
        return Health("progressing", "being deleted")
    judge = _JUDGES.get(str(item.get("kind")))
    if judge is None:
        return Health("ready", "applied")
    health = judge(item)
    if health.state != "progressing" or health is _NOT_OBSERVED:
        return health  # which pods are the newest is told by what the controller wrote last
    stuck = _stuck_pod(pods, events)
    return Health("failed", stuck) if stuck else health


def _observed(item: dict[str, Any]) -> Health | None:
    generation = item["metadata"].get("generation", 0)
    if (item.get("status") or {}).get("observedGeneration", 0) < generation:
        return _NOT_OBSERVED
    return None


def _deployment(item: dict[str, Any]) -> Health:
    late = _observed(item)
    if late:
        return late
    status, wanted = item.get("status") or {}, (item.get("spec") or {}).get("replicas", 1)
    if (item.get("spec") or {}).get("paused"):
        return Health("failed", "it is paused (spec.paused), so nothing is rolled out")
    for condition in status.get("conditions") or []:
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Health("failed", f"progress deadline exceeded: {condition.get('message', '')}")
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return Health("failed", f"{condition.get('reason')}: {condition.get('message', '')}"[:300])
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    if updated < wanted:
        return Health("progressing", f"{updated} of {wanted} replicas updated")
    if total > updated:
        return Health("progressing", f"{total - updated} old replicas still there")
    if available < wanted:
        return Health("progressing", f"{available} of {wanted} replicas available")
    return Health("ready", f"{available} of {wanted} replicas available")


def _daemon_set(item: dict[str, Any]) -> Health:
    late = _observed(item)
    if late:
        return late
    status = item.get("status") or {}
    wanted = status.get("desiredNumberScheduled", 0)
    if ((item.get("spec") or {}).get("updateStrategy") or {}).get("type") == "OnDelete":
        return Health("ready", "updated on deletion of its pods (OnDelete)")
    updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    text = f"{min(updated, available)} of {wanted} nodes updated and available"
    return Health("ready" if updated >= wanted and available >= wanted else "progressing", text)


def _stateful_set(item: dict[str, Any]) -> Health:
    late = _observed(item)
    if late:
        return late
    spec, status = item.get("spec") or {}, item.get("status") or {}
    wanted = spec.get("replicas", 1)
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return Health("ready", "updated on deletion of its pods (OnDelete)")
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if status.get("updateRevision") == status.get("currentRevision"):
        updated = wanted
    text = f"{ready} of {wanted} replicas ready, {updated} updated"
    return Health("ready" if ready >= wanted and updated >= wanted - partition else "progressing", text)


def _job(item: dict[str, Any]) -> Health:
    for condition in (item.get("status") or {}).get("conditions") or []:
        if condition.get("status") == "True" and condition.get("type") == "Complete":
            return Health("ready", "completed")
        if condition.get("status") == "True" and condition.get("type") == "Failed":
            return Health("failed", f"{condition.get('reason')}: {condition.get('message', '')}"[:300])
    return Health("progressing", "running")


def _pod(item: dict[str, Any]) -> Health:
    phase = (item.get("status") or {}).get("phase", "Pending")
    if phase == "Succeeded" or (phase == "Running" and _is_ready(item)):
        return Health("ready", phase.lower())
    if phase == "Failed":
        return Health("failed", str((item.get("status") or {}).get("message") or "its containers ended"))
    return Health("progressing", phase.lower())


def _definition(item: dict[str, Any]) -> Health:
    for condition in (item.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Established" and condition.get("status") == "True":
            return Health("ready", "established")
        if condition.get("type") == "NamesAccepted" and condition.get("status") == "False":
            return Health("failed", str(condition.get("message", "names not accepted")))
    return Health("progressing", "not established yet")


def _namespace(item: dict[str, Any]) -> Health:
    phase = (item.get("status") or {}).get("phase")
    return Health("ready" if phase == "Active" else "progressing", str(phase).lower())


def _claim(item: dict[str, Any]) -> Health:
    phase = (item.get("status") or {}).get("phase")
    # A claim may wait for its first consumer; whether it binds shows in the pods that use it.
    return Health("failed" if phase == "Lost" else "ready", str(phase).lower())


_JUDGES = {
    "Deployment": _deployment,
    "DaemonSet": _daemon_set,
    "StatefulSet": _stateful_set,
    "Job": _job,
    "Pod": _pod,
    "CustomResourceDefinition": _definition,
    "Namespace": _namespace,
    "PersistentVolumeClaim": _claim,
}


def wants_no_pods(item: dict[str, Any]) -> bool:
    """Tell whether a workload is right without a pod: scaled to zero, on no node, or done."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if item.get("kind") == "DaemonSet":
        return _observed(item) is None and status.get("desiredNumberScheduled", 0) == 0
    if item.get("kind") == "Job":
        return _job(item).state == "ready" and not status.get("active")
    return bool(spec.get("replicas", 1) == 0)


POD_MAKERS = frozenset({"Deployment", "DaemonSet", "StatefulSet", "Job"})


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(x.get("type") == "Ready" and x.get("status") == "True" for x in conditions)


def _stuck_pod(pods: Sequence[dict[str, Any]], events: Sequence[str]) -> str:
    for pod in pods:
        status = pod.get("status") or {}
        for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            reason = _stuck_container(one, events)
            if reason:
                return f"pod {pod['metadata']['name']}, container {one.get('name')}: {reason}"
    return ""


def _stuck_container(status: dict[str, Any], events: Sequence[str]) -> str:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in _AT_ONCE:
        return f"{reason}: {message}"
    if reason in _PULL:
        image = str(status.get("image") or "")
        causes = [message, *(x for x in events if image and image in x)]
        final = next((x for x in causes if _PULL_FINAL.search(x.replace(image, ""))), "")
        return f"{reason}: {final}" if final else ""
    if reason == "CrashLoopBackOff" and status.get("restartCount", 0) >= CRASHES_TOLERATED:
        last = ((status.get("lastState") or {}).get("terminated")) or {}
        code = f", last exit code {last['exitCode']}" if "exitCode" in last else ""
        return f"CrashLoopBackOff after {status['restartCount']} restarts{code}: {last.get('message') or message}"
    return ""


def waiting_reasons(pods: Sequence[dict[str, Any]], events: Sequence[str]) -> list[str]:
    """Return what the pods that are not ready wait for, for the message of a rollout that ran out of time."""
    found = []
    for pod in pods:
        if _is_ready(pod):
            continue
        status = pod.get("status") or {}
        name = pod["metadata"]["name"]
        for condition in status.get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                found.append(f"pod {name}: {condition.get('reason')}: {condition.get('message', '')}")
        for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            waiting = (one.get("state") or {}).get("waiting")
            if waiting:
                text = waiting.get("message") or ""
                found.append(f"pod {name}, container {one.get('name')}: {waiting.get('reason')} {text}".rstrip())
            elif not one.get("ready"):
                found.append(f"pod {name}, container {one.get('name')}: runs, but is not ready")
    return found or list(events[-1:])
