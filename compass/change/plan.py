"""The plan: every change that an upgrade makes to one cluster, as values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from compass.bundle.definition import DATA_KINDS, Role
from compass.change.diff import comparable, differences
from compass.change.health import POD_MAKERS
from compass.change.manifests import Desired
from compass.digests import Digest, digest_of
from compass.documents import Document
from compass.errors import Refused
from compass.names import ObjectRef

Action = Literal["created", "configured", "unchanged", "deleted", "skipped"]
_LOST = "; its data is lost"
MARKS = {"created": "+", "configured": "~", "unchanged": "=", "deleted": "-", "skipped": "."}


class Change(Document):
    """What happens to one object; ``differences`` are lines for people, ``reason`` says why where it is not plain.

    ``uid`` is that of the object met when the plan was made; only that one is deleted.  ``content`` is the digest of
    the manifest to be applied, without the values of a Secret.  With ``recreate`` the object is configured by deleting
    it and creating it again, since the server does not change what is to be changed.  What is deleted because it has an
    ``owner`` that is, is deleted by the cluster.
    """

    action: Action
    api_version: str
    kind: str
    namespace: str
    name: str
    component: str = ""
    source: str = ""
    reason: str = ""
    differences: tuple[str, ...] = ()
    loses_data: bool = False
    recreate: bool = False
    uid: str = ""
    content: str = ""
    owner: str = ""

    @property
    def ref(self) -> ObjectRef:
        """The object's name."""
        return ObjectRef(self.api_version, self.kind, self.namespace, self.name)

    @property
    def acts(self) -> bool:
        """Whether the change touches the cluster."""
        return self.action in ("created", "configured", "deleted")


class Plan(Document):
    """The changes of one cluster, in the order in which they are made; ``removals`` come last, after the proof."""

    cluster: str
    role: Role
    bundle: str
    bundle_digest: str
    changes: tuple[Change, ...] = ()
    removals: tuple[Change, ...] = ()

    @property
    def acting(self) -> tuple[Change, ...]:
        """Every change that touches the cluster."""
        return tuple(x for x in (*self.changes, *self.removals) if x.acts)

    @property
    def digest(self) -> Digest:
        """The digest of what would be done, whatever the wording."""
        acts = [
            [x.action, *x.ref.identity, x.api_version, list(x.differences), x.content, x.recreate] for x in self.acting
        ]
        return digest_of(json.dumps([self.cluster, self.bundle_digest, acts], sort_keys=True).encode())

    def without_removals(self) -> Plan:
        """Return the plan for a run that leaves removals to a later one."""
        return self.model_copy(update={"removals": ()})

    def counts(self) -> dict[Action, int]:
        """Return how many changes there are of each kind."""
        counted: dict[Action, int] = {"created": 0, "configured": 0, "unchanged": 0, "deleted": 0, "skipped": 0}
        for change in (*self.changes, *self.removals):
            counted[change.action] += 1
        return counted


def change_of(
    action: Action, ref: ObjectRef, *, component: str = "", source: str = "", reason: str = "", live: Any = None,
    lines: Sequence[str] = (),
) -> Change:  # fmt: skip
    """Return a change of one object."""
    return Change(
        action=action, api_version=ref.api_version, kind=ref.kind, namespace=ref.namespace, name=ref.name,
        component=component, source=source, reason=reason, differences=tuple(lines),
        loses_data=action == "deleted" and ref.kind in DATA_KINDS,
        uid=str(((live or {}).get("metadata") or {}).get("uid") or ""),
    )  # fmt: skip


def content_digest(manifest: dict[str, Any]) -> Digest:
    """Return the digest of a manifest; of a Secret's data only the keys count, so that nobody can try values."""
    shown = dict(manifest)
    if manifest.get("kind") == "Secret":
        shown |= {key: sorted(map(str, manifest.get(key) or {})) for key in ("data", "stringData")}
    return digest_of(json.dumps(shown, sort_keys=True, default=str).encode())


def applied_change(live: dict[str, Any] | None, predicted: dict[str, Any], component: str, source: str) -> Change:
    """Return what applying does to an object: ``predicted`` is the server's dry run, ``live`` what is there now."""
    ref = ObjectRef.of(predicted)
    if live is None:
        return change_of("created", ref, component=component, source=source)
    if comparable(live) == comparable(predicted):
        return change_of("unchanged", ref, component=component, source=source, live=live)
    lines = differences(live, predicted)
    return change_of("configured", ref, component=component, source=source, live=live, lines=lines)


def recreated_change(live: dict[str, Any], item: Desired, reason: str, lines: Sequence[str]) -> Change:
    """Return what deleting an object and creating it again comes to, since the server does not change it."""
    loses_data = _holds_data(live)
    goes = _LOST if loses_data else "; its pods stop until then" if item.ref.kind in POD_MAKERS else ""
    change = change_of(
        "configured", item.ref, component=item.component, source=item.source, live=live, lines=lines,
        reason=f"deleted and created again: {reason}{goes}",
    )  # fmt: skip
    return change.model_copy(update={"recreate": True, "loses_data": loses_data})


def _holds_data(live: dict[str, Any]) -> bool:
    """Tell whether data goes with an object; a StatefulSet's claims stay, unless it says otherwise."""
    retention = (live.get("spec") or {}).get("persistentVolumeClaimRetentionPolicy") or {}
    return live["kind"] in DATA_KINDS or (live["kind"] == "StatefulSet" and retention.get("whenDeleted") == "Delete")


def deletion(
    ref: ObjectRef, live: dict[str, Any] | None, *, component: str, applied: set[tuple[str, str, str, str]],
    protected: set[tuple[str, str, str, str]],
) -> Change:  # fmt: skip
    """Return what a named deletion comes to: nothing for what is absent, applied by the same bundle, or protected."""
    if ref.identity in protected:
        return change_of("skipped", ref, component=component, reason="protected", live=live)
    if live is None:
        return change_of("skipped", ref, component=component, reason="not there")
    if ref.identity in applied:
        return change_of("skipped", ref, component=component, reason="the bundle itself applies it", live=live)
    return change_of("deleted", ref, component=component, live=live)


def goes_along(live: dict[str, Any], owner: ObjectRef, component: str) -> Change:
    """Return the deletion of an object by the cluster, because its owner is deleted."""
    reason = f"{owner} owns it, and it goes with that{_LOST if live['kind'] in DATA_KINDS else ''}"
    change = change_of("deleted", ObjectRef.of(live), component=component, reason=reason, live=live)
    return change.model_copy(update={"owner": str(owner)})


def refuse_data_loss(plan: Plan, *, allowed: bool) -> None:
    """Check that the plan deletes no data without leave.

    Raises:
        Refused: it deletes a volume claim, volume, namespace or definition, and that was not allowed.
    """
    losing = [x for x in plan.acting if x.loses_data]
    if losing and not allowed:
        more = f" (and {len(losing) - 1} more)" if len(losing) > 1 else ""
        raise Refused(
            "delete", f"{losing[0].ref} on cluster {plan.cluster}", found=f"its data would be lost{more}",
            expected="leave to lose it", do="save what it holds, then pass --allow-data-loss",
        )  # fmt: skip
