"""Addresses and ports that the server allocates are neither promised nor in the way of a new object."""

import copy
from typing import Any

from compass.change.allocation import without_allocated, without_held


def service(*ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": list(ports), **spec}}


def test_what_a_dry_run_allocated_is_not_promised() -> None:
    live = service({"port": 1, "nodePort": 30001}, clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"])
    manifest = service({"port": 1}, {"port": 2, "nodePort": 30002}, {"port": 3})
    predicted = service(
        {"port": 1, "nodePort": 30001}, {"port": 2, "nodePort": 30002}, {"port": 3, "nodePort": 30003},
        clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"], healthCheckNodePort=30004,
    )  # fmt: skip
    before = copy.deepcopy(predicted)
    assert without_allocated(predicted, live, manifest) == service(
        {"port": 1, "nodePort": 30001}, {"port": 2, "nodePort": 30002}, {"port": 3},
        clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"],
    )  # fmt: skip
    assert predicted == before


def test_an_address_that_is_new_is_not_promised_unless_it_was_asked_for() -> None:
    live, predicted = service(type="ExternalName"), service(clusterIP="10.0.0.7", type="ClusterIP")
    assert without_allocated(predicted, live, service()) == service(type="ClusterIP")
    assert without_allocated(predicted, live, service(clusterIP="10.0.0.7")) == predicted


def test_what_is_held_by_the_object_to_be_deleted_is_not_asked_for() -> None:
    live = service({"port": 1, "nodePort": 30001}, clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"])
    manifest = service({"port": 9, "nodePort": 30001}, {"port": 2, "nodePort": 30002}, clusterIP="10.0.0.1")
    before = copy.deepcopy(manifest)
    assert without_held(manifest, live) == service({"port": 9}, {"port": 2, "nodePort": 30002})
    assert manifest == before
    other = service({"port": 1, "nodePort": 30009}, clusterIP="10.0.0.2")
    assert without_held(other, live) == other


def test_no_address_at_all_is_kept_as_a_wish() -> None:
    headless = service({"port": 1}, clusterIP="None", clusterIPs=["None"])
    assert without_held(headless, headless) == headless


def test_other_kinds_are_left_alone() -> None:
    other = {**service({"port": 1, "nodePort": 5}, clusterIP="x"), "apiVersion": "other.example/v1"}
    assert without_allocated(other, {}, {}) == other
    assert without_held(other, other) == other
