"""Rendered text becomes checked objects, in the order of apply, changed as the bundle asks."""

import copy
from typing import Any

import pytest

from compass.change.manifests import (
    Desired,
    apply_order,
    complete,
    container_images,
    drop_init_containers,
    move_images,
    parse_manifests,
    pod_spec,
    sort_for_apply,
)
from compass.documents import dump_yaml
from compass.errors import InvalidInput
from tests.material.clusters import deployment, service

NAMESPACED = {"Service", "Deployment", "Pod", "Thing"}


def read(*documents: Any) -> list[Desired]:
    return parse_manifests("---\n".join(dump_yaml(x) for x in documents), "comp", "t.j2")


def refused(*documents: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(*documents)
    return str(caught.value)


def is_namespaced(api_version: str, kind: str) -> bool:
    assert api_version
    return kind in NAMESPACED


def thing(kind: str = "Thing", name: str = "a", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "x.y/v1", "kind": kind, "metadata": {"name": name, **metadata}}


def with_init(*names: str) -> Desired:
    init = [{"name": x, "image": f"build.xyz/release/{x}:1"} for x in names]
    (item,) = read(deployment("a", "b", "build.xyz/release/b:1", initContainers=init))
    return item


def test_documents_become_objects_in_their_order() -> None:
    found = read(service("a", "one"), service("a", "two"), None)
    assert [str(x.ref) for x in found] == ["Service/a/one", "Service/a/two"]
    assert {(x.component, x.source) for x in found} == {("comp", "t.j2")}
    assert parse_manifests("# nothing\n---\n", "c", "t") == []


def test_lists_are_flattened_even_inside_lists() -> None:
    inner = {"apiVersion": "v1", "kind": "ServiceList", "items": [service("a", "two")]}
    outer = {"apiVersion": "v1", "kind": "List", "items": [service("a", "one"), inner]}
    assert [x.ref.name for x in read(outer, service("a", "three"))] == ["one", "two", "three"]
    assert [x.ref.kind for x in read(thing("AllowList"))] == ["AllowList"], "a kind may be called so"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("text", "document 2: a str, expected a Kubernetes object"),
        ([1], "document 2: a list"),
        ({"kind": "A", "metadata": {"name": "a"}}, "document 2: apiVersion is None, expected a text"),
        ({"apiVersion": "v1", "metadata": {"name": "a"}}, "kind is None"),
        ({"apiVersion": "v1", "kind": "A"}, "metadata.name is None"),
        ({"apiVersion": "v1", "kind": "A", "metadata": []}, "metadata.name is None"),
        ({"apiVersion": "v1", "kind": "A", "metadata": {"generateName": "a-"}}, "metadata.name is None"),
        ({"apiVersion": 1, "kind": "A", "metadata": {"name": "a"}}, "apiVersion is 1"),
        (thing(name=""), "metadata.name is ''"),
        (thing(name="A b"), "expected lower-case letters"),
        (thing(name="../a"), "expected lower-case letters"),
        (thing(namespace=1), "metadata.namespace is 1"),
        ({"apiVersion": "v1", "kind": "List", "items": {}}, "items that are no list"),
        ({"apiVersion": "v1", "kind": "List", "items": [1]}, "document 2: a int"),
    ],
)
def test_what_is_no_object_is_named_with_its_document(document: Any, said: str) -> None:
    text = refused(service("a", "b"), document)
    assert text.startswith("read template t.j2, document 2: ")
    assert said in text


def test_text_that_is_no_yaml_is_named_with_its_template() -> None:
    with pytest.raises(InvalidInput, match=r"read template t\.j2: line 2"):
        parse_manifests("a: [", "c", "t.j2")


def test_names_of_roles_may_have_a_colon() -> None:
    assert read(thing("ClusterRole", "system:a"))[0].ref.name == "system:a"


def test_an_object_gets_the_namespace_that_it_will_have() -> None:
    items = read(
        thing(name="a"), thing(name="b", namespace="n"), thing(name="c", namespace=""), thing("Role0", namespace="n")
    )
    before = copy.deepcopy(items)
    assert [x.ref.namespace for x in complete(items, is_namespaced)] == ["default", "n", "default", ""]
    assert items == before, "what was given is left alone"


def test_what_only_a_server_sets_is_dropped() -> None:
    set_by_server = {
        "uid": "x",
        "resourceVersion": "1",
        "generation": 3,
        "creationTimestamp": None,
        "managedFields": [],
    }
    (item,) = complete(read({**thing(labels={"a": "b"}, **set_by_server), "status": {"x": 1}}), is_namespaced)
    assert item.manifest == thing(labels={"a": "b"}, namespace="default")


def test_one_object_twice_is_refused_across_templates_and_versions() -> None:
    one = Desired("c", "one.j2", thing(namespace="default"))
    two = Desired("c", "two.j2", {**thing(), "apiVersion": "x.y/v2"})
    with pytest.raises(
        InvalidInput, match=r"read template two\.j2: Thing/default/a, also in one\.j2, expected each object once"
    ):
        complete([one, two], is_namespaced)
    assert len(complete([one, Desired("c", "two.j2", thing(namespace="other"))], is_namespaced)) == 2


def test_what_others_need_is_applied_first() -> None:
    kinds = ["Ingress", "Thing", "Deployment", "Secret", "CustomResourceDefinition", "Service", "Namespace",
             "ClusterRole", "ServiceAccount", "ValidatingWebhookConfiguration", "ConfigMap",
             "PersistentVolumeClaim"]  # fmt: skip
    items = [Desired("c", "t", thing(kind)) for kind in kinds]
    assert [x.ref.kind for x in sort_for_apply(items)] == [
        "Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "ConfigMap", "ClusterRole",
        "PersistentVolumeClaim", "Service", "Deployment", "Thing", "Ingress", "ValidatingWebhookConfiguration",
    ]  # fmt: skip


def test_within_a_kind_the_order_of_the_bundle_stays() -> None:
    items = [Desired("c", "t", thing("Service", x)) for x in "cab"]
    assert [x.ref.name for x in sort_for_apply(items)] == ["c", "a", "b"]
    assert apply_order(items[0].ref) == apply_order(items[1].ref)


def test_an_init_container_is_dropped_by_name_and_the_last_one_takes_the_key_along() -> None:
    item = with_init("check-master", "other")
    before = copy.deepcopy(item.manifest)
    kept = pod_spec(drop_init_containers(item, ["check-master"]).manifest)
    assert kept
    assert [x["name"] for x in kept["initContainers"]] == ["other"]
    none = pod_spec(drop_init_containers(item, ["check-master", "other"]).manifest)
    assert none is not None
    assert "initContainers" not in none
    assert [x["name"] for x in none["containers"]] == ["b"], "containers are never dropped"
    assert item.manifest == before
    assert drop_init_containers(item, ["none"]).manifest == before
    assert drop_init_containers(item, []) is item
    assert drop_init_containers(read(service("a", "b"))[0], ["x"]).manifest == service("a", "b")


def test_images_of_the_build_registry_are_taken_from_the_site_registry() -> None:
    item = with_init("init")
    moved = move_images(item, "build.xyz", "10.0.0.1:5000")
    assert container_images(moved.manifest, "w") == {
        "init": "10.0.0.1:5000/release/init:1",
        "b": "10.0.0.1:5000/release/b:1",
    }
    assert container_images(item.manifest, "w")["b"] == "build.xyz/release/b:1"
    for source in ("", "build.xy", "xyz", "other.xyz"):
        assert move_images(item, source, "r") is item


PLACES = {
    "Pod": lambda spec: {"spec": spec},
    "Deployment": lambda spec: {"spec": {"template": {"spec": spec}}},
    "DaemonSet": lambda spec: {"spec": {"template": {"spec": spec}}},
    "StatefulSet": lambda spec: {"spec": {"template": {"spec": spec}}},
    "ReplicaSet": lambda spec: {"spec": {"template": {"spec": spec}}},
    "Job": lambda spec: {"spec": {"template": {"spec": spec}}},
    "CronJob": lambda spec: {"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}},
}


@pytest.mark.parametrize("kind", PLACES)
def test_every_workload_has_its_pod_spec_in_its_place(kind: str) -> None:
    spec = {"containers": [{"name": "a", "image": "b.x/c:1"}]}
    item = Desired("c", "t", {**thing(kind), **PLACES[kind](spec)})
    assert pod_spec(item.manifest) == spec
    assert container_images(move_images(item, "b.x", "r.x").manifest, "w") == {"a": "r.x/c:1"}


@pytest.mark.parametrize(
    "spec", [None, {}, {"containers": None}, {"containers": 5}, {"initContainers": "x"}, {"containers": [1]}, []]
)
def test_a_workload_without_sound_containers_has_no_images(spec: object) -> None:
    manifest = {**thing("Deployment"), "spec": {"template": {"spec": spec}}}
    assert container_images(manifest, "w") == {}
    assert move_images(Desired("c", "t", manifest), "b.x", "r.x").manifest == manifest
    assert pod_spec(thing("ConfigMap")) is None


@pytest.mark.parametrize(
    "container", [{"name": "a"}, {"image": "b"}, {"name": "a", "image": ""}, {"name": 1, "image": "b"}]
)
def test_a_container_without_name_or_image_is_refused(container: dict[str, Any]) -> None:
    manifest = {**thing("Pod"), "spec": {"containers": [container]}}
    with pytest.raises(InvalidInput, match="read w: a container without name or image"):
        container_images(manifest, "w")


def test_an_image_name_that_is_wrong_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidInput, match=r"read w: .*'A//b'"):
        container_images({**thing("Pod"), "spec": {"containers": [{"name": "a", "image": "A//b"}]}}, "w")
