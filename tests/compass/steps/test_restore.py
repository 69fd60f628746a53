"""Bringing a real cluster back to a backup: what the upgrade did is undone, what others did since is not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from compass.change.diff import comparable
from compass.change.manifests import Desired
from compass.change.plan import Change, Plan, change_of
from compass.change.restoring import is_back
from compass.clock import system_clock
from compass.cluster import apply as applying
from compass.cluster.backup import read_index
from compass.cluster.client import FIELD_MANAGER, ClusterClient
from compass.cluster.created import created_since
from compass.cluster.record import Record
from compass.errors import InvalidInput
from compass.job import Choices, Job, Where
from compass.names import ObjectRef
from compass.steps.backup import BackupResult, back_up
from compass.steps.restore import Restored, Selection, compare, make_restore_plan, restore
from compass.steps.workplace import Target, Workplace
from tests.material.clusters import apply, create, deployment, get, release, service
from tests.servers.control_plane import ControlPlane

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("restore")]
TARGET = Target(name="here", role="user")
BEGUN = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)
Json = dict[str, Any]


@pytest.fixture
def place(plane: ControlPlane, tmp_path: Path) -> Iterator[Workplace]:
    where = Where(
        kubeconfig=str(plane.kubeconfig()), role="user", clusters=("here",), state_dir=str(tmp_path / "state")
    )
    job = Job(bundle="", where=where, choices=Choices(timeout_seconds=20, patience_seconds=5))
    seconds = itertools.count()  # a backup a second, so that their names differ
    clock = replace(system_clock(), now=lambda: BEGUN + timedelta(seconds=next(seconds)))
    with Workplace(job, {}, clock) as made:
        yield made


def planned(*changes: Change) -> Plan:
    return Plan(cluster="here", role="user", bundle="b 1", bundle_digest="", changes=changes)


def saved(place: Workplace, *changes: Change, interrupted: Record | None = None) -> BackupResult:
    return back_up(place, TARGET, None, [x.ref for x in changes], planned(*changes), interrupted)


def back(place: Workplace, backup: BackupResult) -> Restored:
    done = restore(place, TARGET, Path(backup.folder), Selection())
    assert not done.not_as_before, done
    assert compare(place, TARGET, Path(backup.folder), Selection()) == []
    return done


def our_apply(client: ClusterClient, manifest: Json) -> None:
    applying.apply(client, Desired("c", "t", manifest), force_conflicts=True)


def ref(kind: str, namespace: str, name: str, api_version: str = "v1") -> ObjectRef:
    return ObjectRef(api_version, kind, namespace, name)


def test_a_changed_object_gets_its_content_and_its_owners_back(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    old = deployment(namespace, "web", "registry.site/web:1", replicas=0)
    apply(plane, [old])
    web = ref("Deployment", namespace, "web", "apps/v1")
    before = client.get(web)
    assert before
    backup = saved(place, change_of("configured", web, live=before))
    new = deployment(namespace, "web", "registry.site/web:2", replicas=0)
    new["spec"]["template"]["spec"]["containers"].append({"name": "more", "image": "registry.site/more:2"})
    new["metadata"]["annotations"] = {"by": "us"}
    our_apply(client, new)
    done = back(place, backup)
    after = client.get(web)
    assert after
    assert comparable(without_revision(after)) == comparable(without_revision(before))
    assert f"put back Deployment/{namespace}/web" in done.lines
    owners = {x["manager"] for x in after["metadata"]["managedFields"] if x["operation"] == "Apply"}
    assert FIELD_MANAGER not in owners
    # The same upgrade meets what it met before: kubectl's fields, not its own.
    our_apply(client, new)
    again = client.get(web)
    assert again
    assert [x["image"] for x in again["spec"]["template"]["spec"]["containers"]] == [
        "registry.site/web:2", "registry.site/more:2",
    ]  # fmt: skip


def without_revision(item: Json) -> Json:
    """Return a Deployment without what its controller counts."""
    copied: Json = json.loads(json.dumps(item))
    copied["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    return copied


def test_what_others_changed_since_stays(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    apply(plane, [deployment(namespace, "web", "registry.site/web:1", replicas=0)])
    web = ref("Deployment", namespace, "web", "apps/v1")
    backup = saved(place, change_of("configured", web))
    manifest = deployment(namespace, "web", "registry.site/web:2", replicas=0)
    our_apply(client, manifest)
    patch(plane, f"/apis/apps/v1/namespaces/{namespace}/deployments/web", {"spec": {"minReadySeconds": 3}}, "tuner")
    patch(plane, f"/apis/apps/v1/namespaces/{namespace}/deployments/web",
          {"metadata": {"labels": {"team": "blue"}}}, "somebody")  # fmt: skip
    back(place, backup)
    after = client.get(web)
    assert after
    assert after["spec"]["minReadySeconds"] == 3
    assert after["metadata"]["labels"]["team"] == "blue"
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.site/web:1"


def patch(plane: ControlPlane, path: str, body: Json, manager: str) -> None:
    with plane.client() as api:
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = api.patch(f"{path}?fieldManager={manager}", content=json.dumps(body), headers=headers)
        assert answer.status_code == httpx.codes.OK, answer.text


def test_a_created_object_goes_and_one_of_others_stays(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    ours, theirs = ref("ConfigMap", namespace, "ours"), ref("ConfigMap", namespace, "theirs")
    backup = saved(place, change_of("created", ours), change_of("created", theirs))
    our_apply(client, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ours", "namespace": namespace}})
    metadata = {"name": "theirs", "namespace": namespace}
    create(plane, [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}])
    done = back(place, backup)
    assert client.get(ours) is None
    assert client.get(theirs) is not None
    assert f"left ConfigMap/{namespace}/theirs: this tool did not apply it" in done.lines


def test_deleted_objects_are_created_again_as_they_were(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    claim: Json = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }  # fmt: skip
    apply(plane, [service(namespace, "minion"), claim])
    create(plane, [release(namespace, "app", 500)])
    refs = [
        ref("Service", namespace, "minion"), ref("PersistentVolumeClaim", namespace, "data"),
        ref("Release", namespace, "app", "release.caicloud.io/v1alpha1"),
    ]  # fmt: skip
    before = {x: client.get(x) for x in refs}
    backup = saved(place, *(change_of("deleted", x, live=before[x]) for x in refs))
    for each in refs:
        if each.kind == "PersistentVolumeClaim":  # its protection lets go only once no pod can use it
            with plane.client() as api:
                path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/data"
                headers = {"Content-Type": "application/merge-patch+json"}
                api.patch(path, content='{"metadata": {"finalizers": null}}', headers=headers)
        client.delete(each)
    back(place, backup)
    for each in refs:
        after, was = client.get(each), before[each]
        assert after, each
        assert was
        assert after["spec"] == was["spec"]
        assert after["metadata"]["uid"] != was["metadata"]["uid"]
        assert is_back(was, after, FIELD_MANAGER)


def test_a_service_whose_address_was_taken_comes_back_with_another(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    create(plane, [service(namespace, "minion")])
    minion = ref("Service", namespace, "minion")
    before = client.get(minion)
    assert before
    backup = saved(place, change_of("deleted", minion, live=before))
    client.delete(minion)
    thief = service(namespace, "thief")
    thief["spec"]["clusterIP"] = before["spec"]["clusterIP"]
    create(plane, [thief])
    done = restore(place, TARGET, Path(backup.folder), Selection())
    after = client.get(minion)
    assert after
    assert after["spec"]["ports"] == before["spec"]["ports"]
    assert after["spec"]["clusterIP"] != before["spec"]["clusterIP"]
    # It is back, but not as it was: that is said.
    assert done.not_as_before == (f"Service/{namespace}/minion: changed, expected as in the backup",) or any(
        "minion" in x for x in done.not_as_before
    )


def test_what_was_deleted_and_created_anew_with_an_immutable_field_goes_the_same_way_back(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    apply(plane, [deployment(namespace, "web", "registry.site/web:1", replicas=0)])
    web = ref("Deployment", namespace, "web", "apps/v1")
    before = client.get(web)
    assert before
    backup = saved(place, change_of("configured", web, live=before))
    client.delete(web)
    manifest = deployment(namespace, "web", "registry.site/web:2", replicas=0)
    manifest["spec"]["selector"]["matchLabels"]["more"] = manifest["spec"]["template"]["metadata"]["labels"]["more"] = (
        "x"
    )
    our_apply(client, manifest)
    back(place, backup)
    after = client.get(web)
    assert after
    assert after["spec"]["selector"] == before["spec"]["selector"]


def test_an_object_that_its_owner_left_comes_back_without_owner(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    create(plane, [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": namespace}}])
    owner = get(plane, "v1", "ConfigMap", namespace, "owner")
    assert owner
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    child: Json = {
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "child", "namespace": namespace, "ownerReferences": [reference]},
    }  # fmt: skip
    create(plane, [child])
    secret = ref("Secret", namespace, "child")
    backup = saved(place, change_of("deleted", secret))
    client.delete(secret)
    client.delete(ref("ConfigMap", namespace, "owner"))
    restore(place, TARGET, Path(backup.folder), Selection())
    after = client.get(secret)
    assert after
    assert not after["metadata"].get("ownerReferences")


def test_a_restore_that_is_undone_takes_away_what_it_created_again_and_nothing_else(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    mine, other = ref("ConfigMap", namespace, "mine"), ref("ConfigMap", namespace, "other")
    body: Json = {"apiVersion": "v1", "kind": "ConfigMap"}
    for each in (mine, other):
        apply(plane, [{**body, "metadata": {"name": each.name, "namespace": namespace}, "data": {"a": "1"}}])
    backup = saved(place, change_of("deleted", mine), change_of("deleted", other))
    for each in (mine, other):
        client.delete(each)
    before = saved(place, change_of("created", mine), change_of("created", other))
    restore(place, TARGET, Path(backup.folder), Selection(), Path(before.folder))
    client.delete(other)
    apply(plane, [{**body, "metadata": {"name": "other", "namespace": namespace}, "data": {"a": "somebody else's"}}])
    wanted = {x.ref: x.action for x in make_restore_plan(place, TARGET, Path(before.folder), Selection()).changes}
    assert wanted == {mine: "deleted", other: "skipped"}
    back(place, before)
    assert client.get(mine) is None
    assert client.get(other)


def test_a_note_of_what_was_created_that_is_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "created.json").write_text('{"a": 1}')
    with pytest.raises(InvalidInput, match="no list of uids"):
        created_since(tmp_path)


def test_an_object_that_cannot_go_back_is_named_and_the_others_do(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    one, two = ref("ConfigMap", namespace, "one"), ref("ConfigMap", namespace, "two")
    for name in ("one", "two"):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}
        apply(plane, [{**body, "data": {"a": "1"}}])
    backup = saved(place, change_of("configured", one), change_of("configured", two))
    for name in ("one", "two"):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}
        our_apply(client, {**body, "data": {"a": "2"}, **({"immutable": True} if name == "one" else {})})
    done = restore(place, TARGET, Path(backup.folder), Selection())
    assert len(done.not_as_before) == 1
    assert done.not_as_before[0].startswith(f"ConfigMap/{namespace}/one: ")
    assert "immutable" in done.not_as_before[0]
    after = client.get(two)
    assert after
    assert after["data"] == {"a": "1"}


def test_a_single_object_or_component_may_be_chosen(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    refs = [ref("ConfigMap", namespace, name) for name in ("one", "two")]
    for each in refs:
        apply(plane, [{"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
                       "metadata": {"name": each.name, "namespace": namespace}}])  # fmt: skip
    backup = saved(place, *(change_of("configured", x, component=x.name) for x in refs))
    for each in refs:
        our_apply(client, {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "2"},
                           "metadata": {"name": each.name, "namespace": namespace}})  # fmt: skip
    folder = Path(backup.folder)
    chosen = Selection(components=("two",))
    assert [(x.action, x.name) for x in make_restore_plan(place, TARGET, folder, chosen).acting] == [
        ("configured", "two")
    ]
    assert restore(place, TARGET, folder, chosen).lines == (f"put back ConfigMap/{namespace}/two",)
    assert restore(place, TARGET, folder, Selection(objects=(f"ConfigMap/{namespace}/one",))).lines == (
        f"put back ConfigMap/{namespace}/one",
    )
    with pytest.raises(InvalidInput, match=r"find component in backup three: expected one of: one, two"):
        make_restore_plan(place, TARGET, folder, Selection(components=("three",)))


def test_a_backup_of_another_cluster_is_refused(place: Workplace, namespace: str) -> None:
    backup = saved(place, change_of("created", ref("ConfigMap", namespace, "x")))
    index = Path(backup.folder) / "index.json"
    document = json.loads(index.read_text())
    index.write_text(json.dumps({**document, "cluster_uid": "another"}))
    with pytest.raises(InvalidInput, match="is a backup of cluster here"):
        restore(place, TARGET, Path(backup.folder), Selection())


def test_after_an_interrupted_run_the_backup_holds_what_was_there_before_it(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    one, two, new = (ref("ConfigMap", namespace, name) for name in ("one", "two", "new"))
    for name in ("one", "two"):
        apply(plane, [{"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
                       "metadata": {"name": name, "namespace": namespace}}])  # fmt: skip
    first = saved(place, change_of("configured", one), change_of("configured", two), change_of("created", new))
    for name in ("one", "new"):
        our_apply(client, {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "2"},
                           "metadata": {"name": name, "namespace": namespace}})  # fmt: skip
    second = saved(place, change_of("configured", two), interrupted=interrupted(first.folder))
    index = read_index(Path(second.folder))
    assert index.continues == Path(first.folder).name
    assert {x.name for x in index.touched} == {"one", "two"}
    assert [x.name for x in index.absent] == ["new"]
    assert not second.warnings
    back(place, second)
    after = client.get(one)
    assert after
    assert after["data"] == {"a": "1"}
    assert client.get(new) is None


def interrupted(folder: str) -> Record:
    return Record(
        bundle="b", version="1", digest="", plan_digest="", state="running", step="apply", by="x@y", tool="0",
        started="2026-01-01T00:00:00Z", backup=folder,
    )  # fmt: skip


def test_an_interrupted_runs_backup_that_is_damaged_is_not_trusted(
    plane: ControlPlane, place: Workplace, namespace: str
) -> None:
    apply(plane, [{"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
                   "metadata": {"name": "one", "namespace": namespace}}])  # fmt: skip
    one = ref("ConfigMap", namespace, "one")
    first = saved(place, change_of("configured", one))
    (file,) = Path(first.folder).glob("objects/ConfigMap/*/one.yaml")
    file.write_text(file.read_text() + "# more\n")
    second = saved(place, change_of("configured", one), interrupted=interrupted(first.folder))
    assert any("a rollback leads to what is there now" in x for x in second.warnings)
    assert read_index(Path(second.folder)).continues == ""


def test_an_object_that_could_not_go_back_stops_the_upgrade_before_it_begins(
    plane: ControlPlane, client: ClusterClient, place: Workplace, namespace: str
) -> None:
    """A rule that came after the object: the server would not take it again as it is."""
    apply(plane, [deployment(namespace, "web", "registry.site/web:1", replicas=0)])
    web = ref("Deployment", namespace, "web", "apps/v1")
    hook: Json = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"deny-{namespace}"},
        "webhooks": [
            {
                "name": "deny.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://127.0.0.1:1/deny"}, "failurePolicy": "Fail",
                "timeoutSeconds": 1,
                "namespaceSelector": {"matchLabels": {"deny": namespace}},
                "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"],
                           "resources": ["deployments"]}],
            }
        ],
    }  # fmt: skip
    patch(plane, f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {"deny": namespace}}}, "tests")
    create(plane, [hook])
    try:
        with pytest.raises(Exception, match=r"deny\.example\.com"):
            saved(place, change_of("configured", web))
    finally:
        client.delete(ObjectRef("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "",
                                f"deny-{namespace}"))  # fmt: skip
    assert not list((place.state.root / "backups").rglob("index.json"))


def test_old_backups_go_but_never_the_one_that_is_needed(place: Workplace, namespace: str) -> None:
    job = place.job.model_copy(update={"choices": place.job.choices.model_copy(update={"keep_backups": 2})})
    change = change_of("created", ref("ConfigMap", namespace, "x"))
    first = saved(place, change)
    place.job = job
    second, third = saved(place, change), saved(place, change)
    fourth = saved(place, change, interrupted=interrupted(second.folder))
    assert third.dropped == (Path(first.folder).name,)
    assert fourth.dropped == ()
    assert not Path(first.folder).exists()
    assert [Path(x.folder).exists() for x in (second, third, fourth)] == [True, True, True]


def test_the_time_of_a_backup_is_in_its_name(place: Workplace, namespace: str) -> None:
    backup = saved(place, change_of("created", ref("ConfigMap", namespace, "x")))
    assert Path(backup.folder).name == "20260131T020000Z-by-hand"
