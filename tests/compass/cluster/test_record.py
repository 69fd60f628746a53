"""The Record on a real cluster: newest first, ten of them, and a damaged one is said to be."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from compass.cluster.client import ClusterClient
from compass.cluster.record import KEPT, REF, Record, read_records, write_record
from compass.errors import InvalidInput
from tests.material.clusters import create, get
from tests.servers.control_plane import ControlPlane

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("record")]


@pytest.fixture(autouse=True)
def _without_record(client: ClusterClient) -> Iterator[None]:
    client.delete(REF)
    yield
    client.delete(REF)


def record(number: int, state: str = "done") -> Record:
    return Record.model_validate(
        {
            "bundle": "compass-component", "version": f"2.7.{number}", "digest": f"sha256:{number:064x}",
            "plan_digest": "sha256:1", "state": state, "step": "record", "by": "somebody@somewhere", "tool": "0.1.0",
            "started": f"2026-01-01T00:00:{number:02d}Z", "changes": {"created": 2}, "seconds": {"apply": 1.5},
        }
    )  # fmt: skip


def test_a_cluster_that_was_never_upgraded_remembers_nothing(client: ClusterClient) -> None:
    assert read_records(client) == []


def test_a_cluster_remembers_the_last_ten_newest_first(client: ClusterClient) -> None:
    for number in range(12):
        write_record(client, record(number))
    assert read_records(client) == [record(x) for x in range(11, 1, -1)]
    assert len(read_records(client)) == KEPT


def test_a_record_of_the_same_run_replaces_the_one_before(client: ClusterClient) -> None:
    write_record(client, record(1))
    write_record(client, record(2, "running"))
    write_record(client, record(2, "done"))
    assert read_records(client) == [record(2, "done"), record(1)]


def test_a_record_that_does_not_change_does_not_touch_the_cluster(plane: ControlPlane, client: ClusterClient) -> None:
    write_record(client, record(1))
    before = get(plane, "v1", "ConfigMap", REF.namespace, REF.name)
    write_record(client, record(1))
    assert get(plane, "v1", "ConfigMap", REF.namespace, REF.name) == before


@pytest.mark.parametrize(
    "data",
    [
        {"record": "{"},
        {"record": "[]"},
        {"record": json.dumps({"bundle": "x"})},
        {"record": json.dumps(record(1).model_dump()), "history": "{}{"},
        {"record": json.dumps({**record(1).model_dump(), "state": "nobody knows"})},
    ],
    ids=["cut short", "a list", "half of it", "a damaged history", "an unknown state"],
)
def test_a_damaged_record_is_said_to_be_where_it_is(
    plane: ControlPlane, client: ClusterClient, data: dict[str, str]
) -> None:
    metadata = {"name": REF.name, "namespace": REF.namespace}
    create(plane, [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}])
    with pytest.raises(InvalidInput, match=r"ConfigMap/kube-system/compass-upgrade on kubeconfig .*: not as"):
        read_records(client)


def test_a_config_map_without_a_record_is_an_empty_memory(plane: ControlPlane, client: ClusterClient) -> None:
    metadata = {"name": REF.name, "namespace": REF.namespace}
    create(plane, [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}])
    assert read_records(client) == []
    write_record(client, record(1))
    assert read_records(client) == [record(1)]
