"""What lies on the clusters of a site before an upgrade: Releases, Cluster objects, the components of the day."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import httpx

from tests.material.images import noise
from tests.servers.control_plane import ControlPlane, text64, wait_served

Json = dict[str, Any]
Auth = Literal["token", "password", "certificate"]
RELEASE_API = "release.caicloud.io/v1alpha1"
CLUSTER_API = "resource.caicloud.io/v1beta1"
NAMESPACES = ("default", "kube-system")
APPLIED_BY = "kubectl-client-side-apply"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
RELEASE_BYTES = 8000


def install_definitions(control: ControlPlane) -> None:
    """Put the two custom resource definitions on a cluster and wait until they are served."""
    release = _definition(RELEASE_API, "Release", "releases", "Namespaced")
    cluster = _definition(CLUSTER_API, "Cluster", "clusters", "Cluster")
    create(control, [release, cluster])
    with control.client() as api:
        for path in (f"/apis/{RELEASE_API}/releases", f"/apis/{CLUSTER_API}/clusters"):
            wait_served(api, path)


def populate(control: ControlPlane, users: Mapping[str, ControlPlane], *, releases: int = 10, registry: str) -> None:
    """Make a whole site: definitions, Releases, Cluster objects, and the old components on every cluster.

    ``releases`` are made in each of the two namespaces, besides those that ``scripts/config`` wants removed;
    ``registry`` is where the old components come from.
    """
    install_definitions(control)
    create(control, [*releases_of(releases), *removable_releases()])
    create(control, [cluster_object("control", control, is_control=True)])
    create(control, [cluster_object(name, plane) for name, plane in users.items()])
    apply(control, old_control_components(registry))
    for plane in users.values():
        apply(plane, old_user_components(registry))


def releases_of(count: int, namespaces: Sequence[str] = NAMESPACES) -> list[Json]:
    """Return ``count`` Releases in each namespace: ``app-000`` and so on."""
    return [release(namespace, f"app-{n:03d}") for namespace in namespaces for n in range(count)]


def removable_releases() -> list[Json]:
    """Return the Releases that the bundles' ``scripts/config`` names, but for ``old-gateway``, which is gone."""
    return [release("default", "old-console"), release("kube-system", "old-exporter")]


def release(namespace: str, name: str, size_bytes: int = RELEASE_BYTES) -> Json:
    """Return a Release of about ``size_bytes``, most of it a chart that does not compress."""
    chart = base64.b64encode(noise(size_bytes * 2 // 3, f"{namespace}/{name}")).decode()
    config = json.dumps({"_config": {"controllers": [{"type": "Deployment", "replicas": 2}]}, "name": name})
    return {
        "apiVersion": RELEASE_API,
        "kind": "Release",
        "metadata": {"name": name, "namespace": namespace, "labels": {"release": name}},
        "spec": {"description": f"release {name}: 说明", "template": chart, "config": config},
        "status": {"version": 3, "conditions": [{"type": "Available", "status": "True"}]},
    }


def cluster_object(name: str, plane: ControlPlane, *, is_control: bool = False, auth: Auth = "certificate") -> Json:
    """Return the Cluster object of a cluster; with ``password`` the API server will not let anybody in."""
    ways: dict[str, Json] = {
        "token": {"kubeToken": plane.token},
        "password": {"kubeUser": "admin", "kubePassword": "not-a-password"},
        "certificate": {"kubeConfig": _kubeconfig_by_name(name, plane)},
    }
    how = ways[auth]
    return {
        "apiVersion": CLUSTER_API,
        "kind": "Cluster",
        "metadata": {"name": name},
        "spec": {
            "displayName": f"cluster {name}",
            "isControlCluster": is_control,
            "auth": {"endpointIP": plane.host, "endpointPort": str(plane.port), **how},
        },
        "status": {"phase": "Ready"},
    }


def old_control_components(registry: str) -> list[Json]:
    """Return what a control cluster has of the version before; the upgrade deletes the first four."""
    claim_spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return [
        service("default", "am-minion"),
        deployment("default", "am-mysql", f"{registry}/release/am_minion:v0.0.6", replicas=0),
        _object("v1", "PersistentVolumeClaim", "default", "am-mysql-data", spec=claim_spec),
        service("kube-system", "am-minion"),
        deployment("kube-system", "release-controller", f"{registry}/release/release-controller:v0.2.9"),
    ]


def old_user_components(registry: str) -> list[Json]:
    """Return what a user cluster has of the version before."""
    return [
        service("kube-system", "am-minion"),
        deployment("kube-system", "am-minion", f"{registry}/release/am_minion:v0.0.6"),
        deployment("kube-system", "release-controller", f"{registry}/release/release-controller:v0.2.9"),
    ]


def deployment(namespace: str, name: str, image: str, *, replicas: int = 1, **pod_spec: Any) -> Json:
    """Return a Deployment of one container; ``pod_spec`` goes beside it."""
    pod = {"terminationGracePeriodSeconds": 1, "containers": [{"name": name, "image": image}], **pod_spec}
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return _object("apps/v1", "Deployment", namespace, name, spec=spec)


def service(namespace: str, name: str, port: int = 6010) -> Json:
    """Return a Service for the pods of a Deployment of the same name."""
    return _object("v1", "Service", namespace, name, spec={"selector": {"app": name}, "ports": [{"port": port}]})


def apply(plane: ControlPlane, objects: Iterable[Json]) -> None:
    """Create objects as ``kubectl apply`` of that time did: its field manager, and what it last applied in a note."""
    noted = []
    for each in objects:
        text = json.dumps(each, separators=(",", ":")) + "\n"
        annotations = {**each["metadata"].get("annotations", {}), LAST_APPLIED: text}
        noted.append({**each, "metadata": {**each["metadata"], "annotations": annotations}})
    create(plane, noted, field_manager=APPLIED_BY)


def create(plane: ControlPlane, objects: Iterable[Json], field_manager: str = "tests") -> None:
    """Create objects, several at a time, in no particular order."""
    with plane.client() as api, ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda each: _create(api, each, field_manager), objects))


def get(plane: ControlPlane, api_version: str, kind: str, namespace: str, name: str) -> Json | None:
    """Return an object as it is on the cluster, ``None`` when it is not there."""
    with plane.client() as api:
        answer = api.get(f"{path_of(api_version, kind, namespace)}/{name}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    return dict(answer.raise_for_status().json())


def listed(plane: ControlPlane, api_version: str, kind: str, namespace: str = "") -> list[Json]:
    """Return all objects of a kind."""
    with plane.client() as api:
        return list(api.get(path_of(api_version, kind, namespace)).raise_for_status().json()["items"])


def path_of(api_version: str, kind: str, namespace: str = "") -> str:
    """Return the path of a kind on the API server."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    middle = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{middle}/{kind.lower()}s"


def _create(api: httpx.Client, each: Json, field_manager: str) -> None:
    path = path_of(each["apiVersion"], each["kind"], each["metadata"].get("namespace", ""))
    answer = api.post(path, params={"fieldManager": field_manager}, json=each)
    assert answer.is_success, f"create {each['kind']} {each['metadata']['name']}: {answer.text}"


def _object(api_version: str, kind: str, namespace: str, name: str, **rest: Any) -> Json:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def _definition(api_version: str, kind: str, plural: str, scope: str) -> Json:
    group, _, version = api_version.partition("/")
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def _kubeconfig_by_name(name: str, plane: ControlPlane) -> Json:
    """Return a kubeconfig as Cluster objects carry it: maps by name instead of lists."""
    context = f"{name}-context"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": {name: {"server": plane.url, "certificate-authority-data": text64(plane.ca_pem)}},
        "users": {
            f"{name}-admin": {
                "client-certificate-data": text64(plane.client_cert_pem),
                "client-key-data": text64(plane.client_key_pem),
            }
        },
        "contexts": {context: {"cluster": name, "user": f"{name}-admin"}},
        "current-context": context,
    }
