"""Apply one object, or ask what applying it would do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from compass.change.allocation import without_allocated, without_held
from compass.change.diff import differences
from compass.change.manifests import Desired
from compass.change.merging import (
    Shape,
    has_leftovers,
    in_order,
    manifest_fields,
    merged,
    without_empty,
    without_removed,
)
from compass.change.ownership import (
    EARLIER_MANAGERS,
    applied_fields,
    last_applied,
    paths_of_others,
    replacing,
    taken_over,
    union,
    written_fields,
)
from compass.change.plan import Change, applied_change, recreated_change
from compass.change.ports import with_protocols
from compass.cluster.client import FIELD_MANAGER, ClusterClient, Conflict
from compass.cluster.transport import Exists, Invalid, Moved
from compass.errors import InvalidInput, Refused, StepFailed
from compass.names import ObjectRef

Json = dict[str, Any]
_LOOKS = 5


class Unchangeable(Refused):
    """The server does not change an object so, but would take it as a new one; ``reason`` is its own.

    ``change`` is what deleting it and creating it again comes to.
    """

    def __init__(self, item: Desired, reason: str, change: Change) -> None:
        super().__init__("change", item.ref, found=reason, do="pass --recreate to delete it and create it again")
        self.reason, self.change = reason, change


class Types:
    """The types of a cluster's objects, asked for once, when first needed: some megabytes, so keep it no longer."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client

    @cached_property
    def _definitions(self) -> Json:
        found = self._client.definitions()
        if not found:
            raise StepFailed("read types of", self._client.where, found="none", expected="those of /openapi/v2")
        return found

    def of(self, item: Json) -> Shape:
        """Return how objects of the kind merge."""
        return Shape.of_kind(self._definitions, item["apiVersion"], item["kind"])


@dataclass(frozen=True)
class _Way:
    """How an object comes to be as wanted: ``operations`` (JSON patch) first, then the server's apply."""

    predicted: Json
    operations: list[Json]


def preview(
    client: ClusterClient, item: Desired, *, force_conflicts: bool = False, types: Types | None = None
) -> Change:  # fmt: skip
    """Return what applying the object would do, by server-side dry run; nothing is changed.

    Raises:
        Conflict: another tool owns a field that the object sets.
        Unchangeable: only deleting it and creating it again would do.
        StepFailed: the server would refuse the object.
        InvalidInput: the server does not serve its kind, or knows no such field.
    """
    types = types or Types(client)
    for _ in range(_LOOKS):
        live = client.get(item.ref)
        if live is None:
            predicted = _apply(client, item.manifest, force_conflicts=force_conflicts, dry_run=True)
            return applied_change(None, predicted, item.component, item.source)
        predicted = _find_way(client, item, live, types, force_conflicts=force_conflicts).predicted
        if predicted["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]:
            break  # both are of one moment: what a controller did between would look like ours
    known = without_allocated(predicted, live or {}, item.manifest)
    return applied_change(live, known, item.component, item.source)


def apply(
    client: ClusterClient, item: Desired, *, force_conflicts: bool = False, types: Types | None = None
) -> Json:  # fmt: skip
    """Apply the object and return it; the fields that ``kubectl apply`` gave it become ours first.

    What the server's apply cannot bring about is written before, as ``preview`` has tried it.

    Raises:
        Conflict, Unchangeable, StepFailed, InvalidInput: as ``preview``.
    """
    types = types or Types(client)
    for look in range(_LOOKS):
        live = client.get(item.ref)
        way = _find_way(client, item, live, types, force_conflicts=force_conflicts) if live else None
        try:
            if live and way and way.operations:
                client.patch_json(item.ref, [_unless_moved(live), *way.operations])
            break
        except Moved:  # a controller wrote its status in between, as it does while pods move
            if look == _LOOKS - 1:
                raise
    applied = _apply(client, item.manifest, force_conflicts=force_conflicts)
    return _disown_written(client, applied)


def _apply(client: ClusterClient, manifest: Json, *, force_conflicts: bool, dry_run: bool = False) -> Json:
    try:
        return client.apply(manifest, dry_run=dry_run, force=force_conflicts)
    except Conflict as conflict:
        others = [x for x in conflict.causes if x[0] not in EARLIER_MANAGERS and x[0] != FIELD_MANAGER]
        if others:
            raise Conflict(conflict.did, conflict.subject, others) from None
        return client.apply(manifest, dry_run=dry_run, force=True)


def _find_way(client: ClusterClient, item: Desired, live: Json, types: Types, *, force_conflicts: bool) -> _Way:
    """Find out whether the server's apply brings about all that the manifest says, and what must be written if not."""
    manifest = with_protocols(item.manifest)
    former, others = _former_fields(client, live, types), paths_of_others(live, FIELD_MANAGER)
    with suppress(Invalid):  # what is wrong with it shows again below
        dry_run = _apply(client, manifest, force_conflicts=force_conflicts, dry_run=True)
        ours = applied_fields(dry_run, FIELD_MANAGER)
        if not has_leftovers(former, live, manifest, others) and in_order(ours, manifest, dry_run):
            return _Way(dry_run, _owning(live, former) if former else [])
    gone = union(applied_fields(live, FIELD_MANAGER), former)
    shape = types.of(live)
    content = merged(shape, live, manifest, gone, others)
    written = without_empty(shape, content, manifest, others)
    operations = [*_owning(live, former), *replacing(live, written)]
    try:
        predicted = client.patch_json(item.ref, operations, dry_run=True)
    except Invalid as error:
        refusal = Invalid("dry-run", item.ref, error.causes)
        if not _is_taken_as_new(client, item, live):
            raise refusal from None
        change = recreated_change(live, item, refusal.found, differences(live, content))
        raise Unchangeable(item, refusal.found, change) from None
    return _Way(without_removed(predicted, written, gone), operations)


def _is_taken_as_new(client: ClusterClient, item: Desired, live: Json) -> bool:
    """Ask the server, which looks at an object before it looks for one of that name."""
    try:
        client.create(without_held(item.manifest, live), dry_run=True)
    except Exists:
        return True
    except (StepFailed, Refused):
        return False
    return True


def _former_fields(client: ClusterClient, live: Json, types: Types) -> Json:
    """Return what kubectl applied last, as the server's own schema names it, and what we wrote but did not apply."""
    manifest = last_applied(live)
    written = written_fields(live, FIELD_MANAGER)
    if manifest is None:
        return written
    try:
        applied = applied_fields(client.apply(manifest, dry_run=True, force=True), FIELD_MANAGER)
    except (StepFailed, InvalidInput):  # an old manifest, and what was changed since, may exclude each other
        applied = manifest_fields(types.of(live), manifest)
    return union(written, applied)


def _owning(live: Json, fields: Json) -> list[Json]:
    owners = taken_over(live, FIELD_MANAGER, fields)
    return [{"op": "add", "path": "/metadata/managedFields", "value": owners}]


def _unless_moved(live: Json) -> Json:
    """Return the operation for which the server refuses a patch when the object is another by now."""
    return {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}


def _disown_written(client: ClusterClient, applied: Json) -> Json:
    """Let go of the fields that a patch made ours besides those that we apply, and return the object."""
    for look in range(_LOOKS):
        if not written_fields(applied, FIELD_MANAGER):
            break
        try:
            operations = [_unless_moved(applied), *_owning(applied, {})]
            return client.patch_json(ObjectRef.of(applied), operations)
        except Moved:
            if look == _LOOKS - 1:
                raise
            applied = client.get(ObjectRef.of(applied)) or applied
    return applied
