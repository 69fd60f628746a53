"""Addresses and ports of a Service: the API server allocates those that a manifest leaves open."""

from __future__ import annotations

import copy
from typing import Any

_ADDRESSES = ("clusterIP", "clusterIPs", "healthCheckNodePort")


def without_allocated(predicted: dict[str, Any], live: dict[str, Any], manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a dry run's result less what it allocated: the real change may be given others."""
    if not _is_service(predicted):
        return predicted
    known, wanted = live.get("spec") or {}, manifest.get("spec") or {}
    result = copy.deepcopy(predicted)
    for name in _ADDRESSES:
        if name not in known and name not in wanted:
            result["spec"].pop(name, None)
    held = _node_ports(known) | _node_ports(wanted)
    for port in result["spec"].get("ports") or []:
        if port.get("nodePort") not in held:
            port.pop("nodePort", None)
    return result


def without_held(manifest: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest less the addresses and ports that ``live`` holds: they are free once it is deleted."""
    if not _is_service(manifest):
        return manifest
    known = live.get("spec") or {}
    result = copy.deepcopy(manifest)
    spec = result.get("spec") or {}
    for name in _ADDRESSES:
        if name in spec and spec[name] == known.get(name) and spec[name] not in ("None", ["None"]):
            del spec[name]
    for port in spec.get("ports") or []:
        if port.get("nodePort") in _node_ports(known):
            del port["nodePort"]
    return result


def _is_service(item: dict[str, Any]) -> bool:
    return item.get("apiVersion") == "v1" and item.get("kind") == "Service"


def _node_ports(spec: dict[str, Any]) -> set[int]:
    return {x["nodePort"] for x in spec.get("ports") or [] if x.get("nodePort")}
