"""What an object becomes when it is put back: as it was saved, but for what others own now."""

from __future__ import annotations

import copy
from typing import Any

from compass.change.restoring import create_again, is_back, owners_before, put_back

US = "compass-upgrade"
Json = dict[str, Any]


def entry(manager: str, fields: Json, operation: str = "Update") -> Json:
    return {"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsV1": fields}


def item(spec: Json, *owners: Json, **metadata: Any) -> Json:
    about = {"name": "web", "namespace": "a", "uid": "1", "resourceVersion": "5", **metadata}
    if owners:
        about["managedFields"] = list(owners)
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": spec, "status": {"replicas": 1}}


def test_our_fields_go_back_and_others_stay() -> None:
    saved = item({"image": "old", "replicas": 1}, entry("kubectl", {"f:spec": {"f:image": {}, "f:replicas": {}}}))
    live = item(
        {"image": "new", "replicas": 5, "more": True},
        entry(US, {"f:spec": {"f:image": {}, "f:more": {}}}, "Apply"),
        entry("autoscaler", {"f:spec": {"f:replicas": {}}}),
        resourceVersion="9",
    )
    wanted = put_back(saved, live, US)
    assert wanted["spec"] == {"image": "old", "replicas": 5}
    assert wanted["metadata"]["resourceVersion"] == "9"
    assert not is_back(saved, live, US)
    assert is_back(saved, {**live, "spec": {"image": "old", "replicas": 5}}, US)


def test_of_a_map_that_another_made_only_its_own_keys_stay() -> None:
    saved = item({})
    live = item(
        {}, entry(US, {"f:metadata": {"f:annotations": {"f:ours": {}}}}, "Apply"),
        entry("controller", {"f:metadata": {"f:annotations": {".": {}, "f:theirs": {}}}}),
        annotations={"ours": "1", "theirs": "2"},
    )  # fmt: skip
    assert put_back(saved, live, US)["metadata"]["annotations"] == {"theirs": "2"}


def test_an_item_that_another_added_to_a_list_stays_and_ours_goes() -> None:
    ours, theirs = {"name": "ours", "image": "x"}, {"name": "sidecar", "image": "y"}
    saved = item({"containers": [{"name": "web", "image": "old"}]})
    live = item(
        {"containers": [{"name": "web", "image": "new"}, ours, theirs]},
        entry(US, {"f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}},
                                                'k:{"name":"ours"}': {".": {}, "f:image": {}}}}}, "Apply"),
        entry("injector", {"f:spec": {"f:containers": {'k:{"name":"sidecar"}': {".": {}, "f:image": {}}}}}),
    )  # fmt: skip
    assert put_back(saved, live, US)["spec"]["containers"] == [{"name": "web", "image": "old"}, theirs]


def test_what_is_being_deleted_is_not_back() -> None:
    saved = item({"image": "old"})
    live = {**copy.deepcopy(saved), "metadata": {**saved["metadata"], "deletionTimestamp": "2026-01-31T02:00:00Z"}}
    assert is_back(saved, copy.deepcopy(saved), US)
    assert not is_back(saved, live, US)


def test_owners_get_back_what_was_taken_from_them() -> None:
    saved = item({}, entry("helm", {"f:spec": {"f:image": {}, "f:args": {}}}), entry("kubectl-edit", {"f:spec": {}}))
    live = item({}, entry(US, {"f:spec": {"f:image": {}}}, "Apply"), entry("helm", {"f:spec": {"f:args": {}}}))
    owners = {x["manager"]: x["fieldsV1"] for x in owners_before(saved, live, US)}
    assert owners == {"kubectl-edit": {"f:spec": {}}, "helm": {"f:spec": {"f:args": {}, "f:image": {}}}}
    assert owners_before(item({}), item({}), US) == [{}]


def test_a_claim_comes_back_without_the_volume_that_it_had() -> None:
    saved = item({"volumeName": "pv-1", "size": 1}, annotations={"pv.kubernetes.io/bind-completed": "yes", "a": "b"})
    saved["kind"] = "PersistentVolumeClaim"
    again = create_again(saved, set(), {})
    assert again["spec"] == {"size": 1}
    assert again["metadata"] == {"name": "web", "namespace": "a", "annotations": {"a": "b"}}


def test_a_job_comes_back_without_what_its_controller_gave_it() -> None:
    template = {"metadata": {"labels": {"controller-uid": "1", "app": "x"}}}
    saved = item({"selector": {"matchLabels": {"controller-uid": "1"}}, "template": template})
    saved["kind"] = "Job"
    assert create_again(saved, set(), {})["spec"] == {"template": {"metadata": {"labels": {"app": "x"}}}}


def test_owners_that_came_back_under_another_uid_are_owners_again() -> None:
    references = [{"kind": "A", "uid": "old"}, {"kind": "B", "uid": "gone"}, {"kind": "C", "uid": "there"}]
    again = create_again(item({}, ownerReferences=references), {"there"}, {"old": "new"})
    assert again["metadata"]["ownerReferences"] == [{"kind": "A", "uid": "new"}, {"kind": "C", "uid": "there"}]
