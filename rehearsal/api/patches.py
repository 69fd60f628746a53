"""The four patches: JSON (RFC 6902), merge (RFC 7386), strategic merge, and apply.

Source: kubernetes.io, Update API Objects in Place Using kubectl patch; sig-api-machinery, Strategic Merge Patch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from rehearsal.api.schema import Type
from rehearsal.api.status import ApiError, bad_request

Json = dict[str, Any]
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"


def merge_patch(target: Any, patch: Any) -> Any:
    """Return what a merge patch makes of a value."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: Json, operations: Any) -> Json:
    """Return what a JSON patch makes of a document.

    Raises:
        ApiError: an operation does not fit the document.
    """
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    document: Any = copy.deepcopy(target)
    for operation in operations:
        try:
            document = _operate(document, operation)
        except (KeyError, IndexError, TypeError, ValueError):
            raise _unprocessable() from None
    if not isinstance(document, dict):
        raise _unprocessable()
    return document


def _unprocessable() -> ApiError:
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def _operate(document: Any, operation: Json) -> Any:
    op, path = operation["op"], _steps(operation["path"])
    if op == "test":
        if _at(document, path) != operation.get("value"):
            raise ValueError("test failed")
        return document
    if op in ("move", "copy"):
        source = _steps(operation["from"])
        value = copy.deepcopy(_at(document, source))
        document = _remove(document, source) if op == "move" else document
        return _add(document, path, value)
    if op == "remove":
        return _remove(document, path)
    if op == "add":
        return _add(document, path, operation["value"])
    if op == "replace":
        _at(document, path)
        return _add(_remove(document, path), path, operation["value"]) if path else operation["value"]
    raise ValueError(op)


def _steps(path: str) -> list[str]:
    return [x.replace("~1", "/").replace("~0", "~") for x in path.split("/")[1:]]


def _at(value: Any, path: list[str]) -> Any:
    for step in path:
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    holder, last = _at(document, path[:-1]), path[-1]
    if isinstance(holder, list):
        place = len(holder) if last == "-" else int(last)
        if place > len(holder):
            raise IndexError(place)
        holder.insert(place, value)
    else:
        holder[last] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:
    holder, last = _at(document, path[:-1]), path[-1]
    if isinstance(holder, list):
        holder.pop(int(last))
    else:
        del holder[last]
    return document


def strategic_patch(target: Json, patch: Json, kind: Type) -> Json:
    """Return what a strategic merge patch makes of a built-in object.

    Raises:
        ApiError: the patch does not fit.
    """
    result = _merged(target, patch, kind)
    return result if isinstance(result, dict) else {}


def _merged(target: Any, patch: Any, kind: Type) -> Any:
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "delete":
        return {}
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    if _RETAIN in patch:
        result = {k: v for k, v in result.items() if k in patch[_RETAIN]}
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM):
            name = key.removeprefix(_DELETE_FROM)
            result[name] = [x for x in result.get(name) or [] if x not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = _field(result.get(key), value, kind.field(key))
    return _in_order(result, patch, kind)


def _in_order(result: Json, patch: Json, kind: Type) -> Json:
    for key, order in patch.items():
        if key.startswith(_ORDER):
            name = key.removeprefix(_ORDER)
            result[name] = _ordered(result.get(name) or [], order, kind.field(name))
    return result


def _field(old: Any, new: Any, kind: Type) -> Any:
    if isinstance(new, dict):
        return _merged(old, new, kind)
    if not isinstance(new, list) or not kind.patch_merges:
        return new
    if not kind.patch_key:
        kept = list(old or [])
        return kept + [x for x in new if x not in kept]
    return _list(list(old or []), new, kind)


def _list(old: list[Any], new: list[Any], kind: Type) -> list[Any]:
    key = kind.patch_key
    if any(x.get("$patch") == "replace" for x in new):
        return [x for x in new if "$patch" not in x]
    items = list(old)
    for item in new:
        if key not in item:
            raise ApiError(500, "", f"map: {item} does not contain declared merge key: {key}")
        found = next((n for n, x in enumerate(items) if x.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            items = [x for x in items if x.get(key) != item[key]]
        elif found is None:
            items.append({k: v for k, v in _merged({}, item, kind.element).items() if not k.startswith("$")})
        else:
            items[found] = _merged(items[found], item, kind.element)
    return items


def _ordered(items: list[Any], order: list[Any], kind: Type) -> list[Any]:
    """Bring a list into the order that a patch wants; what it does not name keeps its place at the end."""
    key = kind.patch_key
    tell: Callable[[Any], Any] = (lambda x: x.get(key)) if key else (lambda x: x)
    wanted = [tell(x) for x in order]
    rank = {value: n for n, value in enumerate(wanted)}
    named = sorted((x for x in items if tell(x) in rank), key=lambda x: rank[tell(x)])
    return [*named, *(x for x in items if tell(x) not in rank)]
