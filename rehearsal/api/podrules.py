"""What a server refuses in a pod's spec, with its words.

Source: k8s.io/kubernetes 1.20, pkg/apis/core/validation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
Cause = tuple[str, str, str]  # reason, field, message
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_VARIABLE_WORDS = (
    "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not "
    "start with a digit (e.g. 'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', regex used for validation is "
    "'[-._a-zA-Z][-._a-zA-Z0-9]*')"
)
_HANDLERS = ("exec", "httpGet", "tcpSocket")
# In the order in which a server looks at them: of two, the later is the one too many.
_VOLUMES = ("emptyDir", "hostPath", "gitRepo", "secret", "nfs", "persistentVolumeClaim", "configMap", "downwardAPI",
            "projected", "csi")  # fmt: skip


def spec_causes(spec: Json, path: str) -> Iterator[Cause]:
    """Yield what is wrong with a pod's spec."""
    for n, volume in enumerate(spec.get("volumes") or []):
        kinds = [x for x in _VOLUMES if x in volume]
        for kind in kinds[1:]:
            yield (
                "FieldValueForbidden",
                f"{path}.volumes[{n}].{kind}",
                "Forbidden: may not specify more than 1 volume type",
            )
    if not spec.get("containers"):
        yield "FieldValueRequired", f"{path}.containers", "Required value"
    seen: set[str] = set()
    volumes = {str(x.get("name")) for x in spec.get("volumes") or []}
    for key in ("containers", "initContainers"):
        for n, container in enumerate(spec.get(key) or []):
            yield from _container(container, f"{path}.{key}[{n}]", seen, volumes)


def _container(container: Json, at: str, seen: set[str], volumes: set[str]) -> Iterator[Cause]:
    name = str(container.get("name") or "")
    if not name:
        yield "FieldValueRequired", f"{at}.name", "Required value"
    elif not _LABEL.fullmatch(name):
        yield "FieldValueInvalid", f"{at}.name", f"Invalid value: {json.dumps(name)}: {_LABEL_WORDS}"
    elif name in seen:
        yield "FieldValueDuplicate", f"{at}.name", f"Duplicate value: {json.dumps(name)}"
    seen.add(name)
    if not container.get("image"):
        yield "FieldValueRequired", f"{at}.image", "Required value"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(probe), dict):
            yield from _probe(container[probe], f"{at}.{probe}")
    yield from _ports(container, at)
    yield from _variables(container, at)
    for n, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            yield "FieldValueNotFound", f"{at}.volumeMounts[{n}].name", f"Not found: {json.dumps(mount.get('name'))}"
    yield from _supported(
        container.get("imagePullPolicy"), ("Always", "IfNotPresent", "Never"), f"{at}.imagePullPolicy"
    )


def _probe(probe: Json, at: str) -> Iterator[Cause]:
    handlers = [x for x in _HANDLERS if x in probe]
    if not handlers:
        yield "FieldValueRequired", at, "Required value: must specify a handler type"
    for handler in handlers[1:]:
        yield "FieldValueForbidden", f"{at}.{handler}", "Forbidden: may not specify more than 1 handler type"


def _ports(container: Json, at: str) -> Iterator[Cause]:
    for n, port in enumerate(container.get("ports") or []):
        number = port.get("containerPort")
        if not number:
            yield "FieldValueRequired", f"{at}.ports[{n}].containerPort", "Required value"
        elif not 1 <= number <= 65535:
            text = f"Invalid value: {number}: must be between 1 and 65535, inclusive"
            yield "FieldValueInvalid", f"{at}.ports[{n}].containerPort", text
        yield from _supported(port.get("protocol"), ("SCTP", "TCP", "UDP"), f"{at}.ports[{n}].protocol")


def _variables(container: Json, at: str) -> Iterator[Cause]:
    for n, variable in enumerate(container.get("env") or []):
        name = str(variable.get("name") or "")
        if not name:
            yield "FieldValueRequired", f"{at}.env[{n}].name", "Required value"
        elif not _VARIABLE.fullmatch(name):
            yield "FieldValueInvalid", f"{at}.env[{n}].name", f"Invalid value: {json.dumps(name)}: {_VARIABLE_WORDS}"


def _supported(value: Any, known: tuple[str, ...], at: str) -> Iterator[Cause]:
    if value not in known:
        listed = ", ".join(json.dumps(x) for x in known)
        yield "FieldValueNotSupported", at, f"Unsupported value: {json.dumps(value)}: supported values: {listed}"
