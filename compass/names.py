"""Names turned into values once, at the door; ``str()`` is the inverse of ``parse``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from compass.digests import Digest, parse_digest
from compass.errors import InvalidInput

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::([0-9]{1,5}))?")
_DNS_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, order=True)
class ImageName:
    """An image reference; ``registry`` is empty where the text named none.

    Source: distribution specification 1.1, section Pulling manifests; the host rule is Docker's: a first part with
    a dot or a colon, or ``localhost``, is a host.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Read ``[host[:port]/]path[:tag][@digest]``.

        Raises:
            InvalidInput: a part does not follow the grammar.
        """
        rest, _, digest = text.partition("@")
        first, slash, tail = rest.partition("/")
        is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
        registry, path = (first, tail) if is_host else ("", rest)
        repository, colon, tag = path.rpartition(":")
        if not colon:
            repository, tag = path, ""
        wrong = (
            not _REPOSITORY.fullmatch(repository)
            or (bool(tag or colon) and not _TAG.fullmatch(tag))
            or (bool(registry) and not _is_host(registry))
            or ("@" in text and not digest)
        )
        if wrong or len(repository) > 255:
            raise InvalidInput("read image name", repr(text[:200]), expected="[host[:port]/]path[:tag][@digest]")
        return cls(registry, repository, tag, parse_digest(digest) if digest else "")

    def __str__(self) -> str:
        host = f"{self.registry}/" if self.registry else ""
        return f"{host}{self.short_path}{f'@{self.digest}' if self.digest else ''}"

    @property
    def short_path(self) -> str:
        """Repository and tag, without the host: ``release/am_minion:v0.0.7``."""
        return f"{self.repository}{f':{self.tag}' if self.tag else ''}"

    @property
    def short(self) -> str:
        """Last part of the repository, and tag, as the old scripts printed it: ``am_minion:v0.0.7``."""
        return self.short_path.rpartition("/")[2]

    def at(self, registry: str) -> ImageName:
        """Return the same image at another registry."""
        return replace(self, registry=registry)

    def with_digest(self, digest: Digest | str) -> ImageName:
        """Return the same image pinned to a digest."""
        return replace(self, digest=str(digest))


@dataclass(frozen=True, order=True)
class ObjectRef:
    """One Kubernetes object; ``namespace`` is empty for cluster-scoped objects."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, manifest: dict[str, Any]) -> ObjectRef:
        """Return the reference of a manifest that has been checked to have kind and name."""
        metadata = manifest["metadata"]
        return cls(manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"])

    def __str__(self) -> str:
        middle = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind}/{middle}{self.name}"

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes it one object on the server whatever the version: group, kind, namespace, name."""
        return self.group, self.kind, self.namespace, self.name


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    return found is not None and int(found[1] or 1) in range(1, 1 << 16)


def dns_name(text: str, what: str) -> str:
    """Return ``text`` if it can name a Kubernetes object (RFC 1123 subdomain).

    Raises:
        InvalidInput: it cannot.
    """
    if not _DNS_NAME.fullmatch(text):
        raise InvalidInput(f"read {what}", repr(text[:200]), expected="lower-case letters, digits, '-' and '.'")
    return text


def registry_host(text: str) -> str:
    """Return ``text`` if it is a ``host[:port]``.

    Raises:
        InvalidInput: it is not, for instance because it carries a path.
    """
    # Container runtimes take a bare word for a folder of docker.io.
    is_host = "." in text or ":" in text or text == "localhost"
    if not is_host or not _is_host(text):
        raise InvalidInput("read registry", repr(text[:200]), expected="host[:port], with a dot, a port, or localhost")
    return text
