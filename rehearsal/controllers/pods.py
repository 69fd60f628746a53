"""What controllers ask of pods: which count, which are ready, since when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rehearsal.api.deletion import Options, delete
from rehearsal.api.objects import QUIET, Objects
from rehearsal.api.status import ApiError

Json = dict[str, Any]
PODS = ("", "pods")


def is_active(pod: Json) -> bool:
    """Tell whether a pod runs or will, and is not on its way out."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed") and "deletionTimestamp" not in pod["metadata"]


def ready_since(pod: Json) -> datetime | None:
    """Return since when a pod is ready, ``None`` when it is not."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"].replace("Z", "+00:00"))
    return None


def is_ready(pod: Json) -> bool:
    """Tell whether a pod is ready."""
    return ready_since(pod) is not None


def unavailable_for(pod: Json, min_ready_seconds: int) -> float | None:
    """Return the seconds until a pod counts as available; ``None`` when it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    return max(min_ready_seconds - (datetime.now(UTC) - since).total_seconds(), 0.0) if min_ready_seconds else 0.0


def remove_pod(objects: Objects, pod: Json) -> None:
    """Delete a pod with its grace; one that is gone already is no error."""
    resource = objects.resource("v1", "Pod")
    metadata = pod["metadata"]
    try:
        delete(objects, resource, metadata["namespace"], metadata["name"], Options(uid=metadata["uid"]))
    except ApiError as error:
        if error.code not in (404, 409):
            raise


def create_pod(objects: Objects, namespace: str, body: Json) -> str:
    """Create a pod; returns why it could not be, or nothing."""
    try:
        objects.create(objects.resource("v1", "Pod"), namespace, body, QUIET)
    except ApiError as error:
        return error.message
    return ""
