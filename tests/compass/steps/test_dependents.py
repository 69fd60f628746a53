"""What goes with an object that is deleted: it is in the plan, in the backup, and comes back with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from compass.change.plan import Plan
from compass.cluster.client import ClusterClient
from compass.documents import dump_yaml
from compass.errors import Refused
from compass.job import Choices, Job, Where
from compass.names import ObjectRef
from compass.steps.apply import delete_replaced
from compass.steps.backup import back_up
from compass.steps.plan import make_plan
from compass.steps.prepare import prepare
from compass.steps.restore import Selection, restore
from compass.steps.workplace import Target, Workplace
from tests.servers.control_plane import ControlPlane

pytestmark = pytest.mark.servers
TARGET = Target(name="here", role="user")
Json = dict[str, Any]


class Case:
    """A namespace where ``root`` owns ``child``, which owns ``grandchild``; a bundle deletes ``root``."""

    def __init__(self, folder: Path, stack: ExitStack, plane: ControlPlane, client: ClusterClient, space: str) -> None:
        self._folder, self._stack, self._plane = folder, stack, plane
        self.client, self.space = client, space
        self.root = self.create("v1", "ConfigMap", "root")
        self.child = self.create("v1", "Secret", "child", self.root, stringData={"a": "1"})
        self.grandchild = self.create("v1", "ConfigMap", "grandchild", self.child)

    def create(self, api_version: str, kind: str, name: str, *owners: Json, **content: Any) -> Json:
        references = [
            {"apiVersion": x["apiVersion"], "kind": x["kind"], "name": x["metadata"]["name"],
             "uid": x["metadata"]["uid"]} for x in owners
        ]  # fmt: skip
        metadata = {"name": name, "namespace": self.space, "ownerReferences": references}
        return self.client.create({"apiVersion": api_version, "kind": kind, "metadata": metadata, **content})

    def place(self, **more: Any) -> Workplace:
        bundle = self._folder / "bundle"
        bundle.mkdir(exist_ok=True)
        (bundle / "template.yaml").write_text(more.pop("template", ""))
        named = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": self.space, "name": "root"}
        deleted = [named, *more.pop("also", [])]
        definition = {
            "apiVersion": "compass.upgrade/v1", "kind": "UpgradeBundle", "metadata": {"name": "things", "to": "2.0.0"},
            "components": [{"name": "things", "templates": ["template.yaml"], "delete": deleted}],
            "protect": more.pop("protect", []),
        }  # fmt: skip
        (bundle / "bundle.yaml").write_text(dump_yaml(definition))
        where = Where(
            kubeconfig=str(self._plane.kubeconfig()), role="user", clusters=("here",), registry="127.0.0.1:5000",
            state_dir=str(self._folder / "state"),
        )  # fmt: skip
        choices = Choices(timeout_seconds=30, patience_seconds=5, **more)
        return self._stack.enter_context(Workplace(Job(bundle=str(bundle), where=where, choices=choices), {}))

    def plan(self, **more: Any) -> Plan:
        place = self.place(**more)
        return make_plan(place, TARGET, prepare(place))

    def names(self) -> set[str]:
        kinds = (("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "PersistentVolumeClaim"))
        found = [x["metadata"]["name"] for kind in kinds for x in self.client.list_all(*kind, self.space)]
        return {x for x in found if x in ("root", "child", "grandchild", "shared", "other", "claim")}


@pytest.fixture
def case(plane: ControlPlane, client: ClusterClient, namespace: str, tmp_path: Path) -> Iterator[Case]:
    with ExitStack() as stack:
        yield Case(tmp_path, stack, plane, client, namespace)


def test_what_goes_along_is_in_the_plan_nearest_first_and_what_has_another_owner_is_not(case: Case) -> None:
    other = case.create("v1", "ConfigMap", "other")
    case.create("v1", "ConfigMap", "shared", case.root, other)
    plan = case.plan()
    assert [(x.action, str(x.ref)) for x in plan.acting] == [
        ("deleted", f"ConfigMap/{case.space}/root"),
        ("deleted", f"Secret/{case.space}/child"),
        ("deleted", f"ConfigMap/{case.space}/grandchild"),
    ]
    assert plan.acting[1].reason == f"ConfigMap/{case.space}/root owns it, and it goes with that"
    place = case.place()
    delete_replaced(place, TARGET, plan)
    assert case.names() == {"other", "shared"}


def test_it_comes_back_with_its_owner(case: Case) -> None:
    plan, place = case.plan(), case.place()
    backup = back_up(place, TARGET, None, [x.ref for x in plan.changes], plan)
    delete_replaced(place, TARGET, plan)
    assert case.names() == set()
    done = restore(place, TARGET, Path(backup.folder), Selection())
    assert not done.not_as_before
    assert case.names() == {"root", "child", "grandchild"}
    child = case.client.get(ObjectRef("v1", "Secret", case.space, "child")) or {}
    root = case.client.get(ObjectRef("v1", "ConfigMap", case.space, "root")) or {}
    assert [x["uid"] for x in child["metadata"]["ownerReferences"]] == [root["metadata"]["uid"]]


def test_a_claim_that_would_go_along_needs_leave_to_lose_its_data(case: Case) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    case.create("v1", "PersistentVolumeClaim", "claim", case.grandchild, spec=spec)
    with pytest.raises(Refused, match=rf"PersistentVolumeClaim/{case.space}/claim .*its data would be lost"):
        case.plan()
    assert "claim" in {x.name for x in case.plan(allow_data_loss=True).acting}


@pytest.mark.parametrize("why", ["protected", "applied"])
def test_what_must_stay_stands_in_the_way_of_its_owners_deletion(case: Case, why: str) -> None:
    child = {"apiVersion": "v1", "kind": "Secret", "namespace": case.space, "name": "child"}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": case.space, "name": "child"}}
    how: dict[str, Any] = {"protect": [child]} if why == "protected" else {"template": dump_yaml(manifest)}
    with pytest.raises(Refused, match=rf"Secret/{case.space}/child, which .*, would go with it"):
        case.plan(**how)
    assert case.names() == {"root", "child", "grandchild"}


def test_an_owner_is_not_created_again_while_something_would_go_with_it(
    case: Case, client: ClusterClient, make_immutable: Callable[[str], Json]
) -> None:
    made = make_immutable(case.space)
    case.create("v1", "ConfigMap", "other", made)
    changed = {k: v for k, v in made.items() if k in ("apiVersion", "kind", "immutable")}
    changed |= {"metadata": {"name": "fixed", "namespace": case.space}, "data": {"a": "2"}}
    with pytest.raises(Refused, match=rf"ConfigMap/{case.space}/other, which it owns, would go with it"):
        case.plan(template=dump_yaml(changed), recreate=True)


@pytest.fixture
def make_immutable(client: ClusterClient) -> Callable[[str], Json]:
    def make(namespace: str) -> Json:
        metadata = {"name": "fixed", "namespace": namespace}
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "immutable": True,
            "data": {"a": "1"},
        }
        return client.create(manifest)

    return make


def test_a_named_child_that_is_skipped_still_stands_in_the_way(case: Case) -> None:
    child = {"apiVersion": "v1", "kind": "Secret", "namespace": case.space, "name": "child"}
    with pytest.raises(Refused, match=r"Secret/.*/child, which is protected, would go with it"):
        case.plan(protect=[child], also=[child])


def test_an_owner_that_is_gone_keeps_nothing(case: Case) -> None:
    gone = case.create("v1", "ConfigMap", "gone")
    case.create("v1", "ConfigMap", "shared", case.root, gone)
    case.client.delete(ObjectRef.of(gone))
    assert "shared" in {x.name for x in case.plan().acting}
