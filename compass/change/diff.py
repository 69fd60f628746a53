"""What differs between two states of one object, a line per field, secrets masked."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

MAX_VALUE = 160
_SERVER_SET = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SECRET_NAME = re.compile(r"passw|secret|token|credential|private|api[-_]?key|access[-_]?key", re.IGNORECASE)
# In a text: an option or a line of a configuration file whose name says so, and the password in an address.
_SECRET_TEXT = re.compile(rf"((?:{_SECRET_NAME.pattern})[\w.-]*[\"']?\s*[=:]\s*)[^\s,;&]+", re.IGNORECASE)
_SECRET_ADDRESS = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
_MASK = "***"
_ABSENT = object()


def comparable(item: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what the server sets by itself."""
    kept = {key: copy.deepcopy(value) for key, value in item.items() if key != "status"}
    metadata = kept.get("metadata") or {}
    for key in _SERVER_SET:
        metadata.pop(key, None)
    annotations = metadata.get("annotations")
    if isinstance(annotations, dict):
        annotations.pop(_LAST_APPLIED, None)
        if not annotations:
            del metadata["annotations"]
    return kept


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return ``path: old -> new`` for each field that differs, in the order of the object.

    Values of Secrets, and of fields whose name says that they hold one, are masked.
    """
    hide_all = before.get("kind") == "Secret" or after.get("kind") == "Secret"
    lines = []
    for path, old, new in _walk(comparable(before), comparable(after), ""):
        masked = (hide_all and path.startswith(("data", "stringData"))) or bool(_SECRET_NAME.search(path))
        lines.append(f"{path}: {_show(old, masked=masked)} -> {_show(new, masked=masked)}")
    return lines


def _walk(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(x for x in new if x not in old)]:
            yield from _walk(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _walk_lists(old, new, path)
    elif old != new:
        yield path, old, new


def _walk_lists(old: list[Any], new: list[Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    """Compare items of one name where they have names, by position otherwise."""
    if _have_names(old) and _have_names(new):
        before, after = ({x["name"]: x for x in items} for items in (old, new))
        for name in [*before, *(x for x in after if x not in before)]:
            yield from _walk(before.get(name, _ABSENT), after.get(name, _ABSENT), f"{path}[{name}]")
        if [x for x in before if x in after] != [x for x in after if x in before]:
            yield f"order of {path}", list(before), list(after)
        return
    for index in range(max(len(old), len(new))):
        left = old[index] if index < len(old) else _ABSENT
        right = new[index] if index < len(new) else _ABSENT
        yield from _walk(left, right, f"{path}[{index}]")


def _have_names(items: list[Any]) -> bool:
    names = [x.get("name") if isinstance(x, dict) else None for x in items]
    return all(isinstance(x, str) for x in names) and len(set(names)) == len(names)


def _show(value: Any, *, masked: bool) -> str:
    if value is _ABSENT:
        return "(none)"
    value = _mask_all(value) if masked else _mask_inside(value)
    text = json.dumps(value, ensure_ascii=False, sort_keys=True) if not isinstance(value, str) else value
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text)} characters)"


def _mask_inside(value: Any) -> Any:
    if isinstance(value, dict):
        secret = bool(_SECRET_NAME.search(str(value.get("name", ""))))
        return {
            k: _MASK if _SECRET_NAME.search(str(k)) or (secret and k == "value") else _mask_inside(v)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_mask_inside(x) for x in value]
    return _mask_text(value) if isinstance(value, str) else value


def _mask_all(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _mask_all(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_mask_all(x) for x in value]
    return value if value is None else _MASK


def _mask_text(text: str) -> str:
    return _SECRET_ADDRESS.sub(rf"\1{_MASK}@", _SECRET_TEXT.sub(rf"\1{_MASK}", text))
