"""Differences are a line per field, and never a secret."""

from typing import Any

import pytest

from compass.change.diff import MAX_VALUE, comparable, differences

SECRET = "hunter2-s3cr3t"


def thing(kind: str = "Thing", **rest: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, **rest}


def lines(before: dict[str, Any], after: dict[str, Any], kind: str = "Thing") -> list[str]:
    found = differences(thing(kind, **before), thing(kind, **after))
    assert SECRET not in "\n".join(found)
    return found


def in_container(**container: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "x", **container}]}}}}


def test_what_the_server_sets_is_no_difference() -> None:
    before = thing(status={"a": 1})
    before["metadata"] |= {"uid": "1", "resourceVersion": "1", "generation": 1, "managedFields": [], "selfLink": "x"}
    before["metadata"] |= {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x"}}
    assert differences(before, thing()) == []
    assert comparable(before) == thing()
    assert before["metadata"]["annotations"], "what was given is left alone"


def test_each_field_that_differs_has_a_line_in_the_order_of_the_object() -> None:
    assert lines({"b": 1, "a": {"x": True, "y": "same"}}, {"b": "1", "a": {"x": False, "y": "same"}, "c": None}) == [
        "b: 1 -> 1",
        "a.x: true -> false",
        "c: (none) -> null",
    ]
    assert lines({"a": {"b": {"c": 1}}}, {"a": {"b": {}}}) == ["a.b.c: 1 -> (none)"]
    assert lines({"a": [1]}, {"a": "x"}) == ["a: [1] -> x"]


def test_items_with_names_are_compared_by_name_and_others_by_place() -> None:
    before = {"l": [{"name": "a", "v": 1}, {"name": "b", "v": 2}], "m": [1, 2, 3]}
    after = {"l": [{"name": "c", "v": 3}, {"name": "b", "v": 2}, {"name": "a", "v": 9}], "m": [1, 3]}
    assert lines(before, after) == [
        "l[a].v: 1 -> 9",
        'l[c]: (none) -> {"name": "c", "v": 3}',
        'order of l: ["a", "b"] -> ["c", "b", "a"]',
        "m[1]: 2 -> 3",
        "m[2]: 3 -> (none)",
    ]
    twice = {"l": [{"name": "a", "v": 1}, {"name": "a", "v": 2}]}
    assert lines(twice, {"l": [{"name": "a", "v": 1}, {"name": "a", "v": 3}]}) == ["l[1].v: 2 -> 3"]


def test_a_long_value_is_cut_and_its_length_told() -> None:
    (line,) = lines({"a": "x"}, {"a": "y" * 1000})
    assert line == f"a: x -> {'y' * MAX_VALUE}… (1000 characters)"


@pytest.mark.parametrize("field", ["data", "stringData"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"k": SECRET}, {"k": "other"}),
        ({"k": "other"}, {"k": SECRET}),
        ({}, {"k": SECRET}),
        ({"k": SECRET}, {}),
        (None, {"k": SECRET}),
        ({"k": SECRET}, None),
    ],
)
def test_no_value_of_a_secret_is_shown_whichever_way_it_changes(field: str, before: Any, after: Any) -> None:
    old, new = ({field: x} if x is not None else {} for x in (before, after))
    found = lines(old, new, "Secret")
    assert found
    assert "***" in found[0]
    assert "k" in found[0], "which one is told"


def test_a_kind_that_becomes_a_secret_is_masked_too() -> None:
    found = differences(thing("Secret", data={"k": SECRET}), thing("ConfigMap", data={"k": SECRET + "x"}))
    assert SECRET not in "\n".join(found)


@pytest.mark.parametrize(
    "name",
    ["DB_PASSWORD", "MYSQL_ROOT_PASSWD", "API_TOKEN", "CLIENT_SECRET", "AWS_ACCESS_KEY_ID", "apiKey", "API-KEY",
     "PRIVATE_KEY", "registry-credentials"],
)  # fmt: skip
def test_an_env_var_whose_name_says_secret_is_masked(name: str) -> None:
    def env(*values: str) -> dict[str, Any]:
        return in_container(env=[{"name": "LEVEL", "value": "debug"}, *({"name": name, "value": x} for x in values)])

    assert lines(env(SECRET), env(SECRET + "2")) == [
        f"spec.template.spec.containers[app].env[{name}].value: *** -> ***"
    ]
    assert "***" in lines(env(), env(SECRET))[0]
    assert "***" in lines(env(SECRET), env())[0]
    (whole,) = lines(in_container(), env(SECRET))
    assert '"name": "LEVEL", "value": "debug"' in whole
    (container,) = lines({"spec": {}}, env(SECRET))
    assert "***" in container


@pytest.mark.parametrize(
    "field", ["password", "kubePassword", "bearerToken", "clientSecret", "privateKey", "apiKey", "credentials"]
)
@pytest.mark.parametrize("value", [SECRET, {"x": SECRET}, [SECRET], {"x": [{"y": SECRET}]}])
def test_a_field_whose_name_says_secret_is_masked_however_deep(field: str, value: Any) -> None:
    for before, after in (
        ({}, {field: value}),
        ({field: value}, {}),
        ({field: value}, {field: "other"}),
        ({}, {"a": {field: value}}),
    ):
        assert "***" in "\n".join(lines({"spec": before}, {"spec": after}))


@pytest.mark.parametrize(
    "text",
    [f"--password={SECRET}", f"--db-password={SECRET}", f"--api-token={SECRET}", f"password: {SECRET}",
     f'{{"password": "{SECRET}"}}', f"mysql://root:{SECRET}@db:3306/x", f"https://u:{SECRET}@a.b/",
     f"a=1\npassword = {SECRET}\nb=2", f"PASSWORD={SECRET}"],
)  # fmt: skip
def test_a_secret_inside_a_text_is_masked(text: str) -> None:
    for wrapped in ({"args": [text]}, {"data": {"app.conf": text}}, {"a": text}):
        assert "***" in lines({}, wrapped)[0]
        assert "***" in lines({k: type(v)() for k, v in wrapped.items()}, wrapped)[0]


def test_what_is_no_secret_is_shown() -> None:
    text = "https://a.b:5000/x?y=1 level=debug"
    assert lines({"a": ""}, {"a": text}) == [f"a:  -> {text}"]
    assert lines({"replicas": 1}, {"replicas": 2}) == ["replicas: 1 -> 2"]
