"""The resources that a cluster serves: built-in ones, and those that its CustomResourceDefinitions add."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from rehearsal.api.builtin import builtin
from rehearsal.api.schema import Type, builtin_type, custom_type

Json = dict[str, Any]
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, eq=False)
class Resource:
    """One served resource in one version."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    type: Type
    subresources: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset(VERBS)
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    singular: str = ""
    list_kind: str = ""
    is_custom: bool = False
    columns: tuple[tuple[str, str, str, str], ...] = ()

    @property
    def api_version(self) -> str:
        """Group and version as objects carry them."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str]:
        """What objects are stored under, whatever the version."""
        return self.group, self.plural


def custom_resources(definition: Json) -> list[Resource]:
    """Return the resources that a CustomResourceDefinition makes, one per served version."""
    spec, names = definition["spec"], definition["spec"]["names"]
    found = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if spec.get("preserveUnknownFields") and schema is not None:
            schema = {**schema, "x-kubernetes-preserve-unknown-fields": True}
        columns = tuple(
            (x["name"], x.get("type", "string"), x["jsonPath"], x.get("description", ""))
            for x in version.get("additionalPrinterColumns") or []
        )
        found.append(
            Resource(
                spec["group"], version["name"], names["plural"], names["kind"], spec["scope"] == "Namespaced",
                custom_type(schema), frozenset(version.get("subresources") or ()),
                short_names=tuple(names.get("shortNames") or ()), categories=tuple(names.get("categories") or ()),
                singular=names.get("singular", ""), list_kind=names.get("listKind", ""), is_custom=True,
                columns=columns,
            )
        )  # fmt: skip
    return found


@cache
def _builtin_resources() -> dict[tuple[str, str, str], Resource]:
    found = {}
    for api_version, document in builtin()["resources"].items():
        group, _, version = api_version.rpartition("/")
        subresources: dict[str, set[str]] = {}
        for entry in document["resources"]:
            name, _, sub = entry["name"].partition("/")
            if sub:
                subresources.setdefault(name, set()).add(sub)
        for entry in document["resources"]:
            if "/" not in entry["name"]:
                found[group, version, entry["name"]] = Resource(
                    group, version, entry["name"], entry["kind"], entry["namespaced"],
                    builtin_type(api_version, entry["kind"]), frozenset(subresources.get(entry["name"], ())),
                    frozenset(entry["verbs"]), tuple(entry.get("shortNames") or ()),
                    tuple(entry.get("categories") or ()), list_kind=f"{entry['kind']}List",
                )  # fmt: skip
    return found


def has_group(group: str) -> bool:
    """Tell whether a group is built in."""
    return any(x.group == group for x in _builtin_resources().values())


@dataclass
class Kinds:
    """What one cluster serves."""

    custom: dict[tuple[str, str, str], Resource] = field(default_factory=dict)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return a resource by its place in a path."""
        key = (group, version, plural)
        return _builtin_resources().get(key) or self.custom.get(key)

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """Return the resource of an object."""
        return next(
            (x for x in self.all() if x.kind == kind and x.api_version == api_version and "list" in x.verbs), None
        )

    def all(self) -> list[Resource]:
        """Return every resource, built-in ones first."""
        return [*_builtin_resources().values(), *self.custom.values()]

    def drop(self, group: str, plural: str) -> None:
        """Serve a custom resource no more."""
        self.custom = {k: x for k, x in self.custom.items() if x.key != (group, plural)}

    def groups(self) -> list[Json]:
        """Return the groups as ``/apis`` lists them."""
        found: list[Json] = [dict(x) for x in builtin()["groups"]]
        names = {x["name"] for x in found}
        for group in sorted({x.group for x in self.custom.values()} - names):
            versions = sorted({x.version for x in self.custom.values() if x.group == group}, key=_version_rank)
            listed = [{"groupVersion": f"{group}/{x}", "version": x} for x in versions]
            found.append({"name": group, "versions": listed, "preferredVersion": listed[0]})
        return found

    def resource_list(self, group: str, version: str) -> Json | None:
        """Return the resources of a group version as discovery lists them."""
        api_version = f"{group}/{version}" if group else version
        known: Json | None = builtin()["resources"].get(api_version)
        if known:
            return known
        mine = [x for x in self.custom.values() if (x.group, x.version) == (group, version)]
        if not mine:
            return None
        entries = [entry for x in mine for entry in _entries(x)]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": entries}


def _entries(resource: Resource) -> list[Json]:
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
        "storageVersionHash": _storage_hash(resource),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    below = []
    if "status" in resource.subresources:
        below.append({
            "name": f"{resource.plural}/status", "singularName": "", "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": ["get", "patch", "update"],
        })  # fmt: skip
    return [entry, *below]


def _storage_hash(resource: Resource) -> str:
    """Return what names the version that objects are stored in."""
    text = f"{resource.group}/{resource.version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _version_rank(version: str) -> tuple[int, str]:
    """Order versions as a server prefers them: v2, v1, v1beta1, v1alpha1."""
    return (0 if version[1:].isdigit() else 1 if "beta" in version else 2), version
