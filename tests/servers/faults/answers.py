"""Error answers as an API server or a registry words them."""

from __future__ import annotations

import json
import re

# Reason and message of the Status kind of meta/v1, by status code.
_STATUS = {
    403: ("Forbidden", "forbidden: User {name!r} cannot do this"),
    404: ("NotFound", "the server could not find the requested resource"),
    409: ("Conflict", "Operation cannot be fulfilled on {resource} {name!r}: the object has been modified"),
    410: ("Expired", "The provided continue parameter is too old to display a consistent list result"),
    429: ("TooManyRequests", "Too many requests, please try again later."),
    500: ("InternalError", "Internal error occurred: the connection to the store is lost"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within the time allotted"),
}
# Codes of the distribution specification, and those that registries use beside them.
_CODES = {404: "NAME_UNKNOWN", 409: "CONFLICT", 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE"}
_OBJECT = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/[^/]+)?/(?P<plural>[^/?]+)(?:/(?P<name>[^/?]+))?"
)


def error_body(status: int, target: str, retry_after_seconds: int | None) -> bytes:
    """Return the body of an error answer; what lies below ``/v2/`` is a registry's."""
    if target.startswith("/v2/"):
        code = _CODES.get(status, "UNKNOWN")
        return json.dumps({"errors": [{"code": code, "message": "a fault on purpose"}]}).encode()
    reason, message = _STATUS.get(status, ("Unknown", "an error on the server has prevented the request"))
    details = _details(target)
    text = message.format(resource=details.get("kind", "resource"), name=details.get("name", ""))
    if status == 404:
        details = {}  # the path is unknown, not the object
    if retry_after_seconds is not None:
        details["retryAfterSeconds"] = retry_after_seconds
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": text,
            "reason": reason, "details": details, "code": status}  # fmt: skip
    return json.dumps(body).encode()


def _details(target: str) -> dict[str, str | int]:
    found = _OBJECT.match(target)
    if not found:
        return {}
    named = {"name": found["name"], "group": found["group"], "kind": found["plural"]}
    return {key: value for key, value in named.items() if value}
