"""One API server: requests in, answers out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rehearsal.api import discovery, paths, subresources
from rehearsal.api.deletion import Options, delete
from rehearsal.api.forms import document, parsed, partial, read_body, shower, wanted_form
from rehearsal.api.kinds import Resource, has_group
from rehearsal.api.listing import Pages, list_body, page, selection
from rehearsal.api.objects import Objects, Write
from rehearsal.api.patches import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    json_patch,
    merge_patch,
    strategic_patch,
)
from rehearsal.api.paths import Wanted
from rehearsal.api.reviews import Access, User
from rehearsal.api.status import (
    ApiError,
    bad_request,
    forbidden,
    forbidden_path,
    invalid,
    method_not_allowed,
    no_such_path,
    unauthorized,
    unsupported_media_type,
)
from rehearsal.api.tables import table
from rehearsal.api.watching import Watch

Json = dict[str, Any]
_PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


@dataclass
class ApiServer:
    """What one cluster's API server knows; ``host`` is how it names itself."""

    objects: Objects
    access: Access
    host: str = ""
    pages: Pages = field(default_factory=Pages)
    _watches: set[Watch] = field(default_factory=set)

    async def answer(self, request: Request) -> Response:
        """Answer one request, whatever it is."""
        try:
            return await self._answer(request)
        except ApiError as error:
            return document(error.body, error.code)

    async def _answer(self, request: Request) -> Response:
        user = self.access.user(request.headers.get("authorization", ""), request.state.certificate_user)
        if user is None:
            raise unauthorized()
        path, query = request.url.path, dict(request.query_params)
        wanted = paths.read(request.method, path, query)
        if wanted is None:
            question = replace(_NO_RESOURCE, verb=request.method.lower(), path=path.rstrip("/") or "/")
            if not self.access.allows(user, question):
                raise forbidden_path(user.name, question.verb, path)
            return self._plain(request, path)
        if not self.access.allows(user, wanted.question):
            named = wanted.question
            raise forbidden_resource(user, named.verb, named.resource, wanted)
        resource = self.objects.kinds.find(wanted.group, wanted.version, wanted.plural)
        if resource is None and not has_group(wanted.group):
            return Response("404 page not found\n", 404, media_type="text/plain")
        if resource is None or (resource.namespaced and not wanted.namespace and wanted.name):
            raise no_such_path()
        return await self._resource(request, resource, wanted, query, user)

    def _plain(self, request: Request, path: str) -> Response:
        if path in ("/healthz", "/readyz", "/livez"):
            return Response(b"ok", media_type="text/plain")
        if path == "/openapi/v2":
            content, kind = discovery.openapi(request.headers.get("accept", ""))
            return Response(content, media_type=kind)
        found = discovery.document(self.objects.kinds, path, self.host)
        if found is None and path.startswith("/apis/") and not has_group(path.split("/")[2]):
            return Response("404 page not found\n", 404, media_type="text/plain")
        if found is None:
            raise no_such_path()
        return document(found)

    async def _resource(
        self, request: Request, resource: Resource, wanted: Wanted, query: Mapping[str, str], user: User
    ) -> Response:  # fmt: skip
        if wanted.subresource:
            return await self._subresource(request, resource, wanted, query)
        if wanted.verb not in resource.verbs or not _addresses(wanted, resource):
            raise method_not_allowed()
        if wanted.verb == "watch":
            return self._watch(request, resource, wanted, query)
        if wanted.verb in ("list", "get"):
            return self._read(request, resource, wanted, query)
        if wanted.verb == "create":
            body = await read_body(request, resource.kind)
            review = discovery.review(self.access, user, resource, body)
            if review is not None:
                return document(review, 201)
            write = self._write(request, query, "CreateOptions")
            return self._show(request, resource, self.objects.create(resource, wanted.namespace, body, write), 201)
        if wanted.verb == "update":
            write = self._write(request, query, "UpdateOptions")
            body = await read_body(request, resource.kind)
            changed = self.objects.update(resource, wanted.namespace, wanted.name, body, write)
            return self._show(request, resource, changed)
        if wanted.verb == "patch":
            return await self._patch(request, resource, wanted, query)
        options = Options.of(await read_body(request, "DeleteOptions", optional=True), dict(query))
        if wanted.verb == "deletecollection":
            return self._delete_all(resource, wanted, query, options)
        return self._delete(resource, wanted, options)

    def _write(self, request: Request, query: Mapping[str, str], options: str, subresource: str = "") -> Write:
        manager = paths.manager(query, request.headers.get("user-agent", ""))
        force = query.get("force", "") in ("true", "1")
        return Write(manager, paths.dry_run(query, options), subresource, force)

    def _read(self, request: Request, resource: Resource, wanted: Wanted, query: Mapping[str, str]) -> Response:
        if wanted.verb == "get":
            return self._show(request, resource, self.objects.get(resource, wanted.namespace, wanted.name))
        items, metadata = page(self.objects, self.pages, resource, wanted.namespace, query)
        form = wanted_form(request)
        if form == "Table":
            return document(table(resource, items, metadata, query.get("includeObject", "Metadata")))
        if form == "PartialObjectMetadataList":
            partial = [partial(x) for x in items]
            return document({"kind": form, "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": partial})
        return document(list_body(resource, items, metadata))

    def _show(self, request: Request, resource: Resource, item: Json, code: int = 200) -> Response:
        return document(shower(request, resource)(item), code)

    def _watch(self, request: Request, resource: Resource, wanted: Wanted, query: Mapping[str, str]) -> Response:
        if wanted.name:
            query = {**query, "fieldSelector": f"metadata.name={wanted.name}"}
        watch = Watch(self.objects, resource, wanted.namespace, query)
        self._watches.add(watch)
        show = shower(request, resource)

        async def lines() -> AsyncIterator[bytes]:
            try:
                async for event in watch.events(show):
                    yield orjson.dumps(event) + b"\n"
            finally:
                watch.close()
                self._watches.discard(watch)

        return StreamingResponse(lines(), media_type="application/json")

    def end_watches(self) -> None:
        """End every watch."""
        for watch in self._watches:
            watch.stop()

    async def _patch(
        self, request: Request, resource: Resource, wanted: Wanted, query: Mapping[str, str]
    ) -> Response:  # fmt: skip
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind not in _PATCHES or (kind == STRATEGIC_PATCH and resource.is_custom):
            known = [x for x in _PATCHES if x != STRATEGIC_PATCH] if resource.is_custom else _PATCHES
            raise unsupported_media_type(kind, known)
        if kind == APPLY_PATCH and not query.get("fieldManager"):
            cause = ("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        if kind != APPLY_PATCH and query.get("force"):
            cause = ("FieldValueForbidden", "force", "Forbidden: may not be specified for non-apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        write = self._write(request, query, "PatchOptions", wanted.subresource)
        patch = await parsed(request, kind)
        if kind == APPLY_PATCH:
            if not isinstance(patch, dict):
                raise bad_request("error decoding YAML: the patch is no object")
            is_new = self.objects.store.get(resource.key, wanted.namespace, wanted.name) is None
            applied = self.objects.apply(resource, wanted.namespace, wanted.name, patch, write)
            return self._show(request, resource, applied, 201 if is_new else 200)
        change = _change(kind, patch, resource)
        changed = self.objects.change(resource, wanted.namespace, wanted.name, change, write)
        return self._show(request, resource, changed)

    async def _subresource(
        self, request: Request, resource: Resource, wanted: Wanted, query: Mapping[str, str]
    ) -> Response:  # fmt: skip
        if wanted.subresource not in resource.subresources:
            raise no_such_path()
        if wanted.subresource in ("status", "finalize") and wanted.verb in ("get", "update", "patch"):
            if wanted.verb == "get":
                return self._show(request, resource, self.objects.get(resource, wanted.namespace, wanted.name))
            if wanted.verb == "patch":
                return await self._patch(request, resource, wanted, query)
            write = self._write(request, query, "UpdateOptions", wanted.subresource)
            body = await read_body(request, resource.kind)
            changed = self.objects.update(resource, wanted.namespace, wanted.name, body, write)
            return self._show(request, resource, changed)
        body = {} if wanted.verb == "get" else await parsed(request, "")
        write = self._write(request, query, "CreateOptions", wanted.subresource)
        found = subresources.answer(self.objects, resource, wanted, body or {}, write)
        if isinstance(found, str):
            return Response(found, media_type="text/plain")
        return document(found, 201 if wanted.verb == "create" else 200)

    def _delete(self, resource: Resource, wanted: Wanted, options: Options) -> Response:
        last, gone = delete(self.objects, resource, wanted.namespace, wanted.name, options)
        if not gone or resource.kind in ("Pod",):
            return document(last)
        details = {
            "name": wanted.name,
            "group": resource.group,
            "kind": resource.plural,
            "uid": last["metadata"]["uid"],
        }
        details = {k: v for k, v in details.items() if v}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return document(status)

    def _delete_all(
        self, resource: Resource, wanted: Wanted, query: Mapping[str, str], options: Options
    ) -> Response:  # fmt: skip
        matches = selection(resource, query)
        items = [x for x in self.objects.store.all(resource.key, wanted.namespace) if matches(x)]
        for item in items:
            metadata = item["metadata"]
            delete(self.objects, resource, metadata.get("namespace", ""), metadata["name"], options)
        return document(list_body(resource, items, {"resourceVersion": str(self.objects.store.version)}))


_NO_RESOURCE = paths.Wanted("get", "", "").question


def forbidden_resource(user: User, verb: str, resource: str, wanted: Wanted) -> ApiError:
    """Return the error for a missing right on a resource."""
    error = forbidden(user.name, verb, wanted.plural, wanted.group, wanted.namespace, wanted.name)
    if wanted.subresource:
        error.message = error.message.replace(f'resource "{wanted.plural}"', f'resource "{resource}"')
    return error


def _addresses(wanted: Wanted, resource: Resource) -> bool:
    """Tell whether a path leads to what its verb is for: one object, or a collection."""
    if wanted.verb in ("update", "patch"):
        return bool(wanted.name)
    if wanted.verb in ("create", "deletecollection"):
        return not wanted.name and (bool(wanted.namespace) or not resource.namespaced)
    return True


def _change(kind: str, patch: Any, resource: Resource) -> Callable[[Json], Json]:
    if kind == JSON_PATCH:
        return lambda item: json_patch(item, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: the patch is no object")
    if kind == MERGE_PATCH:
        return lambda item: dict(merge_patch(item, patch))
    return lambda item: strategic_patch(item, patch, resource.type)
