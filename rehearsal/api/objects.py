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
from rehearsal.api.bodies import (
    check_version,
    checked,
    decoded,
    generate_name,
    in_version,
    kept_metadata,
    may_go,
    need_version,
    same_but_times,
)
from rehearsal.api.kinds import Kinds, Resource
from rehearsal.api.status import ApiError, already_exists, bad_request, conflict, not_found, refused
from rehearsal.api.store import Store

Json = dict[str, Any]
Change = Callable[[Json], Json]
Webhook = Callable[[Resource, Json], str | None]


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
        item = decoded(resource, body, namespace)
        generate_name(item)
        self._let_in(resource, namespace, item["metadata"].get("name", ""))
        base = ownership.empty_object(item, resource.type)
        owners = ownership.given_owners(body, base)
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
        live = self.store.get(resource.key, namespace, name)
        if live is not None:
            need_version(resource, name, body)
        return self.change(resource, namespace, name, lambda _: body, write)

    def change(self, resource: Resource, namespace: str, name: str, change: Change, write: Write) -> Json:
        """Change an object by a function that takes a copy of it and returns what it should be.

        Raises:
            ApiError: as ``update``.
        """
        live = self.get(resource, namespace, name)
        body = change(copy.deepcopy(live))
        item = decoded(resource, body, namespace)
        check_version(resource, item, live)
        owners = ownership.given_owners(body, live)
        item["metadata"] = kept_metadata(item["metadata"], live["metadata"])
        if owners is None:
            owners = ownership.owners_of(live)
            if write.tracked:
                bare = {**item, "metadata": {**item["metadata"]}}
                owners = ownership.own_update(live, bare, resource.type, write.manager, now())
        return self._replace(resource, item, live, owners, write)

    def write_status(
        self, item: Json, status: Json, *, tracked: bool = True, manager: str = CONTROLLER.manager
    ) -> bool:
        """Write what a controller found out about an object; tells whether that is news."""
        resource, metadata = self.resource(item["apiVersion"], item["kind"]), item["metadata"]
        live = self.store.get(resource.key, metadata.get("namespace", ""), metadata["name"])
        if live is None or live["metadata"]["uid"] != metadata["uid"] or live.get("status") == status:
            return False
        new: Json = {**live, "metadata": dict(live["metadata"]), "status": status}
        if tracked:
            owners = ownership.own_update(live, new, resource.type, manager, now())
            ownership.write_owners(new, owners)
        self.store.put(resource.key, new)
        return True

    def apply(self, resource: Resource, namespace: str, name: str, config: Json, write: Write) -> Json:
        """Apply a configuration server-side and return the object.

        Raises:
            ApiError: others own its fields, or as ``create`` and ``update``.
        """
        config = checked(resource, config, namespace)
        if (config.get("metadata") or {}).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        if config["metadata"].get("name", name) != name:
            given = config["metadata"]["name"]
            raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        live = self.store.get(resource.key, namespace, name)
        if live is None:
            return self._apply_new(resource, namespace, name, config, write)
        live = in_version(live, resource)
        check_version(resource, config, live)
        merged, owners = ownership.own_apply(live, config, resource.type, write.manager, now(), force=write.force)
        item = decoded(resource, merged, namespace)
        item["metadata"] = kept_metadata(item["metadata"], live["metadata"])
        return self._replace(resource, item, live, owners, write)

    def _apply_new(self, resource: Resource, namespace: str, name: str, config: Json, write: Write) -> Json:
        if write.subresource:
            raise not_found(resource.plural, resource.group, name)
        if uid := config["metadata"].get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(resource.plural, resource.group, name, why)
        empty: Json = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
        merged, owners = ownership.own_apply(empty, config, resource.type, write.manager, now(), force=write.force)
        item = decoded(resource, merged, namespace)
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
        if item == live or same_but_times(item, live):
            return live
        if write.dry_run:
            return item
        if "deletionTimestamp" in live["metadata"] and may_go(resource, item):
            self.store.put(resource.key, item)
            return self.store.remove(resource.key, item)
        return self.store.put(resource.key, item)

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
                )
