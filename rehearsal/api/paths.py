"""What a request asks for, read from its method, path and query.

Source: kubernetes.io, API concepts, section Resource URIs; Authorization Overview, section Determine the Request Verb.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rehearsal.api.reviews import Question
from rehearsal.api.status import bad_request, invalid

_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "HEAD": "get"}


@dataclass(frozen=True)
class Wanted:
    """A request for a resource; ``plural`` is empty for a discovery path."""

    verb: str
    group: str
    version: str
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def question(self) -> Question:
        """What the one who asks must be allowed to do."""
        resource = f"{self.plural}/{self.subresource}" if self.subresource else self.plural
        return Question(self.verb, self.group, resource, self.namespace, self.name)


def read(method: str, path: str, query: Mapping[str, str]) -> Wanted | None:
    """Return what is asked for, ``None`` where the path is none of a resource."""
    parts = [x for x in path.split("/") if x]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "", "")[:3]
    return Wanted(_verb(method, name, query), group, version, namespace, plural, name, subresource)


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    verb = _VERBS.get(method, method.lower())
    if verb == "get" and not name:
        return "watch" if watches(query) else "list"
    if verb == "get" and watches(query):
        return "watch"
    return "deletecollection" if verb == "delete" and not name else verb


def watches(query: Mapping[str, str]) -> bool:
    """Tell whether a query asks for a watch."""
    return query.get("watch", "") in ("1", "true", "True")


def dry_run(query: Mapping[str, str], options: str) -> bool:
    """Tell whether a write is only tried.

    Raises:
        ApiError: the query wants something else than ``All``.
    """
    value = query.get("dryRun", "")
    if value not in ("", "All"):
        text = f'Unsupported value: []string{{"{value}"}}: supported values: "All"'
        raise invalid(options, "meta.k8s.io", "", [("FieldValueNotSupported", "dryRun", text)])
    return value == "All"


def manager(query: Mapping[str, str], user_agent: str) -> str:
    """Return in whose name a write is made: the query's word, or the first part of the client's name."""
    given = query.get("fieldManager", "")
    if len(given) > 128:
        raise bad_request("fieldManager: Too long: must have at most 128 bytes")
    return given or user_agent.partition("/")[0][:128] or "unknown"
