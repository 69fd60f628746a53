"""What a server does to an object of each kind before it is stored: status, generation, what it allocates itself.

Source: k8s.io/kubernetes 1.20, the strategies below pkg/registry, and admission that is on by default.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from rehearsal.api.kinds import Resource

Json = dict[str, Any]
# Kinds whose objects count the changes of their spec.
_COUNTED = frozenset(
    [
        "Deployment",
        "ReplicaSet",
        "DaemonSet",
        "StatefulSet",
        "PodDisruptionBudget",
        "Ingress",
        "NetworkPolicy",
        "CustomResourceDefinition",
        "PriorityClass",
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
    ]
)
_BLANK_STATUS: dict[str, Json] = {
    "DaemonSet": {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0},
    "Namespace": {"phase": "Active"},
    "PersistentVolume": {"phase": "Pending"},
    "PersistentVolumeClaim": {"phase": "Pending"},
    "ReplicaSet": {"replicas": 0},
    "Service": {"loadBalancer": {}},
    "Ingress": {"loadBalancer": {}},
    "StatefulSet": {"replicas": 0},
    "HorizontalPodAutoscaler": {"currentReplicas": 0, "desiredReplicas": 0},
    "PodDisruptionBudget": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
    "CustomResourceDefinition": {
        "conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": None,
    },
}  # fmt: skip
# What of the metadata the door of the status lets through as well.
_BY_STATUS = {"Node": ("labels", "annotations"), "Deployment": ("annotations",)}
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_KEEPS_STATUS = frozenset({"Node", "APIService"})
_TOLERATIONS = tuple(
    {"key": f"node.kubernetes.io/{x}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for x in ("not-ready", "unreachable")
)


def has_status(resource: Resource) -> bool:
    """Tell whether the status is written through a door of its own."""
    return "status" in resource.subresources


def prepare_creation(resource: Resource, item: Json) -> None:
    """Bring a new object into its first state."""
    if has_status(resource) and resource.kind not in _KEEPS_STATUS:
        item.pop("status", None)
        if not resource.is_custom:
            item["status"] = dict(_BLANK_STATUS.get(resource.kind, {}))
    metadata = item["metadata"]
    for key in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(key, None)
    if resource.is_custom or resource.kind in _COUNTED:
        metadata["generation"] = 1
    prepare = _PREPARE.get(resource.kind)
    if prepare:
        prepare(item)


def prepare_update(resource: Resource, item: Json, live: Json) -> None:
    """Keep what an update may not change, and count."""
    if has_status(resource):
        item.pop("status", None)
        if "status" in live:
            item["status"] = live["status"]
    if resource.kind == "Service" and item["spec"].get("type") != "ExternalName":
        _keep_addresses(item, live)
    if resource.kind == "DaemonSet":
        count = int((live["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION, "1"))
        count += int(item["spec"]["template"] != live["spec"]["template"])
        item["metadata"]["annotations"] = {**item["metadata"].get("annotations", {}), _TEMPLATE_GENERATION: str(count)}
    if "generation" in live["metadata"]:
        changed = _content(resource, item) != _content(resource, live)
        if resource.kind == "Deployment":
            old, new = (x["metadata"].get("annotations") or {} for x in (live, item))
            changed = changed or old != new
        item["metadata"]["generation"] = live["metadata"]["generation"] + int(changed)


def prepare_status(resource: Resource, item: Json, live: Json) -> Json:
    """Return ``live`` with the status of ``item``."""
    found = {k: v for k, v in live.items() if k != "status"}
    found["metadata"] = dict(live["metadata"])
    for key in _BY_STATUS.get(resource.kind, ()):
        found["metadata"].pop(key, None)
        if key in item["metadata"]:
            found["metadata"][key] = item["metadata"][key]
    if "status" in item:
        found["status"] = item["status"]
    return found


def _content(resource: Resource, item: Json) -> Json:
    """Return what the generation counts."""
    left_out = {"metadata", "status"} if has_status(resource) or not resource.is_custom else {"metadata"}
    return {k: v for k, v in item.items() if k not in left_out}


def _prepare_pod(item: Json) -> None:
    spec = item["spec"]
    item["status"] = {"phase": "Pending", "qosClass": _quality(spec)}
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = spec.get("tolerations") or []
    known = {x.get("key") for x in tolerations if x.get("effect") in (None, "NoExecute")}
    added = [dict(x) for x in _TOLERATIONS if x["key"] not in known and None not in known]
    if added:
        spec["tolerations"] = [*tolerations, *added]


def _quality(spec: Json) -> str:
    """Return the class of a pod (kubernetes.io, Configure Quality of Service for Pods)."""
    resources = [x.get("resources") or {} for x in (*spec.get("containers", []), *(spec.get("initContainers") or []))]
    if not any(x.get("limits") or x.get("requests") for x in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(x.get("limits") or {}) and (x.get("requests") or x["limits"]) == x["limits"]
        for x in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _prepare_namespace(item: Json) -> None:
    item["spec"] = {**(item.get("spec") or {}), "finalizers": ["kubernetes"]}


def _prepare_daemon_set(item: Json) -> None:
    item["metadata"]["annotations"] = {**item["metadata"].get("annotations", {}), _TEMPLATE_GENERATION: "1"}


def _prepare_definition(item: Json) -> None:
    versions = item["spec"].get("versions") or []
    item["status"]["storedVersions"] = [x["name"] for x in versions if x.get("storage")]


def _protect_claim(item: Json) -> None:
    _protect(item, "kubernetes.io/pvc-protection")


def _protect_volume(item: Json) -> None:
    _protect(item, "kubernetes.io/pv-protection")


def _protect(item: Json, finalizer: str) -> None:
    """Hold a volume while it is in use (admission StorageObjectInUseProtection)."""
    listed = item["metadata"].get("finalizers") or []
    item["metadata"]["finalizers"] = [*listed, *([] if finalizer in listed else [finalizer])]


def _prepare_job(item: Json) -> None:
    """Give a Job the selector and labels by which it knows its pods."""
    spec, uid = item["spec"], item["metadata"]["uid"]
    item["status"] = {}
    if spec.get("manualSelector"):
        return
    spec["selector"] = {"matchLabels": {"controller-uid": uid}}
    labels = {"controller-uid": uid, "job-name": item["metadata"]["name"]}
    metadata = spec["template"]["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    if not item["metadata"].get("labels"):
        item["metadata"]["labels"] = dict(metadata["labels"])


_PREPARE: dict[str, Callable[[Json], None]] = {
    "CustomResourceDefinition": _prepare_definition,
    "DaemonSet": _prepare_daemon_set,
    "Job": _prepare_job,
    "Namespace": _prepare_namespace,
    "PersistentVolume": _protect_volume,
    "PersistentVolumeClaim": _protect_claim,
    "Pod": _prepare_pod,
}


def _keep_addresses(item: Json, live: Json) -> None:
    """Keep what the server allocated, where the body does not say otherwise."""
    if "clusterIP" in item["spec"] and item["spec"].get("clusterIPs") != live["spec"].get("clusterIPs"):
        item["spec"]["clusterIPs"] = [item["spec"]["clusterIP"]]
    for port, old in zip(item["spec"].get("ports") or [], live["spec"].get("ports") or [], strict=False):
        if "nodePort" in old and "nodePort" not in port and item["spec"]["type"] in ("NodePort", "LoadBalancer"):
            port["nodePort"] = old["nodePort"]


def new_uid() -> str:
    """Return a new identity."""
    return str(uuid.uuid4())
