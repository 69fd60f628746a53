"""Putting an object back: what it was when it was saved, but for what others have done to it since.

Others are the managers of fields (managedFields) besides ours: an autoscaler's replicas and a controller's annotations
stay as they are now.  What the server sets by itself (uid, status, ...) is never put back.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Set
from typing import Any

from compass.change.diff import comparable
from compass.change.ownership import EARLIER_MANAGERS, Path, common, entries, field_paths, find_item, follow, union

_IDENTITY = ("uid", "resourceVersion", "creationTimestamp", "generation", "selfLink", "managedFields")
_GOING = ("deletionTimestamp", "deletionGracePeriodSeconds")
_BOUND = ("pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller")
_JOB_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")


def put_back(saved: dict[str, Any], live: dict[str, Any], manager: str) -> dict[str, Any]:
    """Return ``live`` with its content as ``saved`` has it, except the fields that others than ``manager`` own now."""
    wanted = copy.deepcopy(saved)
    theirs, parents = _of_others(live, manager)
    for path in sorted(theirs, key=len):
        _copy(live, wanted, path, is_parent=path in parents)
    metadata = wanted["metadata"]
    for key in (*_IDENTITY, *_GOING):
        metadata.pop(key, None)
        if key in live["metadata"]:
            metadata[key] = copy.deepcopy(live["metadata"][key])
    _name_owners_as_now(metadata, live["metadata"])
    wanted.pop("status", None)
    if "status" in live:
        wanted["status"] = copy.deepcopy(live["status"])
    return wanted


def _name_owners_as_now(metadata: dict[str, Any], now: dict[str, Any]) -> None:
    """Give owners the uid that they have now.

    One that was created again has another; by the old one, which nobody has any more, the object would be collected.
    """
    uids = {_owner(x): x.get("uid") for x in now.get("ownerReferences") or []}
    for reference in metadata.get("ownerReferences") or []:
        reference["uid"] = uids.get(_owner(reference), reference.get("uid"))


def _owner(reference: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(reference.get(x) for x in ("apiVersion", "kind", "name"))


def is_back(saved: dict[str, Any], live: dict[str, Any], manager: str) -> bool:
    """Tell whether ``live`` is what ``put_back`` would make of it."""
    if "deletionTimestamp" in live["metadata"] and "deletionTimestamp" not in saved["metadata"]:
        return False  # it goes as soon as its finalizers let it
    return comparable(put_back(saved, live, manager)) == comparable(live)


def owners_before(saved: dict[str, Any], live: dict[str, Any], manager: str) -> list[dict[str, Any]]:
    """Return the managedFields of an object that was put back.

    Our entries and earlier tools' are as saved; others' are as now, with what we had taken from them given back.  An
    empty list cannot be written: where nobody owned anything it is one empty entry, which the server takes for that.
    """
    ours = {manager, *EARLIER_MANAGERS}
    now = {_key(x): copy.deepcopy(x) for x in entries(live) if x.get("manager") not in ours}
    held: dict[str, Any] = {}
    for entry in entries(live):
        if entry.get("manager") == manager:
            held = union(held, entry.get("fieldsV1") or {})
    before = []
    for entry in entries(saved):
        if entry.get("manager") in ours:
            before.append(copy.deepcopy(entry))
            continue
        taken = common(entry.get("fieldsV1") or {}, held)
        if taken:
            there = now.setdefault(_key(entry), {**copy.deepcopy(entry), "fieldsV1": {}})
            there["fieldsV1"] = union(there["fieldsV1"], taken)
    return [*before, *now.values()] or [{}]


def create_again(saved: dict[str, Any], owners: Set[str], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return what to create so that a deleted object is back.

    ``owners`` are the uids of objects that are there, ``renamed`` leads from an owner's uid at the time of the backup
    to its uid now: an object whose owner is gone would be collected at once, so it comes back without that owner.
    """
    manifest = copy.deepcopy(saved)
    metadata = manifest["metadata"]
    for key in (*_IDENTITY, *_GOING):
        metadata.pop(key, None)
    kept = []
    for reference in metadata.pop("ownerReferences", None) or []:
        uid = renamed.get(reference.get("uid", ""), reference.get("uid", ""))
        if uid in owners or uid in renamed.values():
            kept.append({**reference, "uid": uid})
    if kept:
        metadata["ownerReferences"] = kept
    _let_go(manifest)
    return manifest


def _let_go(manifest: dict[str, Any]) -> None:
    """Remove what tied the old object to others of its life."""
    kind, spec = manifest.get("kind"), manifest.get("spec")
    if not isinstance(spec, dict):
        return
    if kind == "PersistentVolumeClaim":
        # The volume is bound to the claim that was deleted; a new one is asked for.
        spec.pop("volumeName", None)
        annotations = manifest["metadata"].get("annotations") or {}
        for key in _BOUND:
            annotations.pop(key, None)
    elif kind == "Job" and not spec.get("manualSelector"):
        spec.pop("selector", None)
        template = (spec.get("template") or {}).get("metadata") or {}
        for labels in (manifest["metadata"].get("labels"), template.get("labels")):
            for key in _JOB_LABELS:
                (labels or {}).pop(key, None)
    elif kind == "Pod":
        spec.pop("nodeName", None)


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    """Return what makes an entry of managedFields one."""
    return tuple(entry.get(x) for x in ("manager", "operation", "apiVersion", "subresource"))


def _of_others(live: dict[str, Any], manager: str) -> tuple[set[Path], set[Path]]:
    """Return the paths that only others own, and those of all that have owned paths below; status is nobody's."""
    theirs: set[Path] = set()
    ours: set[Path] = set()
    for entry in entries(live):
        paths = {x for x in field_paths(entry.get("fieldsV1") or {}) if x and x[0] != "f:status"}
        if entry.get("manager") == manager:
            ours |= paths
        else:
            theirs |= paths
    parents = {path[:length] for path in theirs | ours for length in range(1, len(path))}
    return theirs - ours, parents


def _copy(live: dict[str, Any], wanted: dict[str, Any], path: Path, *, is_parent: bool) -> None:
    """Make ``wanted`` at ``path`` what ``live`` is there; a path whose surroundings are gone is left out.

    Of a parent only its being there is owned: what is in it comes by paths of its own.
    """
    source, target, step = follow(live, path[:-1]), follow(wanted, path[:-1]), path[-1]
    if step.startswith("f:") and isinstance(source, dict) and isinstance(target, dict):
        key = step[2:]
        if key not in source:
            target.pop(key, None)
        elif not is_parent:
            target[key] = copy.deepcopy(source[key])
        elif key not in target:
            target[key] = type(source[key])()
    elif isinstance(source, list) and isinstance(target, list):
        item = find_item(source, step)
        if item is not None and find_item(target, step) is None:
            target.append(copy.deepcopy(item))
