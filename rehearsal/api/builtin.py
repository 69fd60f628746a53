"""What every cluster serves before anybody defines more: discovery and types of Kubernetes 1.20.2, as data.

The data are Kubernetes' own (Apache License 2.0), distilled from a running server by ``rehearsal.api.distill``.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]
DATA = Path(__file__).with_name("builtin.json.gz")
# One version per group where versions differ in shape: nothing is converted here.
SERVED = (
    "v1",
    "apps/v1",
    "batch/v1",
    "batch/v1beta1",
    "autoscaling/v1",
    "networking.k8s.io/v1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1",
    "rbac.authorization.k8s.io/v1beta1",
    "storage.k8s.io/v1",
    "scheduling.k8s.io/v1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1beta1",
    "node.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "apiregistration.k8s.io/v1",
    "admissionregistration.k8s.io/v1",
    "authorization.k8s.io/v1",
    "authentication.k8s.io/v1",
)


@cache
def builtin() -> Json:
    """Return version, groups, resources by group version, and type definitions."""
    data: Json = json.loads(gzip.decompress(DATA.read_bytes()))
    return data
