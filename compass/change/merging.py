"""What applying a manifest makes of an object, worked out here for where the server's own merge does not do.

Server-side apply removes what was applied before and keeps what nobody owns.  In Kubernetes 1.20, of an ``httpGet``
that gave way to an ``exec`` the default ``scheme`` stays, and the object is refused; new items are added to the end of
a list, wherever the manifest has them.  What kubectl applied stays with any version.  Here a choice that the manifest
lacks goes with all that is in it, and items come in the manifest's order.

Source: kubernetes.io, Server-Side Apply, section Merge strategy; how types merge is read as k8s.io/kube-openapi
(pkg/schemaconv) does, merging is that of sigs.k8s.io/structured-merge-diff (typed).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Set
from functools import cached_property
from typing import Any, Literal

from compass.change.ownership import Path, entries, field_paths, find_item, follow, key_value, remove

Form = Literal["struct", "map", "list", "value"]
_KEEPS_UNKNOWN = "x-kubernetes-preserve-unknown-fields"
_RAW = "io.k8s.apimachinery.pkg.runtime.RawExtension"


class Shape:
    """How the values of one type merge; ``definitions`` (OpenAPI version 2) is where references lead."""

    def __init__(self, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> None:
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        self._schema = {**definitions.get(name, {}), **{k: v for k, v in schema.items() if k != "$ref"}}
        self._definitions = definitions
        self._is_raw = name == _RAW

    @classmethod
    def of_kind(cls, definitions: Mapping[str, Any], api_version: str, kind: str) -> Shape:
        """Return the shape of a kind; of one that the definitions lack, as servers merge what has no schema."""
        group, _, version = api_version.rpartition("/")
        wanted = {"group": group, "version": version, "kind": kind}
        for schema in definitions.values():
            if wanted in schema.get("x-kubernetes-group-version-kind", ()):
                return cls(schema, definitions)
        return cls({_KEEPS_UNKNOWN: True}, definitions)

    @cached_property
    def form(self) -> Form:
        """Whether values merge field by field, key by key, item by item, or are replaced as one."""
        schema = self._schema
        if schema.get("type") == "array":
            return "list" if self.keys or self._is_set else "value"
        if self._is_raw or schema.get("x-kubernetes-map-type") == "atomic":
            return "value"
        if "properties" in schema:
            return "struct"
        return "map" if isinstance(schema.get("additionalProperties"), dict) or self._keeps_unknown else "value"

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The fields that tell the items of a list apart; empty where items do not merge."""
        schema = self._schema
        if "x-kubernetes-list-type" in schema:
            is_map = schema["x-kubernetes-list-type"] == "map"
            return tuple(schema.get("x-kubernetes-list-map-keys", ())) if is_map else ()
        key = schema.get("x-kubernetes-patch-merge-key")
        return (key,) if key and self._merges else ()

    @cached_property
    def _is_set(self) -> bool:
        if "x-kubernetes-list-type" in self._schema:
            return bool(self._schema["x-kubernetes-list-type"] == "set")
        return self._merges and "x-kubernetes-patch-merge-key" not in self._schema

    @property
    def _merges(self) -> bool:
        return "merge" in str(self._schema.get("x-kubernetes-patch-strategy", "")).split(",")

    @property
    def _keeps_unknown(self) -> bool:
        # Of what keeps unknown fields, servers publish that it is an object, and no more.
        is_bare = self._schema.get("type") == "object" and not {"properties", "additionalProperties"} & {*self._schema}
        return bool(self._schema.get(_KEEPS_UNKNOWN)) or is_bare

    def below(self, name: str) -> Shape:
        """Return the shape of a field of a struct, a value of a map, or an item of a list (by any name)."""
        schema = self._schema
        if self.form == "struct" and name in schema["properties"]:
            return Shape(schema["properties"][name], self._definitions)
        if self.form == "list":
            return Shape(schema.get("items", {}), self._definitions)
        if self.form == "map" and isinstance(schema.get("additionalProperties"), dict):
            return Shape(schema["additionalProperties"], self._definitions)
        return Shape({_KEEPS_UNKNOWN: True} if self._keeps_unknown else {}, self._definitions)

    def at(self, path: Path) -> Shape:
        """Return the shape of what a path leads to."""
        here = self
        for step in path:
            here = here.below(step[2:])
        return here

    def merge(self, old: Any, new: Any) -> Any:
        """Return ``old`` with ``new`` merged in; items come in the order of ``new``, others stay where they were."""
        if self.form in ("struct", "map") and isinstance(old, dict):
            if new is None:
                return old
            if isinstance(new, dict):
                names = [*old, *(x for x in new if x not in old)]
                return {x: self._merge_field(x, old, new) for x in names}
        if self.form == "list" and isinstance(old, list):
            if new is None:
                return old
            if isinstance(new, list):
                return self._merge_items(old, new)
        return new

    def _merge_field(self, name: str, old: dict[str, Any], new: dict[str, Any]) -> Any:
        if name not in old or name not in new:
            return new[name] if name in new else old[name]
        return self.below(name).merge(old[name], new[name])

    def _merge_items(self, old: list[Any], new: list[Any]) -> list[Any]:
        # Of two items of one name, which only old servers take, the last counts, as in a container's environment.
        before = {self.step(x): x for x in old}
        wanted = {self.step(x): x for x in new}
        item, order = self.below(""), list(before)
        merged, others = [], [x for x in order if x not in wanted]
        for step, value in wanted.items():
            if step in before:
                ahead = order[: order.index(step)]
                while others and others[0] in ahead:
                    merged.append(before[others.pop(0)])
                value = item.merge(before[step], value)
            merged.append(value)
        return [*merged, *(before[x] for x in others)]

    def step(self, item: Any) -> str:
        """Return how FieldsV1 names an item of a list."""
        if not self.keys or not isinstance(item, dict):
            return f"v:{_compact(item)}"
        return f"k:{_compact({x: key_value(item, x) for x in sorted(self.keys)})}"

    def fields(self, value: Any) -> dict[str, Any]:
        """Return what applying ``value`` would own, as FieldsV1; fields that the type does not have are left out."""
        if self.form in ("struct", "map") and isinstance(value, dict):
            known = [x for x in value if self.form == "map" or self._keeps_unknown or x in self._schema["properties"]]
            return {f"f:{x}": self.below(x).fields(value[x]) for x in known}
        if self.form == "list" and isinstance(value, list):
            return {self.step(x): {".": {}, **self.below("").fields(x)} for x in value}
        return {}


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def manifest_fields(shape: Shape, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the FieldsV1 of a manifest, less what identifies the object, which is nobody's."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in ("name", "namespace")}
    content = {k: v for k, v in manifest.items() if k not in ("apiVersion", "kind")}
    return shape.fields({**content, "metadata": metadata})


def has_leftovers(
    former: dict[str, Any], live: dict[str, Any], manifest: dict[str, Any], others: Set[Path]
) -> bool:  # fmt: skip
    """Tell whether an object still has what was applied before (``former``, FieldsV1) and the manifest lacks.

    ``others`` are the paths of what anybody else owns, with all that leads to them: that stays.
    """
    paths = (x for x in field_paths(former) if x not in others)
    return any(follow(manifest, x) is None and follow(live, x) is not None for x in paths)


def in_order(fields: dict[str, Any], manifest: Any, value: Any) -> bool:
    """Tell whether the items that a manifest applies (``fields``, FieldsV1) are in its order in ``value``."""
    if isinstance(manifest, list) and isinstance(value, list):
        steps = [x for x in fields if x[:2] in ("k:", "v:")]
        if sorted(steps, key=lambda x: _index(manifest, x)) != sorted(steps, key=lambda x: _index(value, x)):
            return False
        return all(in_order(fields[x], find_item(manifest, x), find_item(value, x)) for x in steps)
    if isinstance(manifest, dict) and isinstance(value, dict):
        return all(in_order(fields.get(f"f:{x}", {}), manifest[x], value.get(x)) for x in manifest)
    return True


def _index(items: list[Any], step: str) -> int:
    item = find_item(items, step)
    return next((i for i, x in enumerate(items) if x is item), -1)


def merged(
    shape: Shape, live: dict[str, Any], manifest: dict[str, Any], former: dict[str, Any], others: Set[Path]
) -> dict[str, Any]:
    """Return ``live`` with a manifest merged in and without leftovers; ``former`` and ``others`` as there."""
    result: dict[str, Any] = copy.deepcopy(shape.merge(live, manifest))
    for path in sorted(field_paths(former), key=len):
        gone = _topmost_absent(shape, live, manifest, path, others)
        if gone:
            remove(result, gone)
    return result


def without_empty(shape: Shape, content: dict[str, Any], manifest: dict[str, Any], others: Set[Path]) -> dict[str, Any]:
    """Return what was merged without the empty structs that the manifest lacks; the server fills in its own again.

    They may be a choice, as an ``emptyDir``, of which 1.20 records no owner.
    """
    result = copy.deepcopy(content)
    _drop_empty(shape, result, manifest, (), others)
    return result


def without_removed(dry_run: dict[str, Any], content: dict[str, Any], former: dict[str, Any]) -> dict[str, Any]:
    """Return what a dry run gave for ``content``, less what was applied before and is owned by nobody any more.

    A dry run of 1.20 may show a field that the change removes: an Ingress keeps its default backend.
    """
    result = copy.deepcopy(dry_run)
    owned = {x for entry in entries(dry_run) for x in field_paths(entry.get("fieldsV1") or {})}
    for path in sorted(set(field_paths(former)) - owned, key=len):
        absent = next((path[:x] for x in range(1, len(path) + 1) if follow(content, path[:x]) is None), None)
        if absent:
            remove(result, absent)
    return result


def _topmost_absent(
    shape: Shape, live: dict[str, Any], manifest: dict[str, Any], path: Path, others: Set[Path]
) -> Path | None:
    """Return the first step of a path that the manifest has no more; of a map only single keys."""
    for length in range(1, len(path) + 1):
        part = path[:length]
        is_map = shape.at(part).form == "map" and isinstance(follow(live, part), dict)
        if follow(manifest, part) is None and part not in others and (not is_map or follow(live, part) == {}):
            return part
    return None


def _drop_empty(shape: Shape, value: Any, manifest: Any, path: Path, others: Set[Path]) -> None:
    if isinstance(value, dict) and isinstance(manifest, dict):
        for name in list(value):
            part = (*path, f"f:{name}")
            if name in manifest:
                _drop_empty(shape.below(name), value[name], manifest[name], part, others)
            elif value[name] == {} and shape.form == "struct" and part not in others:
                del value[name]
    elif shape.form == "list" and isinstance(value, list) and isinstance(manifest, list):
        for item in value:
            step = shape.step(item)
            _drop_empty(shape.below(""), item, find_item(manifest, step), (*path, step), others)
