"""A kubeconfig that leads to a server another way."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compass.documents import dump_yaml, load_yaml

Json = dict[str, Any]
Pair = tuple[bytes, bytes]
_OWN = ("certificate-authority", "insecure-skip-tls-verify", "tls-server-name", "proxy-url")


def redirected(
    document: Json, server: str, url: str, ca_pem: bytes, folder: Path | None = None
) -> tuple[Json, list[Pair]]:
    """Return a kubeconfig with ``url`` and ``ca_pem`` for ``server``, and the client certificates that it holds.

    Raises:
        LookupError: it does not know the server.
    """
    found = copy.deepcopy(document)
    clusters = [x for x in _bodies(found, "clusters", "cluster") if str(x.get("server", "")).rstrip("/") == server]
    if not clusters:
        raise LookupError(f"the kubeconfig has no cluster at {server}")
    for cluster in clusters:
        for key in _OWN:
            cluster.pop(key, None)
        cluster |= {"server": url, "certificate-authority-data": base64.b64encode(ca_pem).decode()}
    pairs = []
    for user in _bodies(found, "users", "user"):
        _inline(user, folder)
        if "client-certificate-data" in user:
            pairs.append((_data(user, "client-certificate"), _data(user, "client-key")))
    return found, pairs


def write_kubeconfig(source: Path, target: Path, redirect: Callable[[Json, Path], Json]) -> Path:
    """Write ``source`` as ``redirect`` returns it to ``target``, its owner's alone, and return that."""
    document = redirect(load_yaml(source.read_bytes(), str(source)), source.parent)
    target.touch(mode=0o600)
    target.write_text(dump_yaml(document))
    return target


def _bodies(document: Json, key: str, what: str) -> list[Json]:
    """Return the entries of a list of the document, or of a map by name."""
    listed = document.get(key) or []
    return list(listed.values()) if isinstance(listed, dict) else [x[what] for x in listed]


def _inline(user: Json, folder: Path | None) -> None:
    """Put the files that a user's entry names into it: the kubeconfig will lie elsewhere."""
    for key in ("client-certificate", "client-key"):
        if name := user.pop(key, None):
            user[f"{key}-data"] = base64.b64encode(((folder or Path()) / name).read_bytes()).decode()
    if name := user.pop("tokenFile", None):
        user["token"] = ((folder or Path()) / name).read_text().strip()


def _data(user: Json, key: str) -> bytes:
    return base64.b64decode(user[f"{key}-data"])
