"""Apply one object, or ask what applying it would do."""

from __future__ import annotations

from typing import Any

from compass.change.manifests import Desired
from compass.change.ownership import (
    EARLIER_MANAGERS,
    applied_fields,
    last_applied,
    replacing,
    taken_over,
    without_leftovers,
)
from compass.change.plan import Change, applied_change
from compass.cluster.client import FIELD_MANAGER, ClusterClient, Conflict
from compass.cluster.transport import Moved
from compass.errors import InvalidInput, StepFailed

_LOOKS = 5


def preview(client: ClusterClient, item: Desired, *, force_conflicts: bool = False) -> Change:
    """Return what applying the object would do, by server-side dry run; nothing is changed.

    Raises:
        Conflict: another tool owns a field that the object sets.
        StepFailed: the server would refuse the object.
        InvalidInput: the server does not serve its kind, or knows no such field.
    """
    for _ in range(_LOOKS):
        live = client.get(item.ref)
        dry_run = _apply(client, item.manifest, force_conflicts=force_conflicts, dry_run=True)
        predicted = _predict(client, item, live, dry_run) if live else dry_run
        if live is None or predicted["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]:
            break  # both are of one moment: what a controller did between would look like ours
    return applied_change(live, predicted, item.component, item.source)


def _predict(client: ClusterClient, item: Desired, live: dict[str, Any], dry_run: dict[str, Any]) -> dict[str, Any]:
    """Return what the object will be once an earlier tool's fields are ours; the server fills in defaults."""
    fields = _earlier_fields(client, live)
    cleaned = without_leftovers(dry_run, fields) if fields else dry_run
    operations = replacing(live, cleaned) if cleaned != dry_run else []
    return client.patch_json(item.ref, operations, dry_run=True) if operations else dry_run


def apply(client: ClusterClient, item: Desired, *, force_conflicts: bool = False) -> dict[str, Any]:
    """Apply the object and return it; the fields that ``kubectl apply`` gave it become ours first.

    Raises:
        Conflict, StepFailed, InvalidInput: as ``preview``.
    """
    for look in range(_LOOKS):
        live = client.get(item.ref)
        fields = _earlier_fields(client, live) if live else {}
        if not live or not fields:
            break
        try:
            _take_over(client, item, live, fields)
            break
        except Moved:  # a controller wrote its status in between, as it does while pods move
            if look == _LOOKS - 1:
                raise
    return _apply(client, item.manifest, force_conflicts=force_conflicts, dry_run=False)


def _earlier_fields(client: ClusterClient, live: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the manifest that kubectl applied last, as the server's own schema names them."""
    manifest = last_applied(live)
    if manifest is None:
        return {}
    try:
        return applied_fields(client.apply(manifest, dry_run=True, force=True), FIELD_MANAGER)
    except (StepFailed, InvalidInput):
        return {}  # an old manifest that today's server refuses tells nothing


def _apply(client: ClusterClient, manifest: dict[str, Any], *, force_conflicts: bool, dry_run: bool) -> dict[str, Any]:
    try:
        return client.apply(manifest, dry_run=dry_run, force=force_conflicts)
    except Conflict as conflict:
        others = [x for x in conflict.causes if x[0] not in EARLIER_MANAGERS]
        if others:
            raise Conflict(conflict.did, conflict.subject, others) from None
        return client.apply(manifest, dry_run=dry_run, force=True)


def _take_over(client: ClusterClient, item: Desired, live: dict[str, Any], fields: dict[str, Any]) -> None:
    client.patch_json(
        item.ref,
        [
            # The server refuses the patch when the object has moved since it was read.
            {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
            {"op": "add", "path": "/metadata/managedFields", "value": taken_over(live, FIELD_MANAGER, fields)},
        ],
    )
