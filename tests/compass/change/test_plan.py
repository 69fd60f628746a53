"""The plan: what is done to each object and why, frozen under a digest."""

from typing import Any

import pytest

from compass.change.manifests import Desired
from compass.change.plan import (
    MARKS,
    Change,
    Plan,
    applied_change,
    change_of,
    content_digest,
    deletion,
    recreated_change,
    refuse_data_loss,
)
from compass.errors import Refused
from compass.names import ObjectRef
from tests.material.clusters import deployment, service

SERVICE = ObjectRef("v1", "Service", "a", "b")
CLAIM = ObjectRef("v1", "PersistentVolumeClaim", "a", "data")
LIVE = {**service("a", "b"), "metadata": {**service("a", "b")["metadata"], "uid": "u1", "resourceVersion": "7"}}


def plan(*changes: Change, removals: tuple[Change, ...] = (), **about: Any) -> Plan:
    known = {"cluster": "c", "role": "user", "bundle": "b 1", "bundle_digest": "sha256:0"}
    return Plan(**{**known, **about}, changes=changes, removals=removals)


def named(live: dict[str, Any] | None, applied: Any = (), protected: Any = ()) -> Change:
    return deletion(
        SERVICE, live, component="c", applied={x.identity for x in applied}, protected={x.identity for x in protected}
    )


def test_what_is_not_there_is_created() -> None:
    change = applied_change(None, service("a", "b"), "comp", "t.j2")
    assert (change.action, change.ref, change.component, change.source) == ("created", SERVICE, "comp", "t.j2")
    assert change.acts


def test_what_would_stay_as_it_is_is_unchanged_whatever_the_server_counts() -> None:
    predicted = {
        **LIVE,
        "metadata": {**LIVE["metadata"], "resourceVersion": "8", "managedFields": [{}]},
        "status": {"x": 1},
    }
    change = applied_change(LIVE, predicted, "comp", "t.j2")
    assert (change.action, change.differences, change.acts, change.uid) == ("unchanged", (), False, "u1")


def test_what_would_change_is_configured_with_its_differences() -> None:
    change = applied_change(deployment("a", "b", "x:1"), deployment("a", "b", "x:2"), "comp", "t.j2")
    assert change.action == "configured"
    assert change.differences == ("spec.template.spec.containers[b].image: x:1 -> x:2",)


@pytest.mark.parametrize(
    ("live", "applied", "protected", "action", "reason"),
    [
        (LIVE, [], [], "deleted", ""),
        (None, [], [], "skipped", "not there"),
        (LIVE, [SERVICE], [], "skipped", "the bundle itself applies it"),
        (LIVE, [], [SERVICE], "skipped", "protected"),
        (LIVE, [SERVICE], [SERVICE], "skipped", "protected"),
        (None, [SERVICE], [], "skipped", "not there"),
    ],
)
def test_a_named_deletion_is_done_or_skipped_with_its_reason(
    live: Any, applied: Any, protected: Any, action: str, reason: str
) -> None:
    change = named(live, applied, protected)
    assert (change.action, change.reason) == (action, reason)
    assert change.acts is (action == "deleted")


def test_another_version_of_one_kind_is_the_same_object() -> None:
    same, other = ObjectRef("apps/v1beta2", "Deployment", "a", "b"), ObjectRef("apps/v1", "Deployment", "a", "b")
    live = deployment("a", "b", "x:1")
    assert deletion(same, live, component="c", applied={other.identity}, protected=set()).action == "skipped"
    assert deletion(same, live, component="c", applied=set(), protected={other.identity}).action == "skipped"


def test_only_the_very_object_that_was_met_is_deleted() -> None:
    assert named(LIVE).uid == "u1"


def again(kind: str, **spec: Any) -> Change:
    live = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "b", "namespace": "a", "uid": "u1"}, "spec": spec}
    return recreated_change(live, Desired("comp", "t.j2", live), "spec: immutable", ["spec.x: 1 -> 2"])


def test_what_is_created_again_says_why_and_what_goes() -> None:
    change = again("Service")
    assert (change.action, change.recreate, change.uid, change.loses_data) == ("configured", True, "u1", False)
    assert (change.component, change.source, change.differences) == ("comp", "t.j2", ("spec.x: 1 -> 2",))
    assert change.reason == "deleted and created again: spec: immutable"
    assert again("Deployment").reason == "deleted and created again: spec: immutable; its pods stop until then"
    claim = again("PersistentVolumeClaim")
    assert claim.loses_data
    assert claim.reason == "deleted and created again: spec: immutable; its data is lost"
    with pytest.raises(Refused, match="its data would be lost"):
        refuse_data_loss(plan(claim), allowed=False)


def test_the_claims_of_a_set_stay_unless_it_says_that_they_go() -> None:
    assert not again("StatefulSet").loses_data
    assert not again("StatefulSet", persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain"}).loses_data
    assert again("StatefulSet", persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"}).loses_data


@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition"])
def test_deleting_data_needs_leave(kind: str) -> None:
    ref = ObjectRef("v1", kind, "a", "data")
    losing = change_of("deleted", ref, live=LIVE)
    assert losing.loses_data
    for made in (plan(losing), plan(removals=(losing,))):
        with pytest.raises(Refused) as caught:
            refuse_data_loss(made, allowed=False)
        assert str(caught.value) == (
            f"delete {kind}/a/data on cluster c: its data would be lost, expected leave to lose it; "
            "save what it holds, then pass --allow-data-loss"
        )
        refuse_data_loss(made, allowed=True)


def test_every_loss_is_counted() -> None:
    with pytest.raises(Refused, match=r"its data would be lost \(and 2 more\)"):
        refuse_data_loss(plan(*[change_of("deleted", CLAIM, live=LIVE)] * 3), allowed=False)


def test_what_is_skipped_or_no_data_needs_no_leave() -> None:
    made = plan(change_of("skipped", CLAIM), change_of("created", CLAIM), change_of("deleted", SERVICE, live=LIVE))
    refuse_data_loss(made, allowed=False)


def test_the_digest_is_of_what_is_done_whatever_the_wording() -> None:
    one = plan(change_of("created", SERVICE, reason="a", component="x", source="t"), change_of("unchanged", CLAIM))
    two = plan(change_of("skipped", CLAIM, reason="not there"), change_of("created", SERVICE, reason="b"))
    assert one.digest == two.digest
    assert one.digest == Plan.model_validate_json(one.model_dump_json()).digest, "it survives a parameter"
    assert one.digest == "sha256:" + one.digest[7:]


def test_the_digest_changes_with_what_is_done() -> None:
    base = [change_of("configured", SERVICE, lines=["x: 1 -> 2"]), change_of("deleted", CLAIM, live=LIVE)]
    variants = [
        plan(*base),
        plan(*base[:1]),
        plan(*reversed(base)),
        plan(base[0], removals=(change_of("deleted", SERVICE),)),
        plan(change_of("configured", SERVICE, lines=["x: 1 -> 3"]), base[1]),
        plan(change_of("created", SERVICE), base[1]),
        plan(change_of("configured", ObjectRef("v1", "Service", "a", "c"), lines=["x: 1 -> 2"]), base[1]),
        plan(*base, cluster="d"),
        plan(*base, bundle_digest="sha256:1"),
        plan(base[0].model_copy(update={"recreate": True}), base[1]),
    ]
    assert len({x.digest for x in variants}) == len(variants)


def test_a_plan_counts_and_leaves_removals_to_later() -> None:
    made = plan(change_of("created", SERVICE), change_of("skipped", CLAIM), removals=(change_of("deleted", CLAIM),))
    assert made.counts() == {"created": 1, "configured": 0, "unchanged": 0, "deleted": 1, "skipped": 1}
    assert [x.action for x in made.acting] == ["created", "deleted"]
    assert made.without_removals().removals == ()
    assert made.without_removals().digest != made.digest
    assert MARKS.keys() == made.counts().keys()


def test_the_digest_covers_what_is_created_but_no_value_of_a_secret() -> None:
    one, two = service("a", "b"), service("a", "b") | {"spec": {"ports": [{"port": 7}]}}
    assert content_digest(one) != content_digest(two)
    made = [plan(change_of("created", SERVICE).model_copy(update={"content": content_digest(x)})) for x in (one, two)]
    assert made[0].digest != made[1].digest
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"pw": "MQ=="}}
    assert content_digest(secret) == content_digest(secret | {"data": {"pw": "Mg=="}})
    assert content_digest(secret) != content_digest(secret | {"data": {"other": "MQ=="}})
