"""Reading and writing the objects of one cluster: the path that every write takes, whoever asks."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from compass.clock import iso
from rehearsal.api import ownership, strategy, validation
from rehearsal.api.canonical import blank, canonical, structural
from rehearsal.api.defaults import fill_in
from rehearsal.api.kinds import Kinds, Resource
from rehearsal.api.schema import metadata_type
from rehearsal.api.status import (
    OPTIMISTIC_LOCK,
    ApiError,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
    refused,
)
from rehearsal.api.store import Store

Json = dict[str, Any]
Change = Callable[[Json], Json]
Webhook = Callable[[Resource, Json], str | None]
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True)
class Write:
    """How something is written: in whose name, and whether it counts."""

    manager: str
    dry_run: bool = False
    subresource: str = ""
    force: bool = False
    tracked: bool = True


CONTROLLER = Write("kube-controller-manager")
QUIET = replace(CONTROLLER, tracked=False)


def now() -> str:
    """Return the time as objects carry it."""
    return iso(datetime.now(UTC))


@dataclass
class Objects:
    """The objects of one cluster.

    ``webhooks`` see each object about to be stored and may return why not.
    """

    store: Store = field(default_factory=Store)
    kinds: Kinds = field(default_factory=Kinds)
    webhooks: list[Webhook] = field(default_factory=list)
    _addresses: Iterator[int] = field(default_factory=lambda: iter(range(10, 250 * 250)))

    def resource(self, api_version: str, kind: str) -> Resource:
        """Return the resource of a kind.

        Raises:
            ApiError: it is not served.
        """
        found = self.kinds.of_kind(api_version, kind)
        if found is None:
            raise ApiError(404, "NotFound", f'no matches for kind "{kind}" in version "{api_version}"', {})
        return found

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Return an object in the version of ``resource``.

        Raises:
            ApiError: there is none.
        """
        item = self.store.get(resource.key, namespace, name)
        if item is None:
            raise not_found(resource.plural, resource.group, name)
        return in_version(item, resource)

    def create(self, resource: Resource, namespace: str, body: Json, write: Write) -> Json:
        """Create an object and return it.

        Raises:
            ApiError: it is there, or not allowed, or not valid.
        """
        item = self._decode(resource, body, namespace)
        self._generate_name(item)
        self._let_in(resource, namespace, item["metadata"].get("name", ""))
        empty = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
        base = empty if resource.is_custom else {**empty, **blank(resource.type), "metadata": {}}
        owners = ownership.given_owners(body, empty)
        if owners is None and write.tracked:
            owners = ownership.own_update(base, item, resource.type, write.manager, now())
        return self._insert(resource, namespace, item, owners or {}, write)

    def _insert(
        self, resource: Resource, namespace: str, item: Json, owners: ownership.Owners, write: Write
    ) -> Json:  # fmt: skip
        metadata = item["metadata"]
        metadata["uid"] = strategy.new_uid()
        metadata["creationTimestamp"] = now()
        metadata.pop("resourceVersion", None)
        if namespace:
            metadata["namespace"] = namespace
        strategy.prepare_creation(resource, item)
        validation.check(resource, item, None)
        if self.store.get(resource.key, namespace, metadata["name"]) is not None:
            raise already_exists(resource.plural, resource.group, metadata["name"])
        self._allocate(resource, item)
        self._ask_webhooks(resource, item)
        ownership.write_owners(item, owners)
        return item if write.dry_run else self.store.put(resource.key, item)

    def update(self, resource: Resource, namespace: str, name: str, body: Json, write: Write) -> Json:
        """Replace an object and return it.

        Raises:
            ApiError: there is none, or it changed meanwhile, or it is not valid.
        """
        if (body.get("metadata") or {}).get("name", name) != name:
            given = body["metadata"]["name"]
            raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        if resource.is_custom and not (body.get("metadata") or {}).get("resourceVersion"):
            cause = (
                "FieldValueInvalid",
                "metadata.resourceVersion",
                "Invalid value: 0x0: must be specified for an update",
            )
            raise invalid(resource.kind, resource.group, name, [cause])
        return self.change(resource, namespace, name, lambda _: body, write)

    def change(self, resource: Resource, namespace: str, name: str, change: Change, write: Write) -> Json:
        """Change an object by a function that takes a copy of it and returns what it should be.

        Raises:
            ApiError: as ``update``.
        """
        live = self.get(resource, namespace, name)
        body = change(copy.deepcopy(live))
        item = self._decode(resource, body, namespace)
        self._check_version(resource, item, live)
        owners = ownership.given_owners(body, live)
        item["metadata"] = _kept_metadata(item["metadata"], live["metadata"])
        if owners is None:
            owners = ownership.owners_of(live)
            if write.tracked:
                bare = {**item, "metadata": {**item["metadata"]}}
                owners = ownership.own_update(live, bare, resource.type, write.manager, now())
        return self._replace(resource, item, live, owners, write)

    def write_status(self, item: Json, status: Json, *, tracked: bool = True) -> bool:
        """Write what a controller found out about an object; tells whether that is news."""
        resource, metadata = self.resource(item["apiVersion"], item["kind"]), item["metadata"]
        live = self.store.get(resource.key, metadata.get("namespace", ""), metadata["name"])
        if live is None or live["metadata"]["uid"] != metadata["uid"] or live.get("status") == status:
            return False
        new: Json = {**live, "metadata": dict(live["metadata"]), "status": status}
        if tracked:
            owners = ownership.own_update(live, new, resource.type, CONTROLLER.manager, now())
            ownership.write_owners(new, owners)
        self.store.put(resource.key, new)
        return True

    def apply(self, resource: Resource, namespace: str, name: str, config: Json, write: Write) -> Json:
        """Apply a configuration server-side and return the object.

        Raises:
            ApiError: others own its fields, or as ``create`` and ``update``.
        """
        config = self._checked(resource, config, namespace)
        if (config.get("metadata") or {}).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        if config["metadata"].get("name", name) != name:
            given = config["metadata"]["name"]
            raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        live = self.store.get(resource.key, namespace, name)
        if live is None:
            return self._apply_new(resource, namespace, name, config, write)
        live = in_version(live, resource)
        self._check_version(resource, config, live)
        merged, owners = ownership.own_apply(live, config, resource.type, write.manager, now(), force=write.force)
        item = self._decode(resource, merged, namespace)
        item["metadata"] = _kept_metadata(item["metadata"], live["metadata"])
        return self._replace(resource, item, live, owners, write)

    def _apply_new(self, resource: Resource, namespace: str, name: str, config: Json, write: Write) -> Json:
        if write.subresource:
            raise not_found(resource.plural, resource.group, name)
        empty: Json = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
        merged, owners = ownership.own_apply(empty, config, resource.type, write.manager, now(), force=write.force)
        item = self._decode(resource, merged, namespace)
        item["metadata"]["name"] = name
        self._let_in(resource, namespace, name)
        return self._insert(resource, namespace, item, owners, write)

    def _replace(
        self, resource: Resource, item: Json, live: Json, owners: ownership.Owners, write: Write
    ) -> Json:  # fmt: skip
        if write.subresource == "status":
            item = strategy.prepare_status(resource, item, live)
        else:
            strategy.prepare_update(resource, item, live)
        validation.check(resource, item, live)
        self._ask_webhooks(resource, item)
        item["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        ownership.write_owners(item, owners)
        if item == live or _same_but_times(item, live):
            return live
        if write.dry_run:
            return item
        if "deletionTimestamp" in live["metadata"] and _may_go(resource, item):
            self.store.put(resource.key, item)
            return self.store.remove(resource.key, item)
        return self.store.put(resource.key, item)

    def _checked(self, resource: Resource, body: Json, namespace: str) -> Json:
        """Return a copy of a body that is of the right kind and names the right namespace."""
        api_version, kind = body.get("apiVersion"), body.get("kind")
        if (api_version, kind) != (resource.api_version, resource.kind):
            group, _, version = str(api_version or "").rpartition("/")
            if kind and kind != resource.kind:
                short = resource.api_version.rpartition("/")[2]
                raise bad_request(
                    f'{kind} in version "{version}" cannot be handled as a {resource.kind}: converting '
                    f"({short}.{kind}) to ({group or 'core'}.{resource.kind}): unknown conversion"
                )
            if api_version:
                raise bad_request(
                    f"the API version in the data ({api_version}) does not match the expected API version "
                    f"({resource.api_version})"
                )
        item = {**copy.deepcopy(body), "apiVersion": resource.api_version, "kind": resource.kind}
        if not isinstance(item.get("metadata"), dict):
            item["metadata"] = {}
        if namespace and item["metadata"].get("namespace", namespace) not in (namespace, ""):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        return item

    def _decode(self, resource: Resource, body: Json, namespace: str) -> Json:
        item: Json = self._checked(resource, body, namespace)
        if resource.is_custom:
            item = structural(item, resource.type)
            item["metadata"] = canonical(item["metadata"], metadata_type(), resource.kind)
        else:
            item = canonical(item, resource.type, resource.kind)
            item["apiVersion"], item["kind"] = resource.api_version, resource.kind
            fill_in(item)
        item["metadata"].pop("managedFields", None)
        item["metadata"].pop("selfLink", None)
        if namespace:
            item["metadata"]["namespace"] = namespace
        elif not resource.namespaced:
            item["metadata"].pop("namespace", None)
        return item

    def _generate_name(self, item: Json) -> None:
        metadata = item["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName'][:58]}{random_suffix()}"

    def _let_in(self, resource: Resource, namespace: str, name: str) -> None:
        """Refuse what goes to a namespace that is not there, or on its way out (admission NamespaceLifecycle)."""
        if not resource.namespaced:
            return
        found = self.store.get(("", "namespaces"), "", namespace)
        if found is None:
            raise not_found("namespaces", "", namespace)
        if "deletionTimestamp" in found["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise refused(resource.plural, resource.group, name, why, [cause])

    def _allocate(self, resource: Resource, item: Json) -> None:
        if resource.kind != "Service":
            return
        spec = item["spec"]
        if spec["type"] == "ExternalName":
            return
        if not spec.get("clusterIP"):
            spec["clusterIP"] = "10.0.{}.{}".format(*divmod(next(self._addresses), 250))
        spec["clusterIPs"] = [spec["clusterIP"]]
        if spec["type"] in ("NodePort", "LoadBalancer"):
            for port in spec.get("ports") or []:
                port.setdefault("nodePort", random.randint(30000, 32767))

    def _ask_webhooks(self, resource: Resource, item: Json) -> None:
        for webhook in self.webhooks:
            why = webhook(resource, item)
            if why:
                raise ApiError(
                    403, "Forbidden", f'admission webhook "rehearsal.compass.upgrade" denied the request: {why}', {}
                )  # noqa: E501

    @staticmethod
    def _check_version(resource: Resource, item: Json, live: Json) -> None:
        given = item["metadata"].get("resourceVersion")
        if given and given != live["metadata"]["resourceVersion"]:
            raise conflict(resource.plural, resource.group, live["metadata"]["name"], OPTIMISTIC_LOCK)
        uid = item["metadata"].get("uid")
        if uid and uid != live["metadata"]["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {live['metadata']['uid']}"
            raise conflict(resource.plural, resource.group, live["metadata"]["name"], why)


def random_suffix(length: int = 5) -> str:
    """Return the random end of a generated name."""
    return "".join(random.choice(_SUFFIX) for _ in range(length))


def in_version(item: Json, resource: Resource) -> Json:
    """Return an object in the version of a resource; the shapes are the same."""
    return item if item["apiVersion"] == resource.api_version else {**item, "apiVersion": resource.api_version}


def _kept_metadata(new: Json, live: Json) -> Json:
    """Return metadata in which the server's own fields are as they were."""
    kept = {k: v for k, v in new.items() if k not in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds")}
    for key in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "name"):
        if key in live and key not in kept:
            kept[key] = live[key]
    return kept


def _may_go(resource: Resource, item: Json) -> bool:
    """Tell whether an object that is being deleted has nothing left that holds it."""
    if resource.kind == "Namespace" and (item.get("spec") or {}).get("finalizers"):
        return False
    return not item["metadata"].get("finalizers") and not item["metadata"].get("deletionGracePeriodSeconds")


def _same_but_times(left: Json, right: Json) -> bool:
    return _timeless(left) == _timeless(right)


def _timeless(item: Json) -> Json:
    entries = [{k: v for k, v in x.items() if k != "time"} for x in item["metadata"].get("managedFields") or []]
    entries.sort(key=lambda x: (x.get("manager", ""), x.get("operation", ""), x.get("apiVersion", "")))
    return {**item, "metadata": {**item["metadata"], "managedFields": entries}}
