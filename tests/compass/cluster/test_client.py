"""The door to a cluster, against a real API server: what it returns, and which family each refusal is."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace
from threading import Timer
from typing import Any

import pytest

from compass.cluster.client import ClusterClient, Conflict
from compass.errors import InvalidInput, Refused, StepFailed, Transient
from compass.names import ObjectRef
from compass.site.access import Access, read_access
from tests.conftest import MakeControlPlane
from tests.material.clusters import create, deployment, get, listed
from tests.servers.certificates import Authority
from tests.servers.control_plane import ControlPlane

pytestmark = pytest.mark.servers


def config_map(namespace: str, name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def ref(namespace: str, name: str) -> ObjectRef:
    return ObjectRef("v1", "ConfigMap", namespace, name)


@pytest.fixture
def access(plane: ControlPlane) -> Access:
    return read_access(plane.kubeconfig())


def test_an_object_is_read_as_the_server_has_it_and_an_absent_one_is_none(
    plane: ControlPlane, client: ClusterClient, namespace: str
) -> None:
    create(plane, [config_map(namespace, "there", a="1")])
    assert client.get(ref(namespace, "there")) == get(plane, "v1", "ConfigMap", namespace, "there")
    assert client.get(ref(namespace, "not-there")) is None


@pytest.mark.parametrize("page", [1, 2, 7, 8])
def test_a_list_is_whole_however_many_come_at_a_time(
    plane: ControlPlane, client: ClusterClient, namespace: str, page: int
) -> None:
    create(plane, [config_map(namespace, f"item-{n}", n=str(n)) for n in range(7)])
    found = client.list_all("v1", "ConfigMap", namespace, page=page, fields="metadata.name!=kube-root-ca.crt")
    expected = [x for x in listed(plane, "v1", "ConfigMap", namespace) if x["metadata"]["name"].startswith("item-")]
    assert [{k: v for k, v in x.items() if k not in ("apiVersion", "kind")} for x in found] == expected
    assert {(x["apiVersion"], x["kind"]) for x in found} == {("v1", "ConfigMap")}


def test_a_list_may_be_narrowed_by_labels(plane: ControlPlane, client: ClusterClient, namespace: str) -> None:
    create(plane, [deployment(namespace, name, "image", replicas=0) for name in ("one", "two")])
    found = client.list_all("apps/v1", "Deployment", namespace, labels="app=two")
    assert [x["metadata"]["name"] for x in found] == ["two"]


def test_a_dry_run_changes_nothing_and_tells_what_would_be(
    plane: ControlPlane, client: ClusterClient, namespace: str
) -> None:
    client.apply(config_map(namespace, "kept", a="1"))
    before = get(plane, "v1", "ConfigMap", namespace, "kept")
    assert client.apply(config_map(namespace, "kept", a="2"), dry_run=True)["data"] == {"a": "2"}
    assert client.apply(config_map(namespace, "new", a="2"), dry_run=True)["data"] == {"a": "2"}
    assert get(plane, "v1", "ConfigMap", namespace, "kept") == before
    assert get(plane, "v1", "ConfigMap", namespace, "new") is None


def test_applying_twice_changes_nothing(plane: ControlPlane, client: ClusterClient, namespace: str) -> None:
    first = client.apply(config_map(namespace, "kept", a="1"))
    assert client.apply(config_map(namespace, "kept", a="1")) == first


def test_a_conflict_names_every_field_and_who_owns_it(
    plane: ControlPlane, client: ClusterClient, namespace: str
) -> None:
    create(plane, [config_map(namespace, "owned", a="1", b="1", c="1")], field_manager="somebody")
    with pytest.raises(Conflict) as caught:
        client.apply(config_map(namespace, "owned", a="2", b="2", c="1"))
    assert sorted(caught.value.causes) == [("somebody", ".data.a"), ("somebody", ".data.b")]
    assert "field .data.a is owned by 'somebody' (and 1 more)" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.causes) == (str(caught.value), caught.value.causes)
    assert client.apply(config_map(namespace, "owned", a="2", b="2"), force=True)["data"]["a"] == "2"


def test_a_field_that_the_schema_does_not_have_is_wrong_input_and_not_asked_again(
    client: ClusterClient, namespace: str
) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidInput, match=r"\.dato: field not declared in schema"):
        client.apply({**config_map(namespace, "odd"), "dato": {}}, dry_run=True)
    assert time.monotonic() - began < 2


def test_a_value_that_validation_refuses_is_a_failed_step(client: ClusterClient, namespace: str) -> None:
    with pytest.raises(StepFailed, match=r"spec\.replicas: Invalid value: -1"):
        client.apply(deployment(namespace, "odd", "image", replicas=-1), dry_run=True)


def test_creating_what_is_there_is_a_failed_step(client: ClusterClient, namespace: str) -> None:
    client.create(config_map(namespace, "once"))
    with pytest.raises(StepFailed, match="already exists"):
        client.create(config_map(namespace, "once"))


def test_a_json_patch_is_applied_and_may_be_tried_first(
    plane: ControlPlane, client: ClusterClient, namespace: str
) -> None:
    client.create(config_map(namespace, "patched", a="1", b="1"))
    operations = [{"op": "remove", "path": "/data/b"}, {"op": "replace", "path": "/data/a", "value": "2"}]
    assert client.patch_json(ref(namespace, "patched"), operations, dry_run=True)["data"] == {"a": "2"}
    assert (get(plane, "v1", "ConfigMap", namespace, "patched") or {})["data"] == {"a": "1", "b": "1"}
    assert client.patch_json(ref(namespace, "patched"), operations)["data"] == {"a": "2"}
    with pytest.raises(StepFailed):
        client.patch_json(ref(namespace, "patched"), operations)


def test_deleting_says_whether_it_was_there(client: ClusterClient, namespace: str) -> None:
    uid = client.create(config_map(namespace, "doomed"))["metadata"]["uid"]
    assert client.delete(ref(namespace, "doomed"), dry_run=True)
    assert client.get(ref(namespace, "doomed"))
    assert client.delete(ref(namespace, "doomed"), uid=uid)
    assert client.get(ref(namespace, "doomed")) is None
    assert not client.delete(ref(namespace, "doomed"), uid=uid)


def test_another_object_of_the_same_name_is_not_deleted(client: ClusterClient, namespace: str) -> None:
    old = client.create(config_map(namespace, "twice"))["metadata"]["uid"]
    client.delete(ref(namespace, "twice"))
    new = client.create(config_map(namespace, "twice"))["metadata"]["uid"]
    assert not client.delete(ref(namespace, "twice"), uid=old)
    kept = client.get(ref(namespace, "twice"))
    assert kept
    assert kept["metadata"]["uid"] == new


def test_what_the_server_serves_is_known(client: ClusterClient) -> None:
    assert client.serves("apps/v1", "Deployment")
    assert not client.serves("apps/v1beta1", "Deployment")
    assert not client.serves("nowhere.example/v1", "Thing")
    assert client.is_namespaced("apps/v1", "Deployment")
    assert not client.is_namespaced("v1", "Namespace")
    assert client.plural("networking.k8s.io/v1", "Ingress") == "ingresses"
    assert client.version().startswith("v1.")


def test_a_kind_that_is_not_served_is_wrong_input(client: ClusterClient, namespace: str) -> None:
    with pytest.raises(InvalidInput, match=r"does not serve apps/v1beta1 Deployment"):
        client.get(ObjectRef("apps/v1beta1", "Deployment", namespace, "any"))


def test_a_kind_that_comes_while_the_door_is_open_is_found(
    plane: ControlPlane, client: ClusterClient, namespace: str
) -> None:
    with plane.client() as api:
        definition = api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/releases.release.caicloud.io")
    group = f"{namespace}.example"
    manifest = definition.json() | {"metadata": {"name": f"things.{group}"}}
    manifest["spec"] |= {"group": group, "names": {"kind": "Thing", "plural": "things"}}
    manifest.pop("status")
    assert not client.serves(f"{group}/v1alpha1", "Thing")
    create(plane, [manifest])
    end = time.monotonic() + 20
    while not client.serves(f"{group}/v1alpha1", "Thing"):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_token_that_nobody_knows_is_refused(plane: ControlPlane) -> None:
    with ClusterClient(read_access(plane.kubeconfig(token="unknown-to-all")), patience_seconds=30) as stranger:
        began = time.monotonic()
        with pytest.raises(Refused, match="does not accept the credentials") as caught:
            stranger.list_all("v1", "ConfigMap")
    assert time.monotonic() - began < 5
    assert "unknown-to-all" not in str(caught.value)


def test_somebody_without_rights_is_refused_in_the_servers_words(plane: ControlPlane, namespace: str) -> None:
    with ClusterClient(read_access(plane.kubeconfig(token=plane.reader_token)), patience_seconds=30) as reader:
        with pytest.raises(Refused, match='User "reader" cannot list resource "configmaps"'):
            reader.list_all("v1", "ConfigMap", namespace)
        with pytest.raises(Refused, match='cannot patch resource "configmaps"'):
            reader.apply(config_map(namespace, "any"))


def test_a_client_certificate_is_as_good_as_a_token(plane: ControlPlane) -> None:
    with ClusterClient(read_access(plane.kubeconfig(auth="certificate")), patience_seconds=5) as door:
        assert door.get(ObjectRef("v1", "Namespace", "", "default"))


def test_a_certificate_of_another_authority_is_wrong_input_and_not_asked_again(access: Access) -> None:
    began = time.monotonic()
    for wrong in (Authority("another").cert_pem, b""):
        with (
            ClusterClient(replace(access, ca_pem=wrong), patience_seconds=30) as door,
            pytest.raises(InvalidInput, match="is not signed by the CA of the kubeconfig"),
        ):
            door.version()
    assert time.monotonic() - began < 5


def test_a_server_that_is_not_checked_is_spoken_to(access: Access) -> None:
    with ClusterClient(replace(access, ca_pem=b"", skip_tls_verify=True), patience_seconds=5) as door:
        assert door.version().startswith("v1.")


def test_a_certificate_that_is_no_certificate_is_wrong_input(access: Access) -> None:
    with pytest.raises(InvalidInput, match="read certificates of kubeconfig"):
        ClusterClient(replace(access, ca_pem=b"no certificate"))


def test_a_server_that_is_away_is_asked_again_for_as_long_as_patience_lasts(
    make_control_plane: MakeControlPlane,
) -> None:
    with make_control_plane(controllers=False) as away:
        access = read_access(away.kubeconfig())
        with ClusterClient(access, patience_seconds=2) as hasty, ClusterClient(access, patience_seconds=60) as patient:
            assert hasty.version() == patient.version()
            away.stop_api()
            began = time.monotonic()
            with pytest.raises(Transient, match="does not answer"):
                hasty.get(ObjectRef("v1", "Namespace", "", "default"))
            assert 1 < time.monotonic() - began < 10
            back = Timer(1, away.start_api)
            back.start()
            assert patient.get(ObjectRef("v1", "Namespace", "", "default"))
            back.join()
            away.suspend()
            Timer(2, away.resume).start()
            began = time.monotonic()
            assert patient.get(ObjectRef("v1", "Namespace", "", "default"))
            assert time.monotonic() - began > 1.5
