"""Merging by the server's schema: field by field, item by item, in the manifest's order, without what is no more."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from compass.change.merging import (
    Shape,
    has_leftovers,
    in_order,
    manifest_fields,
    merged,
    without_empty,
    without_removed,
)

Json = dict[str, Any]
TEXT = {"type": "string"}
DEFINITIONS: Json = {
    "Thing": {
        "type": "object",
        "x-kubernetes-group-version-kind": [{"group": "a.example", "version": "v1", "kind": "Thing"}],
        "properties": {
            "metadata": {"$ref": "#/definitions/Meta", "description": "beside a reference"},
            "spec": {"$ref": "#/definitions/Spec"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    },
    "Meta": {
        "properties": {
            "labels": {"type": "object", "additionalProperties": TEXT},
            "finalizers": {"type": "array", "items": TEXT, "x-kubernetes-patch-strategy": "merge"},
        },
    },
    "Spec": {
        "properties": {
            "items": {
                "type": "array", "items": {"$ref": "#/definitions/Item"},
                "x-kubernetes-patch-strategy": "merge,retainKeys", "x-kubernetes-patch-merge-key": "name",
            },
            "ports": {
                "type": "array", "items": {"properties": {"port": {}, "protocol": TEXT, "name": TEXT}},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "port",
            },
            "args": {"type": "array", "items": TEXT},
            "set": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
            "whole": {
                "type": "array", "items": TEXT, "x-kubernetes-list-type": "atomic",
                "x-kubernetes-patch-strategy": "merge",
            },
            "selector": {"$ref": "#/definitions/Selector"},
            "raw": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.runtime.RawExtension"},
            "choice": {"properties": {"one": {"$ref": "#/definitions/One"}, "two": {"properties": {"y": TEXT}}}},
            "number": {"type": "integer"},
        },
    },
    "Item": {"properties": {"name": TEXT, "value": TEXT, "from": {"properties": {"a": TEXT, "b": TEXT}}, "empty": {
        "properties": {"medium": TEXT}}}},
    "One": {"properties": {"x": TEXT, "default": TEXT}},
    "Selector": {"x-kubernetes-map-type": "atomic", "properties": {"match": {"additionalProperties": TEXT}}},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"type": "object", "properties": {"a": TEXT}},
}  # fmt: skip
SHAPE = Shape.of_kind(DEFINITIONS, "a.example/v1", "Thing")


def thing(meta: Json | None = None, **spec: Any) -> Json:
    known = {"apiVersion": "a.example/v1", "kind": "Thing", "metadata": {"name": "a", "namespace": "n", **(meta or {})}}
    return {**known, "spec": spec}


def entry(manager: str, fields: Json) -> Json:
    return {"manager": manager, "operation": "Update", "fieldsV1": fields}


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ({"number": 1}, {"number": 2}, {"number": 2}),
        ({"number": 1}, {"args": ["a"]}, {"number": 1, "args": ["a"]}),
        ({"args": ["a", "b"]}, {"args": ["c"]}, {"args": ["c"]}),
        ({"whole": ["a"]}, {"whole": ["b"]}, {"whole": ["b"]}),
        ({"set": ["a", "b"]}, {"set": ["c", "b"]}, {"set": ["c", "a", "b"]}),
        ({"selector": {"match": {"a": "1"}}}, {"selector": {"match": {"b": "1"}}}, {"selector": {"match": {"b": "1"}}}),
        ({"raw": {"a": "1"}}, {"raw": {"b": "1"}}, {"raw": {"b": "1"}}),
        ({"choice": {"one": {"x": "1"}}}, {"choice": None}, {"choice": {"one": {"x": "1"}}}),
        ({"set": ["a"]}, {"set": None}, {"set": ["a"]}),
        ({"number": 1}, {"number": None}, {"number": None}),
        (
            {"items": [{"name": "a", "value": "1"}]}, {"items": [{"name": "a", "from": {"a": "x"}}]},
            {"items": [{"name": "a", "value": "1", "from": {"a": "x"}}]},
        ),
        (
            {"ports": [{"port": 53, "protocol": "TCP", "name": "x"}]},
            {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "name": "y"}]},
            {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP", "name": "y"}]},
        ),
    ],
)  # fmt: skip
def test_values_merge_as_their_type_says(old: Json, new: Json, result: Json) -> None:
    before = copy.deepcopy((old, new))
    assert SHAPE.merge(thing(**old), thing(**new)) == thing(**result)
    assert (old, new) == before


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ("ab", "ba", "ba"),
        ("b", "ab", "ab"),
        ("xaybz", "ab", "xaybz"),
        ("xaybz", "ba", "xybaz"),
        ("xy", "a", "axy"),
        ("abc", "cdb", "acdb"),
        ("", "ab", "ab"),
        ("ab", "", "ab"),
    ],
)
def test_items_come_in_the_order_of_the_manifest_and_others_stay_before_what_they_preceded(
    old: str, new: str, result: str
) -> None:
    before, after = (thing(items=[{"name": x} for x in text]) for text in (old, new))
    assert "".join(x["name"] for x in SHAPE.merge(before, after)["spec"]["items"]) == result


def test_of_two_items_of_one_name_the_last_counts() -> None:
    old = thing(items=[{"name": "a", "value": "1"}, {"name": "b"}, {"name": "a", "value": "2"}])
    new = thing(items=[{"name": "b"}])
    assert SHAPE.merge(old, new)["spec"]["items"] == [{"name": "a", "value": "2"}, {"name": "b"}]


def test_a_kind_that_the_server_has_no_schema_for_merges_by_its_maps() -> None:
    shape = Shape.of_kind(DEFINITIONS, "a.example/v1", "Unknown")
    old, new = thing(a={"b": [1], "c": 1}), thing(a={"b": [2], "d": 1})
    assert shape.merge(old, new) == thing(a={"b": [2], "c": 1, "d": 1})
    below = SHAPE.merge({"free": {"a": {"b": 1}, "l": [1]}}, {"free": {"a": {"c": 2}, "l": [2]}})
    assert below == {"free": {"a": {"b": 1, "c": 2}, "l": [2]}}


def test_the_fields_of_a_manifest_are_named_as_the_server_names_them() -> None:
    manifest = thing(
        {"labels": {"l": "1"}, "finalizers": ["f"]},
        items=[{"name": "a", "from": {"a": "1"}}], ports=[{"port": 1}], args=["x"], selector={"match": {"a": "b"}},
        unknown={"a": 1}, number=1,
    )  # fmt: skip
    assert manifest_fields(SHAPE, manifest) == {
        "f:metadata": {"f:labels": {"f:l": {}}, "f:finalizers": {'v:"f"': {".": {}}}},
        "f:spec": {
            "f:items": {'k:{"name":"a"}': {".": {}, "f:name": {}, "f:from": {"f:a": {}}}},
            "f:ports": {'k:{"port":1,"protocol":"TCP"}': {".": {}, "f:port": {}}},
            "f:args": {}, "f:selector": {}, "f:number": {},
        },
    }  # fmt: skip


FORMER = {"f:spec": {"f:choice": {"f:one": {"f:x": {}}}, "f:number": {}}, "f:metadata": {"f:labels": {"f:l": {}}}}


def test_what_was_applied_and_is_no_more_wanted_is_a_leftover_as_long_as_it_is_there_and_nobody_elses() -> None:
    live, one = thing({"labels": {"l": "1"}}, choice={"one": {"x": "1"}}), ("f:spec", "f:choice", "f:one", "f:x")
    label = ("f:metadata", "f:labels", "f:l")
    assert has_leftovers(FORMER, live, thing(), set())
    assert has_leftovers(FORMER, live, thing(choice={"one": {"x": "2"}}), set())
    assert not has_leftovers(FORMER, live, thing(choice={"one": {"x": "2"}}), {label})
    assert not has_leftovers(FORMER, live, thing({"labels": {"l": "2"}}), {one})
    assert not has_leftovers(FORMER, thing(), thing(), set())


def test_a_choice_that_gave_way_goes_with_what_the_server_filled_in() -> None:
    live = thing(choice={"one": {"x": "1", "default": "d"}}, number=1)
    assert merged(SHAPE, live, thing(choice={"two": {"y": "1"}}, number=2), FORMER, set()) == thing(
        choice={"two": {"y": "1"}}, number=2
    )
    assert merged(SHAPE, live, thing(), FORMER, set())["spec"] == {}


def test_what_others_own_below_a_choice_stays() -> None:
    live = thing(choice={"one": {"x": "1", "default": "d"}})
    path = ("f:spec", "f:choice", "f:one", "f:default")
    others = {path[:x] for x in range(1, 5)}
    found = merged(SHAPE, live, thing(choice={"two": {"y": "1"}}), FORMER, others)
    assert found["spec"]["choice"] == {"one": {"default": "d"}, "two": {"y": "1"}}


def test_of_a_map_only_the_keys_go_that_were_applied() -> None:
    live = thing({"labels": {"l": "1", "by-hand": "1"}})
    assert merged(SHAPE, live, thing(), FORMER, set())["metadata"]["labels"] == {"by-hand": "1"}


def test_of_what_has_no_schema_nothing_goes_that_was_not_applied() -> None:
    live = thing({"labels": {"by-hand": "1"}}, a={"b": "1", "by-hand": "2"}, e={}, f="1")
    former = {"f:spec": {"f:a": {"f:b": {}}, "f:e": {}, "f:f": {}}}
    for shape in (Shape.of_kind(DEFINITIONS, "a.example/v1", "Unknown"), Shape({"type": "object"}, {})):
        found = merged(shape, live, thing(g="1"), former, set())
        assert found["spec"] == {"a": {"by-hand": "2"}, "g": "1"}
        assert found["metadata"] == live["metadata"]


def test_a_whole_item_goes_with_what_others_did_not_own_in_it() -> None:
    former = {
        "f:spec": {"f:items": {'k:{"name":"a"}': {".": {}, "f:name": {}}, 'k:{"name":"b"}': {".": {}, "f:name": {}}}}
    }
    live = thing(items=[{"name": "a", "value": "default"}, {"name": "b"}, {"name": "c"}])
    found = merged(SHAPE, live, thing(items=[{"name": "b"}]), former, set())
    assert found["spec"]["items"] == [{"name": "b"}, {"name": "c"}]


def test_an_empty_choice_goes_although_nobody_is_recorded_as_its_owner() -> None:
    live = thing(items=[{"name": "a", "empty": {}}, {"name": "c", "empty": {}}], choice={"two": {}})
    manifest = thing(items=[{"name": "a", "from": {"a": "1"}}])
    content = merged(SHAPE, live, manifest, {}, set())
    found = without_empty(SHAPE, content, manifest, set())["spec"]
    assert found["items"] == [{"name": "a", "from": {"a": "1"}}, {"name": "c", "empty": {}}]
    assert found["choice"] == {"two": {}}, "the manifest says nothing of it"
    theirs = ("f:spec", "f:items", 'k:{"name":"a"}', "f:empty")
    kept = without_empty(SHAPE, content, manifest, {theirs})["spec"]["items"][0]
    assert kept == {"name": "a", "empty": {}, "from": {"a": "1"}}


def test_an_answer_that_shows_what_nobody_owns_any_more_is_put_right() -> None:
    content = thing(number=2)
    answer = thing({"managedFields": [entry("us", {"f:spec": {"f:number": {}}})]}, number=2, choice={"one": {"x": "1"}})
    assert without_removed(answer, content, FORMER)["spec"] == {"number": 2}
    filled_in = [entry("us", {"f:spec": {"f:choice": {"f:one": {"f:x": {}}}}})]
    answer["metadata"]["managedFields"] = filled_in
    assert without_removed(answer, content, FORMER)["spec"]["choice"] == {"one": {"x": "1"}}


@pytest.mark.parametrize(
    ("manifest", "value", "right"),
    [("ab", "ab", True), ("ab", "ba", False), ("ab", "xaybz", True), ("b", "ab", True), ("", "ab", True)],
)
def test_the_order_is_right_when_the_manifests_items_follow_each_other_as_in_it(
    manifest: str, value: str, right: bool
) -> None:
    wanted, given = (thing(items=[{"name": x} for x in text]) for text in (manifest, value))
    fields = {"f:spec": {"f:items": {f'k:{{"name":"{x}"}}': {".": {}, "f:name": {}} for x in manifest}}}
    assert in_order(fields, wanted, given) is right
    inside = {"f:spec": {"f:items": {'k:{"name":"a"}': fields["f:spec"]}}}
    nested = [thing(items=[{"name": "a", "items": x["spec"]["items"]}]) for x in (wanted, given)]
    assert in_order(inside, *nested) is right
