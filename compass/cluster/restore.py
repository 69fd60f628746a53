"""Put one object back as it was saved: change it, create it again, or take it away."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Set
from typing import Any

from compass.change.diff import comparable
from compass.change.ownership import applied_fields, entries
from compass.change.restoring import create_again, owners_before, put_back
from compass.cluster.client import FIELD_MANAGER, ClusterClient
from compass.cluster.transport import Moved
from compass.errors import StepFailed
from compass.names import ObjectRef

_LOOKS = 5
_CONTROLLERS = frozenset({FIELD_MANAGER, "kube-controller-manager", "kube-scheduler", "kubelet"})


def is_ours(live: dict[str, Any]) -> bool:
    """Tell whether this tool applied an object.

    A manifest of nothing but a name owns no field; what nobody but the cluster's own controllers has written to is
    taken for ours, since it is asked only of objects that this tool was about to apply.
    """
    if applied_fields(live, FIELD_MANAGER):
        return True
    return not {x.get("manager") for x in entries(live)} - _CONTROLLERS


def restore_content(client: ClusterClient, saved: dict[str, Any], *, dry_run: bool = False) -> bool:
    """Give an object that is there its saved content and owners back; return whether its content differed.

    What other managers own now stays as it is.

    Raises:
        StepFailed: the server refuses, an immutable field for instance, or the object moves again and again.
    """
    ref = ObjectRef.of(saved)
    for look in range(_LOOKS):
        live = client.get(ref)
        if live is None:
            raise StepFailed("restore", ref, found="it is gone", do="restore once more")
        wanted = put_back(saved, live, FIELD_MANAGER)
        differs = comparable(wanted) != comparable(live)
        try:
            if differs or dry_run:
                client.replace(wanted, dry_run=dry_run)
            break
        except Moved:
            if look == _LOOKS - 1:
                raise
    if not dry_run:
        restore_owners(client, saved)
    return differs


def restore_owners(client: ClusterClient, saved: dict[str, Any]) -> None:
    """Let the fields of an object belong to whom they belonged; otherwise the next upgrade would meet itself."""
    ref = ObjectRef.of(saved)
    for look in range(_LOOKS):
        live = client.get(ref)
        if live is None:
            return
        owners = owners_before(saved, live, FIELD_MANAGER)
        if _timeless(owners) == _timeless(entries(live)):
            return
        try:
            client.patch_json(
                ref,
                [
                    {
                        "op": "replace",
                        "path": "/metadata/resourceVersion",
                        "value": live["metadata"]["resourceVersion"],
                    },
                    {"op": "add", "path": "/metadata/managedFields", "value": owners},
                ],
            )
            return
        except Moved:
            if look == _LOOKS - 1:
                raise


def _timeless(owners: list[dict[str, Any]]) -> list[str]:
    return sorted(str({k: v for k, v in sorted(x.items()) if k != "time"}) for x in owners)


def recreate(
    client: ClusterClient,
    saved: dict[str, Any],
    owners: Set[str],
    renamed: Mapping[str, str],
    tell: Callable[[str], None],
) -> str:
    """Create an object that is gone, as it was saved; return what could not be as before.

    ``tell`` hears the new uid as soon as there is one.

    Raises:
        StepFailed: the server refuses it.
    """
    manifest = create_again(saved, owners, renamed)
    note = ""
    try:
        created = client.create(manifest)
    except StepFailed:
        other = _with_other_addresses(manifest)
        if other is None:
            raise
        created, note = client.create(other), "with other addresses: the old ones are taken"
    tell(created["metadata"]["uid"])
    restore_owners(client, saved)
    return note


def _with_other_addresses(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """Return a Service that leaves its addresses to the server, ``None`` for what has none."""
    spec = manifest.get("spec") or {}
    if manifest.get("kind") != "Service" or spec.get("clusterIP") in (None, "None"):
        return None
    other = copy.deepcopy(manifest)
    for key in ("clusterIP", "clusterIPs", "healthCheckNodePort"):
        other["spec"].pop(key, None)
    for port in other["spec"].get("ports") or []:
        port.pop("nodePort", None)
    return other
