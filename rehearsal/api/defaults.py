"""The values that a server fills in for fields that nobody set.

Source: k8s.io/kubernetes 1.20, the defaults of pkg/apis/{core,apps,batch,networking,rbac}; an object given is changed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


def fill_in(item: Json) -> None:
    """Fill in the defaults of a built-in object."""
    fill = _BY_KIND.get(item["kind"])
    if fill:
        fill(item)


def _each(holder: Json, key: str) -> list[Json]:
    return [x for x in holder.get(key) or [] if isinstance(x, dict)]


def pod_spec(spec: Json) -> None:
    """Fill in a pod's spec, wherever it stands."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in (*_each(spec, "initContainers"), *_each(spec, "containers")):
        _container(container, host_network=bool(spec.get("hostNetwork")))
    for volume in _each(spec, "volumes"):
        _volume(volume)


def _container(container: Json, *, host_network: bool) -> None:
    container.setdefault("resources", {})
    _resources(container["resources"])
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", _pull_policy(str(container.get("image", ""))))
    for port in _each(container, "ports"):
        port.setdefault("protocol", "TCP")
        if host_network and "containerPort" in port:
            port.setdefault("hostPort", port["containerPort"])
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(probe), dict):
            _probe(container[probe])
    for variable in _each(container, "env"):
        field = (variable.get("valueFrom") or {}).get("fieldRef")
        if isinstance(field, dict):
            field.setdefault("apiVersion", "v1")
    for hook in (container.get("lifecycle") or {}).values():
        _http(hook)


def _resources(resources: Json) -> None:
    limits = resources.get("limits") or {}
    requests = resources.get("requests") or {}
    missing = {k: v for k, v in limits.items() if k not in requests}
    if missing:
        resources["requests"] = {**requests, **missing}


def _pull_policy(image: str) -> str:
    name = image.partition("@")[0].rpartition("/")[2]
    tag = name.partition(":")[2]
    return "Always" if "@" not in image and tag in ("", "latest") else "IfNotPresent"


def _probe(probe: Json) -> None:
    for key, value in {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}.items():
        probe.setdefault(key, value)
    _http(probe)


def _http(handler: Any) -> None:
    if isinstance(handler, dict) and isinstance(handler.get("httpGet"), dict):
        handler["httpGet"].setdefault("path", "/")
        handler["httpGet"].setdefault("scheme", "HTTP")


def _volume(volume: Json) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if isinstance(volume.get(source), dict):
            volume[source].setdefault("defaultMode", 420)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")


def _template(spec: Json) -> None:
    template = spec.get("template")
    if isinstance(template, dict):
        template.setdefault("metadata", {"creationTimestamp": None})
        pod_spec(template.setdefault("spec", {}))


def _rolling(spec: Json, key: str, values: Json) -> None:
    strategy = spec.setdefault(key, {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        for name, value in values.items():
            rolling.setdefault(name, value)


def _deployment(item: Json) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _rolling(spec, "strategy", {"maxUnavailable": "25%", "maxSurge": "25%"})
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    _template(spec)


def _replica_set(item: Json) -> None:
    item.setdefault("spec", {}).setdefault("replicas", 1)
    _template(item["spec"])


def _daemon_set(item: Json) -> None:
    spec = item.setdefault("spec", {})
    _rolling(spec, "updateStrategy", {"maxUnavailable": 1})
    annotations = item["metadata"].get("annotations") or {}
    item["metadata"]["annotations"] = {"deprecated.daemonset.template.generation": "0", **annotations}
    spec.setdefault("revisionHistoryLimit", 10)
    _template(spec)


def _stateful_set(item: Json) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("serviceName", "")
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {"partition": 0}).setdefault("partition", 0)
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    _template(spec)
    for claim in _each(spec, "volumeClaimTemplates"):
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim["metadata"] = {"creationTimestamp": None, **claim.get("metadata", {})}
        _claim(claim)


def _job(item: Json) -> None:
    _job_spec(item.setdefault("spec", {}))


def _job_spec(spec: Json) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    _template(spec)


def _cron_job(item: Json) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.get("jobTemplate")
    if isinstance(template, dict):
        _template(template.setdefault("spec", {}))


def _pod(item: Json) -> None:
    pod_spec(item.setdefault("spec", {}))
    item["spec"].setdefault("enableServiceLinks", True)


def _service(item: Json) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("type", "ClusterIP")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    for port in _each(spec, "ports"):
        port.setdefault("protocol", "TCP")
        if spec["type"] != "ExternalName":
            port.setdefault("targetPort", port.get("port"))


def _claim(item: Json) -> None:
    item.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    item.setdefault("status", {}).setdefault("phase", "Pending")


def _volume_object(item: Json) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    if isinstance(spec.get("hostPath"), dict):
        spec["hostPath"].setdefault("type", "")
    item.setdefault("status", {}).setdefault("phase", "Pending")


def _secret(item: Json) -> None:
    item.setdefault("type", "Opaque")
    strings = item.pop("stringData", None) or {}
    if strings:
        encoded = {k: base64.b64encode(str(v).encode()).decode() for k, v in strings.items()}
        item["data"] = {**(item.get("data") or {}), **encoded}


def _event(item: Json) -> None:
    for key in ("eventTime", "firstTimestamp", "lastTimestamp"):
        item.setdefault(key, None)
    for key in ("reportingComponent", "reportingInstance"):
        item.setdefault(key, "")
    item.setdefault("source", {})


def _binding(item: Json) -> None:
    for subject in _each(item, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")
    role = item.get("roleRef")
    if isinstance(role, dict) and not role.get("apiGroup"):
        role["apiGroup"] = "rbac.authorization.k8s.io"


def _storage_class(item: Json) -> None:
    item.setdefault("reclaimPolicy", "Delete")
    item.setdefault("volumeBindingMode", "Immediate")


def _network_policy(item: Json) -> None:
    spec = item.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for rule in (*_each(spec, "ingress"), *_each(spec, "egress")):
        for port in _each(rule, "ports"):
            port.setdefault("protocol", "TCP")


def _autoscaler(item: Json) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    spec.setdefault("targetCPUUtilizationPercentage", 80)


def _definition(item: Json) -> None:
    spec = item.setdefault("spec", {})
    spec.setdefault("conversion", {"strategy": "None"})
    names = spec.setdefault("names", {})
    kind = str(names.get("kind", ""))
    names.setdefault("singular", kind.lower())
    names.setdefault("listKind", f"{kind}List")
    status = item.setdefault("status", {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}})
    if not status.get("storedVersions"):
        status["storedVersions"] = [x["name"] for x in _each(spec, "versions") if x.get("storage")]


def _namespace(item: Json) -> None:
    item.setdefault("spec", {})
    item.setdefault("status", {}).setdefault("phase", "Active")


def _priority_class(item: Json) -> None:
    item.setdefault("preemptionPolicy", "PreemptLowerPriority")


_BY_KIND: dict[str, Callable[[Json], None]] = {
    "ClusterRoleBinding": _binding,
    "CronJob": _cron_job,
    "CustomResourceDefinition": _definition,
    "DaemonSet": _daemon_set,
    "Deployment": _deployment,
    "Event": _event,
    "HorizontalPodAutoscaler": _autoscaler,
    "Job": _job,
    "Namespace": _namespace,
    "NetworkPolicy": _network_policy,
    "PersistentVolume": _volume_object,
    "PersistentVolumeClaim": _claim,
    "Pod": _pod,
    "PriorityClass": _priority_class,
    "ReplicaSet": _replica_set,
    "RoleBinding": _binding,
    "Secret": _secret,
    "Service": _service,
    "StatefulSet": _stateful_set,
    "StorageClass": _storage_class,
}
