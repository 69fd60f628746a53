"""Bodies brought into the form in which a real server would have stored them.

A real server reads JSON into Go structures and writes them out again: fields that it does not know, nulls and most
empty values are gone after that, some empty structures are there that nobody wrote.  Which empty values stay depends
on the Go type (a pointer, or no ``omitempty``), which OpenAPI does not tell; hence the names below.
"""

from __future__ import annotations

import base64
from typing import Any

from rehearsal.api.schema import Type
from rehearsal.api.status import ApiError

Json = dict[str, Any]
# Pointers in Go: false, 0 and "" are values of their own.
_POINTERS = frozenset(
    [
        "privileged",
        "readOnlyRootFilesystem",
        "allowPrivilegeEscalation",
        "runAsNonRoot",
        "automountServiceAccountToken",
        "optional",
        "suspend",
        "enableServiceLinks",
        "shareProcessNamespace",
        "controller",
        "blockOwnerDeletion",
        "immutable",
        "allowVolumeExpansion",
        "allocateLoadBalancerNodePorts",
        "attachRequired",
        "podInfoOnMount",
        "replicas",
        "runAsUser",
        "runAsGroup",
        "fsGroup",
        "terminationGracePeriodSeconds",
        "activeDeadlineSeconds",
        "backoffLimit",
        "parallelism",
        "completions",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
        "partition",
        "ttlSecondsAfterFinished",
        "defaultMode",
        "mode",
        "tolerationSeconds",
        "priority",
        "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit",
        "startingDeadlineSeconds",
        "minReplicas",
        "leaseDurationSeconds",
        "leaseTransitions",
        "expirationSeconds",
        "gracePeriodSeconds",
        "deletionGracePeriodSeconds",
        "timeoutSeconds",
        "storageClassName",
        "volumeMode",
        "ingressClassName",
        "pathType",
        "maxUnavailable",
        "maxSurge",
        "minAvailable",
        "targetPort",
        "port",
        "holderIdentity",
        "started",
    ]
)
# Structures that are written though they are empty.
ALWAYS = frozenset({"metadata", "spec", "status", "strategy", "updateStrategy", "template", "jobTemplate", "resources"})
_JSON_NAMES: dict[type, str] = {str: "string", bool: "bool", int: "number", float: "number", dict: "object"}


def canonical(value: Any, kind: Type, what: str) -> Any:
    """Return a built-in object as a server would have stored it.

    Raises:
        ApiError: a value has the wrong type; ``what`` names the object's kind in the message.
    """
    return _canonical(value, kind, what, "")


def _canonical(value: Any, kind: Type, what: str, path: str) -> Any:
    shape = kind.shape
    if shape == "any" or value is None:
        return value
    _check(value, kind, what, path)
    if shape == "struct":
        return _struct(value, kind, what, path)
    if shape == "map":
        return {key: _canonical(x, kind.element, what, f"{path}.{key}") for key, x in value.items()}
    if shape == "list":
        return [_canonical(x, kind.element, what, path) for x in value]
    if kind.name.endswith(".Quantity") and not isinstance(value, str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return value


def _struct(value: Json, kind: Type, what: str, path: str) -> Json:
    found = {}
    for name, below in value.items():
        field = kind.fields.get(name)
        if field is None:
            if kind.keeps_unknown:
                found[name] = below
            continue
        kept = _canonical(below, field, what, f"{path}.{name}")
        if name == "data" and kind.name.endswith(".Secret"):
            _check_base64(kept, what)
        if _stays(kept, name, field, kind):
            found[name] = kept
    if kind.name.endswith(("PodTemplateSpec", "JobTemplateSpec")):
        found["metadata"] = {"creationTimestamp": None, **found.get("metadata", {})}
    return found


def _stays(value: Any, name: str, field: Type, kind: Type) -> bool:
    if value is None:
        return False
    if name in kind.required or (isinstance(value, dict) and field.shape in ("struct", "any")):
        return True
    if value in ("", [], {}) or value is False or (value == 0 and not isinstance(value, bool)):
        return name in _POINTERS and not kind.name.endswith("Status") and not isinstance(value, list | dict)
    return True


def _check(value: Any, kind: Type, what: str, path: str) -> None:
    expected: dict[str, type | tuple[type, ...]] = {"struct": dict, "map": dict, "list": list}
    scalars: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "": (str, int, float),
    }
    wanted = expected.get(kind.shape) or scalars.get(kind.scalar, object)
    is_wrong = not isinstance(value, wanted) or (isinstance(value, bool) and kind.scalar not in ("boolean", ""))
    if is_wrong:
        found = _JSON_NAMES.get(type(value), "array")
        goal = kind.scalar or kind.shape
        message = f"json: cannot unmarshal {found} into Go struct field {what}{path} of type {goal}"
        raise ApiError(400, "BadRequest", f'{what} in version "v1" cannot be handled as a {what}: {message}')


def _check_base64(data: Json, what: str) -> None:
    for value in data.values():
        try:
            base64.b64decode(value, validate=True)
        except (ValueError, TypeError):
            why = f'{what} in version "v1" cannot be handled as a {what}: v1.{what}.Data: decode base64: illegal data'
            raise ApiError(400, "BadRequest", why) from None


def blank(kind: Type) -> Json:
    """Return what a server writes of an object that has nothing in it: the base a creation is compared with."""
    found: Json = next((dict(x) for name, x in _BLANKS.items() if kind.name.endswith(name)), {})
    for name, field in kind.fields.items():
        if name in found:
            continue
        is_value = field.shape == "struct" and name != "selector"  # a selector is a pointer wherever it is required
        if is_value and (name in kind.required or (name in ALWAYS and name != "resources")):
            found[name] = blank(field)
        elif name == "resources" and kind.name.endswith("ClaimSpec"):
            found[name] = {}
        elif name in kind.required or (name == "creationTimestamp" and kind.name.endswith("ObjectMeta")):
            found[name] = _ZERO.get(field.scalar) if field.shape == "scalar" and not field.name else None
    return found


_BLANKS: dict[str, Json] = {
    ".core.v1.Event": {
        "eventTime": None, "firstTimestamp": None, "lastTimestamp": None, "reportingComponent": "",
        "reportingInstance": "", "source": {},
    },
    ".CustomResourceDefinitionStatus": {
        "conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": None,
    },
}  # fmt: skip
_ZERO: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}


def pruned(value: Any, kind: Type) -> Any:
    """Return a custom object without the fields that its schema does not name.

    Source: kubernetes.io, Custom Resources, section Field pruning.
    """
    if isinstance(value, dict) and kind.shape == "struct":
        found = {}
        for name, below in value.items():
            if name in kind.fields:
                found[name] = pruned(below, kind.fields[name])
            elif kind.keeps_unknown:
                found[name] = below
        for name, field in kind.fields.items():
            if name not in found and field.default is not None:
                found[name] = field.default
        return found
    if isinstance(value, dict) and kind.shape == "map":
        return {key: pruned(x, kind.element) for key, x in value.items()}
    if isinstance(value, list) and kind.shape == "list":
        return [pruned(x, kind.element) for x in value]
    return value
