"""The one module that imports the Kubernetes client: plain objects in, plain objects out, errors as our families."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import urllib3
from kubernetes import client as official
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.resource import Resource

from compass.change.ports import with_protocols
from compass.cluster.transport import conflict_causes, refused, tls_context, unreachable
from compass.errors import InvalidInput, Refused, Transient
from compass.names import ObjectRef
from compass.patience import PATIENCE_SECONDS, patiently
from compass.site.access import Access

FIELD_MANAGER = "compass-upgrade"
PAGE = 250
_TIMEOUT_SECONDS = (10.0, 60.0)  # to connect, to read
_LIST_RESTARTS = 5


class Conflict(Refused):
    """Server-side apply met fields that others own; ``causes`` is (manager, field) of each."""

    def __init__(self, did: str, subject: object, causes: list[tuple[str, str]]) -> None:
        manager, field = causes[0]
        more = f" (and {len(causes) - 1} more)" if len(causes) > 1 else ""
        super().__init__(
            did, subject, found=f"field {field} is owned by {manager!r}{more}", expected=repr(FIELD_MANAGER),
            do="release the field or pass --force-conflicts",
        )  # fmt: skip
        self.causes = causes


class _Discoverer:
    """Which resource serves a kind: asked per API version, kept for the life of the client, in memory only.

    The client's own discoverers keep a file of a guessable name in the shared temporary folder, and set no time-out.
    """

    def __init__(self, client: DynamicClient, cache_file: object = None) -> None:
        self._client = client
        self._served: dict[str, dict[str, Resource]] = {}

    def find(self, api_version: str, kind: str, ask: Callable[[str], Any]) -> Resource | None:
        if kind not in self._served.get(api_version, {}):
            self._served[api_version] = self._load(api_version, ask)
        return self._served[api_version].get(kind)

    def _load(self, api_version: str, ask: Callable[[str], Any]) -> dict[str, Resource]:
        group, _, version = api_version.rpartition("/")
        answer = ask(f"/apis/{api_version}" if group else f"/api/{version}")
        found = {}
        for entry in (answer or {}).get("resources") or []:
            if "/" not in entry["name"]:
                found[entry["kind"]] = Resource(  # type: ignore[no-untyped-call]
                    prefix="apis" if group else "api", group=group, api_version=version, client=self._client,
                    kind=entry["kind"], name=entry["name"], namespaced=entry["namespaced"], verbs=entry["verbs"],
                )  # fmt: skip
        return found


class ClusterClient:
    """Speak to one API server; requests that the server did not take are asked again for ``patience_seconds``.

    May be used from several threads at once.
    """

    def __init__(self, access: Access, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.server = access.server
        self.where = access.where
        self._patience_seconds = patience_seconds
        self._api = official.ApiClient(_configuration(access))
        self._api.rest_client.pool_manager = _pool(access)
        self._api.user_agent = FIELD_MANAGER
        self._api.default_headers.update(_authorization(access))
        self._dynamic: Any = DynamicClient(self._api, discoverer=_Discoverer)  # type: ignore[no-untyped-call]

    def __enter__(self) -> ClusterClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._api.rest_client.pool_manager.clear()

    def version(self) -> str:
        """Return the server's version as it names it: ``v1.20.2``."""
        answer = self._ask("read version of", self.where, "/version") or {}
        return str(answer.get("gitVersion", "unknown"))

    def serves(self, api_version: str, kind: str) -> bool:
        """Tell whether the server knows this kind in this API version."""
        return self._find(api_version, kind) is not None

    def is_namespaced(self, api_version: str, kind: str) -> bool:
        """Tell whether objects of a kind live in a namespace.

        Raises:
            InvalidInput: the server does not serve it.
        """
        return bool(self._resource(ObjectRef(api_version, kind, "", "")).namespaced)

    def plural(self, api_version: str, kind: str) -> str:
        """Return the resource's name in the API: ``deployments``.

        Raises:
            InvalidInput: the server does not serve it.
        """
        return str(self._resource(ObjectRef(api_version, kind, "", "")).name)

    def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Return an object, ``None`` when it is absent."""
        resource = self._resource(ref)
        return self._call("read", ref, lambda: self._dynamic.get(resource, **_named(ref), **_plain()), absent_ok=True)

    def list_all(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "", page: int = PAGE
    ) -> list[dict[str, Any]]:
        """Return all objects of a kind, ``page`` by page, each with its apiVersion and kind.

        Raises:
            InvalidInput: the server does not serve the kind.
            Transient: the list changed so fast that it never came to an end.
        """
        for _ in range(_LIST_RESTARTS):
            items: dict[str, dict[str, Any]] = {}
            for answer in self._pages(ObjectRef(api_version, kind, namespace, ""), labels, fields, page):
                if answer is None:  # 410: the continue token is too old; start over
                    break
                for item in answer.get("items") or []:
                    items[item["metadata"]["uid"]] = {"apiVersion": api_version, "kind": kind, **item}
            else:
                return list(items.values())
        raise Transient("list", f"{kind}/{namespace}", found="the list expired again and again")

    def _pages(self, ref: ObjectRef, labels: str, fields: str, page: int) -> Iterator[dict[str, Any] | None]:
        resource, token = self._resource(ref), None
        while True:
            words = {
                "limit": page,
                "_continue": token,
                "label_selector": labels or None,
                "field_selector": fields or None,
            }
            answer = self._call(
                "list", f"{ref.kind}/{ref.namespace}" if ref.namespace else ref.kind,
                partial(self._dynamic.get, resource, namespace=ref.namespace or None, **words, **_plain()),
                gone_ok=True,
            )  # fmt: skip
            yield answer
            token = ((answer or {}).get("metadata") or {}).get("continue")
            if not token:
                return

    def apply(self, manifest: dict[str, Any], *, dry_run: bool = False, force: bool = False) -> dict[str, Any]:
        """Apply a manifest server-side and return the object as the server has, or would have, it.

        Raises:
            Conflict: fields are owned by others and ``force`` is not set.
            StepFailed: the server refuses the object.
            InvalidInput: the server does not serve its kind.
        """
        ref = ObjectRef.of(manifest)
        resource = self._resource(ref)
        return self._call(
            "dry-run" if dry_run else "apply", ref,
            lambda: self._dynamic.server_side_apply(
                resource, body=with_protocols(manifest), **_named(ref), field_manager=FIELD_MANAGER,
                force_conflicts="true" if force else None, dry_run="All" if dry_run else None, **_plain(),
            ),
        ) or {}  # fmt: skip

    def create(self, manifest: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object and return it; one that is there already is an error."""
        ref = ObjectRef.of(manifest)
        resource = self._resource(ref)
        return self._call(
            "create", ref,
            lambda: self._dynamic.create(
                resource, body=manifest, namespace=ref.namespace or None, field_manager=FIELD_MANAGER,
                dry_run="All" if dry_run else None, **_plain(),
            ),
        ) or {}  # fmt: skip

    def patch_json(self, ref: ObjectRef, operations: list[dict[str, Any]], *, dry_run: bool = False) -> dict[str, Any]:
        """Apply a JSON patch (RFC 6902) and return the object as it is, or would be."""
        resource = self._resource(ref)
        return self._call(
            "patch", ref,
            lambda: self._dynamic.patch(
                resource, body=operations, **_named(ref), content_type="application/json-patch+json",
                field_manager=FIELD_MANAGER, dry_run="All" if dry_run else None, **_plain(),
            ),
        ) or {}  # fmt: skip

    def delete(self, ref: ObjectRef, *, uid: str = "", dry_run: bool = False) -> bool:
        """Delete an object with what it owns; return whether it was there (and, when given, had this ``uid``)."""
        resource = self._resource(ref)
        body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if dry_run:
            body["dryRun"] = ["All"]
        call = lambda: self._dynamic.delete(resource, **_named(ref), body=body, **_plain())  # noqa: E731
        return self._call("delete", ref, call, absent_ok=True, other_ok=bool(uid)) is not None

    def allowed(self, verb: str, group: str, resource: str, namespace: str = "", name: str = "") -> bool:
        """Tell whether we may do ``verb``, by SelfSubjectAccessReview."""
        attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "metadata": {"name": "", "namespace": ""}, "spec": {"resourceAttributes": attributes},
        }  # fmt: skip
        found = self._resource(ObjectRef("authorization.k8s.io/v1", "SelfSubjectAccessReview", "", ""))
        answer = self._call(
            "review rights on", self.where, lambda: self._dynamic.create(found, body=review, **_plain())
        )
        return bool(((answer or {}).get("status") or {}).get("allowed"))

    def _find(self, api_version: str, kind: str) -> Resource | None:
        def ask(path: str) -> Any:
            return self._ask("discover", f"{api_version} on {self.where}", path)

        found: Resource | None = self._dynamic.resources.find(api_version, kind, ask)
        return found

    def _resource(self, ref: ObjectRef) -> Resource:
        resource = self._find(ref.api_version, ref.kind)
        if resource is None:
            raise InvalidInput(
                "find kind of", ref, found=f"{self.server} does not serve {ref.api_version} {ref.kind}",
                expected="an API version that the cluster has",
            )  # fmt: skip
        return resource

    def _ask(self, did: str, subject: object, path: str) -> Any:
        return self._call(did, subject, lambda: self._dynamic.request("get", path, **_plain()), absent_ok=True)

    def _call(
        self,
        did: str,
        subject: object,
        call: Callable[[], Any],
        *,
        absent_ok: bool = False,
        gone_ok: bool = False,
        other_ok: bool = False,
    ) -> dict[str, Any] | None:
        def once() -> dict[str, Any] | None:
            try:
                response = call()
                return json.loads(response.data)  # type: ignore[no-any-return]
            except ApiException as error:
                if (error.status == 404 and absent_ok) or (error.status == 410 and gone_ok):
                    return None
                if error.status == 409 and other_ok and "UID in the precondition" in str(error.body):
                    return None
                if not error.status:  # the client's own way to say that TLS did not come about
                    raise unreachable(did, subject, self.server, error) from None
                causes = conflict_causes(error.body) if error.status == 409 else []
                if causes:
                    raise Conflict(did, subject, causes) from None
                headers = error.headers or {}
                raise refused(did, subject, error.status or 0, error.body, headers.get("Retry-After")) from None
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise unreachable(did, subject, self.server, error) from None
            except ValueError as error:
                raise Transient(did, subject, found=f"an answer that is no JSON ({error})") from None

        return patiently(once, self._patience_seconds)


def _plain() -> dict[str, Any]:
    return {"serialize": False, "_request_timeout": _TIMEOUT_SECONDS}


def _named(ref: ObjectRef) -> dict[str, Any]:
    """Return name and namespace for the client, which puts them into a path as they are."""
    if not ref.name or any(x in "/?#%" or x.isspace() for x in ref.name + ref.namespace):
        raise InvalidInput("name object", repr(str(ref)), expected="a name that may stand in a path")
    return {"name": ref.name, "namespace": ref.namespace or None}


def _configuration(access: Access) -> official.Configuration:
    configuration = official.Configuration()
    configuration.host = access.server
    # Nothing but what the kubeconfig names is contacted: the environment's proxies are not used.
    configuration.proxy = access.proxy_url or None
    configuration.retries = False
    return configuration


def _authorization(access: Access) -> dict[str, str]:
    if access.token:
        return {"authorization": f"Bearer {access.token}"}
    if access.username:
        return dict(urllib3.util.make_headers(basic_auth=f"{access.username}:{access.password}"))
    return {}


def _pool(access: Access) -> urllib3.PoolManager:
    settings: dict[str, Any] = {"maxsize": 16, "retries": False}
    if access.server.startswith("https://"):
        settings["ssl_context"] = tls_context(access)
        if access.skip_tls_verify:  # preflight says so once, urllib3 with every request
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        if access.tls_server_name:
            settings |= {"server_hostname": access.tls_server_name, "assert_hostname": access.tls_server_name}
    if access.proxy_url:
        return urllib3.ProxyManager(access.proxy_url, **settings)
    return urllib3.PoolManager(**settings)
