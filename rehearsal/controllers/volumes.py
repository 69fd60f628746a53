"""Claims and volumes: held while they are in use.

Source: kubernetes.io, Persistent Volumes, section Storage Object in Use Protection.
"""

from __future__ import annotations

from typing import Any

from rehearsal.api.deletion import finalize
from rehearsal.api.objects import Objects
from rehearsal.controllers.pods import PODS

Json = dict[str, Any]
CLAIMS, VOLUMES = ("", "persistentvolumeclaims"), ("", "persistentvolumes")
AGAIN_SECONDS = 0.5


def release_claim(objects: Objects, item: Json) -> float | None:
    """Let a claim go that is being deleted and that no pod uses."""
    metadata = item["metadata"]
    if "deletionTimestamp" not in metadata:
        return None
    if any(_uses(pod, metadata["name"]) for pod in objects.store.all(PODS, metadata["namespace"])):
        return AGAIN_SECONDS
    finalize(objects, objects.resource("v1", "PersistentVolumeClaim"), item, "kubernetes.io/pvc-protection")
    return None


def _uses(pod: Json, claim: str) -> bool:
    volumes = pod["spec"].get("volumes") or []
    return any((x.get("persistentVolumeClaim") or {}).get("claimName") == claim for x in volumes)


def release_volume(objects: Objects, item: Json) -> float | None:
    """Let a volume go that is being deleted and not bound."""
    if "deletionTimestamp" not in item["metadata"]:
        return None
    if (item.get("status") or {}).get("phase") == "Bound":
        return AGAIN_SECONDS
    finalize(objects, objects.resource("v1", "PersistentVolume"), item, "kubernetes.io/pv-protection")
    return None
