"""Part of the plan: what the cluster deletes along with what the plan deletes."""

from __future__ import annotations

from collections.abc import Sequence, Set

from compass.change.plan import Change, goes_along
from compass.cluster.client import ClusterClient
from compass.cluster.dependents import dependents
from compass.errors import Refused
from compass.names import ObjectRef

Identity = tuple[str, str, str, str]


def with_dependents(
    client: ClusterClient, changes: Sequence[Change], applied: Set[Identity], protected: Set[Identity]
) -> list[Change]:
    """Return the changes, and a deletion of each object that goes with a deleted one.

    Raises:
        Refused: one of them is protected, or applied by the bundle.
    """
    owners = {x.uid: x for x in changes if x.action == "deleted" and x.uid}
    named = {x.ref.identity for x in changes if x.action == "deleted"}
    found: list[Change] = []
    for item, owner in dependents(client, {uid: x.ref for uid, x in owners.items()}):
        ref = ObjectRef.of(item)
        if ref.identity in named:
            continue
        held = "is protected" if ref.identity in protected else "the bundle applies" if ref.identity in applied else ""
        if held:
            raise Refused("delete", owner, found=f"{ref}, which {held}, would go with it, as it is owned by it",
                          do=f"take the owner reference off {ref}, or delete it by hand")  # fmt: skip
        component = next((x.component for x in owners.values() if x.ref == owner), "")
        found.append(goes_along(item, owner, component))
    return [*changes, *found]
