"""Garbage collection: what is owned goes with its owner, before it, or stays behind.

Source: kubernetes.io, Garbage Collection, section Cascading deletion.
"""

from __future__ import annotations

from typing import Any

from rehearsal.api.deletion import FOREGROUND, ORPHAN, Options, delete, finalize
from rehearsal.api.kinds import Resource
from rehearsal.api.objects import Objects
from rehearsal.api.status import ApiError
from rehearsal.api.store import Key
from rehearsal.controllers.index import Index, Place

Json = dict[str, Any]


def resource_at(objects: Objects, key: Key) -> Resource | None:
    """Return any version of a stored resource."""
    return next((x for x in objects.kinds.all() if x.key == key), None)


def owner_gone(objects: Objects, index: Index, uid: str) -> None:
    """Delete what an object that is gone owned, unless somebody else owns it too."""
    for place, item in index.places(uid):
        collect(objects, index, place, item)


def collect(objects: Objects, index: Index, place: Place, item: Json) -> None:
    """Delete an object none of whose owners is there any more."""
    owners = item["metadata"].get("ownerReferences") or []
    if not owners or any(index.place(x["uid"]) for x in owners) or "deletionTimestamp" in item["metadata"]:
        return
    _delete(objects, place, item, "Background")


def owner_going(objects: Objects, index: Index, place: Place, owner: Json) -> None:
    """Do what the finalizers of an object that is being deleted ask for."""
    finalizers = owner["metadata"].get("finalizers") or []
    resource = resource_at(objects, place[0])
    if resource is None:
        return
    uid = owner["metadata"]["uid"]
    if ORPHAN in finalizers:
        for where, item in index.places(uid):
            _release(objects, where, item, uid)
        finalize(objects, resource, owner, ORPHAN)
    elif FOREGROUND in finalizers:
        blocking = False
        for where, item in index.places(uid):
            reference = next(x for x in item["metadata"]["ownerReferences"] if x["uid"] == uid)
            blocking = blocking or bool(reference.get("blockOwnerDeletion"))
            if "deletionTimestamp" not in item["metadata"]:
                _delete(
                    objects, where, item, "Foreground" if any(index.places(item["metadata"]["uid"])) else "Background"
                )
        if not blocking or not any(index.places(uid)):
            finalize(objects, resource, owner, FOREGROUND)


def _release(objects: Objects, place: Place, item: Json, uid: str) -> None:
    left = [x for x in item["metadata"]["ownerReferences"] if x["uid"] != uid]
    metadata = {k: v for k, v in item["metadata"].items() if k != "ownerReferences"}
    if left:
        metadata["ownerReferences"] = left
    objects.store.put(place[0], {**item, "metadata": metadata})


def _delete(objects: Objects, place: Place, item: Json, policy: str) -> None:
    resource = resource_at(objects, place[0])
    if resource is None:
        return
    try:
        delete(objects, resource, place[1], place[2], Options(uid=item["metadata"]["uid"], policy=policy))
    except ApiError as error:
        if error.code not in (404, 409):
            raise
