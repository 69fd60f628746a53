"""JSON, merge and strategic merge patches."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rehearsal.contract.cluster import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Json,
    Space,
    config_map,
    deployment,
    said,
)


def container(item: Json) -> Json:
    found: Json = item["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"env": [{"name": "C", "value": "3"}]}, ["C", "A", "B"]),
        ({"env": [{"name": "A", "$patch": "delete"}]}, ["B"]),
        ({"env": [{"$patch": "replace"}, {"name": "D", "value": "4"}]}, ["D"]),
        ({"$setElementOrder/env": [{"name": "B"}, {"name": "A"}]}, ["B", "A"]),
        ({"env": None}, []),
    ],
)
def test_strategic_patches_merge_lists_by_key(space: Space, patch: Json, expected: list[str]) -> None:
    space.post("deployments", deployment("web", replicas=0))
    body = {"spec": {"template": {"spec": {"containers": [{"name": "main", **patch}]}}}}
    answer = space.patch("deployments", "web", body, STRATEGIC_PATCH)
    assert sorted(x["name"] for x in container(answer.json()).get("env", [])) == sorted(expected)
    if "$setElementOrder/env" in patch:
        assert [x["name"] for x in container(answer.json())["env"]] == expected


def test_merge_patches_replace_lists(space: Space) -> None:
    space.post("deployments", deployment("web", replicas=0))
    body = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "new:v1"}]}}}}
    after = space.patch("deployments", "web", body, MERGE_PATCH).json()
    assert (container(after)["image"], container(after).get("env")) == ("new:v1", None)


def test_retained_keys_make_room_for_another_strategy(space: Space) -> None:
    space.post("deployments", deployment("web", replicas=0))
    body = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    after = space.patch("deployments", "web", body, STRATEGIC_PATCH).json()
    assert after["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/data/b", "value": "2"}], {"a": "1", "b": "2"}),
        ([{"op": "replace", "path": "/data/a", "value": "2"}], {"a": "2"}),
        ([{"op": "test", "path": "/data/a", "value": "1"}, {"op": "remove", "path": "/data/a"}], None),
        ([{"op": "copy", "from": "/data/a", "path": "/data/x~1y"}], 422),
        ([{"op": "move", "from": "/data/a", "path": "/data/b"}], {"b": "1"}),
        ([{"op": "test", "path": "/data/a", "value": "9"}], 422),
        ([{"op": "remove", "path": "/data/none"}], 422),
    ],
)
def test_json_patches(space: Space, operations: list[Json], expected: Any) -> None:
    space.post("configmaps", config_map("c"))
    answer = space.patch("configmaps", "c", operations, JSON_PATCH)
    if isinstance(expected, int):
        assert answer.status_code == expected
    else:
        assert answer.json().get("data") == expected


def test_a_failed_test_says_little(space: Space) -> None:
    space.post("configmaps", config_map("c"))
    answer = space.patch("configmaps", "c", [{"op": "test", "path": "/data/a", "value": "9"}], JSON_PATCH)
    assert said(answer) == (422, "Invalid", "the server rejected our request due to an error in our request")


def test_a_version_in_a_patch_must_be_the_newest(space: Space) -> None:
    made = space.post("configmaps", config_map("c")).json()
    version = made["metadata"]["resourceVersion"]
    patch = [{"op": "replace", "path": "/metadata/resourceVersion", "value": version},
             {"op": "add", "path": "/data/b", "value": "2"}]  # fmt: skip
    assert space.patch("configmaps", "c", patch, JSON_PATCH).is_success
    assert said(space.patch("configmaps", "c", patch, JSON_PATCH))[:2] == (409, "Conflict")


def test_a_patch_needs_something_to_patch(space: Space) -> None:
    assert said(space.patch("configmaps", "none", {})) == (404, "NotFound", 'configmaps "none" not found')
    assert space.patch("configmaps", "none", {}, "application/nonsense").status_code == 415
