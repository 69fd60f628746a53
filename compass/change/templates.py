"""Templates: jinja2, sandboxed, with delimiters of their own so that ``{{ }}`` passes through untouched."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from compass.bundle.definition import Definition, Role, Variable
from compass.errors import InvalidInput

MAX_RENDERED_BYTES = 8 << 20
# What the expressions of a template may raise.
_FAULTS = (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError, MemoryError)
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class Place:
    """What a template may know of where it is rendered for; an empty endpoint is unknown, and using it an error."""

    cluster: str
    role: Role
    registry: str
    endpoint: str = ""
    control_endpoint: str = ""


def variable_values(definition: Definition, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of every variable: what was given, as its type, else the default.

    A given name that the bundle does not declare is passed on as text: legacy bundles declare nothing.

    Raises:
        InvalidInput: a required one is missing, or a value is not of its type.
    """
    values: dict[str, Any] = dict(given)
    for name, variable in definition.variables.items():
        if name in given:
            values[name] = _typed(name, variable, given[name])
        elif variable.default is not None:
            values[name] = variable.default
        elif variable.required:
            hint = f" ({variable.description})" if variable.description else ""
            raise InvalidInput("find variable", name, found="no value" + hint, do=f"pass --set {name}=VALUE")
    return values


def _typed(name: str, variable: Variable, text: str) -> Any:
    try:
        if variable.type == "integer":
            return int(text)
        if variable.type == "number":
            return float(text)
    except ValueError:
        raise InvalidInput("read --set", name, found=repr(text), expected=f"a {variable.type}") from None
    if variable.type == "boolean":
        if text.lower() not in _TRUE + _FALSE:
            raise InvalidInput("read --set", name, found=repr(text), expected="true or false")
        return text.lower() in _TRUE
    return text


def refuse_unused(given: Mapping[str, str], used: set[str]) -> None:
    """Check that every name that was given is one that a template or the definition knows.

    Raises:
        InvalidInput: one is not; the nearest that there is is named.
    """
    for name in given:
        if name not in used:
            near = difflib.get_close_matches(name, sorted(used), n=1)
            hint = f"did you mean {near[0]}?" if near else f"the bundle knows: {', '.join(sorted(used)) or 'none'}"
            raise InvalidInput("read --set", name, found="no template uses it", do=hint)


def template_values(definition: Definition, place: Place, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that a template sees (docs/formats.md, section Templates)."""
    values: dict[str, Any] = {
        "registry": place.registry,
        "registry_release": f"{place.registry}/release",
        "cluster": _without_empty(name=place.cluster, role=place.role, endpoint=place.endpoint),
        "control": _without_empty(endpoint=place.control_endpoint),
        "bundle": {"name": definition.metadata.name, "to": definition.metadata.to},
    }
    if place.control_endpoint:
        values["addon_master_ip"] = place.control_endpoint
    return {**values, **variables}


def _without_empty(**entries: str) -> dict[str, str]:
    return {key: value for key, value in entries.items() if value}


class _Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox, without arithmetic that makes much of little."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if not all(isinstance(x, int | float) for x in (left, right)) or operator == "**":
            raise SecurityError(f"{operator!r} of {type(left).__name__} and {type(right).__name__}")
        return super().call_binop(context, operator, left, right)


class TemplateRenderer:
    """Renders the templates of one bundle."""

    def __init__(self) -> None:
        self._environment = _Sandbox(
            undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False,
            variable_start_string="[[", variable_end_string="]]", block_start_string="[%", block_end_string="%]",
            comment_start_string="[#", comment_end_string="#]",
        )  # fmt: skip
        self._environment.globals.clear()

    def names(self, text: str, where: str) -> set[str]:
        """Return the names that a template asks for.

        Raises:
            InvalidInput: its syntax is wrong.
        """
        try:
            return meta.find_undeclared_variables(self._environment.parse(text))
        except TemplateSyntaxError as error:
            raise InvalidInput("render", f"{where}, line {error.lineno}", found=error.message) from None

    def render(self, text: str, values: Mapping[str, Any], where: str) -> str:
        """Return a template filled in.

        Raises:
            InvalidInput: a variable is missing, the syntax is wrong, or the template does what the sandbox forbids.
        """
        try:
            pieces, size = [], 0
            for piece in self._environment.from_string(text).generate(dict(values)):
                size += len(piece)
                if size > MAX_RENDERED_BYTES:
                    raise InvalidInput("render", where, found="more text than 8 MiB")
                pieces.append(piece)
        except TemplateSyntaxError as error:
            raise InvalidInput("render", f"{where}, line {error.lineno}", found=error.message) from None
        except UndefinedError as error:
            raise InvalidInput("render", where, found=str(error.message), do=_hint(str(error.message))) from None
        except SecurityError as error:
            raise InvalidInput("render", where, found=f"forbidden in a template: {error}") from None
        except _FAULTS as error:
            raise InvalidInput("render", where, found=f"{type(error).__name__}: {error}") from None
        return "".join(pieces)


def _hint(message: str) -> str:
    name = message.split("'")[1] if message.count("'") > 1 else "NAME"
    return f"pass --set {name}=VALUE" if name.isidentifier() else "see docs/formats.md, section Templates"
