"""What the clusters of an example site hold before the upgrade."""

from __future__ import annotations

import copy
import json
from typing import Any

Json = dict[str, Any]
RELEASE_API, CLUSTER_API = "release.caicloud.io/v1alpha1", "resource.caicloud.io/v1beta1"
RELEASES = 12
_NOTE = "kubectl.kubernetes.io/last-applied-configuration"


def definitions() -> list[Json]:
    """Return the definitions of the kinds that a control cluster has beside Kubernetes' own."""
    return [
        _definition(RELEASE_API, "Release", "releases", "Namespaced"),
        _definition(CLUSTER_API, "Cluster", "clusters", "Cluster"),
    ]


def releases() -> list[Json]:
    """Return the Releases of a control cluster, two of them obsolete in the next version."""
    names = [("default", f"product-{number:02}") for number in range(RELEASES // 2)]
    names += [("kube-system", f"addon-{number:02}") for number in range(RELEASES // 2)]
    names += [("default", "old-console"), ("kube-system", "old-exporter")]
    return [_release(namespace, name) for namespace, name in names]


def cluster_object(name: str, access: Json | None, endpoint: str, *, is_control: bool) -> Json:
    """Return the Cluster object of a cluster; ``access`` is a kubeconfig with one cluster, user and context."""
    ip, _, port = endpoint.partition(":")
    auth: Json = {"endpointIP": ip, "endpointPort": port}
    if access:
        auth["kubeConfig"] = {
            key: {x["name"]: x[one] for x in access[key]}
            for key, one in (("clusters", "cluster"), ("users", "user"), ("contexts", "context"))
        }
    return {
        "apiVersion": CLUSTER_API,
        "kind": "Cluster",
        "metadata": {"name": name},
        "spec": {"isControlCluster": is_control, "auth": auth},
    }


def control_components() -> list[Json]:
    """Return what an earlier version left on the control cluster and the next one deletes."""
    return [_service("default", "am-minion"), _service("kube-system", "am-minion")]


def user_components(registry: str) -> list[Json]:
    """Return the previous version of a user cluster's components, as ``kubectl apply`` left them."""
    return [
        _service("kube-system", "am-minion"),
        _deployment("am-minion", f"{registry}/release/am_minion:v0.0.6", replicas=2),
        _deployment("release-controller", f"{registry}/release/release-controller:v0.2.9", replicas=1),
    ]


def as_applied(item: Json) -> Json:
    """Return an object with the note in which ``kubectl apply`` keeps what it was given."""
    noted = copy.deepcopy(item)
    noted["metadata"].setdefault("annotations", {})[_NOTE] = json.dumps(item, separators=(",", ":"))
    return noted


def _deployment(name: str, image: str, *, replicas: int) -> Json:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": name, "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": spec,
    }


def _service(namespace: str, name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"port": 6010}]},
    }


def _release(namespace: str, name: str) -> Json:
    return {
        "apiVersion": RELEASE_API,
        "kind": "Release",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"description": f"release of {name}", "config": json.dumps({"_config": {"controllers": [name]}})},
    }


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
