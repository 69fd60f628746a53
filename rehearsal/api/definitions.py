"""CustomResourceDefinitions become served resources.

Source: kubernetes.io, Extend the Kubernetes API with CustomResourceDefinitions.
"""

from __future__ import annotations

from typing import Any

from rehearsal.api.kinds import custom_resources
from rehearsal.api.objects import Objects, now
from rehearsal.api.store import Change, Key

Json = dict[str, Any]
DEFINITIONS: Key = ("apiextensions.k8s.io", "customresourcedefinitions")


def follow(objects: Objects, change: Change) -> None:
    """Serve what a definition defines, as soon as it is there; drop it with all its objects when it goes."""
    if change.key != DEFINITIONS:
        return
    spec = change.item["spec"]
    group, plural = spec["group"], spec["names"]["plural"]
    objects.kinds.drop(group, plural)
    if change.kind == "DELETED":
        for item in objects.store.all((group, plural)):
            objects.store.remove((group, plural), item)
        objects.store.drop((group, plural))
        return
    if _is_established(change.item):
        for resource in custom_resources(change.item):
            objects.kinds.custom[resource.group, resource.version, resource.plural] = resource


def establish(objects: Objects, name: str) -> None:
    """Accept the names of a definition and say that it is served."""
    item = objects.store.get(DEFINITIONS, "", name)
    if item is None or (_is_established(item) and item["status"]["acceptedNames"] == item["spec"]["names"]):
        return
    conditions = [
        _condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        _condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    stored = [x["name"] for x in item["spec"]["versions"] if x.get("storage")]
    status = {"conditions": conditions, "acceptedNames": item["spec"]["names"], "storedVersions": stored}
    objects.store.put(DEFINITIONS, {**item, "metadata": dict(item["metadata"]), "status": status})


def _is_established(item: Json) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or []
    return any(x["type"] == "Established" and x["status"] == "True" for x in conditions)


def _condition(kind: str, reason: str, message: str) -> Json:
    return {"type": kind, "status": "True", "lastTransitionTime": now(), "reason": reason, "message": message}
