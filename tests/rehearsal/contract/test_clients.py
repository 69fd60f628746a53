"""Clients that people and this project use: kubectl, and our door to a cluster."""

from __future__ import annotations

import json

import pytest
import yaml

from compass.clock import system_clock
from compass.cluster.client import ClusterClient, Conflict
from compass.cluster.wait import wait_gone, wait_ready
from compass.errors import Refused, StepFailed
from compass.names import ObjectRef
from compass.progress import Silent
from compass.site.access import Access
from tests.rehearsal.contract.cluster import Cluster, Json, Space, config_map, deployment, service


def door(cluster: Cluster, token: str = "") -> ClusterClient:
    access = Access(cluster.url, "contract", ca_pem=cluster.ca_pem.encode(), token=token or cluster.token)
    return ClusterClient(access, patience_seconds=2)


def placed(item: Json, space: Space) -> Json:
    return {**item, "metadata": {**item["metadata"], "namespace": space.namespace}}


def test_our_door_applies_waits_and_deletes(space: Space) -> None:
    with door(space.cluster) as client:
        assert client.version() == "v1.20.2"
        assert client.serves("apps/v1", "Deployment")
        assert not client.serves("apps/v9", "Deployment")
        assert not client.serves("nonsense.example.com/v1", "Nonsense")
        item = placed(deployment("web"), space)
        ref = ObjectRef.of(item)
        assert client.get(ref) is None
        client.apply(item, dry_run=True)
        assert client.get(ref) is None
        client.apply(item)
        (rollout,) = wait_ready(client, [ref], system_clock(), 30, Silent())
        assert rollout.text == "1 of 1 replicas available"
        other = placed(config_map("c"), space)
        space.apply("configmaps", config_map("c", {"a": "9"}), "somebody")
        with pytest.raises(Conflict) as conflict:
            client.apply(other)
        assert conflict.value.causes == [("somebody", ".data.a")]
        assert client.apply(other, force=True)["data"] == {"a": "1"}
        assert client.allowed("patch", "apps", "deployments", space.namespace)
        live = client.get(ref)
        assert live
        assert client.delete(ref, uid="") is not False
        wait_gone(client, [(ref, live["metadata"]["uid"])], system_clock(), 30, Silent())


def test_our_door_says_why_an_image_is_missing(space: Space) -> None:
    with door(space.cluster) as client:
        item = placed(deployment("web", "site/absent:v1"), space)
        client.apply(item)
        with pytest.raises(StepFailed, match=r"container main: ErrImagePull|ImagePullBackOff: .*not found"):
            wait_ready(client, [ObjectRef.of(item)], system_clock(), 30, Silent())


def test_our_door_reads_long_lists_page_by_page(space: Space) -> None:
    for n in range(7):
        space.post("configmaps", config_map(f"c{n}", labels={"ours": "yes"}))
    with door(space.cluster) as client:
        found = client.list_all("v1", "ConfigMap", space.namespace, labels="ours=yes", page=2)
    assert [(x["kind"], x["metadata"]["name"]) for x in found] == [("ConfigMap", f"c{n}") for n in range(7)]


def test_our_door_is_refused_without_rights(space: Space) -> None:
    with door(space.cluster, space.cluster.reader_token) as client, pytest.raises(Refused):
        client.get(ObjectRef("v1", "ConfigMap", space.namespace, "c"))


def text(*items: Json) -> str:
    return yaml.safe_dump_all(items)


def test_kubectl_applies_and_waits(space: Space) -> None:
    kubectl, here = space.cluster.kubectl, ("-n", space.namespace)
    both = text(deployment("web"), service("web"))
    assert kubectl("apply", "-f", "-", *here, stdin=both) == "deployment.apps/web created\nservice/web created\n"
    assert kubectl("apply", "-f", "-", *here, stdin=both) == "deployment.apps/web unchanged\nservice/web unchanged\n"
    newer = text(deployment("web", "site/thing:v2"))
    assert kubectl("apply", "-f", "-", *here, stdin=newer) == "deployment.apps/web configured\n"
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=30s", *here)
    waited = kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=30s", *here)
    assert waited == "deployment.apps/web condition met\n"
    listed = kubectl("get", "deployments", *here).splitlines()
    assert listed[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert listed[1].split()[:4] == ["web", "1/1", "1", "1"]
    described = kubectl("describe", "deployment", "web", *here)
    assert "1 desired | 1 updated" in described
    assert kubectl("delete", "-f", "-", *here, stdin=both).splitlines()[0].startswith('deployment.apps "web" deleted')


def test_kubectl_applies_server_side(space: Space) -> None:
    kubectl, here = space.cluster.kubectl, ("-n", space.namespace)
    words = ("apply", "--server-side", "-f", "-", *here)
    assert kubectl(*words, stdin=text(config_map("c"))) == "configmap/c serverside-applied\n"
    space.patch("configmaps", "c", {"data": {"a": "7"}}, fieldManager="hand")
    refused = kubectl(*words, stdin=text(config_map("c")), fails=True)
    assert 'conflict with "hand" using v1: .data.a' in refused
    kubectl(*words, "--force-conflicts", stdin=text(config_map("c")))
    assert json.loads(kubectl("get", "configmap", "c", "-o", "json", *here))["data"] == {"a": "1"}


def test_kubectl_checks_what_it_sends(space: Space) -> None:
    body = deployment("web")
    body["spec"]["nonsense"] = 1
    refused = space.cluster.kubectl("apply", "-f", "-", "-n", space.namespace, stdin=text(body), fails=True)
    assert "nonsense" in refused


def test_kubectl_finds_kinds_by_short_names(space: Space) -> None:
    space.post("configmaps", config_map("c"))
    assert "c " in space.cluster.kubectl("get", "cm", "-n", space.namespace)
    names = space.cluster.kubectl("api-resources", "--no-headers", "-o", "name").split()
    assert {"deployments.apps", "configmaps", "customresourcedefinitions.apiextensions.k8s.io"} <= set(names)
    missing = space.cluster.kubectl("get", "cm", "none", "-n", space.namespace, fails=True)
    assert missing == 'Error from server (NotFound): configmaps "none" not found\n'
