"""The types in protocol buffers, the only form in which kubectl reads them.

Written by hand, since it is a handful of messages: the fields are those of gnostic's ``openapiv2/OpenAPIv2.proto``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]
_SCHEMA_WORDS = {"$ref": 1, "format": 2, "title": 3, "description": 4}


def protobuf(document: Json) -> bytes:
    """Return an OpenAPI version 2 document as gnostic encodes it."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    definitions = b"".join(
        _message(1, _text(1, name) + _message(2, _schema(x))) for name, x in document["definitions"].items()
    )
    return _text(1, document["swagger"]) + _message(2, info) + _message(8, b"") + _message(9, definitions)


def _schema(schema: Json) -> bytes:
    parts = [_text(number, schema[key]) for key, number in _SCHEMA_WORDS.items() if isinstance(schema.get(key), str)]
    parts += [_text(19, x) for x in schema.get("required") or []]
    below = schema.get("additionalProperties")
    if isinstance(below, dict):
        parts.append(_message(21, _message(1, _schema(below))))
    if isinstance(schema.get("type"), str):
        parts.append(_message(22, _text(1, schema["type"])))
    if isinstance(schema.get("items"), dict):
        parts.append(_message(23, _message(1, _schema(schema["items"]))))
    properties = schema.get("properties") or {}
    if properties:
        entries = (_message(1, _text(1, name) + _message(2, _schema(x))) for name, x in properties.items())
        parts.append(_message(25, b"".join(entries)))
    parts += _extensions(schema)
    return b"".join(parts)


def _extensions(schema: Json) -> Iterable[bytes]:
    for name, value in schema.items():
        if name.startswith("x-"):
            # kubectl reads the YAML that goes with an extension's value.
            yield _message(31, _text(1, name) + _message(2, _text(2, json.dumps(value) + "\n")))


def _message(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
