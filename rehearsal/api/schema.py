"""Types of objects: which fields they have, how lists merge; from OpenAPI definitions, of Kubernetes or of a CRD.

Source: kubernetes.io, Server-Side Apply, section Merge strategy; kube-openapi's conversion to merge types, which
takes ``x-kubernetes-patch-strategy: merge`` for a list of type ``map`` or ``set`` where no list type is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any, Literal

from rehearsal.api.builtin import builtin

Json = dict[str, Any]
Shape = Literal["scalar", "struct", "map", "list", "any"]
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
# Carried as they are, as one value.
_OPAQUE = frozenset(
    {
        f"{_META}FieldsV1",
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
    }
)
# Keyed by the protocol, which may be left out where it is TCP.
_KEY_DEFAULTS: Json = {"protocol": "TCP"}


class Type:
    """The type of one value; ``definitions`` is where its references lead."""

    def __init__(self, schema: Json, definitions: Mapping[str, Json], *, is_structural: bool = False) -> None:
        self._definitions = definitions
        self._structural = is_structural
        self.name = ""
        ref = schema.get("$ref")
        if ref:
            self.name = ref.rpartition("/")[2]
            schema = {**definitions.get(self.name, {}), **{k: v for k, v in schema.items() if k != "$ref"}}
        self._schema = schema

    is_custom = False

    @property
    def document(self) -> Json:
        """The schema itself."""
        return self._schema

    @cached_property
    def shape(self) -> Shape:
        """Which of the five forms values have; ``any`` is untyped."""
        schema = self._schema
        if self.name in _OPAQUE or (self.keeps_unknown and not schema.get("properties")):
            return "any"
        kind = schema.get("type")
        if kind == "array":
            return "list"
        if "properties" in schema:
            return "struct"
        if "additionalProperties" in schema:
            return "map"
        if kind == "object":
            return "struct" if self._structural or self.name else "any"
        return "scalar" if kind or schema.get("x-kubernetes-int-or-string") else "any"

    @cached_property
    def keeps_unknown(self) -> bool:
        """Whether fields that the type does not name are kept."""
        return bool(self._schema.get("x-kubernetes-preserve-unknown-fields"))

    @cached_property
    def fields(self) -> dict[str, Type]:
        """The named fields of a struct."""
        return {name: self._make(x) for name, x in (self._schema.get("properties") or {}).items()}

    @cached_property
    def required(self) -> frozenset[str]:
        """The fields that a struct must have."""
        return frozenset(self._schema.get("required") or ())

    @cached_property
    def element(self) -> Type:
        """The type of a list's items or a map's values."""
        below = self._schema.get("items" if self.shape == "list" else "additionalProperties")
        return self._make(below) if isinstance(below, dict) else ANY

    @cached_property
    def scalar(self) -> str:
        """``string``, ``integer``, ``number`` or ``boolean``; empty where it may be more than one."""
        loose = self._schema.get("x-kubernetes-int-or-string") or self._schema.get("format") == "int-or-string"
        return "" if loose or self.name.endswith(".Quantity") else str(self._schema.get("type", ""))

    @cached_property
    def is_atomic(self) -> bool:
        """Whether a map, struct or list is owned and replaced as one."""
        schema = self._schema
        if self.shape == "list":
            return not self.keys and not self.is_set
        if self.shape == "any":
            return self.name in _OPAQUE
        return schema.get("x-kubernetes-map-type") == "atomic"

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys that tell a list's items apart when it merges by item."""
        schema = self._schema
        if schema.get("x-kubernetes-list-type") == "map":
            return tuple(schema.get("x-kubernetes-list-map-keys") or ())
        if "x-kubernetes-list-type" not in schema and self._merges and schema.get("x-kubernetes-patch-merge-key"):
            return (schema["x-kubernetes-patch-merge-key"],)
        return ()

    @cached_property
    def is_set(self) -> bool:
        """Whether a list merges by value."""
        schema = self._schema
        if "x-kubernetes-list-type" in schema:
            return bool(schema["x-kubernetes-list-type"] == "set")
        return self._merges and not schema.get("x-kubernetes-patch-merge-key")

    @property
    def _merges(self) -> bool:
        return "merge" in str(self._schema.get("x-kubernetes-patch-strategy", "")).split(",")

    @cached_property
    def patch_key(self) -> str:
        """The key by which a strategic merge patch finds items; empty where the list is replaced or is a set."""
        return str(self._schema.get("x-kubernetes-patch-merge-key", "")) if self._merges else ""

    @cached_property
    def patch_merges(self) -> bool:
        """Whether a strategic merge patch merges a list."""
        return self._merges

    @cached_property
    def default(self) -> Any:
        """The value that a missing field gets; ``None`` where there is none."""
        return self._schema.get("default")

    def field(self, name: str) -> Type:
        """Return the type of a field of a struct or map."""
        if self.shape == "struct":
            found = self.fields.get(name)
            if found is not None:
                return found
            return ANY
        return self.element if self.shape == "map" else ANY

    def is_named(self, name: str) -> bool:
        """Tell whether a name is a field of a struct, not a key that somebody chose."""
        return self.shape == "struct" and name in self.fields

    def key_of(self, item: Any) -> Json:
        """Return what tells an item of a keyed list from its neighbours."""
        found = {}
        for key in self.keys:
            value = item.get(key, self.key_default(key)) if isinstance(item, dict) else None
            if value is not None:
                found[key] = value
        return found

    def key_default(self, key: str) -> Any:
        """Return the value that a key has where it is left out; ``None`` where it must be there.

        1.20 knew one for the ports of containers and none for those of services (kubernetes issue 92332).
        """
        return _KEY_DEFAULTS.get(key) if self.element.name.endswith(".ContainerPort") else None

    def _make(self, schema: Json) -> Type:
        ref = schema.get("$ref")
        if ref and len(schema) == 1:
            return _named(ref.rpartition("/")[2]) if self._definitions is _definitions() else Type(schema, {})
        return Type(schema, self._definitions, is_structural=self._structural)


@cache
def _definitions() -> dict[str, Json]:
    found: dict[str, Json] = builtin()["definitions"]
    return found


@cache
def _named(name: str) -> Type:
    return Type({"$ref": f"#/definitions/{name}"}, _definitions())


@cache
def _by_kind() -> dict[tuple[str, str], str]:
    found = {}
    for name, schema in _definitions().items():
        for gvk in schema.get("x-kubernetes-group-version-kind") or []:
            api_version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
            found[api_version, gvk["kind"]] = name
    return found


def builtin_type(api_version: str, kind: str) -> Type:
    """Return the type of a built-in kind."""
    name = _by_kind().get((api_version, kind))
    return _named(name) if name else ANY


def metadata_type() -> Type:
    """Return the type of every object's metadata."""
    return _named(f"{_META}ObjectMeta")


class _CustomType(Type):
    """The type of a custom object: the author's schema, with Kubernetes' own metadata."""

    is_custom = True

    @cached_property
    def fields(self) -> dict[str, Type]:
        text = Type({"type": "string"}, {})
        return {**super().fields, "apiVersion": text, "kind": text, "metadata": metadata_type()}

    @cached_property
    def shape(self) -> Shape:
        return "struct"


def custom_type(schema: Json | None) -> Type:
    """Return the type of a custom object from its ``openAPIV3Schema``."""
    return _CustomType(schema or {"type": "object"}, {}, is_structural=True)


ANY = Type({}, {})
