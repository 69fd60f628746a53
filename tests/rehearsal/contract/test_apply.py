"""Server-side apply: whose fields they are, who may take them, and what goes when nobody wants it any more."""

from __future__ import annotations

import time

import pytest

from tests.rehearsal.contract.cluster import JSON_PATCH, Json, Space, config_map, deployment, managers, said, service


def applied(name: str = "web", image: str = "site/thing:v1", replicas: int = 0) -> Json:
    return deployment(name, image, replicas)


def test_applying_creates(space: Space) -> None:
    answer = space.apply("deployments", applied(), "one")
    assert answer.status_code == 201
    assert answer.json()["metadata"]["managedFields"][0].keys() == {
        "manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1",
    }  # fmt: skip
    assert managers(answer.json()) == {
        ("one", "Apply"): {
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {
                "f:replicas": {}, "f:selector": {},
                "f:template": {
                    "f:metadata": {"f:labels": {"f:app": {}}},
                    "f:spec": {
                        "f:containers": {
                            'k:{"name":"main"}': {
                                ".": {}, "f:image": {}, "f:name": {},
                                "f:env": {
                                    'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}},
                                    'k:{"name":"B"}': {".": {}, "f:name": {}, "f:value": {}},
                                },
                                "f:ports": {
                                    'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}
                                },
                            }
                        },
                        "f:terminationGracePeriodSeconds": {},
                    },
                },
            },
        }
    }  # fmt: skip


def test_applying_the_same_again_changes_nothing(space: Space) -> None:
    space.apply("configmaps", config_map("c"), "one")
    before = space.get("configmaps", "c").json()
    answer = space.apply("configmaps", config_map("c"), "one")
    assert answer.status_code == 200
    assert answer.json() == before


def test_what_is_applied_no_more_goes(space: Space) -> None:
    space.apply("deployments", applied(), "one")
    less = applied()
    del less["metadata"]["labels"]
    less["spec"]["template"]["spec"]["containers"][0]["env"].pop()
    del less["spec"]["template"]["spec"]["containers"][0]["ports"]
    after = space.apply("deployments", less, "one").json()
    container = after["spec"]["template"]["spec"]["containers"][0]
    assert "labels" not in after["metadata"]
    assert container["env"] == [{"name": "A", "value": "1"}]
    assert "ports" not in container


def test_a_whole_item_goes_with_its_defaults(space: Space) -> None:
    body = applied()
    body["spec"]["template"]["spec"]["containers"].append({"name": "second", "image": "other:v1"})
    space.apply("deployments", body, "one")
    after = space.apply("deployments", applied(), "one").json()
    assert [x["name"] for x in after["spec"]["template"]["spec"]["containers"]] == ["main"]


def test_what_others_set_stays(space: Space) -> None:
    space.apply("configmaps", config_map("c", {"a": "1", "b": "2"}), "one")
    space.apply("configmaps", config_map("c", {"b": "2", "c": "3"}), "two")
    after = space.apply("configmaps", config_map("c", {"a": "1"}), "one").json()
    assert after["data"] == {"a": "1", "b": "2", "c": "3"}
    assert managers(after) == {("one", "Apply"): {"f:data": {"f:a": {}}},
                               ("two", "Apply"): {"f:data": {"f:b": {}, "f:c": {}}}}  # fmt: skip


def test_another_value_is_a_conflict(space: Space) -> None:
    space.apply("configmaps", config_map("c", {"a": "1", "b": "2"}), "one")
    answer = space.apply("configmaps", config_map("c", {"a": "9"}), "two")
    assert said(answer) == (
        409, "Conflict", 'Apply failed with 1 conflict: conflict with "one": .data.a',
    )  # fmt: skip
    assert answer.json()["details"] == {
        "causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}]
    }
    more = space.apply("configmaps", config_map("c", {"a": "9", "b": "9"}), "two")
    assert said(more)[2] == 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'


def test_conflicts_with_updates_name_the_version(space: Space) -> None:
    space.post("deployments", applied(), fieldManager="kubectl-client-side-apply")
    answer = space.apply("deployments", applied(image="site/thing:v2"), "two")
    assert answer.json()["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-client-side-apply" using apps/v1',
            "field": '.spec.template.spec.containers[name="main"].image',
        }
    ]


def test_conflicts_with_several(space: Space) -> None:
    space.post("configmaps", config_map("c"))
    space.apply("configmaps", config_map("c"), "one")
    assert said(space.apply("configmaps", config_map("c", {"a": "9"}), "two"))[2] == (
        'Apply failed with 2 conflicts: conflicts with "contract" using v1:\n- .data.a\n'
        'conflicts with "one":\n- .data.a'
    )


def test_force_takes_the_fields(space: Space) -> None:
    space.apply("configmaps", config_map("c", {"a": "1", "b": "2"}), "one")
    after = space.apply("configmaps", config_map("c", {"a": "9"}), "two", force="true").json()
    assert after["data"] == {"a": "9", "b": "2"}
    assert managers(after) == {("one", "Apply"): {"f:data": {"f:b": {}}}, ("two", "Apply"): {"f:data": {"f:a": {}}}}


def test_the_same_value_is_owned_together(space: Space) -> None:
    space.apply("configmaps", config_map("c"), "one")
    after = space.apply("configmaps", config_map("c"), "two").json()
    assert set(managers(after)) == {("one", "Apply"), ("two", "Apply")}


def test_an_update_takes_over_without_asking(space: Space) -> None:
    space.apply("configmaps", config_map("c", {"a": "1", "b": "2"}), "one")
    after = space.patch("configmaps", "c", {"data": {"a": "7"}}, fieldManager="hand").json()
    assert managers(after) == {("one", "Apply"): {"f:data": {"f:b": {}}}, ("hand", "Update"): {"f:data": {"f:a": {}}}}


def test_a_dry_run_predicts_and_leaves_nothing(space: Space) -> None:
    assert space.apply("configmaps", config_map("c"), "one", dryRun="All").status_code == 201
    assert space.get("configmaps", "c").status_code == 404
    before = space.apply("deployments", applied(), "one").json()
    predicted = space.apply("deployments", applied(image="site/thing:v2"), "one", dryRun="All").json()
    assert predicted["metadata"]["generation"] == 2
    assert space.get("deployments", "web").json()["metadata"]["generation"] == before["metadata"]["generation"]


def test_applying_another_value_is_dated_anew_and_an_update_is_not(space: Space) -> None:
    applied = space.apply("configmaps", config_map("a"), "one").json()
    updated = space.post("configmaps", config_map("u"), fieldManager="one").json()
    time.sleep(1.1)  # times are whole seconds
    applied_again = space.apply("configmaps", config_map("a", {"a": "2"}), "one").json()
    updated_again = space.put("configmaps", config_map("u", {"a": "2"}), fieldManager="one").json()
    assert dated(applied_again) > dated(applied)
    assert dated(updated_again) == dated(updated)
    assert dated(space.apply("configmaps", config_map("a", {"a": "2"}), "one").json()) == dated(applied_again)


def dated(item: Json) -> str:
    (entry,) = item["metadata"]["managedFields"]
    return str(entry["time"])


def test_applying_goes_by_the_state_that_is_named(space: Space) -> None:
    made = space.apply("configmaps", config_map("c"), "one").json()["metadata"]
    named = {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}
    assert space.apply("configmaps", config_map("c", {"a": "2"}, **named), "one").is_success
    moved = said(space.apply("configmaps", config_map("c", {"a": "3"}, **named), "one", force="true"))
    assert moved[:2] == (409, "Conflict")
    assert "the object has been modified" in moved[2]
    space.delete("configmaps", "c")
    space.gone("configmaps", "c")
    assert said(space.apply("configmaps", config_map("c", **named), "one")) == (
        409, "Conflict",
        'Operation cannot be fulfilled on configmaps "c": uid mismatch: the provided object specified uid '
        f"{made['uid']}, and no existing object was found",
    )  # fmt: skip
    assert space.get("configmaps", "c").status_code == 404


def test_cleared_managers_become_before_first_apply(space: Space) -> None:
    space.post("configmaps", config_map("c", {"a": "1", "b": "2"}))
    clear = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    cleared = space.patch("configmaps", "c", clear, JSON_PATCH).json()
    assert "managedFields" not in cleared["metadata"]
    labelled = space.patch("configmaps", "c", {"metadata": {"labels": {"x": "y"}}}).json()
    assert "managedFields" not in labelled["metadata"]
    answer = space.apply("configmaps", config_map("c", {"a": "9"}), "one")
    assert answer.json()["details"]["causes"][0]["message"] == 'conflict with "before-first-apply" using v1'
    after = space.apply("configmaps", config_map("c", {"a": "9"}), "one", force="true").json()
    assert managers(after) == {
        ("before-first-apply", "Update"): {
            "f:data": {".": {}, "f:b": {}},
            "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
        },
        ("one", "Apply"): {"f:data": {"f:a": {}}},
    }


def test_managed_fields_can_be_written(space: Space) -> None:
    made = space.post("configmaps", config_map("c"), fieldManager="old").json()
    mine = {
        "manager": "new", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {}}},
    }  # fmt: skip
    patch = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": made["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/metadata/managedFields", "value": [mine]},
    ]
    after = space.patch("configmaps", "c", patch, JSON_PATCH).json()
    assert managers(after) == {("new", "Apply"): {"f:data": {"f:a": {}}}}
    assert space.apply("configmaps", config_map("c", {"a": "2"}), "new").json()["data"] == {"a": "2"}


@pytest.mark.parametrize(
    ("change", "query", "code", "reason", "message"),
    [
        ({}, {"fieldManager": ""}, 422, "Invalid",
         'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'),
        ({"spec": {"nonsense": 1}}, {}, 500, "",
         "failed to create typed patch object: .spec.nonsense: field not declared in schema"),
        ({"metadata": {"name": "other"}}, {}, 400, "BadRequest",
         "the name of the object (other) does not match the name on the URL (web)"),
    ],
)  # fmt: skip
def test_what_cannot_be_applied(
    space: Space, change: Json, query: dict[str, str], code: int, reason: str, message: str
) -> None:  # fmt: skip
    body = {**applied(), **change}
    answer = space.patch("deployments", "web", body, "application/apply-patch+yaml", **{"fieldManager": "one", **query})
    assert said(answer) == (code, reason, message)


def test_a_services_ports_need_their_protocol(space: Space) -> None:
    answer = space.apply("services", service("s"), "one")
    assert said(answer)[2] == (
        "failed to create typed patch object: .spec.ports: element 0: associative list with keys has an element that "
        'omits key field "protocol" (and doesn\'t have default value)'
    )
    made = space.apply("services", service("s", ports=[{"port": 80, "protocol": "TCP"}]), "one")
    assert made.status_code == 201
