"""Bodies as they come in, and answers in the form that the client asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import yaml
from starlette.requests import Request
from starlette.responses import Response

from compass.documents import load_yaml
from compass.errors import CompassError
from rehearsal.api.kinds import Resource
from rehearsal.api.status import bad_request, unsupported_media_type
from rehearsal.api.tables import table

Json = dict[str, Any]


def document(body: Json, code: int = 200) -> Response:
    """Return a document as an answer."""
    return Response(orjson.dumps(body), code, media_type="application/json")


def wanted_form(request: Request) -> str:
    """Return the form in which the client wants its answer: ``Table``, ``PartialObjectMetadata``, or plain."""
    for part in request.headers.get("accept", "").split(","):
        words = dict(x.strip().partition("=")[::2] for x in part.split(";")[1:])
        if words.get("as") in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return words["as"] if words.get("v", "v1") == "v1" else ""
        if part.strip().startswith("application/json"):
            return ""
    return ""


def partial(item: Json) -> Json:
    """Return an object's metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}


def shower(request: Request, resource: Resource) -> Callable[[Json], Json]:
    """Return what brings an object into the form that the client wants."""
    form = wanted_form(request)
    if form == "Table":
        include = request.query_params.get("includeObject", "Metadata")
        return lambda item: table(resource, [item], {"resourceVersion": item["metadata"]["resourceVersion"]}, include)
    return partial if form.startswith("Partial") else lambda item: item


async def read_body(request: Request, kind: str, *, optional: bool = False) -> Json:
    """Return the object in a request's body.

    Raises:
        ApiError: there is none.
    """
    data = await parsed(request, "")
    if data is None and optional:
        return {}
    if not isinstance(data, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind")
    return data


async def parsed(request: Request, kind: str) -> Any:
    """Return a request's body, ``None`` where it is empty; ``kind`` is its type if not what the header says.

    Raises:
        ApiError: it does not parse.
    """
    data = await request.body()
    if not data:
        return None
    kind = kind or request.headers.get("content-type", "").partition(";")[0].strip() or "application/json"
    if "protobuf" in kind:
        raise unsupported_media_type(kind, ("application/json", "application/yaml"))
    try:
        return (
            load_yaml(data, "the body") if "yaml" in kind and not data.lstrip().startswith(b"{") else json.loads(data)
        )
    except (ValueError, yaml.YAMLError, CompassError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from None
