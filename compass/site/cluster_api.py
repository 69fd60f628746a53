"""Kubeconfigs that Cluster API keeps in the managing cluster: Secret ``<name>-kubeconfig``, key ``value``."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from compass.documents import load_yaml
from compass.errors import InvalidInput
from compass.names import ObjectRef, dns_name
from compass.site.access import Access, parse_kubeconfig

KEY = "value"
SUFFIX = "-kubeconfig"
LABEL = "cluster.x-k8s.io/cluster-name"


def secret_ref(place: str) -> ObjectRef:
    """Return the Secret of a cluster that is given as ``namespace/name``.

    Raises:
        InvalidInput: it is not written so.
    """
    namespace, slash, name = place.partition("/")
    if not slash:
        raise InvalidInput("read clusterAPI", repr(place[:80]), expected="namespace/name")
    for part in (namespace, name):
        dns_name(part, "clusterAPI")
    return ObjectRef("v1", "Secret", namespace, f"{name}{SUFFIX}")


def secret_access(secret: dict[str, Any] | None, where: str) -> Access:
    """Return how to reach the cluster whose kubeconfig a Secret holds; ``where`` names the Secret, never its content.

    Raises:
        InvalidInput: there is no such Secret, or what it holds is no kubeconfig.
    """
    if secret is None:
        raise InvalidInput("read kubeconfig of", where, found="no such Secret", expected="what Cluster API writes")
    text = (secret.get("data") or {}).get(KEY)
    if not text:
        raise InvalidInput("read kubeconfig of", where, found=f"no key {KEY!r}", expected="what Cluster API writes")
    try:
        content = base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("read kubeconfig of", where, found=f"{KEY!r} is no base64") from None
    return parse_kubeconfig(load_yaml(content, where), where)
