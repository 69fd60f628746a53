"""Sets of fields as managedFields has them (FieldsV1), and the sets that a value or a change has.

A field is a tuple of steps: ``f:<name>``, ``k:<keys of a list item>``, ``v:<item of a set>``.
Source: kubernetes.io, Server-Side Apply, section Field management; the algorithm of sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rehearsal.api.schema import Type

Json = dict[str, Any]
Field = tuple[str, ...]
Fields = set[Field]


def decode_fields(fields_v1: Json) -> Fields:
    """Return the set that a FieldsV1 document names."""
    return set(_decode(fields_v1, ()))


def _decode(below: Json, above: Field) -> Iterator[Field]:
    for step, rest in below.items():
        if step == ".":
            yield above
        elif rest:
            yield from _decode(rest, (*above, step))
        else:
            yield (*above, step)


def encode_fields(fields: Iterable[Field]) -> Json:
    """Return a set as a FieldsV1 document."""
    root: Json = {}
    for path in sorted(fields):
        node = root
        for step in path:
            node = node.setdefault(step, {})
    for path in fields:
        node = root
        for step in path:
            node = node[step]
        if node:
            node["."] = {}
    return _sorted(root)


def _sorted(node: Json) -> Json:
    return {key: _sorted(node[key]) for key in sorted(node)}


def step_of(kind: Type, item: Any) -> str:
    """Return the step that leads to an item of a keyed list or a set."""
    if kind.keys:
        return "k:" + json.dumps(kind.key_of(item), separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return "v:" + json.dumps(item, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def fields_of(value: Any, kind: Type) -> Fields:
    """Return the fields that a configuration sets."""
    found: Fields = set()
    _collect(value, kind, (), found)
    return found


def _collect(value: Any, kind: Type, path: Field, found: Fields) -> None:
    if isinstance(value, dict) and not kind.is_atomic:
        for name, below in value.items():
            deeper = (*path, f"f:{name}")
            _collect(below, kind.field(name), deeper, found)
            if not kind.is_named(name):
                found.add(deeper)
    elif isinstance(value, list) and kind.shape == "list" and not kind.is_atomic:
        for item in value:
            deeper = (*path, step_of(kind, item))
            _collect(item, kind.element, deeper, found)
            found.add(deeper)
    else:
        found.add(path)


@dataclass
class Comparison:
    """What became of one object on its way to another."""

    added: Fields = field(default_factory=set)
    modified: Fields = field(default_factory=set)
    removed: Fields = field(default_factory=set)


_ABSENT = object()


def compare(old: Any, new: Any, kind: Type) -> Comparison:
    """Return the fields that differ between two values."""
    result = Comparison()
    _compare(old, new, kind, (), result)
    return result


def _compare(old: Any, new: Any, kind: Type, path: Field, result: Comparison) -> None:
    if old is not _ABSENT and new is not _ABSENT and old == new and type(old) is type(new):
        return
    nested = _parts(old, new, kind)
    if path:
        if old is _ABSENT:
            result.added.add(path)
        elif new is _ABSENT:
            result.removed.add(path)
        elif nested is None:
            result.modified.add(path)
    for step, before, after, below in nested or ():
        _compare(before, after, below, (*path, step), result)


def _parts(old: Any, new: Any, kind: Type) -> list[tuple[str, Any, Any, Type]] | None:
    """Return the pairs below two values; ``None`` where they are compared as one."""
    if kind.is_atomic or not (old or new) or (not _some(old) and not _some(new)):
        return None
    if _is(dict, old, new):
        left, right = _or_empty(old, {}), _or_empty(new, {})
        names = [*left, *(x for x in right if x not in left)]
        return [(f"f:{x}", left.get(x, _ABSENT), right.get(x, _ABSENT), kind.field(x)) for x in names]
    if kind.shape == "list" and _is(list, old, new):
        left = {step_of(kind, x): x for x in _or_empty(old, [])}
        right = {step_of(kind, x): x for x in _or_empty(new, [])}
        steps = [*left, *(x for x in right if x not in left)]
        return [(x, left.get(x, _ABSENT), right.get(x, _ABSENT), kind.element) for x in steps]
    return None


def _is(form: type, *values: Any) -> bool:
    return all(x is _ABSENT or x is None or isinstance(x, form) for x in values)


def _some(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _or_empty(value: Any, empty: Any) -> Any:
    return value if _some(value) else empty


def merge(live: Any, applied: Any, kind: Type) -> Any:
    """Return ``live`` with what ``applied`` sets; neither is changed."""
    if isinstance(live, dict) and isinstance(applied, dict) and not kind.is_atomic:
        merged = dict(live)
        for name, value in applied.items():
            merged[name] = merge(live[name], value, kind.field(name)) if name in live else value
        return merged
    if isinstance(live, list) and isinstance(applied, list) and kind.shape == "list" and not kind.is_atomic:
        wanted = {step_of(kind, x): x for x in applied}
        items = []
        for item in live:
            step = step_of(kind, item)
            items.append(merge(item, wanted.pop(step), kind.element) if step in wanted else item)
        return [*items, *wanted.values()]
    return applied


def check_typed(value: Any, kind: Type, path: str = "") -> str:
    """Return what in a configuration does not fit its type; empty where all does."""
    if isinstance(value, dict) and kind.shape == "struct":
        for name, below in value.items():
            if not kind.is_named(name) and not kind.keeps_unknown:
                return f"{path}.{name}: field not declared in schema"
            wrong = check_typed(below, kind.field(name), f"{path}.{name}")
            if wrong:
                return wrong
    elif isinstance(value, list) and kind.shape == "list":
        for n, item in enumerate(value):
            missing = next((x for x in kind.keys if isinstance(item, dict) and x not in kind.key_of(item)), "")
            if missing:
                return (
                    f"{path}: element {n}: associative list with keys has an element that omits key field "
                    f'"{missing}" (and doesn\'t have default value)'
                )
            wrong = check_typed(item, kind.element, f"{path}[{n}]")
            if wrong:
                return wrong
    return ""


def with_named_parents(fields: Fields, kind: Type) -> Fields:
    """Return the set with every named field above its members."""
    found = set(fields)
    for path in fields:
        at = kind
        for length, step in enumerate(path, start=1):
            name = step[2:]
            if step.startswith("f:"):
                if at.is_named(name) and length < len(path):
                    found.add(path[:length])
                at = at.field(name)
            else:
                at = at.element if at.shape == "list" else at
    return found


def without(value: Any, fields: Fields, kind: Type) -> Any:
    """Return a value without the fields of a set and what is below them; ``None`` when nothing is left."""
    tree: Json = {}
    for path in fields:
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node["."] = True
    return _without(value, tree, kind)


def _without(value: Any, tree: Json, kind: Type) -> Any:
    if isinstance(value, dict) and not kind.is_atomic:
        kept = {}
        for name, below in value.items():
            branch = tree.get(f"f:{name}")
            if branch is None:
                kept[name] = below
            elif "." not in branch:
                kept[name] = _without(below, branch, kind.field(name))
        return kept or None
    if isinstance(value, list) and kind.shape == "list" and not kind.is_atomic:
        items = []
        for item in value:
            branch = tree.get(step_of(kind, item))
            if branch is None:
                items.append(item)
            elif "." not in branch:
                items.append(_without(item, branch, kind.element))
        return items or None
    return None
