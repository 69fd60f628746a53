"""One request as the handlers see it, and where each path leads.

Source: OCI distribution specification 1.1, sections Endpoints and Pulling manifests (the grammar of names and tags).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from compass.digests import Digest, parse_digest
from compass.errors import InvalidInput
from rehearsal.registry.errors import RegistryError

MAX_NAME = 255
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_GRAMMAR = {
    "name": rf"{_PART}(?:/{_PART})*",
    "reference": r"\w[\w.-]{0,127}|[A-Za-z][\w.+-]*:[0-9a-fA-F]+",
    "digest": r"[A-Za-z][\w.+-]*:\w+",
    "upload": r"[\w.=-]+",
}


@dataclass(frozen=True)
class Call:
    """A request with the parts of its path, and the front of the URLs that its answer gives."""

    request: Request
    name: str
    rest: str
    base: str

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters."""
        return self.request.query_params

    @property
    def digest(self) -> Digest:
        """The digest in the path.

        Raises:
            RegistryError: it is none.
        """
        return digest_from(self.rest)

    @property
    def created(self) -> str:
        """Front of the URLs in this repository."""
        return f"{self.base}/v2/{self.name}"


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """A form of paths with what answers each method."""

    pattern: re.Pattern[str]
    handlers: Mapping[str, Handler]

    @classmethod
    def of(cls, form: str, handlers: Mapping[str, Handler]) -> Route:
        """Return the route of a form such as ``/v2/{name}/blobs/{digest}``."""
        pattern = re.sub(r"\{(\w+)\}", lambda x: f"(?P<{x[1]}>{_GRAMMAR[x[1]]})", form)
        return cls(re.compile(pattern, re.ASCII), handlers)

    def match(self, path: str) -> tuple[str, str] | None:
        """Return the name and the other part of a path; ``None`` when it leads elsewhere."""
        found = self.pattern.fullmatch(path)
        if not found:
            return None
        parts = found.groupdict()
        return parts.pop("name", ""), next(iter(parts.values()), "")

    @property
    def allowed(self) -> str:
        """The methods, as the header Allow lists them."""
        return ", ".join(sorted(self.handlers))


def digest_from(text: str) -> Digest:
    """Return ``text`` as a digest.

    Raises:
        RegistryError: it is none.
    """
    try:
        return parse_digest(text)
    except InvalidInput:
        raise RegistryError("DIGEST_INVALID", {}) from None
