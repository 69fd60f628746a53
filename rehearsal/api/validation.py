"""What a server refuses in an object, with its words.

Source: k8s.io/kubernetes 1.20, pkg/apis/{core,apps,batch}/validation; only what people and tools meet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from rehearsal.api import metadata, structural
from rehearsal.api.goprint import go_map, go_selector
from rehearsal.api.kinds import Resource
from rehearsal.api.podrules import spec_causes
from rehearsal.api.selectors import selects
from rehearsal.api.status import invalid

Json = dict[str, Any]
Cause = tuple[str, str, str]  # reason, field, message


def check(resource: Resource, item: Json, live: Json | None) -> None:
    """Check an object about to be stored; ``live`` is what it replaces.

    Raises:
        ApiError: it is not valid.
    """
    causes = [*metadata.causes(resource, item, live)]
    if resource.is_custom:
        causes += structural.causes(item, resource.type.document)
    else:
        rule = _RULES.get(resource.kind)
        causes += rule(item, live) if rule else []
    if causes:
        raise invalid(resource.kind, resource.group, item["metadata"].get("name", ""), causes)


def _workload(item: Json, live: Json | None) -> list[Cause]:
    spec = item.get("spec") or {}
    selector, template = spec.get("selector"), spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    causes: list[Cause] = []
    if (spec.get("replicas") or 0) < 0:
        text = f"Invalid value: {spec['replicas']}: must be greater than or equal to 0"
        causes.append(("FieldValueInvalid", "spec.replicas", text))
    if selector is None:
        causes.append(("FieldValueRequired", "spec.selector", "Required value"))
    if not selects(selector, labels):
        text = f"Invalid value: {go_map(labels)}: `selector` does not match template `labels`"
        causes.append(("FieldValueInvalid", "spec.template.metadata.labels", text))
    causes += spec_causes(template.get("spec") or {}, "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy != "Always":
        text = f'Unsupported value: "{policy}": supported values: "Always"'
        causes.append(("FieldValueNotSupported", "spec.template.spec.restartPolicy", text))
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate" and "rollingUpdate" in strategy:
        text = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        causes.append(("FieldValueForbidden", "spec.strategy.rollingUpdate", text))
    if live is not None and live["spec"].get("selector") != selector:
        causes.append(
            ("FieldValueInvalid", "spec.selector", f"Invalid value: {go_selector(selector)}: field is immutable")
        )
    return causes


def _stateful_set(item: Json, live: Json | None) -> list[Cause]:
    if live is not None:
        free = ("replicas", "template", "updateStrategy")
        old, new = ({k: v for k, v in x["spec"].items() if k not in free} for x in (live, item))
        if old != new:
            words = (
                "Forbidden: updates to statefulset spec for fields other than 'replicas', 'template', and "
                "'updateStrategy' are forbidden"
            )
            return [("FieldValueForbidden", "spec", words)]
    return _workload(item, None)


def _job(item: Json, live: Json | None) -> list[Cause]:
    spec = item.get("spec") or {}
    causes: list[Cause] = []
    if live is not None:
        for key in ("completions", "selector", "template"):
            if live["spec"].get(key) != spec.get(key):
                shown = "core.PodTemplateSpec{...}" if key == "template" else json.dumps(spec.get(key))
                causes.append(("FieldValueInvalid", f"spec.{key}", f"Invalid value: {shown}: field is immutable"))
    template = (spec.get("template") or {}).get("spec") or {}
    causes += spec_causes(template, "spec.template.spec")
    if template.get("restartPolicy") not in ("OnFailure", "Never"):
        text = 'Required value: valid values: "OnFailure", "Never"'
        causes.append(("FieldValueRequired", "spec.template.spec.restartPolicy", text))
    return causes


_POD_MUTABLE = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName")


def _pod(item: Json, live: Json | None) -> list[Cause]:
    if live is None:
        return [*spec_causes(item.get("spec") or {}, "spec")]
    if _fixed(item["spec"]) != _fixed(live["spec"]):
        words = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`, "
            "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to "
            "existing tolerations)"
        )
        return [("FieldValueForbidden", "spec", words)]
    return []


def _fixed(spec: Json) -> Json:
    kept = {k: v for k, v in spec.items() if k not in _POD_MUTABLE}
    for key in ("containers", "initContainers"):
        kept[key] = [{k: v for k, v in x.items() if k != "image"} for x in spec.get(key) or []]
    return kept


def _service(item: Json, live: Json | None) -> list[Cause]:
    spec = item.get("spec") or {}
    causes: list[Cause] = []
    ports = spec.get("ports") or []
    headless = spec.get("clusterIP") == "None" or spec.get("type") == "ExternalName"
    if not ports and not headless:
        causes.append(("FieldValueRequired", "spec.ports", "Required value"))
    for n, port in enumerate(ports):
        for field in ("port", "targetPort"):
            number = port.get(field)
            if isinstance(number, int) and not 1 <= number <= 65535:
                text = f"Invalid value: {number}: must be between 1 and 65535, inclusive"
                causes.append(("FieldValueInvalid", f"spec.ports[{n}].{field}", text))
        if len(ports) > 1 and not port.get("name"):
            causes.append(("FieldValueRequired", f"spec.ports[{n}].name", "Required value"))
    if live is not None and live["spec"].get("clusterIP") and spec.get("type") != "ExternalName":
        old, new = live["spec"]["clusterIP"], spec.get("clusterIP")
        if new != old:
            shown = f"[]string{{{json.dumps(new)}}}" if new else "[]string(nil)"
            text = (
                f"Invalid value: {shown}: {'may not change once set' if new else 'primary clusterIP can not be unset'}"
            )
            causes.append(("FieldValueInvalid", "spec.clusterIPs[0]", text))
    return causes


_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def _data(item: Json, live: Json | None) -> list[Cause]:
    words = (
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME', "
        " or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
    )
    wrong = [x for x in (*(item.get("data") or {}), *(item.get("binaryData") or {})) if not _DATA_KEY.fullmatch(x)]
    return [("FieldValueInvalid", f"data[{x}]", f"Invalid value: {json.dumps(x)}: {words}") for x in wrong]


def _secret(item: Json, live: Json | None) -> list[Cause]:
    causes = _data(item, live)
    if live is not None and live.get("type") != item.get("type"):
        text = f"Invalid value: {json.dumps(item.get('type'))}: field is immutable"
        causes.append(("FieldValueInvalid", "type", text))
    return causes


def _claim(item: Json, live: Json | None) -> list[Cause]:
    if live is None:
        if not (item.get("spec") or {}).get("accessModes"):
            words = "Required value: at least 1 access mode is required"
            return [("FieldValueRequired", "spec.accessModes", words)]
        return []
    old, new = ({k: v for k, v in x["spec"].items() if k not in ("resources", "volumeName")} for x in (live, item))
    if old != new:
        words = "Forbidden: spec is immutable after creation except resources.requests for bound claims"
        return [("FieldValueForbidden", "spec", words)]
    return []


def _role_binding(item: Json, live: Json | None) -> list[Cause]:
    if live is not None and live.get("roleRef") != item.get("roleRef"):
        role = item.get("roleRef") or {}
        shown = (
            f'rbac.RoleRef{{APIGroup:"{role.get("apiGroup")}", Kind:"{role.get("kind")}", Name:"{role.get("name")}"}}'
        )
        return [("FieldValueInvalid", "roleRef", f"Invalid value: {shown}: cannot change roleRef")]
    return []


def _definition(item: Json, live: Json | None) -> list[Cause]:
    spec = item.get("spec") or {}
    expected = f"{(spec.get('names') or {}).get('plural')}.{spec.get('group')}"
    causes: list[Cause] = []
    if item["metadata"].get("name") != expected:
        name = json.dumps(item["metadata"].get("name"))
        text = f'Invalid value: {name}: must be spec.names.plural+"."+spec.group'
        causes.append(("FieldValueInvalid", "metadata.name", text))
    for n, version in enumerate(spec.get("versions") or []):
        if not (version.get("schema") or {}).get("openAPIV3Schema") and not spec.get("preserveUnknownFields"):
            text = "Required value: schemas are required"
            causes.append(("FieldValueRequired", f"spec.versions[{n}].schema.openAPIV3Schema", text))
    return causes


_RULES: dict[str, Callable[[Json, Json | None], list[Cause]]] = {
    "ClusterRoleBinding": _role_binding,
    "ConfigMap": _data,
    "CustomResourceDefinition": _definition,
    "DaemonSet": _workload,
    "Deployment": _workload,
    "Job": _job,
    "PersistentVolumeClaim": _claim,
    "Pod": _pod,
    "ReplicaSet": _workload,
    "RoleBinding": _role_binding,
    "Secret": _secret,
    "Service": _service,
    "StatefulSet": _stateful_set,
}
