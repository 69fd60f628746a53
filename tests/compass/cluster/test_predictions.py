"""Whatever is changed and whoever made the object: the preview says what applying gives, there and back."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from compass.change.diff import comparable, differences
from compass.change.manifests import Desired
from compass.cluster.apply import Types, apply, preview
from compass.cluster.client import ClusterClient
from compass.names import ObjectRef
from tests.material.clusters import APPLIED_BY, LAST_APPLIED, RELEASE_API, deployment, path_of
from tests.servers.control_plane import ControlPlane

pytestmark = pytest.mark.servers
Json = dict[str, Any]
Make = Callable[[str], Json]
PROBE = {"httpGet": {"path": "/", "port": 6010}}
COMMAND = {"exec": {"command": ["/bin/check"]}}
RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
BACKEND = {"service": {"name": "a", "port": {"number": 80}}}
PATH = {"path": "/", "pathType": "Prefix", "backend": BACKEND}
NOTES = ("deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation")
NODE_PORT = 30123


def thing(api_version: str, kind: str, **content: Any) -> Make:
    def make(namespace: str) -> Json:
        metadata = {"name": "thing", "namespace": namespace, **content.get("metadata", {})}
        return {"apiVersion": api_version, "kind": kind, **copy.deepcopy(content), "metadata": metadata}

    return make


def pod(container: Json | None = None, **spec: Any) -> Make:
    """Return a maker of a Deployment; ``container`` goes into its container, ``spec`` into its pod."""

    def make(namespace: str) -> Json:
        made = deployment(namespace, "thing", "registry/thing:v1", replicas=0, **copy.deepcopy(spec))
        made["spec"]["template"]["spec"]["containers"][0] |= copy.deepcopy(container or {})
        return made

    return make


def rollout(**spec: Any) -> Make:
    def make(namespace: str) -> Json:
        made = pod()(namespace)
        made["spec"] |= copy.deepcopy(spec)
        return made

    return make


def volume(**kind: Any) -> Make:
    return pod(volumes=[{"name": "data", **kind}])


def variable(**value: Any) -> Make:
    return pod({"env": [{"name": "A", **value}]})


def ports(*listed: Json, **spec: Any) -> Make:
    return thing("v1", "Service", spec={"selector": {"app": "thing"}, "ports": list(listed), **spec})


def config(**data: str) -> Make:
    return thing("v1", "ConfigMap", data=data)


def ingress(*paths: Json, **spec: Any) -> Make:
    rules = {"rules": [{"host": "a.example", "http": {"paths": list(paths)}}]} if paths else {}
    return thing("networking.k8s.io/v1", "Ingress", spec={**rules, **spec})


def daemon(**strategy: Any) -> Make:
    def make(namespace: str) -> Json:
        made = pod(nodeSelector={"no": "node"})(namespace) | {"kind": "DaemonSet"}
        del made["spec"]["replicas"]
        made["spec"]["updateStrategy"] = copy.deepcopy(strategy)
        return made

    return make


def stateful(**strategy: Any) -> Make:
    def make(namespace: str) -> Json:
        made = pod()(namespace) | {"kind": "StatefulSet"}
        made["spec"] |= {"serviceName": "thing", "updateStrategy": copy.deepcopy(strategy)}
        return made

    return make


def cron(**spec: Any) -> Make:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "registry/a:v1"}]}}
    job = {"spec": {"template": template}}
    return thing("batch/v1beta1", "CronJob", spec={"schedule": "0 2 1 1 *", "jobTemplate": job, **spec})


def budget(**spec: Any) -> Make:
    return thing("policy/v1beta1", "PodDisruptionBudget", spec={"selector": {"matchLabels": {"a": "b"}}, **spec})


def labelled(**metadata: Any) -> Make:
    return thing("v1", "ConfigMap", metadata=metadata, data={"a": "1"})


CHANGES: dict[str, tuple[Make, Make]] = {
    "another kind of volume": (volume(hostPath={"path": "/data"}), volume(emptyDir={})),
    "a volume of a ConfigMap for one of a Secret": (
        volume(configMap={"name": "a", "items": [{"key": "x", "path": "y"}]}), volume(secret={"secretName": "b"}),
    ),
    "a volume fewer": (volume(hostPath={"path": "/data"}), pod()),
    "another handler of a probe": (pod({"livenessProbe": PROBE}), pod({"livenessProbe": COMMAND})),
    "a probe fewer": (pod({"livenessProbe": PROBE, "readinessProbe": PROBE}), pod({"readinessProbe": PROBE})),
    "another handler of a hook": (
        pod({"lifecycle": {"preStop": PROBE}}), pod({"lifecycle": {"preStop": COMMAND}}),
    ),
    "another strategy": (
        rollout(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}),
        rollout(strategy={"type": "Recreate"}),
    ),
    "no strategy": (rollout(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}}), rollout()),
    "a number of a rollout for a share": (
        rollout(strategy={"rollingUpdate": {"maxSurge": 1}}), rollout(strategy={"rollingUpdate": {"maxSurge": "50%"}}),
    ),
    "a variable by another way": (
        variable(value="1"), variable(valueFrom={"fieldRef": {"fieldPath": "metadata.name"}}),
    ),
    "a variable from elsewhere": (
        variable(valueFrom={"fieldRef": {"fieldPath": "metadata.name"}}),
        variable(valueFrom={"configMapKeyRef": {"name": "a", "key": "b"}}),
    ),
    "variables in another order": (
        pod({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}]}),
        pod({"env": [{"name": "C", "value": "1"}, {"name": "B", "value": "$(C)"}, {"name": "A", "value": "1"}]}),
    ),
    "arguments": (pod({"args": ["a", "b", "c"]}), pod({"args": ["c", "b"]})),
    "no command": (pod({"command": ["a"], "args": ["b"]}), pod()),
    "a tolerated taint": (
        pod(tolerations=[{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]),
        pod(tolerations=[{"key": "b", "operator": "Exists"}]),
    ),
    "a container more, another fewer": (
        pod(initContainers=[{"name": "a", "image": "registry/a:v1"}, {"name": "b", "image": "registry/b:v1"}]),
        pod(initContainers=[{"name": "b", "image": "registry/b:v1"}, {"name": "c", "image": "registry/c:v1"}]),
    ),
    "ports of one number": (
        pod({"ports": [{"containerPort": 53}]}),
        pod({"ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 54}]}),
    ),
    "resources": (
        pod({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}), pod({"resources": {"limits": {"cpu": "2"}}}),
    ),
    "who it runs as": (pod(securityContext={"runAsUser": 1, "fsGroup": 2}), pod(securityContext={"fsGroup": 3})),
    "no affinity": (
        pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "thing"}}, "topologyKey": "kubernetes.io/hostname"}]}}),
        pod(),
    ),
    "where it runs": (pod(nodeSelector={"zone": "a", "disk": "ssd"}), pod(nodeSelector={"zone": "b"})),
    "host network": (
        pod({"ports": [{"containerPort": 80, "hostPort": 80}]}, hostNetwork=True),
        pod({"ports": [{"containerPort": 80}]}),
    ),
    "the number of an unnamed port": (ports({"port": 6010}), ports({"port": 6011})),
    "one number for two protocols": (
        ports({"name": "a", "port": 53}),
        ports({"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"}),
    ),
    "a name for a port": (ports({"port": 80}), ports({"name": "web", "port": 80, "targetPort": "http"})),
    "a port fewer": (ports({"name": "a", "port": 1}, {"name": "b", "port": 2}), ports({"name": "b", "port": 2})),
    "a fixed port of the nodes": (
        ports({"port": 80, "nodePort": NODE_PORT}, type="NodePort"),
        ports({"port": 81, "nodePort": NODE_PORT}, type="NodePort"),
    ),
    "no port of the nodes": (ports({"port": 80}, type="NodePort"), ports({"port": 80}, type="ClusterIP")),
    "a port of the nodes": (ports({"port": 80}), ports({"port": 80}, type="NodePort")),
    "sessions": (
        ports({"port": 80}, sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 5}}),
        ports({"port": 80}, sessionAffinity="None"),
    ),
    "keys of a ConfigMap": (config(a="1", b="2"), config(b="3", c="4")),
    "a ConfigMap without data": (config(a="1"), thing("v1", "ConfigMap")),
    "keys of a Secret": (
        thing("v1", "Secret", stringData={"a": "1", "b": "2"}), thing("v1", "Secret", stringData={"b": "3"}),
    ),
    "labels and annotations": (
        labelled(labels={"a": "1", "b": "1"}, annotations={"a": "1"}), labelled(labels={"b": "2"}),
    ),
    "finalizers": (
        labelled(finalizers=["a.example/a", "a.example/b"]), labelled(finalizers=["a.example/b", "a.example/c"]),
    ),
    "rules of a Role": (
        thing("rbac.authorization.k8s.io/v1", "Role", rules=[RULE, {**RULE, "resources": ["nodes"]}]),
        thing("rbac.authorization.k8s.io/v1", "Role", rules=[{**RULE, "verbs": ["list"]}]),
    ),
    "paths of an Ingress": (ingress(PATH, {**PATH, "path": "/a"}), ingress({**PATH, "path": "/b"})),
    "a backend for all": (ingress(PATH), ingress(defaultBackend=BACKEND)),
    "who may speak to a pod": (
        thing("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}, "ingress": [{"from": [
            {"podSelector": {"matchLabels": {"a": "b"}}}]}]}),
        thing("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}, "ingress": [{"from": [
            {"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}),
    ),
    "another way of disruption": (
        budget(minAvailable=1), budget(maxUnavailable=1),
    ),
    "how a DaemonSet is updated": (
        daemon(type="RollingUpdate", rollingUpdate={"maxUnavailable": 2}), daemon(type="OnDelete"),
    ),
    "how a StatefulSet is updated": (
        stateful(type="RollingUpdate", rollingUpdate={"partition": 1}), stateful(type="OnDelete"),
    ),
    "a schedule": (cron(suspend=True, startingDeadlineSeconds=5), cron(schedule="0 3 1 1 *")),
    "a custom object": (
        thing(RELEASE_API, "Release", spec={"a": {"b": [1, 2], "c": "d"}, "e": 1}),
        thing(RELEASE_API, "Release", spec={"a": {"b": [2]}, "f": None, "g": {}}),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def types(client: ClusterClient) -> Types:
    return Types(client)


@pytest.fixture(params=["kubectl", "us", "nobody known"])
def make(request: pytest.FixtureRequest, plane: ControlPlane, client: ClusterClient) -> Callable[[Json], None]:
    """Make an object as it was made before this upgrade."""

    def as_made(manifest: Json) -> None:
        if request.param == "us":
            apply(client, desired(manifest))
            return
        path, body = resource(client, manifest), copy.deepcopy(manifest)
        body["metadata"].setdefault("annotations", {})[LAST_APPLIED] = json.dumps(manifest)
        with plane.client() as api:
            api.post(path, params={"fieldManager": APPLIED_BY}, json=body).raise_for_status()
            if request.param == "nobody known":
                forget, kind = {"metadata": {"managedFields": [{}]}}, {"Content-Type": "application/merge-patch+json"}
                api.patch(f"{path}/thing", json=forget, headers=kind).raise_for_status()

    return as_made


def resource(client: ClusterClient, manifest: Json) -> str:
    path = path_of(manifest["apiVersion"], manifest["kind"], manifest["metadata"]["namespace"])
    return f"{path.rpartition('/')[0]}/{client.plural(manifest['apiVersion'], manifest['kind'])}"


def desired(manifest: Json) -> Desired:
    return Desired("thing", "templates/thing.yaml.j2", copy.deepcopy(manifest))


def content(item: Json | None) -> Json:
    """Return an object less what controllers note in it, and the ports that the server allocated."""
    assert item
    kept = comparable(item)
    notes = kept["metadata"].pop("annotations", {})
    kept["metadata"]["annotations"] = {k: v for k, v in notes.items() if k not in NOTES}
    for port in kept.get("spec", {}).get("ports", []):
        if port.get("nodePort") != NODE_PORT:
            port.pop("nodePort", None)
    return kept


@pytest.mark.parametrize("change", CHANGES)
def test_the_preview_says_what_applying_gives_there_and_back(
    client: ClusterClient, types: Types, namespace: str, make: Callable[[Json], None], change: str
) -> None:
    old, new = (x(namespace) for x in CHANGES[change])
    ref = ObjectRef.of(old)
    make(old)
    first = client.get(ref)
    for manifest in (new, old):
        before = client.get(ref)
        assert before
        said = preview(client, desired(manifest), types=types)
        applied = apply(client, desired(manifest), types=types)
        assert said.action == "configured"
        lines = [x for x in said.differences if not re.search(rf"nodePort: (?!{NODE_PORT})\d+ -> \(none\)", x)]
        assert sorted(lines) == sorted(differences(content(before), content(applied)))
        generations = [x["metadata"].get("generation", 0) for x in (before, applied)]
        assert generations[1] - generations[0] <= 1, "a change of the content is one change"
        assert preview(client, desired(manifest)).action == "unchanged"
        if manifest is old:
            assert content(client.get(ref)) == content(first)
    client.delete(ref)
