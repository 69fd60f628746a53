"""Answers that say no: ``Status`` bodies with the words of a real server.

Source: k8s.io/apimachinery pkg/api/errors; kubernetes.io, reference, API concepts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

Json = dict[str, Any]
Conflict = tuple[str, str, str, frozenset[tuple[str, ...]]]


class ApiError(Exception):
    """A request that is refused; ``body`` is the Status that says why."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    @property
    def body(self) -> Json:
        """The Status document."""
        found: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }
        return {k: v for k, v in found.items() if v not in (None, "")}


def qualified(resource: str, group: str) -> str:
    """Return a resource as messages name it: ``deployments.apps``."""
    return f"{resource}.{group}" if group else resource


def _details(name: str, group: str, kind: str, **more: Any) -> Json:
    return {k: v for k, v in {"name": name, "group": group, "kind": kind, **more}.items() if v}


def not_found(resource: str, group: str, name: str) -> ApiError:
    """Return the error for an object that is not there."""
    message = f'{qualified(resource, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(name, group, resource))


def no_such_path() -> ApiError:
    """Return the error for a kind or version that is not served."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: str, group: str, name: str) -> ApiError:
    """Return the error for creating what is there."""
    message = f'{qualified(resource, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(name, group, resource))


def conflict(resource: str, group: str, name: str, why: str) -> ApiError:
    """Return the error for a write to an object that is not as the writer thought."""
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(name, group, resource))


OPTIMISTIC_LOCK = "the object has been modified; please apply your changes to the latest version and try again"


def bad_request(message: str) -> ApiError:
    """Return the error for a request that makes no sense."""
    return ApiError(400, "BadRequest", message)


def unsupported_media_type(found: str, expected: Sequence[str]) -> ApiError:
    """Return the error for a body of a type that is not taken."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(expected)}"
    return ApiError(415, "UnsupportedMediaType", message)


def method_not_allowed() -> ApiError:
    """Return the error for a verb that the resource does not have."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unauthorized() -> ApiError:
    """Return the error for credentials that nobody knows."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, verb: str, resource: str, group: str, namespace: str, name: str) -> ApiError:
    """Return the error for a right that is missing."""
    where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
    subject = f' "{name}"' if name else ""
    message = (
        f"{qualified(resource, group)}{subject} is forbidden: "
        f'User "{user}" cannot {verb} resource "{resource}" in API group "{group}"{where}'
    )
    return ApiError(403, "Forbidden", message, _details(name, group, resource))


def forbidden_path(user: str, verb: str, path: str) -> ApiError:
    """Return the error for a missing right on a path that is no resource."""
    return ApiError(403, "Forbidden", f'forbidden: User "{user}" cannot {verb} path "{path}"', {})


def refused(resource: str, group: str, name: str, why: str, causes: Sequence[Json] = ()) -> ApiError:
    """Return the error for what admission does not let in."""
    message = f'{qualified(resource, group)} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, _details(name, group, resource, causes=list(causes)))


def expired(message: str) -> ApiError:
    """Return the error for a list or watch that goes too far back."""
    return ApiError(410, "Expired", message)


def invalid(kind: str, group: str, name: str, causes: Iterable[tuple[str, str, str]]) -> ApiError:
    """Return the error for an object that fails validation; causes are (reason, field, message)."""
    listed = [{"reason": reason, "message": message, "field": field} for reason, field, message in causes]
    texts = list(dict.fromkeys(f"{x['field']}: {x['message']}" for x in listed))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    message = f'{qualified(kind, group)} "{name}" is invalid: {text}'
    return ApiError(422, "Invalid", message, _details(name, group, kind, causes=listed))


def apply_conflict(conflicts: Sequence[Conflict]) -> ApiError:
    """Return the error for fields that others own."""
    causes = []
    for manager, operation, api_version, fields in sorted(conflicts, key=lambda x: x[0]):
        using = f" using {api_version}" if operation == "Update" else ""
        for field in sorted(map(path_text, fields)):
            message = f'conflict with "{manager}"{using}'
            causes.append({"reason": "FieldManagerConflict", "message": message, "field": field})
    many = len(causes) > 1
    if many:
        lines: dict[str, list[str]] = {}
        for x in causes:
            lines.setdefault(x["message"], []).append(f"- {x['field']}")
        text = "\n".join(
            f"conflicts{message.removeprefix('conflict')}:\n" + "\n".join(fields) for message, fields in lines.items()
        )
    else:
        text = f"{causes[0]['message']}: {causes[0]['field']}"
    message = f"Apply failed with {len(causes)} conflict{'s' if many else ''}: {text}"
    return ApiError(409, "Conflict", message, {"causes": causes})


def path_text(path: tuple[str, ...]) -> str:
    """Return a field as messages print it: ``.spec.containers[name="a"].image``."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += f".{step[2:]}"
        elif step.startswith("k:"):
            keys = json.loads(step[2:])
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in sorted(keys.items())) + "]"
        else:
            text += f"[={step[2:]}]"
    return text
