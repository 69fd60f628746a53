"""What earlier tools applied is taken over; what others own is left alone."""

import copy
import json
from typing import Any

import pytest

from compass.change.ownership import (
    LAST_APPLIED,
    applied_fields,
    field_paths,
    last_applied,
    replacing,
    taken_over,
    without_leftovers,
)

US = "compass-upgrade"
PORT = 'k:{"port":80,"protocol":"TCP"}'
FIELDS: dict[str, Any] = {
    "f:metadata": {"f:labels": {".": {}, "f:old": {}}},
    "f:spec": {"f:type": {}, "f:ports": {PORT: {".": {}, "f:port": {}, "f:name": {}}}},
}


def entry(manager: str, operation: str = "Update", fields: Any = None, **more: Any) -> dict[str, Any]:
    known = {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1"}
    return {**known, "fieldsV1": FIELDS if fields is None else fields, **more}


def live(*entries: dict[str, Any], applied: Any = None, **spec: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": "a",
        "namespace": "n",
        "uid": "u",
        "resourceVersion": "5",
        "labels": {"old": "1"},
    }
    if applied is not None:
        metadata["annotations"] = {LAST_APPLIED: applied if isinstance(applied, str) else json.dumps(applied)}
    metadata["managedFields"] = list(entries)
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec or {"type": "ClusterIP"}}


MANIFEST = {
    "apiVersion": "v1beta1",
    "kind": "Service",
    "metadata": {"name": "x", "labels": {"old": "1"}},
    "spec": {"type": "NodePort"},
}


def test_what_kubectl_applied_last_is_known_until_it_is_ours() -> None:
    found = last_applied(live(entry("kubectl-client-side-apply"), applied=MANIFEST))
    assert found == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "namespace": "n", "labels": {"old": "1"}},
        "spec": {"type": "NodePort"},
    }
    assert last_applied(live(applied=MANIFEST)) == found, "old objects have no managedFields"
    assert last_applied(live(entry(US, "Apply"), applied=MANIFEST)) is None
    assert last_applied(live(entry("kubectl", subresource="status"), applied=MANIFEST)) is None


@pytest.mark.parametrize("applied", [None, "", "{", "[]", "null", '{"metadata": 1}', "{}"])
def test_a_note_that_cannot_be_read_tells_nothing(applied: Any) -> None:
    assert last_applied(live(entry("kubectl"), applied=applied)) is None


def test_a_managers_own_fields_are_found() -> None:
    item = live(entry(US, "Update"), entry("other", "Apply"), entry(US, "Apply", {"f:spec": {}}))
    assert applied_fields(item, US) == {"f:spec": {}}
    assert applied_fields(item, "nobody") == {}
    assert applied_fields({"metadata": {}}, US) == {}


def test_earlier_tools_own_nothing_after_the_take_over_and_others_keep_theirs() -> None:
    controller, scaler = (
        entry("kube-controller-manager", fields={"f:status": {}}),
        entry("hpa", fields={"f:spec": {"f:x": {}}}),
    )
    status = entry("kubectl", subresource="status", fields={"f:status": {}})
    item = live(entry("kubectl-client-side-apply"), controller, entry("kubectl-edit"), scaler, status,
                entry(US, "Apply", {"f:spec": {"f:own": {}}}))  # fmt: skip
    before = copy.deepcopy(item)
    found = taken_over(item, US, FIELDS)
    assert [x["manager"] for x in found] == [US, "kube-controller-manager", "hpa", "kubectl"]
    assert found[0]["operation"] == "Apply"
    assert found[0]["fieldsV1"] == {**FIELDS, "f:spec": {**FIELDS["f:spec"], "f:own": {}}}
    assert found[1:] == [controller, scaler, status]
    assert item == before


def test_the_paths_of_a_set_of_fields_are_its_leaves() -> None:
    assert set(field_paths(FIELDS)) == {
        ("f:metadata", "f:labels"),
        ("f:metadata", "f:labels", "f:old"),
        ("f:spec", "f:type"),
        ("f:spec", "f:ports", PORT),
        ("f:spec", "f:ports", PORT, "f:port"),
        ("f:spec", "f:ports", PORT, "f:name"),
    }


def dry_run(*entries: dict[str, Any]) -> dict[str, Any]:
    ports = [{"port": 80, "name": "web"}, {"port": 90, "protocol": "TCP", "name": "new"}]
    return live(*entries, type="NodePort", ports=ports, clusterIP="10.0.0.9")


def test_leftovers_of_an_earlier_tool_go_and_defaults_stay() -> None:
    ours = {"f:spec": {"f:ports": {'k:{"port":90,"protocol":"TCP"}': {".": {}, "f:port": {}}}}}
    given = dry_run(entry("kubectl"), entry(US, "Apply", ours))
    before = copy.deepcopy(given)
    found = without_leftovers(given, FIELDS)
    assert found["spec"] == {"ports": [{"port": 90, "protocol": "TCP", "name": "new"}], "clusterIP": "10.0.0.9"}
    assert "old" not in (found["metadata"].get("labels") or {})
    assert given == before


def test_what_anybody_else_owns_below_is_kept() -> None:
    theirs = {"f:spec": {"f:type": {}, "f:ports": {PORT: {"f:name": {}}}}, "f:metadata": {"f:labels": {"f:old": {}}}}
    found = without_leftovers(dry_run(entry("kubectl"), entry("controller", fields=theirs)), FIELDS)
    assert found["spec"]["type"] == "NodePort"
    assert {"name": "web"}.items() <= found["spec"]["ports"][0].items()
    assert found["metadata"]["labels"] == {"old": "1"}


def test_values_of_a_set_are_removed_one_by_one() -> None:
    fields = {"f:metadata": {"f:finalizers": {'v:"a"': {}, 'v:"b"': {}}}}
    item = live(entry("kubectl"), entry("other", fields={"f:metadata": {"f:finalizers": {'v:"b"': {}}}}))
    item["metadata"]["finalizers"] = ["a", "b", "c"]
    assert without_leftovers(item, fields)["metadata"]["finalizers"] == ["b", "c"]


def test_a_path_that_leads_nowhere_does_no_harm() -> None:
    fields = {"f:spec": {"f:none": {"f:deep": {}}, "f:type": {"f:deep": {}}, "f:ports": {'k:{"port":1}': {"f:x": {}}}}}
    given = dry_run(entry("kubectl"))
    assert without_leftovers(given, fields) == given


def test_a_patch_gives_content_and_leaves_identity_and_status() -> None:
    old = {**live(type="A"), "data": {"x": "1"}, "status": {"s": 1}}
    new = copy.deepcopy(old)
    new["metadata"] |= {"labels": {"new": "2"}, "annotations": {"a": "b"}, "uid": "other", "resourceVersion": "9"}
    new |= {"spec": {"type": "B"}, "extra": 1, "status": {"s": 2}, "apiVersion": "v2"}
    del new["data"]
    assert replacing(old, new) == [
        {"op": "replace", "path": "/spec", "value": {"type": "B"}},
        {"op": "remove", "path": "/data"},
        {"op": "add", "path": "/extra", "value": 1},
        {"op": "replace", "path": "/metadata/labels", "value": {"new": "2"}},
        {"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}},
    ]
    assert replacing(old, old) == []
