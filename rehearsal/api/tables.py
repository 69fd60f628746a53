"""Lists as tables, which is how kubectl asks for them.

Source: kubernetes.io, API concepts, section Receiving resources as Tables; pkg/printers/internalversion.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rehearsal.api.kinds import Resource

Json = dict[str, Any]
Cell = Callable[[Json], Any]
Column = tuple[str, str, int, Cell]  # name, type, priority, value
_STEP = re.compile(r"\.?([A-Za-z0-9_\-]+)|\['([^']+)'\]|\[(\d+)\]")


def table(resource: Resource, items: list[Json], metadata: Json, include: str) -> Json:
    """Return objects as a Table; ``include`` is ``Metadata``, ``Object`` or ``None``."""
    columns = _columns(resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {"name": name, "type": kind, "format": "name" if name == "Name" else "", "description": "",
             "priority": priority}
            for name, kind, priority, _ in columns
        ],
        "rows": [{"cells": [cell(x) for *_, cell in columns], "object": _object(x, include)} for x in items],
    }  # fmt: skip


def _object(item: Json, include: str) -> Json:
    if include == "Object":
        return item
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}


def _columns(resource: Resource) -> tuple[Column, ...]:
    if resource.is_custom:
        if not resource.columns:
            return (_NAME, _AGE)
        return (_NAME, *(_printed(x) for x in resource.columns))
    return (_NAME, *_BY_KIND.get(resource.kind, (_AGE,)))


def _printed(column: tuple[str, str, str, str]) -> Column:
    name, kind, path, _ = column
    is_date = kind == "date"
    return name, "string" if is_date else kind, 0, lambda item: age(found(item, path)) if is_date else found(item, path)


def found(item: Json, path: str) -> Any:
    """Return what a simple JSONPath leads to, ``None`` where nothing is."""
    value: Any = item
    for name, quoted, index in _STEP.findall(path):
        if isinstance(value, dict):
            value = value.get(name or quoted)
        elif isinstance(value, list) and index:
            value = value[int(index)] if int(index) < len(value) else None
        else:
            return None
    return value


def age(stamp: Any) -> str:
    """Return how long ago a time was, as kubectl prints it (HumanDuration)."""
    if not isinstance(stamp, str):
        return "<unknown>"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(stamp.replace("Z", "+00:00"))).total_seconds())
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes = seconds // 60
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def _status(item: Json, key: str) -> Any:
    return (item.get("status") or {}).get(key) or 0


def _spec(item: Json, key: str) -> Any:
    return (item.get("spec") or {}).get(key)


def _pod_ready(item: Json) -> str:
    statuses = (item.get("status") or {}).get("containerStatuses") or []
    return f"{sum(bool(x.get('ready')) for x in statuses)}/{len(item['spec'].get('containers') or [])}"


def pod_reason(item: Json) -> str:
    """Return the STATUS of a pod: what keeps it, or its phase."""
    status = item.get("status") or {}
    text = str(status.get("reason") or status.get("phase") or "")
    inits = status.get("initContainerStatuses") or []
    for n, one in enumerate(inits):
        state = one.get("state") or {}
        if (state.get("terminated") or {}).get("exitCode") == 0:
            continue
        reason = (state.get("waiting") or {}).get("reason") or (state.get("terminated") or {}).get("reason")
        text = f"Init:{reason}" if reason and reason != "PodInitializing" else f"Init:{n}/{len(inits)}"
        break
    else:
        for one in reversed(status.get("containerStatuses") or []):
            state = one.get("state") or {}
            reason = (state.get("waiting") or {}).get("reason") or (state.get("terminated") or {}).get("reason")
            text = reason or text
    return "Terminating" if "deletionTimestamp" in item["metadata"] else text


def _restarts(item: Json) -> int:
    return sum(x.get("restartCount", 0) for x in (item.get("status") or {}).get("containerStatuses") or [])


def _ports(item: Json) -> str:
    listed = item["spec"].get("ports") or []
    nodes = (f":{x['nodePort']}" if x.get("nodePort") else "" for x in listed)
    return (
        ",".join(f"{x['port']}{n}/{x.get('protocol', 'TCP')}" for x, n in zip(listed, nodes, strict=True)) or "<none>"
    )


def _containers(item: Json) -> list[Json]:
    template = (item.get("spec") or {}).get("template") or {}
    return list((template.get("spec") or {}).get("containers") or [])


def _selector(item: Json) -> str:
    labels = ((item.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) or "<none>"


def _pair(item: Json) -> str:
    return f"{_status(item, 'readyReplicas')}/{_spec(item, 'replicas') or 0}"


def _node_status(item: Json) -> str:
    ready = [x for x in (item.get("status") or {}).get("conditions") or [] if x.get("type") == "Ready"]
    return "Ready" if ready and ready[0].get("status") == "True" else "NotReady" if ready else "Unknown"


def _seen(item: Json) -> str:
    return age(item.get("lastTimestamp") or item["metadata"].get("creationTimestamp"))


def _about(item: Json) -> str:
    about = item.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


_NAME: Column = ("Name", "string", 0, lambda x: x["metadata"]["name"])
_AGE: Column = ("Age", "string", 0, lambda x: age(x["metadata"].get("creationTimestamp")))
_WIDE: tuple[Column, ...] = (
    ("Containers", "string", 1, lambda x: ",".join(str(y.get("name")) for y in _containers(x))),
    ("Images", "string", 1, lambda x: ",".join(str(y.get("image")) for y in _containers(x))),
    ("Selector", "string", 1, _selector),
)


def _number(name: str, key: str) -> Column:
    return name, "integer", 0, lambda x: _status(x, key)


_BY_KIND: dict[str, tuple[Column, ...]] = {
    "Pod": (
        ("Ready", "string", 0, _pod_ready), ("Status", "string", 0, pod_reason), ("Restarts", "integer", 0, _restarts),
        _AGE, ("IP", "string", 1, lambda x: (x.get("status") or {}).get("podIP") or "<none>"),
        ("Node", "string", 1, lambda x: _spec(x, "nodeName") or "<none>"),
        ("Nominated Node", "string", 1, lambda x: "<none>"), ("Readiness Gates", "string", 1, lambda x: "<none>"),
    ),
    "Deployment": (
        ("Ready", "string", 0, _pair), _number("Up-to-date", "updatedReplicas"),
        _number("Available", "availableReplicas"), _AGE, *_WIDE,
    ),
    "ReplicaSet": (
        ("Desired", "integer", 0, lambda x: _spec(x, "replicas") or 0), _number("Current", "replicas"),
        _number("Ready", "readyReplicas"), _AGE, *_WIDE,
    ),
    "StatefulSet": (("Ready", "string", 0, _pair), _AGE, *_WIDE[:2]),
    "DaemonSet": (
        _number("Desired", "desiredNumberScheduled"), _number("Current", "currentNumberScheduled"),
        _number("Ready", "numberReady"), _number("Up-to-date", "updatedNumberScheduled"),
        _number("Available", "numberAvailable"), ("Node Selector", "string", 0, lambda x: "<none>"), _AGE, *_WIDE,
    ),
    "Job": (
        ("Completions", "string", 0, lambda x: f"{_status(x, 'succeeded')}/{_spec(x, 'completions') or 1}"),
        ("Duration", "string", 0, lambda x: age((x.get("status") or {}).get("startTime"))), _AGE, *_WIDE,
    ),
    "Service": (
        ("Type", "string", 0, lambda x: _spec(x, "type")),
        ("Cluster-IP", "string", 0, lambda x: _spec(x, "clusterIP") or "<none>"),
        ("External-IP", "string", 0, lambda x: "<none>"), ("Port(s)", "string", 0, _ports), _AGE,
    ),
    "Namespace": (("Status", "string", 0, lambda x: (x.get("status") or {}).get("phase")), _AGE),
    "Node": (
        ("Status", "string", 0, _node_status), ("Roles", "string", 0, lambda x: "<none>"), _AGE,
        ("Version", "string", 0, lambda x: ((x.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", "")),
    ),
    "ConfigMap": (("Data", "string", 0, lambda x: len(x.get("data") or {})), _AGE),
    "Secret": (
        ("Type", "string", 0, lambda x: x.get("type")), ("Data", "string", 0, lambda x: len(x.get("data") or {})), _AGE,
    ),
    "Event": (
        ("Last Seen", "string", 0, _seen), ("Type", "string", 0, lambda x: x.get("type", "")),
        ("Reason", "string", 0, lambda x: x.get("reason", "")), ("Object", "string", 0, _about),
        ("Message", "string", 0, lambda x: str(x.get("message", "")).strip()),
    ),
    "Lease": (("Holder", "string", 0, lambda x: _spec(x, "holderIdentity") or ""), _AGE),
    "CustomResourceDefinition": (("Created At", "date", 0, lambda x: x["metadata"].get("creationTimestamp")),),
    "PersistentVolumeClaim": (
        ("Status", "string", 0, lambda x: (x.get("status") or {}).get("phase")),
        ("Volume", "string", 0, lambda x: _spec(x, "volumeName") or ""), _AGE,
    ),
}  # fmt: skip
