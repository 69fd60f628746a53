"""YAML and JSON from outside, and the strict models that they must fit."""

from __future__ import annotations

import io
import re
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

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
MAX_NODES = 1_000_000
MAX_BYTES = 32 << 20
MAX_DEPTH = 200
MAX_MERGED = 10_000


class Document(BaseModel):
    """A file's content: unknown keys are refused and values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


D = TypeVar("D", bound=Document)


class _StrictLoader(_Loader):
    """Safe YAML of plain values: no key twice, no endless nesting or merging, and dates and times stay text."""

    depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        # libyaml's composer calls itself for each level, and would run out of stack; there are no path resolvers.
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.constructor.ConstructorError(None, None, f"nested more than {MAX_DEPTH} levels deep")

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def flatten_mapping(self, node: Any) -> None:
        if getattr(node, "is_flat", False):
            return
        node.is_flat = True
        self._refuse_twice(node)
        merged = [x for key, x in node.value if key.tag == _MERGE]
        super().flatten_mapping(node)
        if merged and (any(len(x.value) > 100 for x in merged) or len(node.value) > MAX_MERGED):
            raise yaml.constructor.ConstructorError(None, None, "merge keys that expand without end", node.start_mark)

    def _refuse_twice(self, node: Any) -> None:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key is no plain value", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} given twice", key_node.start_mark)
            seen.add(key)


def _plain_rules(rules: list[tuple[str, re.Pattern[str]]]) -> list[tuple[str, re.Pattern[str]]]:
    """Return what tells plain scalars apart in Kubernetes and Helm: no timestamps, no base 60, ``=`` is a text."""
    kept = []
    for tag, pattern in rules:
        if tag in (f"{_TAG}int", f"{_TAG}float"):
            pattern = re.compile(rf"(?!.*:){pattern.pattern}", pattern.flags)
        if tag not in (f"{_TAG}timestamp", f"{_TAG}value"):
            kept.append((tag, pattern))
    return kept


_StrictLoader.yaml_implicit_resolvers = {
    first: _plain_rules(rules) for first, rules in _Loader.yaml_implicit_resolvers.items()
}
# What JSON has no word for (sets, bytes, dates) is refused by its tag.
_StrictLoader.yaml_constructors = {
    tag: make
    for tag, make in _Loader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in ("null", "bool", "int", "float", "str", "seq", "map")
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
    except UnicodeDecodeError:
        raise InvalidInput("read", where, found="bytes that are no UTF-8 text", expected="YAML") from None
    except (ValueError, RecursionError) as error:
        # The value may be a secret: it is not shown.
        raise InvalidInput("read", where, found=f"a value that does not parse ({type(error).__name__})",
                           expected="YAML") from None  # fmt: skip
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
        first, *others = _told_once(error)
        place = ".".join(str(x) for x in first["loc"]) or "top level"
        more = f" (and {len(others)} more)" if others else ""
        unknown = first["type"] == "extra_forbidden"
        message = first["msg"].removeprefix("Value error, ")
        if not message[:2].isupper():
            message = message[:1].lower() + message[1:]
        problem = "unknown key" if unknown else message
        raise InvalidInput("read", where, found=f"{place}: {problem}{more}", do="see docs/formats.md") from None


def _told_once(error: ValidationError) -> list[Any]:
    """Return what is wrong; a list is not called too short besides, because what is wrong in it was left out."""
    found = error.errors(include_url=False, include_context=False)
    places = [x["loc"] for x in found]

    def has_wrong_parts(place: tuple[int | str, ...]) -> bool:
        return any(len(x) > len(place) and x[: len(place)] == place for x in places)

    return [x for x in found if x["type"] != "too_short" or not has_wrong_parts(x["loc"])]


def read_text(path: Path, what: str) -> str:
    """Return the text of a file.

    Raises:
        InvalidInput: it is absent, unreadable, too large or no UTF-8.
    """
    try:
        with path.open("rb") as file:  # a pipe or a device says nothing of its size
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InvalidInput(f"read {what}", path, found="too large", expected=f"at most {MAX_BYTES} bytes")
        return io.StringIO(data.decode("utf-8"), newline=None).read()
    except OSError as error:
        raise InvalidInput(f"read {what}", path, found=error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise InvalidInput(f"read {what}", path, found="bytes that are no UTF-8 text") from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    # A password that was not quoted may look like a tag or an alias.
    problem = re.sub(r".*(alias|tag) '.*'", r"an unknown \1", problem)
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
