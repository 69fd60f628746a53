"""What a writer sends, made into what is stored: checked, brought into form, filled in."""

from __future__ import annotations

import copy
import random
from typing import Any

from rehearsal.api.canonical import canonical, pruned
from rehearsal.api.defaults import fill_in
from rehearsal.api.kinds import Resource
from rehearsal.api.schema import metadata_type
from rehearsal.api.status import OPTIMISTIC_LOCK, bad_request, conflict, invalid

Json = dict[str, Any]
# Kinds whose objects are replaced only by somebody who knows their version.
_VERSIONED = frozenset({"Service", "Lease", "CustomResourceDefinition", "Ingress", "PodDisruptionBudget"})
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"


def checked(resource: Resource, body: Json, namespace: str) -> Json:
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


def decoded(resource: Resource, body: Json, namespace: str) -> Json:
    """Return a body in the form in which it would be stored.

    Raises:
        ApiError: it is no object of this kind.
    """
    item: Json = checked(resource, body, namespace)
    if resource.is_custom:
        item = pruned(item, resource.type)
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


def generate_name(item: Json) -> None:
    """Give an object a name that wants one."""
    metadata = item["metadata"]
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = f"{metadata['generateName'][:58]}{random_suffix()}"


def need_version(resource: Resource, name: str, body: Json) -> None:
    """Refuse to replace an object of certain kinds without its version.

    Raises:
        ApiError: it is not given.
    """
    if not (resource.is_custom or resource.kind in _VERSIONED) or (body.get("metadata") or {}).get("resourceVersion"):
        return
    shown, called = ('""', resource.kind) if resource.kind == "Service" else ("0x0", resource.plural)
    text = f"Invalid value: {shown}: must be specified for an update"
    raise invalid(called, resource.group, name, [("FieldValueInvalid", "metadata.resourceVersion", text)])


def check_version(resource: Resource, item: Json, live: Json) -> None:
    """Refuse a write that goes by another state, or another object of the same name.

    Raises:
        ApiError: it does.
    """
    given = item["metadata"].get("resourceVersion")
    if given and given != live["metadata"]["resourceVersion"]:
        raise conflict(resource.plural, resource.group, live["metadata"]["name"], OPTIMISTIC_LOCK)
    uid = item["metadata"].get("uid")
    if uid and uid != live["metadata"]["uid"]:
        metadata = live["metadata"]
        where = "/".join(x for x in (resource.plural, metadata.get("namespace"), metadata["name"]) if x)
        why = (
            f"StorageError: invalid object, Code: 4, Key: /registry/{where}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
        )
        raise conflict(resource.plural, resource.group, live["metadata"]["name"], why)


def random_suffix(length: int = 5) -> str:
    """Return the random end of a generated name."""
    return "".join(random.choice(_SUFFIX) for _ in range(length))


def in_version(item: Json, resource: Resource) -> Json:
    """Return an object in the version of a resource; the shapes are the same."""
    return item if item["apiVersion"] == resource.api_version else {**item, "apiVersion": resource.api_version}


def kept_metadata(new: Json, live: Json) -> Json:
    """Return metadata in which the server's own fields are as they were."""
    kept = {k: v for k, v in new.items() if k not in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds")}
    for key in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "name"):
        if key in live and key not in kept:
            kept[key] = live[key]
    return kept


def may_go(resource: Resource, item: Json) -> bool:
    """Tell whether an object that is being deleted has nothing left that holds it."""
    if resource.kind == "Namespace" and (item.get("spec") or {}).get("finalizers"):
        return False
    return not item["metadata"].get("finalizers") and not item["metadata"].get("deletionGracePeriodSeconds")


def same_but_times(left: Json, right: Json) -> bool:
    """Tell whether two states differ at most in the times of their managers."""
    return _timeless(left) == _timeless(right)


def _timeless(item: Json) -> Json:
    entries = [{k: v for k, v in x.items() if k != "time"} for x in item["metadata"].get("managedFields") or []]
    entries.sort(key=lambda x: (x.get("manager", ""), x.get("operation", ""), x.get("apiVersion", "")))
    return {**item, "metadata": {**item["metadata"], "managedFields": entries}}
