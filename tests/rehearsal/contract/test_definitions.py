"""CustomResourceDefinitions and the objects that they allow."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.rehearsal.contract.cluster import Cluster, Json, managers, said
from tests.servers.process import wait_until

PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_numbers = itertools.count()
SCHEMA: Json = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer"},
                "color": {"type": "string", "default": "red"},
                "mode": {"type": "string", "enum": ["a", "b"]},
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
LOOSE: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@dataclass
class Kind:
    api: httpx.Client
    group: str
    definition: Json
    path: str

    def object(self, name: str, **rest: Any) -> Json:
        return {"apiVersion": f"{self.group}/v1", "kind": "Widget", "metadata": {"name": name}, **rest}

    def patch(self, name: str, body: Any, kind: str = "application/merge-patch+json", **query: str) -> httpx.Response:
        return self.api.patch(
            f"{self.path}/{name}", content=json.dumps(body), params=query, headers={"Content-Type": kind}
        )


def define(cluster: Cluster, schema: Json, subresources: Json | None, scope: str) -> Iterator[Kind]:
    group = f"g{uuid.uuid4().hex[:8]}.example.com"
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    if subresources is not None:
        version["subresources"] = subresources
    body = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": scope, "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"]},
                 "versions": [version]},
    }  # fmt: skip
    with cluster.client() as api:
        made = api.post(PATH, json=body).raise_for_status().json()
        path = f"/apis/{group}/v1/widgets" if scope == "Cluster" else f"/apis/{group}/v1/namespaces/default/widgets"
        wait_until("the kind", lambda: api.get(path).is_success, every_seconds=0.05)
        kind = Kind(api, group, made, path)
        # A real server takes a while until writes are let through everywhere.
        wait_until(
            "the kind", lambda: api.post(path, json=kind.object("probe", spec={"size": 1})).status_code in (201, 409)
        )
        api.delete(f"{path}/probe")
        yield kind
        api.delete(f"{PATH}/widgets.{group}")


@pytest.fixture(scope="module")
def strict(cluster: Cluster) -> Iterator[Kind]:
    yield from define(cluster, SCHEMA, {"status": {}}, "Namespaced")


@pytest.fixture(scope="module")
def loose(cluster: Cluster) -> Iterator[Kind]:
    yield from define(cluster, LOOSE, None, "Cluster")


def test_a_definition_is_established(strict: Kind) -> None:
    assert strict.definition["spec"]["names"]["listKind"] == "WidgetList"
    assert strict.definition["spec"]["conversion"] == {"strategy": "None"}
    found = strict.api.get(f"{PATH}/widgets.{strict.group}").json()
    conditions = {x["type"]: (x["status"], x["reason"]) for x in found["status"]["conditions"]}
    assert conditions == {
        "NamesAccepted": ("True", "NoConflicts"), "Established": ("True", "InitialNamesAccepted"),
    }  # fmt: skip
    assert found["status"]["acceptedNames"]["singular"] == "widget"
    assert found["status"]["storedVersions"] == ["v1"]


def test_the_kind_is_discovered(strict: Kind) -> None:
    groups = strict.api.get("/apis").json()["groups"]
    assert strict.group in [x["name"] for x in groups]
    resources = strict.api.get(f"/apis/{strict.group}/v1").json()["resources"]
    assert [(x["name"], x["kind"], x["namespaced"]) for x in resources] == [
        ("widgets", "Widget", True), ("widgets/status", "Widget", True),
    ]  # fmt: skip
    assert (resources[0]["shortNames"], resources[0]["singularName"]) == (["wd"], "widget")


def test_objects_follow_their_schema(strict: Kind) -> None:
    made = strict.api.post(strict.path, json=strict.object("w", spec={"size": 1, "extra": 2}, status={"a": 1})).json()
    assert made["spec"] == {"size": 1, "color": "red"}
    assert "status" not in made
    assert made["metadata"]["generation"] == 1
    for spec, message in (
        ({"size": "x"}, 'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"'),
        ({"color": "x"}, "spec.size: Required value"),
        ({"size": 1, "mode": "c"}, 'spec.mode: Unsupported value: "c": supported values: "a", "b"'),
    ):
        code, reason, text = said(strict.api.post(strict.path, json=strict.object("bad", spec=spec)))
        assert (code, reason, text) == (422, "Invalid", f'Widget.{strict.group} "bad" is invalid: {message}')
    listed = strict.api.get(strict.path).json()
    assert (listed["kind"], listed["items"][0]["kind"]) == ("WidgetList", "Widget")


def test_the_status_of_a_custom_object_has_a_door(strict: Kind) -> None:
    strict.api.post(strict.path, json=strict.object("s", spec={"size": 1}))
    after = strict.patch("s/status", {"status": {"phase": "ok"}, "spec": {"size": 9}}).json()
    assert (after["status"], after["spec"]["size"], after["metadata"]["generation"]) == ({"phase": "ok"}, 1, 1)
    changed = strict.patch("s", {"spec": {"size": 2}, "status": {"phase": "no"}}).json()
    assert (changed["status"], changed["metadata"]["generation"]) == ({"phase": "ok"}, 2)
    labelled = strict.patch("s", {"metadata": {"labels": {"a": "b"}}}).json()
    assert labelled["metadata"]["generation"] == 2


def test_custom_objects_are_replaced_by_version_only(strict: Kind) -> None:
    made = strict.api.post(strict.path, json=strict.object("v", spec={"size": 1})).json()
    answer = strict.api.put(f"{strict.path}/v", json=strict.object("v", spec={"size": 3}))
    assert said(answer) == (
        422, "Invalid",
        f'widgets.{strict.group} "v" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for '
        "an update",
    )  # fmt: skip
    made["spec"]["size"] = 3
    assert strict.api.put(f"{strict.path}/v", json=made).json()["spec"]["size"] == 3


def test_custom_objects_are_applied_by_their_schema(strict: Kind) -> None:
    config = strict.object("a", spec={"size": 1, "mode": "a"})
    apply = "application/apply-patch+yaml"
    made = strict.patch("a", config, apply, fieldManager="one")
    assert made.status_code == 201
    assert managers(made.json())["one", "Apply"] == {"f:spec": {"f:mode": {}, "f:size": {}}}
    del config["spec"]["mode"]
    assert "mode" not in strict.patch("a", config, apply, fieldManager="one").json()["spec"]
    config["spec"]["size"] = 2
    answer = strict.patch("a", config, apply, fieldManager="two")
    assert said(answer)[2] == 'Apply failed with 1 conflict: conflict with "one": .spec.size'


def test_strategic_patches_are_for_built_in_kinds(strict: Kind) -> None:
    answer = strict.patch("w", {}, "application/strategic-merge-patch+json")
    assert said(answer)[:2] == (415, "UnsupportedMediaType")


def test_without_schema_everything_stays(loose: Kind) -> None:
    spec = {"a": {"b": [1, {"c": 2}]}, "e": "", "f": {}, "g": []}
    made = loose.api.post(loose.path, json=loose.object("w", spec=spec, status={"x": 1})).json()
    assert (made["spec"], made["status"]) == (spec, {"x": 1})
    assert managers(made)["contract", "Update"] == {
        "f:spec": {".": {}, "f:a": {".": {}, "f:b": {}}, "f:e": {}, "f:f": {}, "f:g": {}},
        "f:status": {".": {}, "f:x": {}},
    }
    changed = loose.patch("w", {"status": {"x": 2}}).json()
    assert changed["metadata"]["generation"] == 2


def test_without_schema_maps_merge_and_lists_do_not(loose: Kind) -> None:
    apply = "application/apply-patch+yaml"
    config = loose.object("m", spec={"a": {"b": [1], "d": 1}, "e": 1})
    made = loose.patch("m", config, apply, fieldManager="one").json()
    assert managers(made)["one", "Apply"] == {
        "f:spec": {".": {}, "f:a": {".": {}, "f:b": {}, "f:d": {}}, "f:e": {}},
    }
    config["spec"] = {"a": {"b": [2]}, "e": 1}
    after = loose.patch("m", config, apply, fieldManager="one").json()
    assert after["spec"] == {"a": {"b": [2]}, "e": 1}


def test_a_definition_takes_its_objects_along(cluster: Cluster) -> None:
    one = define(cluster, LOOSE, None, "Cluster")
    kind = next(one)
    kind.api.post(kind.path, json=kind.object("w", spec={}))
    answer = kind.api.delete(f"{PATH}/widgets.{kind.group}").json()
    assert answer["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    wait_until("the end", lambda: kind.api.get(f"{PATH}/widgets.{kind.group}").status_code == 404)
    wait_until("the end", lambda: kind.api.get(kind.path).status_code == 404)


def test_a_definition_is_named_after_what_it_defines(cluster: Cluster) -> None:
    body = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "wrong"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"kind": "Wrong", "plural": "wrongs"},
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": LOOSE}}]},
    }  # fmt: skip
    with cluster.client() as api:
        assert said(api.post(PATH, json=body))[2] == (
            'CustomResourceDefinition.apiextensions.k8s.io "wrong" is invalid: metadata.name: Invalid value: "wrong": '
            'must be spec.names.plural+"."+spec.group'
        )
