"""Waiting for what real controllers and a simulated kubelet make of it: ready, stuck with the reason, gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from compass.clock import system_clock
from compass.cluster.client import ClusterClient
from compass.cluster.wait import examine, wait_gone, wait_ready
from compass.errors import StepFailed
from compass.names import ObjectRef
from compass.progress import Silent
from rehearsal.kubelet import SimulatedKubelet
from rehearsal.pods import Behaviour
from tests.material.clusters import create, deployment, listed, path_of
from tests.material.images import ImageSpec
from tests.material.push import at, push
from tests.servers.control_plane import ControlPlane
from tests.servers.process import wait_until
from tests.servers.registry import DockerRegistry
from tests.servers.site import simulated_kubelet

pytestmark = pytest.mark.servers
SPECS = {
    name: ImageSpec(f"harbor/wait/{name}:v1", [{"bin/thing": name.encode()}]) for name in ("good", "crash", "slow")
}


@pytest.fixture(scope="module")
def kubelet(plane: ControlPlane, registry: DockerRegistry) -> Iterator[SimulatedKubelet]:
    """A node; ``crash:v1`` crashes on it and ``slow:v1`` never gets ready."""
    for spec in SPECS.values():
        push(registry, spec)
    behaviour = Behaviour(crashing=frozenset({"crash:v1"}), unready=frozenset({"slow:v1"}))
    with simulated_kubelet(plane, registry, behaviour=behaviour) as node:
        yield node


@pytest.fixture
def image(registry: DockerRegistry, kubelet: SimulatedKubelet) -> dict[str, str]:
    """The images by short name, as nodes pull them, and one that is not there."""
    return {name: at(registry, spec) for name, spec in SPECS.items()} | {"missing": f"{registry.host}/wait/missing:v9"}


def workload(kind: str, namespace: str, name: str, image: str, **spec: Any) -> dict[str, Any]:
    """Return a workload of one container."""
    made = deployment(namespace, name, image)
    made["kind"] = kind
    made["spec"] |= spec
    if kind in ("DaemonSet", "Job"):
        del made["spec"]["replicas"]
    if kind == "StatefulSet":
        made["spec"]["serviceName"] = name
    if kind == "Job":
        made |= {"apiVersion": "batch/v1"}
        del made["spec"]["selector"]
        made["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    return made


def wait(client: ClusterClient, *manifests: dict[str, Any], seconds: float = 30) -> list[str]:
    refs = [ObjectRef.of(x) for x in manifests]
    return [x.text for x in wait_ready(client, refs, system_clock(), seconds, Silent())]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Deployment", "1 of 1 replicas available"),
        ("DaemonSet", "1 of 1 nodes updated and available"),
        ("StatefulSet", "1 of 1 replicas ready, 1 updated"),
        ("Job", "completed"),
    ],
)
def test_a_workload_whose_pods_run_is_ready(
    plane: ControlPlane, client: ClusterClient, namespace: str, image: dict[str, str], kind: str, text: str
) -> None:
    made = workload(kind, namespace, "good", image["good"])
    if kind == "DaemonSet":
        wait_until("the node", lambda: listed(plane, "v1", "Node"))
    create(plane, [made])
    assert wait(client, made) == [text]


def test_a_new_version_is_ready_only_when_its_own_pods_are(
    plane: ControlPlane, client: ClusterClient, namespace: str, image: dict[str, str]
) -> None:
    made = workload("Deployment", namespace, "good", image["good"])
    create(plane, [made])
    wait(client, made)
    made["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "NEW", "value": "1"}]
    client.apply(made, force=True)
    assert examine(client, ObjectRef.of(made)).state == "progressing"
    wait(client, made)
    (pod,) = [x for x in listed(plane, "v1", "Pod", namespace) if "deletionTimestamp" not in x["metadata"]]
    assert pod["spec"]["containers"][0]["env"]


def test_a_missing_image_ends_the_wait_within_seconds_with_the_kubelets_reason(
    plane: ControlPlane, client: ClusterClient, namespace: str, image: dict[str, str]
) -> None:
    made = workload("Deployment", namespace, "lost", image["missing"])
    create(plane, [made])
    began = time.monotonic()
    with pytest.raises(StepFailed) as caught:
        wait(client, made, seconds=60)
    assert time.monotonic() - began < 10
    assert f"roll out Deployment/{namespace}/lost: pod lost-" in str(caught.value)
    assert "container lost: " in str(caught.value)
    assert "ImagePull" in str(caught.value)
    assert f"{image['missing']}: not found" in str(caught.value)


def test_one_that_is_stuck_ends_the_wait_for_all(
    plane: ControlPlane, client: ClusterClient, namespace: str, image: dict[str, str]
) -> None:
    slow = workload("Deployment", namespace, "slow", image["slow"])
    lost = workload("StatefulSet", namespace, "lost", image["missing"])
    create(plane, [slow, lost])
    with pytest.raises(StepFailed, match=rf"StatefulSet/{namespace}/lost: pod lost-0, container lost: .*not found"):
        wait(client, slow, lost, seconds=60)


def test_a_workload_that_never_gets_ready_ends_with_what_is_waited_for(
    plane: ControlPlane, client: ClusterClient, namespace: str, image: dict[str, str]
) -> None:
    slow = workload("Deployment", namespace, "slow", image["slow"])
    create(plane, [slow])
    with pytest.raises(StepFailed) as caught:
        wait(client, slow, seconds=3)
    assert f"roll out Deployment/{namespace}/slow: 0 of 1 replicas available after 3 s" in str(caught.value)
    assert "container slow: runs, but is not ready" in str(caught.value)
    assert "--timeout" in str(caught.value)


def test_a_crash_is_named_when_the_time_is_over(
    plane: ControlPlane, client: ClusterClient, namespace: str, image: dict[str, str]
) -> None:
    crash = workload("Deployment", namespace, "crash", image["crash"])
    create(plane, [crash])
    with pytest.raises(StepFailed, match=r"container crash: CrashLoopBackOff"):
        wait(client, crash, seconds=3)


def test_a_container_that_crashes_again_and_again_ends_the_wait_at_once(
    plane: ControlPlane, client: ClusterClient, namespace: str
) -> None:
    crash = workload("Deployment", namespace, "crash", "registry/crash:v1")
    crash["spec"]["template"]["spec"]["nodeName"] = "a-node-of-nobody"
    create(plane, [crash])
    assert examine(client, ObjectRef.of(crash)).state == "progressing"
    (pod,) = wait_until("the pod", lambda: listed(plane, "v1", "Pod", namespace))
    ended = {"exitCode": 3, "reason": "Error", "message": "no configuration"}
    status = {
        "name": "crash", "image": "registry/crash:v1", "imageID": "", "ready": False, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended},
    }  # fmt: skip
    with plane.client() as api:
        api.patch(
            f"{path_of('v1', 'Pod', namespace)}/{pod['metadata']['name']}/status",
            json={"status": {"phase": "Running", "containerStatuses": [status]}},
            headers={"Content-Type": "application/merge-patch+json"},
        ).raise_for_status()
    began = time.monotonic()
    with pytest.raises(StepFailed, match="CrashLoopBackOff after 3 restarts, last exit code 3: no configuration"):
        wait(client, crash, seconds=60)
    assert time.monotonic() - began < 3


def test_a_quota_that_forbids_the_pods_ends_the_wait_with_its_words(
    plane: ControlPlane, client: ClusterClient, namespace: str
) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": namespace}}
    with plane.client() as api:
        api.post(f"/api/v1/namespaces/{namespace}/resourcequotas", json=quota | {"spec": {"hard": {"pods": "0"}}})
    made = workload("Deployment", namespace, "many", "registry/good:v1")
    wait_until("the quota", lambda: listed(plane, "v1", "ResourceQuota", namespace)[0].get("status", {}).get("hard"))
    create(plane, [made])
    began = time.monotonic()
    with pytest.raises(StepFailed, match="exceeded quota: none"):
        wait(client, made, seconds=30)
    assert time.monotonic() - began < 10


def test_what_is_gone_or_replaced_is_waited_for_no_longer(client: ClusterClient, namespace: str) -> None:
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "old", "namespace": namespace}}
    ref = ObjectRef.of(made)
    uid = client.create(made)["metadata"]["uid"]
    client.delete(ref, uid=uid)
    wait_gone(client, [(ref, uid)], system_clock(), 2, Silent())
    client.create(made)
    wait_gone(client, [(ref, uid)], system_clock(), 2, Silent())


def test_a_finalizer_that_holds_is_named(client: ClusterClient, namespace: str) -> None:
    metadata = {"name": "held", "namespace": namespace, "finalizers": ["example.com/never", "example.com/ever"]}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    ref = ObjectRef.of(made)
    uid = client.create(made)["metadata"]["uid"]
    client.delete(ref, uid=uid)
    with pytest.raises(StepFailed) as caught:
        wait_gone(client, [(ref, uid)], system_clock(), 1, Silent())
    assert (
        f"remove ConfigMap/{namespace}/held: still there after 1 s, "
        "held by finalizer example.com/never, example.com/ever" in str(caught.value)
    )
    client.patch_json(ref, [{"op": "remove", "path": "/metadata/finalizers"}])
    wait_gone(client, [(ref, uid)], system_clock(), 5, Silent())
