"""Who manages which fields: the bookkeeping behind every write, and server-side apply.

Source: kubernetes.io, reference, Server-Side Apply; the field managers of k8s.io/apiserver 1.20.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from rehearsal.api.canonical import blank
from rehearsal.api.fieldsets import (
    Fields,
    check_typed,
    compare,
    decode_fields,
    encode_fields,
    fields_of,
    merge,
    with_named_parents,
    without,
)
from rehearsal.api.schema import Type
from rehearsal.api.status import ApiError, apply_conflict

Json = dict[str, Any]
Who = tuple[str, str]  # manager and operation
BEFORE_FIRST_APPLY = "before-first-apply"
MAX_UPDATERS = 10
_STRIPPED = {
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    *(
        ("f:metadata", f"f:{x}")
        for x in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    ),
}


@dataclass(frozen=True)
class Owned:
    """One entry of managedFields."""

    manager: str
    operation: str
    api_version: str
    time: str
    fields: frozenset[tuple[str, ...]]

    @property
    def who(self) -> tuple[str, str, str]:
        """What tells it from other entries; updates in another version are another entry."""
        return self.manager, self.operation, "" if self.operation == "Apply" else self.api_version


Owners = dict[tuple[str, str, str], Owned]


def owners_of(item: Json) -> Owners:
    """Read the managedFields of an object."""
    found: Owners = {}
    for entry in item["metadata"].get("managedFields") or []:
        one = Owned(
            entry.get("manager", ""),
            entry.get("operation", ""),
            entry.get("apiVersion", ""),
            entry.get("time", ""),
            frozenset(decode_fields(entry.get("fieldsV1") or {})),
        )
        found[one.who] = one
    return found


def write_owners(item: Json, owners: Owners) -> None:
    """Write the managedFields of an object; the newest last, as a server does."""
    entries = sorted(owners.values(), key=lambda x: (x.operation != "Apply", x.time, x.manager))
    item["metadata"].pop("managedFields", None)
    if entries:
        item["metadata"]["managedFields"] = [_entry(x) for x in entries]


def _entry(one: Owned) -> Json:
    entry: Json = {
        "manager": one.manager,
        "operation": one.operation,
        "apiVersion": one.api_version,
        "time": one.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": encode_fields(one.fields),
    }
    return {k: v for k, v in entry.items() if v != ""}


def empty_object(item: Json, kind: Type) -> Json:
    """Return what an object is compared with that was not there before."""
    found = {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": {}}
    return found if kind.is_custom else {**blank(kind), **found, "metadata": {"creationTimestamp": None}}


def own_update(live: Json, new: Json, kind: Type, manager: str, now: str) -> Owners:
    """Return the owners after a write that is no apply; ``live`` is an empty object for a creation."""
    owners, api_version = owners_of(live), new["apiVersion"]
    if not owners and live["metadata"].get("uid"):
        return {}  # somebody cleared them: nothing is tracked until the next apply
    return _updated(owners, live, new, kind, manager, api_version, now)


def _updated(
    owners: Owners, live: Json, new: Json, kind: Type, manager: str, api_version: str, now: str
) -> Owners:  # fmt: skip
    difference = compare(_bare(live), _bare(new), kind)
    mine = Owned(manager, "Update", api_version, now, frozenset())
    changed, removed = difference.modified | difference.added, difference.removed
    result: Owners = {}
    for who, one in owners.items():
        if who == mine.who:
            continue
        left = one.fields - changed - removed
        if left:
            result[who] = one if left == one.fields else replace(one, fields=frozenset(left), time=one.time)
    before = owners[mine.who].fields if mine.who in owners else frozenset()
    after = frozenset(((before | changed) - removed) - _STRIPPED)
    if after:
        time = owners[mine.who].time if after == before else now
        result[mine.who] = replace(mine, fields=after, time=time)
    return _capped(result)


def _capped(owners: Owners) -> Owners:
    """Return owners with the oldest updaters put together when they are too many."""
    updaters = sorted((x for x in owners.values() if x.operation == "Update"), key=lambda x: x.time)
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return owners
    oldest = updaters[: surplus + 1]
    result = {who: one for who, one in owners.items() if one not in oldest}
    for api_version in {x.api_version for x in oldest}:
        same = [x for x in oldest if x.api_version == api_version]
        fields = frozenset().union(*(x.fields for x in same))
        bucket = Owned("ancient-changes", "Update", api_version, same[-1].time, fields)
        result[bucket.who] = bucket
    return result


def own_apply(
    live: Json, config: Json, kind: Type, manager: str, now: str, *, force: bool
) -> tuple[Json, Owners]:  # fmt: skip
    """Return the object that applying a configuration makes, and its owners.

    Raises:
        ApiError: others own fields that the configuration sets otherwise.
    """
    wrong = "" if kind.is_custom else check_typed(config, kind)
    if wrong:
        raise ApiError(500, "", f"failed to create typed patch object: {wrong}")
    owners = owners_of(live)
    is_new = not live["metadata"].get("uid")
    if not owners and not is_new:
        empty = empty_object(live, kind)
        owners = _updated({}, empty, live, kind, BEFORE_FIRST_APPLY, live["apiVersion"], now)
    mine = Owned(manager, "Apply", config["apiVersion"], now, frozenset(fields_of(_bare(config), kind) - _STRIPPED))
    before = owners.get(mine.who)
    merged = merge(_bare(live), _bare(config), kind)
    if before:
        merged = _pruned(merged, before.fields, {**owners, mine.who: mine}, kind)
    difference = compare(_bare(live), merged, kind)
    others = {who: x for who, x in owners.items() if who != mine.who}
    changed = difference.modified | difference.added
    conflicts = {x: x.fields & changed for x in others.values() if x.fields & changed}
    if conflicts and not force:
        raise apply_conflict([(x.manager, x.operation, x.api_version, y) for x, y in conflicts.items()])
    result: Owners = {}
    for who, one in others.items():
        left = one.fields - conflicts.get(one, frozenset()) - difference.removed
        if left:
            result[who] = replace(one, fields=frozenset(left))
    # Other than an update, an apply is dated anew with every other value, not only with other fields.
    is_same = not (changed or difference.removed) and before is not None and replace(mine, time=before.time) == before
    result[mine.who] = before if before is not None and is_same else mine
    if not mine.fields:
        del result[mine.who]
    return _restored(merged, live), result


def _pruned(merged: Json, before: frozenset[tuple[str, ...]], owners: Owners, kind: Type) -> Json:
    """Remove what the manager applied before, and nobody applies or owns now."""
    owned: Fields = set()
    for one in owners.values():
        owned |= with_named_parents(set(one.fields), kind)
    gone = with_named_parents(set(before), kind) - owned
    return without(merged, gone, kind) if gone else merged


def _bare(item: Json) -> Json:
    metadata = {k: v for k, v in (item.get("metadata") or {}).items() if k != "managedFields"}
    return {**item, "metadata": metadata}


def _restored(merged: Json, live: Json) -> Json:
    """Give back the metadata that only the server writes."""
    metadata = dict(merged.get("metadata") or {})
    for key in ("uid", "creationTimestamp", "generation", "resourceVersion", "selfLink"):
        if key in live["metadata"]:
            metadata[key] = live["metadata"][key]
    return {**merged, "metadata": metadata}


def given_owners(body: Json, live: Json) -> Owners | None:
    """Return the owners that a writer put in the body; ``None`` where it left them alone.

    An empty list is no change, a list of one empty entry clears them (Server-Side Apply, Clearing managedFields).

    Raises:
        ApiError: the entries cannot be read.
    """
    given = (body.get("metadata") or {}).get("managedFields")
    if given is None or given == [] or given == live["metadata"].get("managedFields"):
        return None
    if given == [{}]:
        return {}
    for entry in given:
        if entry.get("operation") not in ("Apply", "Update") or entry.get("fieldsType", "FieldsV1") != "FieldsV1":
            raise ApiError(400, "BadRequest", f"metadata.managedFields: Invalid value: {json.dumps(entry)}")
    return owners_of(body)
