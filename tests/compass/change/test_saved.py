"""A saved plan: what is done is what was agreed to, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compass.change.manifests import Desired
from compass.change.plan import Change, Plan
from compass.change.saved import SavedPlan, parse_saved, refuse_moved, refuse_other, refuse_other_values, sealed
from compass.change.sealing import Sealer
from compass.errors import InvalidInput, Refused


def change(name: str, action: str = "configured", **more: Any) -> Change:
    document = {"action": action, "api_version": "v1", "kind": "ConfigMap", "namespace": "a", "name": name, **more}
    return Change.model_validate(document)


def plan(*changes: Change) -> Plan:
    return Plan(cluster="user-1", role="user", bundle="b 1", bundle_digest="sha256:1", changes=changes)


def saved(agreed: Plan, **more: Any) -> SavedPlan:
    return SavedPlan(
        made="2026-01-31T02:00:00Z", by="x@y", tool="0", bundle="b", version="1", digest="sha256:1", registry="r:5000",
        leave={"prune": True}, clusters=(agreed,), digests={"user-1": str(agreed.digest)}, **more,
    )  # fmt: skip


def test_it_comes_back_from_a_file_as_it_was() -> None:
    made = saved(plan(change("one", differences=("data.a: 1 -> 2",))))
    assert parse_saved(made.model_dump_json().encode(), "plan.json") == made


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda d: d["clusters"][0]["changes"].clear(), "cluster user-1: changes that plan did not write"),
        (lambda d: d["leave"].update(rollback=False), "leave"),
        (lambda d: d.update(more=1), "unknown key"),
        (lambda d: d.pop("digests"), "digests"),
    ],
)
def test_a_plan_that_was_edited_is_refused(edit: Any, said: str) -> None:
    document = json.loads(saved(plan(change("one"))).model_dump_json())
    edit(document)
    with pytest.raises(InvalidInput, match=said):
        parse_saved(json.dumps(document).encode(), "plan.json")


@pytest.mark.parametrize("data", [b"", b"[1", b"[" * 150_000, b"[]", b"null"])
def test_what_is_no_plan_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_saved(data, "plan.json")


def test_it_is_for_its_bundle_and_registry_and_gives_no_more_leave() -> None:
    made = saved(plan())
    refuse_other(made, "sha256:1", "r:5000", {"prune": True, "recreate": False})
    for digest, registry in (("sha256:2", "r:5000"), ("sha256:1", "other:5000")):
        with pytest.raises(Refused, match="which the plan is for"):
            refuse_other(made, digest, registry, {})
    with pytest.raises(InvalidInput, match="--recreate, which the plan was made without"):
        refuse_other(made, "sha256:1", "r:5000", {"recreate": True})


def test_a_cluster_that_moved_is_refused_with_the_first_difference() -> None:
    made = saved(plan(change("one", differences=("data.a: 1 -> 2",))))
    refuse_moved(made, plan(change("one", differences=("data.a: 1 -> 2",))), is_interrupted=False)
    for now, said in (
        (plan(), "ConfigMap/a/one would not be changed any more"),
        (plan(change("one", differences=("data.a: 3 -> 2",))), "ConfigMap/a/one would change in another way"),
        (plan(change("one", differences=("data.a: 1 -> 2",)), change("two", "deleted")), "two would be deleted too"),
    ):
        with pytest.raises(Refused, match=said):
            refuse_moved(made, now, is_interrupted=False)


def test_after_an_interrupted_run_the_rest_is_done_and_nothing_else() -> None:
    again = change("two", recreate=True, content="sha256:2")
    made = saved(plan(change("one"), again))
    refuse_moved(made, plan(again), is_interrupted=True)
    refuse_moved(made, plan(), is_interrupted=True)
    refuse_moved(made, plan(change("two", "created", content="sha256:2")), is_interrupted=True)
    for now in (plan(change("one", "created")), plan(change("three")), plan(change("two", "created", content="x"))):
        with pytest.raises(Refused):
            refuse_moved(made, now, is_interrupted=True)


def test_a_cluster_without_a_plan_is_refused() -> None:
    other = plan().model_copy(update={"cluster": "user-2"})
    with pytest.raises(Refused, match="no plan of it"):
        refuse_moved(saved(plan()), other, is_interrupted=False)


def secret(**data: str) -> Desired:
    metadata = {"name": "password", "namespace": "a"}
    return Desired("c", "t", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


def test_another_value_of_a_secret_is_noticed_and_none_is_in_the_file() -> None:
    sealer = Sealer("salt")
    made = saved(plan(), salt="salt", secrets={"user-1": sealed([secret(key="hunter2")], sealer)})
    assert "hunter2" not in made.model_dump_json()
    refuse_other_values(made, "user-1", [secret(key="hunter2")], Sealer("salt"))
    for other in (secret(key="hunter3"), secret(key="hunter2", more="x"), secret()):
        with pytest.raises(Refused, match="Secret/a/password would get other values than in the saved plan"):
            refuse_other_values(made, "user-1", [other], sealer)


def test_equal_values_have_other_seals_with_another_salt() -> None:
    (one,) = sealed([secret(key="x")], Sealer("one")).values()
    (two,) = sealed([secret(key="x")], Sealer("two")).values()
    assert one != two
