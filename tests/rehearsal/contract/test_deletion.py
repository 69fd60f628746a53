"""Deletion: conditions, finalizers, what is owned, namespaces."""

from __future__ import annotations

from typing import Any

from tests.rehearsal.contract.cluster import Json, Space, config_map, deployment, said
from tests.servers.process import wait_until


def test_deleting_answers_with_success(space: Space) -> None:
    made = space.post("configmaps", config_map("c")).json()
    answer = space.delete("configmaps", "c")
    assert answer.json() == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": "c", "kind": "configmaps", "uid": made["metadata"]["uid"]},
    }  # fmt: skip
    assert said(space.delete("configmaps", "c")) == (404, "NotFound", 'configmaps "c" not found')


def test_only_the_one_that_was_meant(space: Space) -> None:
    made = space.post("configmaps", config_map("c")).json()
    uid = made["metadata"]["uid"]
    answer = space.delete("configmaps", "c", preconditions={"uid": "other"})
    assert said(answer) == (
        409, "Conflict",
        f'Operation cannot be fulfilled on ConfigMap "c": the UID in the precondition (other) does not match the UID '
        f"in record ({uid}). The object might have been deleted and then recreated",
    )  # fmt: skip
    old = space.delete("configmaps", "c", preconditions={"resourceVersion": "1"})
    assert said(old)[:2] == (409, "Conflict")
    assert space.delete("configmaps", "c", preconditions={"uid": uid}).is_success


def test_finalizers_hold(space: Space) -> None:
    space.post("configmaps", config_map("c", finalizers=["example.com/one", "example.com/two"]))
    answer = space.delete("configmaps", "c").json()
    assert (answer["kind"], answer["metadata"]["deletionGracePeriodSeconds"]) == ("ConfigMap", 0)
    assert "deletionTimestamp" in answer["metadata"]
    held = space.patch("configmaps", "c", {"metadata": {"finalizers": ["example.com/one", "example.com/three"]}})
    assert said(held)[2].startswith(
        'ConfigMap "c" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is '
        'being deleted, found new finalizers []string{"example.com/three"}'
    )
    assert space.patch("configmaps", "c", {"metadata": {"finalizers": ["example.com/one"]}}).is_success
    assert space.get("configmaps", "c").is_success
    assert space.patch("configmaps", "c", {"metadata": {"finalizers": None}}).is_success
    assert space.get("configmaps", "c").status_code == 404


def owned(space: Space, name: str, owner: Json, **more: Any) -> Json:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
                 "uid": owner["metadata"]["uid"], **more}  # fmt: skip
    return dict(space.post("configmaps", config_map(name, ownerReferences=[reference])).json())


def test_what_is_owned_goes_too(space: Space) -> None:
    owner = space.post("configmaps", config_map("owner")).json()
    owned(space, "child", owner)
    space.delete("configmaps", "owner", propagationPolicy="Background")
    space.gone("configmaps", "child")


def test_foreground_waits_for_what_is_owned(space: Space) -> None:
    owner = space.post("configmaps", config_map("owner")).json()
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"],
                 "blockOwnerDeletion": True}  # fmt: skip
    space.post("configmaps", config_map("child", ownerReferences=[reference], finalizers=["example.com/hold"]))
    answer = space.delete("configmaps", "owner", propagationPolicy="Foreground").json()
    assert answer["metadata"]["finalizers"] == ["foregroundDeletion"]
    space.ready("configmaps", "child", lambda x: "deletionTimestamp" in x["metadata"])
    assert space.get("configmaps", "owner").is_success
    space.patch("configmaps", "child", {"metadata": {"finalizers": None}})
    space.gone("configmaps", "owner")


def test_orphans_stay(space: Space) -> None:
    owner = space.post("configmaps", config_map("owner")).json()
    owned(space, "child", owner)
    space.delete("configmaps", "owner", propagationPolicy="Orphan")
    space.gone("configmaps", "owner")
    assert "ownerReferences" not in space.get("configmaps", "child").json()["metadata"]


def test_deleting_a_deployment_takes_its_pods(space: Space) -> None:
    space.post("deployments", deployment("web"))
    wait_until("a pod", lambda: space.items("pods"), every_seconds=0.05)
    space.delete("deployments", "web", propagationPolicy="Background")
    wait_until("nothing left", lambda: not space.items("pods") and not space.items("replicasets"), every_seconds=0.05)


def test_many_at_once(space: Space) -> None:
    for n in range(3):
        space.post("configmaps", config_map(f"c{n}", labels={"odd": str(n % 2)}))
    answer = space.api.delete(space.path("configmaps"), params={"labelSelector": "odd=0"})
    assert [x["metadata"]["name"] for x in answer.json()["items"]] == ["c0", "c2"]
    assert [x["metadata"]["name"] for x in space.items("configmaps")] == ["c1", "kube-root-ca.crt"]


def test_a_namespace_empties_before_it_goes(space: Space) -> None:
    space.post("configmaps", config_map("c", finalizers=["example.com/hold"]))
    path = f"/api/v1/namespaces/{space.namespace}"
    answer = space.api.delete(path).json()
    assert (answer["kind"], answer["status"]["phase"]) == ("Namespace", "Terminating")
    late = space.post("configmaps", config_map("late"))
    assert said(late) == (
        403, "Forbidden",
        f'configmaps "late" is forbidden: unable to create new content in namespace {space.namespace} because it is '
        "being terminated",
    )  # fmt: skip
    assert late.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    space.ready("configmaps", "c", lambda x: "deletionTimestamp" in x["metadata"])
    assert space.api.get(path).is_success
    space.patch("configmaps", "c", {"metadata": {"finalizers": None}})
    wait_until("no namespace", lambda: space.api.get(path).status_code == 404)


def test_some_namespaces_stay(space: Space) -> None:
    answer = space.api.delete("/api/v1/namespaces/kube-system")
    assert said(answer) == (
        403,
        "Forbidden",
        'namespaces "kube-system" is forbidden: this namespace may not be deleted',
    )
