"""Step: compute every change against the live cluster, by server-side dry run, and freeze it."""

from __future__ import annotations

from compass.change.manifests import Desired, apply_order
from compass.change.plan import Change, Plan, change_of, content_digest, deletion, refuse_data_loss
from compass.cluster.apply import preview
from compass.cluster.backup import release_kind
from compass.cluster.client import ClusterClient
from compass.cluster.record import read_records
from compass.names import ObjectRef
from compass.steps.prepare import Prepared, refuse_version
from compass.steps.render import defined_kinds, fit, render
from compass.steps.workplace import Target, Workplace


def make_plan(place: Workplace, target: Target, prepared: Prepared) -> Plan:
    """Return what an upgrade would change on one cluster; nothing is changed.

    Raises:
        InvalidInput: a template is wrong, or the cluster does not serve a kind.
        Refused: a field is owned by another tool, data would be lost, or the version does not fit.
        StepFailed: the server would refuse an object.
    """
    client = place.client(target)
    refuse_version(place.bundle.definition, read_records(client), target.name)
    wanted = fit(client, render(place, target))
    applied = {x.ref.identity for x in wanted}
    plan = Plan(
        cluster=target.name, role=target.role, bundle=f"{prepared.name} {prepared.version}",
        bundle_digest=prepared.digest,
        changes=(*_deletions(place, target, client, applied), *_applications(place, client, wanted)),
        removals=tuple(_removals(place, target, client)),
    )  # fmt: skip
    refuse_data_loss(plan, allowed=place.job.choices.allow_data_loss)
    return plan


def make_removal_plan(place: Workplace, target: Target, prepared: Prepared) -> Plan:
    """Return what ``remove`` alone would delete on one cluster."""
    client = place.client(target)
    plan = Plan(
        cluster=target.name, role=target.role, bundle=f"{prepared.name} {prepared.version}",
        bundle_digest=prepared.digest, removals=tuple(_removals(place, target, client)),
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


def _applications(place: Workplace, client: ClusterClient, wanted: list[Desired]) -> list[Change]:
    coming_kinds = defined_kinds(wanted)
    coming_namespaces = {x.ref.name for x in wanted if x.ref.kind == "Namespace"}
    force = place.job.choices.force_conflicts
    changes = []
    for item in wanted:
        ref = item.ref
        needs = ""
        if (ref.api_version, ref.kind) in coming_kinds and not client.serves(ref.api_version, ref.kind):
            needs = "its definition is created first"
        elif ref.namespace in coming_namespaces and not client.get(ObjectRef("v1", "Namespace", "", ref.namespace)):
            needs = "its namespace is created first"
        if needs:
            change = change_of("created", ref, component=item.component, source=item.source, reason=needs)
        else:
            change = preview(client, item, force_conflicts=force)
        changes.append(change.model_copy(update={"content": content_digest(item.manifest)}))
    return changes


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
