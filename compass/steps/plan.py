"""Step: compute every change against the live cluster, by server-side dry run, and freeze it."""

from __future__ import annotations

from compass.change.manifests import Desired, apply_order
from compass.change.plan import Change, Plan, deletion, refuse_data_loss
from compass.cluster.backup import release_kind
from compass.cluster.client import ClusterClient
from compass.cluster.record import Record, read_records
from compass.names import ObjectRef
from compass.steps.applications import applications
from compass.steps.dependents import with_dependents
from compass.steps.prepare import Prepared, refuse_version
from compass.steps.prune import prunable
from compass.steps.render import fit, render
from compass.steps.workplace import Target, Workplace


def make_plan(place: Workplace, target: Target, prepared: Prepared) -> Plan:
    """Return what an upgrade would change on one cluster; nothing is changed.

    Raises:
        InvalidInput: a template is wrong, or the cluster does not serve a kind.
        Refused: a field is owned by another tool, an object cannot be changed as it is, data would be lost, or the
            version does not fit.
        StepFailed: the server would refuse an object.
    """
    client = place.client(target)
    records = read_records(client)
    refuse_version(place.bundle.definition, records, target.name)
    wanted = fit(client, render(place, target))
    applied = {x.ref.identity for x in wanted}
    deletions = with_dependents(client, _deletions(place, target, client, applied), applied, _protected(place))
    plan = Plan(
        cluster=target.name, role=target.role, bundle=f"{prepared.name} {prepared.version}",
        bundle_digest=prepared.digest,
        changes=(*deletions, *applications(place, target, client, wanted, deletions)),
        removals=_removed(place, target, client, wanted, records, deletions),
    )  # fmt: skip
    refuse_data_loss(plan, allowed=place.job.choices.allow_data_loss)
    return plan


def _removed(
    place: Workplace, target: Target, client: ClusterClient, wanted: list[Desired], records: list[Record],
    deletions: list[Change],
) -> tuple[Change, ...]:  # fmt: skip
    removals = _removals(place, target, client)
    named = {x.ref.identity for x in (*deletions, *removals)}
    removals += prunable(place, target, client, wanted, records, named)
    going = with_dependents(client, removals, {x.ref.identity for x in wanted}, _protected(place))
    return tuple(x for x in going if x in removals or x.ref.identity not in named)


def make_removal_plan(place: Workplace, target: Target, prepared: Prepared) -> Plan:
    """Return what ``remove`` alone would delete on one cluster, and with leave to prune, what that would delete."""
    client = place.client(target)
    if not place.job.choices.prune:
        removals = tuple(with_dependents(client, _removals(place, target, client), set(), _protected(place)))
    else:
        wanted = fit(client, render(place, target))
        deletions = _deletions(place, target, client, {x.ref.identity for x in wanted})
        removals = _removed(place, target, client, wanted, read_records(client), deletions)
    plan = Plan(
        cluster=target.name, role=target.role, bundle=f"{prepared.name} {prepared.version}",
        bundle_digest=prepared.digest, removals=removals,
    )  # fmt: skip
    refuse_data_loss(plan, allowed=place.job.choices.allow_data_loss)
    return plan


def _protected(place: Workplace) -> set[tuple[str, str, str, str]]:
    return {x.ref.identity for x in place.bundle.definition.protect}


def _deletions(
    place: Workplace, target: Target, client: ClusterClient, applied: set[tuple[str, str, str, str]]
) -> list[Change]:
    changes = []
    for component in place.bundle.definition.for_role(target.role):
        for named in component.delete:
            served = client.serves(named.ref.api_version, named.ref.kind)
            live = client.get(named.ref) if served else None
            changes.append(
                deletion(named.ref, live, component=component.name, applied=applied, protected=_protected(place))
            )
    return sorted(changes, key=lambda x: -apply_order(x.ref))


def _removals(place: Workplace, target: Target, client: ClusterClient) -> list[Change]:
    """Return the Releases that the bundle no longer has; only a control cluster holds Releases."""
    definition, found = place.bundle.definition, []
    if target.role != "control" or place.job.choices.keep_obsolete:
        return []
    kind = release_kind(client)
    for namespace, names in definition.remove.items():
        for name in dict.fromkeys(names):
            ref = ObjectRef(*(kind or ("release.caicloud.io/v1alpha1", "Release")), namespace, name)
            live = client.get(ref) if kind else None
            found.append(deletion(ref, live, component="remove", applied=set(), protected=_protected(place)))
    return found
