"""CustomResourceDefinitions become served resources.

Source: kubernetes.io, Extend the Kubernetes API with CustomResourceDefinitions.
"""

from __future__ import annotations

from typing import Any

from rehearsal.api.deletion import CLEANUP, Options, delete, finalize
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
        objects.store.drop((group, plural))
    elif _is_established(change.item):
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
    stored = (item.get("status") or {}).get("storedVersions") or []
    status = {"conditions": conditions, "acceptedNames": item["spec"]["names"], "storedVersions": stored}
    objects.write_status(item, status, manager="kube-apiserver")


def clean_up(objects: Objects, item: Json) -> bool:
    """Delete the objects of a definition that is being deleted; tells whether none is left."""
    spec = item["spec"]
    key = (spec["group"], spec["names"]["plural"])
    resource = next((x for x in objects.kinds.custom.values() if x.key == key), None)
    if resource is not None:
        for one in objects.store.all(key):
            if "deletionTimestamp" not in one["metadata"]:
                delete(objects, resource, one["metadata"].get("namespace", ""), one["metadata"]["name"], Options())
        if objects.store.all(key):
            return False
    finalize(objects, objects.resource(item["apiVersion"], item["kind"]), item, CLEANUP)
    return True


def _is_established(item: Json) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or []
    return any(x["type"] == "Established" and x["status"] == "True" for x in conditions)


def _condition(kind: str, reason: str, message: str) -> Json:
    return {"type": kind, "status": "True", "lastTransitionTime": now(), "reason": reason, "message": message}
