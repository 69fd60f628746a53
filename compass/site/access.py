"""How to reach a cluster: the address of its API server and what proves who we are."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compass.documents import load_yaml, read_text
from compass.errors import InvalidInput


@dataclass(frozen=True)
class Access:
    """Everything needed to speak to one API server; what is secret is left out of its ``repr``.

    ``where`` says where it came from, ``name`` what that calls it.  Certificates and keys are PEM.
    """

    server: str
    where: str
    name: str = ""
    ca_pem: bytes = b""
    skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    client_cert_pem: bytes = field(default=b"", repr=False)
    client_key_pem: bytes = field(default=b"", repr=False)


def read_access(path: Path, context: str | None = None) -> Access:
    """Return what a kubeconfig file says of one context, by default its current one.

    Raises:
        InvalidInput: the file is absent, does not parse, or lacks the context, cluster or user.
    """
    document = load_yaml(read_text(path, "kubeconfig"), f"kubeconfig {path}")
    return parse_kubeconfig(document, f"kubeconfig {path}", context, folder=path.parent)


def parse_kubeconfig(document: Any, where: str, context: str | None = None, folder: Path | None = None) -> Access:
    """Return one context of a kubeconfig document; paths in it are taken from ``folder``, refused without one.

    Raises:
        InvalidInput: the document is no kubeconfig, or uses a way of signing in that we do not have.

    Source: kubernetes.io, reference, kubeconfig (v1).
    """
    if not isinstance(document, dict) or not isinstance(document.get("clusters"), list):
        raise InvalidInput("read", where, found="no list of clusters", expected="a kubeconfig")
    chosen = context or document.get("current-context") or _only_name(document, "contexts", where)
    around = _named(document, "contexts", str(chosen), "context", where)
    cluster = _named(document, "clusters", str(around.get("cluster", "")), "cluster", where)
    user = _named(document, "users", str(around.get("user", "")), "user", where) if around.get("user") else {}
    reader = _Reader(where, folder)
    for way in ("exec", "auth-provider"):
        if way in user:
            raise InvalidInput(
                "read", where, found=f"user signs in by {way!r}, which runs a program",
                expected="a token, a client certificate, or a user name and password",
            )  # fmt: skip
    return Access(
        server=_server(cluster, where),
        where=where,
        name=str(chosen),
        ca_pem=reader.pem(cluster, "certificate-authority"),
        skip_tls_verify=cluster.get("insecure-skip-tls-verify") is True,
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy_url=str(cluster.get("proxy-url") or ""),
        token=str(user.get("token") or "") or reader.text(user, "tokenFile").strip(),
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
        client_cert_pem=reader.pem(user, "client-certificate"),
        client_key_pem=reader.pem(user, "client-key"),
    )


@dataclass(frozen=True)
class _Reader:
    where: str
    folder: Path | None

    def pem(self, entry: dict[str, Any], key: str) -> bytes:
        data = entry.get(f"{key}-data")
        if data:
            try:
                # Line breaks, as the base64 command makes them, are fine with kubectl too.
                return base64.b64decode(re.sub(r"[\r\n]", "", str(data)), validate=True)
            except (binascii.Error, ValueError):
                raise InvalidInput("read", self.where, found=f"{key}-data is no base64") from None
        return self.text(entry, key).encode()

    def text(self, entry: dict[str, Any], key: str) -> str:
        named = entry.get(key)
        if not named:
            return ""
        if self.folder is None:
            raise InvalidInput("read", self.where, found=f"{key} names a file", expected=f"{key}-data")
        return read_text(self.folder / str(named), key)


def _server(cluster: dict[str, Any], where: str) -> str:
    server = str(cluster.get("server") or "")
    if not server.startswith(("https://", "http://")):
        raise InvalidInput("read", where, found=f"server {server!r}", expected="https://host[:port]")
    return server.rstrip("/")


def _entries(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    listed = document.get(key)
    return [x for x in listed if isinstance(x, dict)] if isinstance(listed, list) else []


def _only_name(document: dict[str, Any], key: str, where: str) -> str:
    names = [str(x.get("name")) for x in _entries(document, key)]
    if len(names) != 1:
        raise InvalidInput("read", where, found="no current-context", expected="one", do="pass --context")
    return names[0]


def _named(document: dict[str, Any], key: str, name: str, what: str, where: str) -> dict[str, Any]:
    for entry in _entries(document, key):
        body = entry.get(what)
        if str(entry.get("name")) == name and isinstance(body, dict):
            return body
    there = ", ".join(sorted(str(x.get("name")) for x in _entries(document, key))) or "none"
    raise InvalidInput("read", where, found=f"no {what} {name!r}", expected=f"one of: {there}")
