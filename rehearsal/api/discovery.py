"""What a server says of itself: version, groups, resources, types; and the reviews, which are questions, not objects.

Source: kubernetes.io, The Kubernetes API, section API discovery.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

from rehearsal.api.builtin import builtin
from rehearsal.api.kinds import Kinds, Resource
from rehearsal.api.openapi import protobuf
from rehearsal.api.reviews import Access, User, rules_review, subject_review

Json = dict[str, Any]


def document(kinds: Kinds, path: str, host: str) -> Json | None:
    """Return the document of a discovery path, ``None`` where there is none."""
    parts = tuple(x for x in path.split("/") if x)
    if parts == ("version",):
        return dict(builtin()["version"])
    if parts == ():
        return {"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/readyz", "/version"]}
    if parts == ("api",):
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
    if parts == ("apis",):
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": kinds.groups()}
    if parts[0] == "api" and len(parts) == 2:
        return kinds.resource_list("", parts[1])
    if parts[0] == "apis" and len(parts) == 2:
        group = next((x for x in kinds.groups() if x["name"] == parts[1]), None)
        return {"kind": "APIGroup", "apiVersion": "v1", **group} if group else None
    if parts[0] == "apis" and len(parts) == 3:
        return kinds.resource_list(parts[1], parts[2])
    return None


@cache
def _swagger() -> Json:
    info = {"title": "Kubernetes", "version": builtin()["version"]["gitVersion"]}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": builtin()["definitions"]}


@cache
def _swagger_protobuf() -> bytes:
    return protobuf(_swagger())


def openapi(accept: str) -> tuple[bytes, str]:
    """Return the types in the form that is asked for, and the form's name."""
    if "protobuf" in accept:
        return _swagger_protobuf(), "application/octet-stream"
    return orjson.dumps(_swagger()), "application/json"


def review(access: Access, user: User, resource: Resource, body: Json) -> Json | None:
    """Answer a review; ``None`` where the resource holds objects."""
    if resource.kind == "SelfSubjectAccessReview":
        return _of(resource, subject_review(access, user, body))
    if resource.kind == "SelfSubjectRulesReview":
        return _of(resource, rules_review(access, user, body))
    if resource.kind in ("SubjectAccessReview", "LocalSubjectAccessReview"):
        spec = body.get("spec") or {}
        asked = User(str(spec.get("user", "")), tuple(spec.get("groups") or ()))
        return _of(resource, subject_review(access, asked, body))
    if resource.kind == "TokenReview":
        token = str((body.get("spec") or {}).get("token", ""))
        found = access.tokens.get(token)
        known = {"username": found.name, "groups": list(found.groups)} if found else {}
        return _of(resource, {**body, "status": {"authenticated": bool(found), "user": known}})
    return None


def _of(resource: Resource, body: Json) -> Json:
    return {"kind": resource.kind, "apiVersion": resource.api_version, **body}
