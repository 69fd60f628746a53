"""Part of the plan: what applying comes to; everything that stands in its way is named at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compass.change.manifests import Desired
from compass.change.plan import Change, change_of, content_digest
from compass.cluster.apply import Types, Unchangeable, preview
from compass.cluster.client import ClusterClient, Conflict
from compass.cluster.dependents import dependents
from compass.cluster.pods import pods_of
from compass.cluster.rights import DELETE, need_rights, rights_for
from compass.errors import Refused
from compass.names import ObjectRef
from compass.steps.render import defined_kinds
from compass.steps.workplace import Target, Workplace

_SHOWN = 5
_FORCE = "release the fields or pass --force-conflicts"
_AGAIN = "pass --recreate to delete and create again what cannot be changed"
_LOSE = "save what would be lost and pass --allow-data-loss"
_BY_HAND = "change it by hand"
# What is in them goes with them, whether the bundle has it or not.
_HOLDERS = frozenset({"Namespace", "CustomResourceDefinition"})


def applications(
    place: Workplace, target: Target, client: ClusterClient, wanted: Sequence[Desired], deletions: Sequence[Change]
) -> list[Change]:
    """Return what applying each object would change, once what ``deletions`` names is gone; nothing is changed.

    Raises:
        Refused: others own fields, or objects cannot be changed as they are; as many as fit in a line are named.
        InvalidInput: the server does not serve a kind, or knows no such field.
        StepFailed: the server would refuse an object.
    """
    looking = _Looking(place, client, wanted, deletions)
    found = [(item, looking.at(item)) for item in wanted]
    looking.refuse(target)
    changes = [x.model_copy(update={"content": content_digest(item.manifest)}) for item, x in found if x]
    again = [x.ref for x in changes if x.recreate]
    need_rights(client, rights_for(client, again, DELETE))
    return changes


class _Looking:
    """One cluster, looked at object by object: what stands in the way, and the ways out of it."""

    def __init__(
        self, place: Workplace, client: ClusterClient, wanted: Sequence[Desired], deletions: Sequence[Change]
    ) -> None:
        self._client, self._choices, self._types = client, place.job.choices, Types(client)
        self._protected = {x.ref.identity for x in place.bundle.definition.protect}
        self._deleted = [x.ref for x in deletions if x.action == "deleted"]
        self._kinds = defined_kinds(wanted)
        self._namespaces = {x.ref.name for x in wanted if x.ref.kind == "Namespace"}
        self._obstacles: list[str] = []
        self._ways: dict[str, None] = {}

    def at(self, item: Desired) -> Change | None:
        """Return what applying an object would do, ``None`` where something stands in its way."""
        needs = self._needs(item.ref)
        if needs:
            return change_of("created", item.ref, component=item.component, source=item.source, reason=needs)
        force = self._choices.force_conflicts
        try:
            try:
                return preview(self._client, item, force_conflicts=force, types=self._types)
            except Conflict as conflict:
                for manager, field in sorted(conflict.causes, key=lambda x: x[1]):
                    self._stop(f"{item.ref}: field {field} is owned by {manager!r}", _FORCE)
                preview(self._client, item, force_conflicts=True, types=self._types)  # is there more in its way?
                return None
        except Unchangeable as error:
            return self._again(item.ref, error)

    def _needs(self, ref: ObjectRef) -> str:
        if (ref.api_version, ref.kind) in self._kinds and not self._client.serves(ref.api_version, ref.kind):
            return "its definition is created first"
        if ref.namespace in self._namespaces and not self._client.get(ObjectRef("v1", "Namespace", "", ref.namespace)):
            return "its namespace is created first"
        return ""

    def _again(self, ref: ObjectRef, error: Unchangeable) -> Change | None:
        """Return what deleting an object and creating it again comes to, where that may be."""
        held, do = self._held(ref)
        if not held and self._choices.recreate:
            return error.change
        self._stop(f"{ref}: {error.reason}{f'; {held}' if held else ''}", do or _AGAIN)
        if not held and error.change.loses_data:
            self._ways[_LOSE] = None
        return None

    def _stop(self, what: str, do: str) -> None:
        self._obstacles.append(what)
        self._ways[do] = None

    def _held(self, ref: ObjectRef) -> tuple[str, str]:
        """Return why an object may not be deleted and created again, and what to do; empty where it may."""
        if ref.identity in self._protected:
            return "it is protected", _BY_HAND
        if ref.kind in _HOLDERS:
            return "all that is in it would go with it", _BY_HAND
        live = self._client.get(ref)
        going = dependents(self._client, {live["metadata"]["uid"]: ref}) if live else []
        if going:
            return f"{ObjectRef.of(going[0][0])}, which it owns, would go with it", _BY_HAND
        user = self._user_of(ref)
        return (f"{user} holds on to it", f"stop {user} first") if user else ("", "")

    def _user_of(self, ref: ObjectRef) -> str:
        """Return what a claim or volume would wait for if it were deleted now; that cannot be taken back."""
        if ref.kind == "PersistentVolume":
            spec: dict[str, Any] = (self._client.get(ref) or {}).get("spec") or {}
            claim = spec.get("claimRef") or {}
            bound = ObjectRef("v1", "PersistentVolumeClaim", claim.get("namespace", ""), claim.get("name", ""))
            return str(bound) if claim and bound not in self._deleted and self._client.get(bound) else ""
        if ref.kind == "PersistentVolumeClaim":
            pods = self._client.list_all("v1", "Pod", ref.namespace)
            using = [x for x in pods if ref.name in _claims(x)]
            leaving = {y["metadata"]["uid"] for x in self._deleted if using for y in self._pods_of(x)}
            return next((str(ObjectRef.of(x)) for x in using if x["metadata"]["uid"] not in leaving), "")
        return ""

    def _pods_of(self, ref: ObjectRef) -> list[dict[str, Any]]:
        item = self._client.get(ref)
        return pods_of(self._client, item, current=False) if item else []

    def refuse(self, target: Target) -> None:
        """Say all that stands in the way.

        Raises:
            Refused: something does.
        """
        if not self._obstacles:
            return
        more = f" (and {len(self._obstacles) - _SHOWN} more)" if len(self._obstacles) > _SHOWN else ""
        found = "; ".join(self._obstacles[:_SHOWN]) + more
        raise Refused("plan cluster", target.name, found=found, do="; ".join(self._ways))


def _claims(pod: dict[str, Any]) -> set[str]:
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return {(x.get("persistentVolumeClaim") or {}).get("claimName", "") for x in volumes}
