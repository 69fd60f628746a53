"""What a server does to an object of each kind before it is stored: status, generation, what it allocates itself.

Source: k8s.io/kubernetes 1.20, the strategies below pkg/registry, and admission that is on by default.
"""

from __future__ import annotations

import base64
import uuid
from typing import Any

from rehearsal.api.kinds import Resource

Json = dict[str, Any]
# Kinds whose objects count the changes of their spec.
_COUNTED = frozenset(
    """
    Deployment ReplicaSet DaemonSet StatefulSet PodDisruptionBudget Ingress NetworkPolicy CustomResourceDefinition
    PriorityClass ValidatingWebhookConfiguration MutatingWebhookConfiguration
    """.split()
)
# Counted from the first change of the metadata on as well, but not from the creation.
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
            item["status"] = {k: v for k, v in _BLANK_STATUS.get(resource.kind, {}).items()}
    metadata = item["metadata"]
    for key in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(key, None)
    if resource.is_custom or resource.kind in _COUNTED:
        metadata["generation"] = 1
    if resource.kind == "Secret":
        _merge_strings(item)
    elif resource.kind == "Pod":
        _prepare_pod(item)
    elif resource.kind == "Job":
        _prepare_job(item)
    elif resource.kind == "DaemonSet":
        item["metadata"].setdefault("annotations", {})["deprecated.daemonset.template.generation"] = "1"


def prepare_update(resource: Resource, item: Json, live: Json) -> None:
    """Keep what an update may not change, and count."""
    if has_status(resource):
        item.pop("status", None)
        if "status" in live:
            item["status"] = live["status"]
    if resource.kind == "Secret":
        _merge_strings(item)
    elif resource.kind == "Service" and item["spec"].get("type") != "ExternalName":
        _keep_addresses(item, live)
    counts = "generation" in live["metadata"]
    if counts:
        changed = _content(resource, item) != _content(resource, live)
        item["metadata"]["generation"] = live["metadata"]["generation"] + int(changed)
        if changed and resource.kind == "DaemonSet" and item["spec"]["template"] != live["spec"]["template"]:
            count = str(int(_template_generation(live)) + 1)
            item["metadata"].setdefault("annotations", {})["deprecated.daemonset.template.generation"] = count


def _template_generation(item: Json) -> str:
    annotations = item["metadata"].get("annotations") or {}
    return str(annotations.get("deprecated.daemonset.template.generation", "1"))


def prepare_status(resource: Resource, item: Json, live: Json) -> Json:
    """Return ``live`` with the status of ``item``."""
    found = {k: v for k, v in live.items() if k != "status"}
    found["metadata"] = dict(live["metadata"])
    if resource.kind == "Node":
        for key in ("labels", "annotations"):
            if key in item["metadata"]:
                found["metadata"][key] = item["metadata"][key]
    if "status" in item:
        found["status"] = item["status"]
    return found


def _content(resource: Resource, item: Json) -> Json:
    """Return what the generation counts."""
    left_out = {"metadata", "status"} if has_status(resource) or not resource.is_custom else {"metadata"}
    return {k: v for k, v in item.items() if k not in left_out}


def _merge_strings(item: Json) -> None:
    strings = item.pop("stringData", None) or {}
    if strings:
        encoded = {k: base64.b64encode(str(v).encode()).decode() for k, v in strings.items()}
        item["data"] = {**(item.get("data") or {}), **encoded}


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


def _keep_addresses(item: Json, live: Json) -> None:
    """Take over the addresses from a body that does not name them, as kubectl replace sends it."""
    for key in ("clusterIP", "clusterIPs"):
        if key not in item["spec"] and key in live["spec"] and "clusterIP" not in item["spec"]:
            item["spec"][key] = live["spec"][key]
    if "clusterIP" in item["spec"] and item["spec"].get("clusterIPs") != live["spec"].get("clusterIPs"):
        item["spec"]["clusterIPs"] = [item["spec"]["clusterIP"]]
    for port, old in zip(item["spec"].get("ports") or [], live["spec"].get("ports") or [], strict=False):
        if "nodePort" in old and "nodePort" not in port and item["spec"]["type"] in ("NodePort", "LoadBalancer"):
            port["nodePort"] = old["nodePort"]


def new_uid() -> str:
    """Return a new identity."""
    return str(uuid.uuid4())
