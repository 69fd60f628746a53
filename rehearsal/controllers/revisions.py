"""Revisions of a pod template: their hashes, and the ControllerRevisions of daemon sets and stateful sets."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from rehearsal.api.objects import QUIET, Objects
from rehearsal.controllers.index import Index

Json = dict[str, Any]
HASH_LABEL = "pod-template-hash"
REVISION_LABEL = "controller-revision-hash"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
REVISIONS = ("apps", "controllerrevisions")


def template_hash(template: Json) -> str:
    """Return a short name of a template's content."""
    text = json.dumps(bare(template), sort_keys=True, separators=(",", ":"))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    letters = ""
    while len(letters) < 10:
        number, place = divmod(number, len(_ALPHABET))
        letters += _ALPHABET[place]
    return letters


def bare(template: Json) -> Json:
    """Return a template without the label that names its own hash."""
    metadata = template.get("metadata") or {}
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}}


def owner_reference(owner: Json) -> Json:
    """Return the reference by which a controller owns an object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def current_revision(objects: Objects, index: Index, owner: Json) -> str:
    """Return the hash of an owner's template; its ControllerRevision is written when it is new."""
    revision = template_hash(owner["spec"]["template"])
    name = f"{owner['metadata']['name']}-{revision}"
    mine = index.owned(owner["metadata"]["uid"], REVISIONS)
    newest = max((x.get("revision", 0) for x in mine), default=0)
    found = next((x for x in mine if x["metadata"]["name"] == name), None)
    resource = objects.resource("apps/v1", "ControllerRevision")
    namespace = owner["metadata"]["namespace"]
    if found is None:
        labels = dict((owner["spec"]["template"].get("metadata") or {}).get("labels") or {})
        body = {
            "metadata": {
                "name": name,
                "labels": {**labels, REVISION_LABEL: revision},
                "ownerReferences": [owner_reference(owner)],
            },
            "data": {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}},
            "revision": newest + 1,
        }
        objects.create(resource, namespace, body, QUIET)
    elif found.get("revision", 0) < newest:
        objects.change(resource, namespace, name, lambda x: {**x, "revision": newest + 1}, QUIET)
    return revision


def pod_of(owner: Json, template: Json, name: Json, labels: Json) -> Json:
    """Return a pod made from a template; ``name`` is its name or generateName."""
    metadata = template.get("metadata") or {}
    about: Json = {
        **name,
        "labels": {**(metadata.get("labels") or {}), **labels},
        "ownerReferences": [owner_reference(owner)],
    }
    if metadata.get("annotations"):
        about["annotations"] = metadata["annotations"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": template["spec"]}
