"""Clusters that are found, beside those that are declared."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from compass.errors import InvalidInput
from compass.site.discovery import from_objects, from_secrets, merged
from compass.site.inventory import Inventory, refuse_never_open

Json = dict[str, Any]


def inventory(*clusters: Json, discover: tuple[str, ...] = ("clusterObjects",)) -> Inventory:
    site = {"name": "here", "directory": "/srv/here", "clusters": list(clusters), "discover": list(discover)}
    return Inventory.model_validate({
        "apiVersion": "compass.upgrade/v1", "kind": "Inventory", "bundle": "/b", "stateDir": "/s", "workPool": "p",
        "sites": [site],
    })  # fmt: skip


def cluster_object(name: str, *, control: bool = False, **labels: str) -> Json:
    auth = {"endpointIP": "10.0.0.1", "endpointPort": "6443", "kubeToken": "t"}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"isControlCluster": control, "auth": auth}}


def secret(namespace: str, name: str, **labels: str) -> Json:
    return {"metadata": {"namespace": namespace, "name": name, "labels": labels}}


OBJECTS = [cluster_object("user-2", tier="canary"), cluster_object("user-1"), cluster_object("main", control=True)]


def test_what_is_found_is_added_with_its_labels_and_the_declared_stays_as_written() -> None:
    written = inventory({"name": "mine", "object": "user-1", "role": "user", "labels": {"a": "b"}})
    whole, origins = merged(written, {"here": from_objects(written.sites[0], OBJECTS, "f")}, "f")
    assert origins == {"mine": "declared and found", "here-main": "found", "here-user-2": "found"}
    found = {x.name: (x.role, x.object, x.labels) for _, x in whole.each()}
    assert found == {
        "mine": ("user", "user-1", {"a": "b"}),
        "here-main": ("control", "main", {}),
        "here-user-2": ("user", "user-2", {"tier": "canary"}),
    }


def test_what_is_declared_and_not_found_is_still_there() -> None:
    written = inventory({"name": "gone", "object": "gone", "role": "user"})
    whole, origins = merged(written, {"here": []}, "f")
    assert [x.name for _, x in whole.each()] == ["gone"]
    assert origins == {"gone": "declared"}


def test_kubeconfigs_of_cluster_api_are_clusters_and_other_secrets_are_not() -> None:
    written = inventory({"name": "seven", "role": "user", "clusterAPI": "fleet/seven"}, discover=("clusterAPI",))
    secrets = [secret("fleet", "seven-kubeconfig"), secret("fleet", "eight-kubeconfig"), secret("fleet", "eight-ca")]
    whole, origins = merged(written, {"here": from_secrets(written.sites[0], secrets, "f")}, "f")
    assert origins == {"seven": "declared and found", "here-fleet-eight": "found"}
    assert [x.cluster_api for _, x in whole.each()] == ["fleet/seven", "fleet/eight"]


def test_a_name_that_is_taken_is_refused_with_the_way_out() -> None:
    written = inventory({"name": "here-user-2", "object": "another", "role": "user"})
    with pytest.raises(InvalidInput, match="declare it under another name"):
        merged(written, {"here": from_objects(written.sites[0], OBJECTS, "f")}, "f")


def test_a_site_without_clusters_must_discover_some() -> None:
    assert inventory().sites[0].clusters == ()
    with pytest.raises(ValueError, match="expected one at least, or discover"):
        inventory(discover=())


def test_a_cluster_declared_with_a_kubeconfig_is_the_one_of_its_object() -> None:
    direct = {"role": "user", "kubeconfig": "/srv/user.kubeconfig"}
    written = inventory({"name": "user-1", **direct}, {"name": "mine", "object": "user-2", **direct})
    whole, origins = merged(written, {"here": from_objects(written.sites[0], OBJECTS, "f")}, "f")
    assert origins == {"user-1": "declared and found", "mine": "declared and found", "here-main": "found"}
    assert len(list(whole.each())) == 3


def test_a_found_cluster_that_is_to_start_at_openings_needs_a_window() -> None:
    written = inventory()
    written = written.model_copy(update={"sites": (written.sites[0].model_copy(update={"at_opening": ("upgrade",)}),)})
    whole, _ = merged(written, {"here": from_objects(written.sites[0], OBJECTS, "f")}, "f")
    with pytest.raises(InvalidInput, match="here-main': upgrade is to start at an opening, but it has no window"):
        refuse_never_open(whole, datetime(2026, 2, 1, tzinfo=UTC), "f")
