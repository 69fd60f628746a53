"""What earlier tools applied is taken over; what others own is left alone."""

import copy
import json
from typing import Any

import pytest

from compass.change.ownership import (
    LAST_APPLIED,
    applied_fields,
    field_paths,
    follow,
    last_applied,
    paths_of_others,
    remove,
    replacing,
    taken_over,
    written_fields,
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


def ports() -> dict[str, Any]:
    ports = [{"port": 80, "name": "web"}, {"port": 90, "protocol": "TCP", "name": "new"}]
    return live(type="NodePort", ports=ports, clusterIP="10.0.0.9")


def test_what_a_path_leads_to_is_found_and_removed() -> None:
    item = ports()
    for path, value in [
        (("f:spec", "f:type"), "NodePort"),
        (("f:spec", "f:ports", PORT, "f:name"), "web"),
        (("f:spec", "f:ports", 'k:{"port":90,"protocol":"TCP"}'), item["spec"]["ports"][1]),
    ]:
        assert follow(item, path) == value
        remove(item, path)
        assert follow(item, path) is None
    assert item["spec"] == {"ports": [{"port": 80}], "clusterIP": "10.0.0.9"}


def test_values_of_a_set_are_removed_one_by_one() -> None:
    item = live()
    item["metadata"]["finalizers"] = ["a", "b", "c"]
    remove(item, ("f:metadata", "f:finalizers", 'v:"b"'))
    assert item["metadata"]["finalizers"] == ["a", "c"]


@pytest.mark.parametrize(
    "path",
    [
        ("f:spec", "f:none", "f:deep"),
        ("f:spec", "f:type", "f:deep"),
        ("f:spec", "f:ports", 'k:{"port":1}', "f:x"),
        ("f:spec", "f:ports", "f:x"),
        ("f:spec", 'k:{"port":1}'),
    ],
)
def test_a_path_that_leads_nowhere_does_no_harm(path: tuple[str, ...]) -> None:
    item = ports()
    assert follow(item, path) is None
    remove(item, path)
    assert item == ports()


def test_what_others_own_is_known_with_all_that_leads_to_it() -> None:
    theirs = {"f:spec": {"f:ports": {PORT: {"f:name": {}}}}}
    item = live(entry("kubectl"), entry(US, "Apply"), entry(US), entry("controller", fields=theirs))
    assert paths_of_others(item, US) == {
        ("f:spec",), ("f:spec", "f:ports"), ("f:spec", "f:ports", PORT), ("f:spec", "f:ports", PORT, "f:name"),
    }  # fmt: skip


def test_what_was_written_is_told_from_what_was_applied_and_let_go_of() -> None:
    written = {"f:spec": {"f:type": {}}}
    item = live(
        entry(US, "Apply", {"f:spec": {"f:own": {}}}), entry(US, fields=written), entry(US, fields={"f:status": {}}),
        entry("other", fields=written),
    )  # fmt: skip
    assert written_fields(item, US) == written
    assert written_fields(live(entry(US, "Apply"), entry("other")), US) == {}
    kept = taken_over(item, US, {})
    assert [(x["manager"], x["operation"], x["fieldsV1"]) for x in kept] == [
        (US, "Apply", {"f:spec": {"f:own": {}}}), (US, "Update", {"f:status": {}}), ("other", "Update", written),
    ]  # fmt: skip


def test_a_note_that_was_read_from_a_cluster_is_known_by_what_can_be_applied() -> None:
    noted = copy.deepcopy(MANIFEST)
    noted["metadata"] |= {"uid": "u", "resourceVersion": "3", "creationTimestamp": None, "generation": 2}
    found = last_applied(live(entry("kubectl"), applied={**noted, "status": {"x": 1}}))
    assert found == last_applied(live(entry("kubectl"), applied=MANIFEST))


def test_a_patch_gives_content_and_leaves_identity_and_status() -> None:
    old = {**live(type="A"), "data": {"x": "1"}, "status": {"s": 1}}
    new = copy.deepcopy(old)
    new["metadata"] |= {"labels": {"new": "2"}, "annotations": {"a": "b"}, "uid": "other", "resourceVersion": "9"}
    new["metadata"]["finalizers"] = ["a.example/a"]
    new |= {"spec": {"type": "B"}, "extra": 1, "status": {"s": 2}, "apiVersion": "v2"}
    del new["data"]
    assert replacing(old, new) == [
        {"op": "replace", "path": "/spec", "value": {"type": "B"}},
        {"op": "remove", "path": "/data"},
        {"op": "add", "path": "/extra", "value": 1},
        {"op": "replace", "path": "/metadata/labels", "value": {"new": "2"}},
        {"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}},
        {"op": "add", "path": "/metadata/finalizers", "value": ["a.example/a"]},
    ]
    assert replacing(old, old) == []
