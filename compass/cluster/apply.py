"""Apply one object, or ask what applying it would do."""

from __future__ import annotations

from typing import Any

from compass.change.manifests import Desired
from compass.change.ownership import (
    EARLIER_MANAGERS,
    has_earlier_owner,
    replacing,
    taken_over,
    without_earlier_leftovers,
)
from compass.change.plan import Change, applied_change
from compass.cluster.client import FIELD_MANAGER, ClusterClient, Conflict


def preview(client: ClusterClient, item: Desired, *, force_conflicts: bool = False) -> Change:
    """Return what applying the object would do, by server-side dry run; nothing is changed.

    Raises:
        Conflict: another tool owns a field that the object sets.
        StepFailed: the server would refuse the object.
        InvalidInput: the server does not serve its kind.
    """
    live = client.get(item.ref)
    dry_run = _apply(client, item.manifest, force_conflicts=force_conflicts, dry_run=True)
    predicted = _predict(client, item, live, dry_run)
    return applied_change(live, predicted, item.component, item.source)


def _predict(
    client: ClusterClient, item: Desired, live: dict[str, Any] | None, dry_run: dict[str, Any]
) -> dict[str, Any]:
    """Return what the object will be once earlier tools' fields are ours; the server fills in defaults."""
    cleaned = without_earlier_leftovers(dry_run)
    if live is None or cleaned == dry_run:
        return dry_run
    operations = replacing(live, cleaned)
    return client.patch_json(item.ref, operations, dry_run=True) if operations else dry_run


def apply(client: ClusterClient, item: Desired, *, force_conflicts: bool = False) -> dict[str, Any]:
    """Apply the object and return it; fields that earlier tools own become ours first.

    Raises:
        Conflict, StepFailed, InvalidInput: as ``preview``.
    """
    live = client.get(item.ref)
    if live is not None and has_earlier_owner(live):
        _take_over(client, item, live)
    applied = _apply(client, item.manifest, force_conflicts=force_conflicts, dry_run=False)
    if has_earlier_owner(applied):
        # An object from before field management only now has owners to take over from.
        _take_over(client, item, applied)
        applied = _apply(client, item.manifest, force_conflicts=force_conflicts, dry_run=False)
    return applied


def _apply(client: ClusterClient, manifest: dict[str, Any], *, force_conflicts: bool, dry_run: bool) -> dict[str, Any]:
    try:
        return client.apply(manifest, dry_run=dry_run, force=force_conflicts)
    except Conflict as conflict:
        if any(manager not in EARLIER_MANAGERS for manager, _ in conflict.causes):
            raise
        return client.apply(manifest, dry_run=dry_run, force=True)


def _take_over(client: ClusterClient, item: Desired, live: dict[str, Any]) -> None:
    client.patch_json(
        item.ref,
        [
            {"op": "replace", "path": "/metadata/managedFields", "value": taken_over(live, FIELD_MANAGER)},
            # The server refuses the patch when the object has moved since it was read.
            {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
        ],
    )
