"""``bundle.yaml``: strict, and wrong places are named."""

from typing import Any

import pytest

from compass.bundle.definition import Definition, known_variables, parse_definition
from compass.documents import dump_yaml
from compass.errors import InvalidInput
from compass.names import ObjectRef
from tests.material.bundles import definition

DIGEST = "sha256:" + "0" * 64
IMAGE = {"name": "a.xyz/release/a:1", "digest": DIGEST}
SERVICE = {"apiVersion": "v1", "kind": "Service", "namespace": "a", "name": "b"}


def read(**changes: Any) -> Definition:
    return parse_definition(dump_yaml({**definition([]), **changes}), "bundle.yaml")


def component(**changes: Any) -> dict[str, Any]:
    return {"components": [{"name": "a", **changes}]}


def test_a_whole_definition_is_read() -> None:
    found = read(images=[IMAGE], protect=[SERVICE])
    assert found.metadata.from_versions == ">=2.7.0,<2.7.1"
    assert found.source_registry == "harbor.caicloud.xyz"
    assert found.components[0].drop_init_containers == ("check-master",)
    assert found.components[0].delete[0].ref == ObjectRef("v1", "Service", "kube-system", "am-minion")
    assert found.remove == {"default": ("old-console", "old-gateway"), "kube-system": ("old-exporter",)}
    assert found.protect[0].ref.identity == ("", "Service", "a", "b")
    assert known_variables(found) == {"addon_master_port": 6009}


def test_a_component_goes_to_both_roles_unless_it_says_so() -> None:
    both, one = {"name": "a"}, {"name": "b", "roles": ["control"]}
    found = read(components=[both, one])
    assert [x.name for x in found.for_role("control")] == ["a", "b"]
    assert [x.name for x in found.for_role("user")] == ["a"]


def test_a_definition_never_changes() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read().source_registry = "x"  # type: ignore[misc]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"colour": 1}, "colour: unknown key"),
    ({"metadata": {"name": "a", "to": "1", "form": "x"}}, "metadata.form: unknown key"),
    (component(role=["user"]), "components.0.role: unknown key"),
    (component(delete=[{**SERVICE, "uid": "x"}]), "components.0.delete.0.uid: unknown key"),
    ({"images": [{**IMAGE, "tag": "x"}]}, "images.0.tag: unknown key"),
    ({"variables": {"a": {"typ": "string"}}}, "variables.a.typ: unknown key"),
    ({"apiVersion": "compass.upgrade/v2"}, "apiVersion: input should be 'compass.upgrade/v1'"),
    ({"kind": "Bundle"}, "kind: input should be"),
    ({"metadata": {"name": "A b", "to": "1"}}, "metadata.name"),
    ({"metadata": {"name": "a"}}, "metadata.to: field required"),
    ({"metadata": {"name": "a", "to": 2.7}}, "metadata.to: input should be a valid string"),
    ({"metadata": {"name": "a", "to": "1", "from": "about 2"}}, "metadata.from"),
    (component(templates=["../x"]), "components.0.templates.0: '../x' leads out"),
    (component(templates=["/etc/x"]), "'/etc/x' leads out"),
    (component(templates=["a/../../x"]), "leads out"),
    (component(templates=[""]), "leads out"),
    (component(roles=["admin"]), "components.0.roles.0"),
    ({"checksums": "../x"}, "checksums: '../x' leads out"),
    ({"images": [{"name": "A//b", "digest": DIGEST}]}, "images.0.name"),
    ({"images": [{"name": "a", "digest": "sha256:1"}]}, "images.0.digest"),
    ({"images": [{**IMAGE, "size": -1}]}, "images.0.size"),
    ({"images": [IMAGE, IMAGE]}, "image 'a.xyz/release/a:1' given twice"),
    ({"components": [{"name": "a"}, {"name": "a"}]}, "component 'a' given twice"),
    (component(templates=["t", "t"]), "template 't' given twice"),
    ({"variables": {"a-b": {}}}, "variables.a-b"),
    ({"variables": {"a": {"type": "integer", "default": "1"}}}, "default '1' is no integer"),
    ({"variables": {"a": {"type": "integer", "default": True}}}, "is no integer"),
    ({"variables": {"a": {"type": "string", "default": 1}}}, "is no string"),
    ({"variables": {"a": {"type": "list"}}}, "variables.a.type"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_place_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(**changes)
    assert str(caught.value).startswith("read bundle.yaml: ")
    assert said.lower() in str(caught.value).lower()


@pytest.mark.parametrize("name", ["", "#", "a/b", "../../../v1/namespaces/x", "a?x=1", "a b", "A", "%2e", "*"])
def test_a_name_that_would_lead_elsewhere_on_the_api_server_is_refused(name: str) -> None:
    for changes in (
        {"remove": {"default": [name]}},
        {"remove": {name: ["a"]}},
        {"protect": [{**SERVICE, "name": name}]},
        component(delete=[{**SERVICE, "name": name}]),
    ):
        with pytest.raises(InvalidInput):
            read(**changes)
    if name:
        with pytest.raises(InvalidInput):
            read(protect=[{**SERVICE, "namespace": name}])


def test_names_of_roles_may_have_a_colon_and_cluster_wide_objects_no_namespace() -> None:
    found = read(protect=[{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": "system:a"}])
    assert found.protect[0].ref == ObjectRef("rbac.authorization.k8s.io/v1", "ClusterRole", "", "system:a")


@pytest.mark.parametrize("text", ["", "- a\n", "a", "kind: UpgradeBundle\nkind: x\n"])
def test_what_is_no_definition_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"read bundle\.yaml"):
        parse_definition(text, "bundle.yaml")


@pytest.mark.parametrize(
    ("kind", "value"),
    [("integer", 1), ("number", 1), ("number", 1.5), ("boolean", False), ("string", ""), ("string", "1")],
)
def test_a_default_keeps_its_type(kind: str, value: object) -> None:
    found = read(variables={"a": {"type": kind, "default": value}})
    assert known_variables(found) == {"a": value}
    assert type(known_variables(found)["a"]) is type(value)
