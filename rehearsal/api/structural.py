"""Custom objects checked against the schema of their definition; only what definitions commonly ask for.

Source: kubernetes.io, Custom Resources, section Validation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
Cause = tuple[str, str, str]  # reason, field, message
_FORMS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
}


def causes(item: Json, schema: Json) -> Iterator[Cause]:
    """Yield what is wrong with a custom object."""
    for name, below in (schema.get("properties") or {}).items():
        if name in item and name not in ("apiVersion", "kind", "metadata"):
            yield from _by_schema(item[name], below, name)
    for name in schema.get("required") or []:
        if name not in item:
            yield "FieldValueRequired", name, "Required value"


def _by_schema(value: Any, schema: Json, path: str) -> Iterator[Cause]:
    if value is None and schema.get("nullable"):
        return
    kind = schema.get("type")
    wanted = _FORMS.get(str(kind), object)
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind in ("integer", "number")):
        found = "boolean" if isinstance(value, bool) else "null"
        found = next((name for name, form in _FORMS.items() if isinstance(value, form)), found)
        text = f'Invalid value: "{found}": {path} in body must be of type {kind}: "{found}"'
        yield "FieldValueInvalid", path, text
        return
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(x) for x in schema["enum"])
        yield "FieldValueNotSupported", path, f"Unsupported value: {json.dumps(value)}: supported values: {supported}"
    yield from _below(value, schema, path)


def _below(value: Any, schema: Json, path: str) -> Iterator[Cause]:
    if isinstance(value, dict):
        for name in schema.get("required") or []:
            if name not in value:
                yield "FieldValueRequired", f"{path}.{name}", "Required value"
        for name, below in value.items():
            inner = (schema.get("properties") or {}).get(name, schema.get("additionalProperties"))
            if isinstance(inner, dict):
                yield from _by_schema(below, inner, f"{path}.{name}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for n, below in enumerate(value):
            yield from _by_schema(below, schema["items"], f"{path}[{n}]")
