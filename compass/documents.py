"""YAML and JSON from outside, and the strict models that they must fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from compass.errors import InvalidInput

try:
    from yaml import CSafeDumper as _Dumper
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeDumper as _Dumper  # type: ignore[assignment]
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

MAX_NODES = 1_000_000
MAX_BYTES = 32 << 20


class Document(BaseModel):
    """A file's content: unknown keys are refused and values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


D = TypeVar("D", bound=Document)


class _StrictLoader(_Loader):
    """Safe YAML in which a key given twice is an error, and dates and times stay text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key is no plain value", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# Kubernetes and Helm read YAML into JSON: a timestamp is a string there.
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in _Loader.yaml_implicit_resolvers.items()
}


def load_all_yaml(text: str | bytes, where: str) -> list[Any]:
    """Return the documents of a YAML text, empty ones left out; ``where`` names it in errors.

    Raises:
        InvalidInput: no YAML, a key given twice, or more than MAX_BYTES or MAX_NODES (an alias bomb).
    """
    if len(text) > MAX_BYTES:
        raise InvalidInput("read", where, found=f"{len(text)} bytes", expected=f"at most {MAX_BYTES}")
    try:
        # The loader derives from the safe loader: it makes plain values only.
        documents = [x for x in yaml.load_all(text, Loader=_StrictLoader) if x is not None]
    except yaml.YAMLError as error:
        raise InvalidInput("read", where, found=_yaml_problem(error), expected="YAML") from None
    except (ValueError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidInput("read", where, found=f"{type(error).__name__}: {error}", expected="YAML") from None
    _bound_nodes(documents, where)
    return documents


def load_yaml(text: str | bytes, where: str) -> Any:
    """Return the one document of a YAML text (``None`` when it is empty).

    Raises:
        InvalidInput: as ``load_all_yaml``, or there is more than one document.
    """
    documents = load_all_yaml(text, where)
    if len(documents) > 1:
        raise InvalidInput("read", where, found=f"{len(documents)} YAML documents", expected="one")
    return documents[0] if documents else None


def dump_yaml(value: Any, *, sort_keys: bool = False) -> str:
    """Return a value as YAML in block style, keys in the order they have unless sorted."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=sort_keys, allow_unicode=True, width=4096)
    return text


def parse_document(model: type[D], value: Any, where: str) -> D:
    """Return ``value`` as ``model``.

    Raises:
        InvalidInput: it does not fit; the first wrong place is named, and how many more there are.
    """
    if not isinstance(value, dict):
        raise InvalidInput("read", where, found=_kind(value), expected="a mapping of keys to values")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_context=False)
        place = ".".join(str(x) for x in first["loc"]) or "top level"
        more = f" (and {len(others)} more)" if others else ""
        unknown = first["type"] == "extra_forbidden"
        problem = "unknown key" if unknown else first["msg"].removeprefix("Value error, ").lower()
        raise InvalidInput("read", where, found=f"{place}: {problem}{more}", do="see docs/formats.md") from None


def read_text(path: Path, what: str) -> str:
    """Return the text of a file.

    Raises:
        InvalidInput: it is absent, unreadable, too large or no UTF-8.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInput(f"read {what}", path, found="too large", expected=f"at most {MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"read {what}", path, found=error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise InvalidInput(f"read {what}", path, found="bytes that are no UTF-8 text") from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _bound_nodes(documents: list[Any], where: str) -> None:
    """Walk as a reader without aliases would; shared nodes count each time they are met."""
    count, todo = 0, list(documents)
    while todo:
        count += 1
        if count > MAX_NODES:
            raise InvalidInput("read", where, found="aliases that expand without end", expected="plain YAML")
        value = todo.pop()
        if isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
