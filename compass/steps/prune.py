"""Step: what an earlier bundle applied and this one no longer has."""

from __future__ import annotations

from collections.abc import Sequence

from compass.change.manifests import Desired, apply_order
from compass.change.ownership import applied_fields
from compass.change.plan import Change, change_of, deletion
from compass.cluster.client import FIELD_MANAGER, ClusterClient
from compass.cluster.record import Record
from compass.errors import Refused
from compass.names import ObjectRef
from compass.steps.workplace import Target, Workplace

COMPONENT = "prune"
OFFERED = "an earlier bundle applied it and this one has it no more: --prune deletes it"


def prunable(
    place: Workplace, target: Target, client: ClusterClient, wanted: Sequence[Desired], records: Sequence[Record],
    named: set[tuple[str, str, str, str]],
) -> list[Change]:  # fmt: skip
    """Return a deletion for each object that only earlier bundles had; without leave for it, a skipped one.

    What is protected, was not applied by this tool, or is ``named`` by the bundle elsewhere, is left out.

    Raises:
        Refused: the bundle has nothing at all for the cluster, so that everything would go.
    """
    kept = {x.ref.identity for x in wanted} | named
    past = records[0].applied_refs if records else ()
    gone = sorted((x for x in past if x.identity not in kept), key=lambda x: -apply_order(x))
    changes = [found for ref in gone if (found := _one(place, client, ref))]
    if not place.job.choices.prune:
        return [_offered(x) for x in changes]
    if changes and not wanted:
        raise Refused(
            "prune cluster", target.name, found="the bundle has no object for it", expected="one at least",
            do="leave out --prune; it would delete all that this tool applied there",
        )  # fmt: skip
    return changes


def _one(place: Workplace, client: ClusterClient, ref: ObjectRef) -> Change | None:
    live = client.get(ref) if client.serves(ref.api_version, ref.kind) else None
    protected = {x.ref.identity for x in place.bundle.definition.protect}
    if live is None or ref.identity in protected or not applied_fields(live, FIELD_MANAGER):
        return None  # gone, or nobody can tell that this tool made it
    return deletion(ref, live, component=COMPONENT, applied=set(), protected=set())


def _offered(change: Change) -> Change:
    return change_of("skipped", change.ref, component=COMPONENT, reason=OFFERED)
