"""What a registry says when it says no.

Source: OCI distribution specification 1.1, section Error Codes; statuses, words and details are those of distribution
2.8, which Harbor builds on.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

_CODES: dict[str, tuple[int, str]] = {
    "BLOB_UNKNOWN": (404, "blob unknown to registry"),
    "BLOB_UPLOAD_INVALID": (404, "blob upload invalid"),
    "BLOB_UPLOAD_UNKNOWN": (404, "blob upload unknown to registry"),
    "DIGEST_INVALID": (400, "provided digest did not match uploaded content"),
    "MANIFEST_BLOB_UNKNOWN": (400, "blob unknown to registry"),
    "MANIFEST_INVALID": (400, "manifest invalid"),
    "MANIFEST_UNKNOWN": (404, "manifest unknown"),
    "NAME_INVALID": (400, "invalid repository name"),
    "NAME_UNKNOWN": (404, "repository name not known to registry"),
    "PAGINATION_NUMBER_INVALID": (400, "invalid number of results requested"),
    "RANGE_INVALID": (416, "invalid content range"),
    "SIZE_INVALID": (400, "provided length did not match content length"),
    "TOOMANYREQUESTS": (429, "too many requests"),
    "UNAUTHORIZED": (401, "authentication required"),
    "UNAVAILABLE": (503, "service unavailable"),
    "UNKNOWN": (500, "unknown error"),
}
_NO_DETAIL = object()


class RegistryError(Exception):
    """One error, or several of one code with a detail each."""

    def __init__(self, code: str, *details: Any, message: str = "", headers: dict[str, str] | None = None) -> None:
        self.status, usual = _CODES[code]
        self.headers = headers or {}
        self.errors = [_entry(code, message or usual, detail) for detail in details or (_NO_DETAIL,)]
        super().__init__(f"{code}: {message or usual}")

    def response(self) -> Response:
        """Return the answer that carries it."""
        return json_response({"errors": self.errors}, self.status, self.headers)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer with a JSON body, typed as distribution types it."""
    body = json.dumps(value, separators=(",", ":")) + "\n"
    return Response(body, status, headers, media_type="application/json; charset=utf-8")


def _entry(code: str, message: str, detail: Any) -> dict[str, Any]:
    entry = {"code": code, "message": message}
    return entry if detail is _NO_DETAIL else {**entry, "detail": detail}
