"""Ports with the protocol that the API takes where none is given.

Server-side apply keys ports by it, and servers before 1.21 do not fill it in there (kubernetes/kubernetes issue 92332).
"""

from __future__ import annotations

import copy
from typing import Any

from compass.change.manifests import pod_spec

PROTOCOL = "TCP"


def with_protocols(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest in which every port of a Service or a container names its protocol."""
    if all("protocol" in x for x in _ports(manifest)):
        return manifest
    filled = copy.deepcopy(manifest)
    for port in _ports(filled):
        port.setdefault("protocol", PROTOCOL)
    return filled


def _ports(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest.get("spec")
    holders = [spec] if manifest.get("kind") == "Service" and manifest.get("apiVersion") == "v1" else []
    pods = pod_spec(manifest) or {}
    for key in ("initContainers", "containers"):
        holders += pods.get(key) or []
    listed = [x.get("ports") for x in holders if isinstance(x, dict)]
    return [port for ports in listed if isinstance(ports, list) for port in ports if isinstance(port, dict)]
