"""The door to one API server: plain objects in, plain objects out, and no answer is lost on the way."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

from compass.change.diff import comparable
from compass.change.ports import with_protocols
from compass.cluster.once import Ask, passing, settled
from compass.cluster.transport import FIELD_MANAGER as FIELD_MANAGER
from compass.cluster.transport import Absent, Exists, Expired, Moved
from compass.cluster.transport import Conflict as Conflict
from compass.errors import InvalidInput, StepFailed, Transient
from compass.names import ObjectRef
from compass.patience import PATIENCE_SECONDS, patiently
from compass.site.access import Access

PAGE = 250
_OTHER_UID = "UID in the precondition"


class ClusterClient:
    """Speak to one API server; what it did not do, or not answer, is asked again for ``patience_seconds``.

    A change whose answer was lost counts as made when the cluster shows that it was.  May be used from several threads
    at once.
    """

    def __init__(self, access: Access, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.server = access.server
        self.where = access.where
        self.patience_seconds = patience_seconds
        from compass.cluster.wire import Wire  # the Kubernetes client is large, and some verbs ask no cluster

        self._wire = Wire(access)

    def __enter__(self) -> ClusterClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._wire.close()

    def hasty(self, timeout_seconds: float) -> ClusterClient:
        """Return a door over the same connections that asks once and waits at most so long for an answer."""
        other = copy.copy(self)
        other.patience_seconds, other._wire = 0.0, self._wire.hasty(timeout_seconds)
        return other

    def version(self) -> str:
        """Return the server's version as it names it: ``v1.20.2``."""
        answer = self._ask("read version of", self.where, "/version") or {}
        return str(answer.get("gitVersion", "unknown"))

    def serves(self, api_version: str, kind: str) -> bool:
        """Tell whether the server knows this kind in this API version."""
        return self._find(api_version, kind) is not None

    def definitions(self) -> dict[str, Any]:
        """Return the types of everything that the server serves, by name (OpenAPI version 2); some megabytes."""
        return dict((self._ask("read types of", self.where, "/openapi/v2") or {}).get("definitions") or {})

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
        try:
            return self._patiently(self._request("read", ref, "get", resource, **_named(ref)))
        except Absent:
            return None

    def list_all(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "", page: int = PAGE
    ) -> list[dict[str, Any]]:
        """Return all objects of a kind, ``page`` by page, each with its apiVersion and kind.

        Raises:
            InvalidInput: the server does not serve the kind.
            Transient: the list changed so fast that it never came to an end.
        """
        ref, items = ObjectRef(api_version, kind, namespace, ""), dict[str, dict[str, Any]]()
        for size in (page, page, None):  # at last all at once, which cannot grow too old on the way
            items.clear()
            try:
                for answer in self._pages(ref, labels, fields, size):
                    for item in answer.get("items") or []:
                        items[item["metadata"]["uid"]] = {"apiVersion": api_version, "kind": kind, **item}
            except Expired:
                continue
            return list(items.values())
        raise Transient("list", f"{kind}/{namespace}", found="the list expired again and again")

    def _pages(self, ref: ObjectRef, labels: str, fields: str, size: int | None) -> Iterator[dict[str, Any]]:
        resource, token = self._resource(ref), None
        while True:
            words = {
                "limit": size,
                "_continue": token,
                "label_selector": labels or None,
                "field_selector": fields or None,
            }
            subject = f"{ref.kind}/{ref.namespace}" if ref.namespace else ref.kind
            answer = self._patiently(
                self._request("list", subject, "get", resource, namespace=ref.namespace or None, **words)
            )
            yield answer
            token = (answer.get("metadata") or {}).get("continue")
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
        request = self._request(
            "dry-run" if dry_run else "apply", ref, "server_side_apply", resource, body=with_protocols(manifest),
            **_named(ref), field_manager=FIELD_MANAGER, force_conflicts="true" if force else None,
            dry_run="All" if dry_run else None,
        )  # fmt: skip
        # That others write at the same moment is no refusal, unless the manifest is for one state of the object alone.
        by_version = not manifest["metadata"].keys().isdisjoint(("resourceVersion", "uid"))
        return self._patiently(request if by_version else passing(request, (Moved, Exists)))

    def create(self, manifest: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object and return it.

        Raises:
            Exists: there is one of its name already.
            StepFailed: the server refuses the object.
        """
        ref = ObjectRef.of(manifest)
        request = self._request(
            "create", ref, "create", self._resource(ref), body=manifest, namespace=ref.namespace or None,
            field_manager=FIELD_MANAGER, dry_run="All" if dry_run else None,
        )  # fmt: skip

        def settle(refusal: StepFailed) -> dict[str, Any]:
            live = self.get(ref) if isinstance(refusal, Exists) else None
            if live is None or not self._would_be(manifest, live):
                raise refusal
            return live

        return self._patiently(request if dry_run else settled(request, settle))

    def _would_be(self, manifest: dict[str, Any], live: dict[str, Any]) -> bool:
        """Tell whether an object is what we would have created: ours, and with nothing that applying would change."""
        entries = live["metadata"].get("managedFields") or []
        if not any(x.get("manager") == FIELD_MANAGER and x.get("operation") == "Update" for x in entries):
            return False
        try:
            return comparable(self.apply(manifest, dry_run=True, force=True)) == comparable(live)
        except (StepFailed, InvalidInput):
            return False

    def replace(self, manifest: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Replace an object as a whole and return it as it is, or would be.

        Raises:
            Moved: it has changed since the manifest's resourceVersion.
            StepFailed: the server refuses the object.
        """
        ref = ObjectRef.of(manifest)
        request = self._request(
            "dry-run" if dry_run else "replace", ref, "replace", self._resource(ref), body=manifest, **_named(ref),
            field_manager=FIELD_MANAGER, dry_run="All" if dry_run else None,
        )  # fmt: skip

        def settle(refusal: StepFailed) -> dict[str, Any]:
            live = self.get(ref) if isinstance(refusal, Moved) else None
            if live is None or comparable(live) != comparable(manifest):
                raise refusal
            return live

        return self._patiently(request if dry_run else settled(request, settle))

    def patch_json(self, ref: ObjectRef, operations: list[dict[str, Any]], *, dry_run: bool = False) -> dict[str, Any]:
        """Apply a JSON patch (RFC 6902) and return the object as it is, or would be.

        A patch that must not be made twice names the resourceVersion, or tests what it changes.

        Raises:
            Moved: the object has changed since, perhaps by this very patch, whose answer was lost: read it again.
            StepFailed: the server refuses the patch.
        """
        request = self._request(
            "patch", ref, "patch", self._resource(ref), body=operations, **_named(ref),
            content_type="application/json-patch+json", field_manager=FIELD_MANAGER,
            dry_run="All" if dry_run else None,
        )  # fmt: skip

        def settle(refusal: StepFailed) -> dict[str, Any]:
            if isinstance(refusal, Absent):
                raise refusal
            raise Moved("patch", ref, found=f"an answer was lost, and then: {refusal.found}")

        return self._patiently(request if dry_run else settled(request, settle))

    def delete(self, ref: ObjectRef, *, uid: str = "", dry_run: bool = False) -> bool:
        """Delete an object with what it owns; return whether it was there (and, when given, had this ``uid``).

        One that is gone after an answer was lost counts as deleted by us.
        """
        resource = self._resource(ref)
        body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if dry_run:
            body["dryRun"] = ["All"]
        request = self._request("delete", ref, "delete", resource, **_named(ref), body=body)

        def settle(refusal: StepFailed) -> dict[str, Any]:
            if _is_gone(refusal):
                return {}
            raise refusal

        try:
            self._patiently(request if dry_run else settled(request, settle))
        except StepFailed as refusal:
            if not _is_gone(refusal):
                raise
            return False
        return True

    def allowed(self, verb: str, group: str, resource: str, namespace: str = "", name: str = "") -> bool:
        """Tell whether we may do ``verb``, by SelfSubjectAccessReview."""
        attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "metadata": {"name": "", "namespace": ""}, "spec": {"resourceAttributes": attributes},
        }  # fmt: skip
        found = self._resource(ObjectRef("authorization.k8s.io/v1", "SelfSubjectAccessReview", "", ""))
        answer = self._patiently(self._request("review rights on", self.where, "create", found, body=review))
        return bool((answer.get("status") or {}).get("allowed"))

    def _find(self, api_version: str, kind: str) -> Any:
        def ask(path: str) -> Any:
            return self._ask("discover", f"{api_version} on {self.where}", path)

        return self._wire.find(api_version, kind, ask)

    def _resource(self, ref: ObjectRef) -> Any:
        resource = self._find(ref.api_version, ref.kind)
        if resource is None:
            raise InvalidInput(
                "find kind of", ref, found=f"{self.server} does not serve {ref.api_version} {ref.kind}",
                expected="an API version that the cluster has",
            )  # fmt: skip
        return resource

    def _ask(self, did: str, subject: object, path: str) -> dict[str, Any] | None:
        try:
            return self._patiently(self._request(did, subject, "request", "get", path))
        except Absent:
            return None

    def _request(self, did: str, subject: object, verb: str, *what: Any, **words: Any) -> Ask:
        """Return a request that may be asked more than once; ``verb`` and what follows are the dynamic client's."""
        return partial(self._wire.ask, did, subject, verb, *what, **words)

    def _patiently(self, ask: Ask) -> dict[str, Any]:
        return patiently(ask, self.patience_seconds)


def _named(ref: ObjectRef) -> dict[str, Any]:
    """Return name and namespace for the client, which puts them into a path as they are."""
    if not ref.name or any(x in "/?#%" or x.isspace() for x in ref.name + ref.namespace):
        raise InvalidInput("name object", repr(str(ref)), expected="a name that may stand in a path")
    return {"name": ref.name, "namespace": ref.namespace or None}


def _is_gone(refusal: StepFailed) -> bool:
    """Tell whether an object cannot be deleted because there is none, or only another one of its name."""
    return isinstance(refusal, Absent) or (isinstance(refusal, Moved) and _OTHER_UID in refusal.found)
