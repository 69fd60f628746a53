"""The ``scripts/config`` of a legacy bundle: which Releases to remove, and other assignments."""

from __future__ import annotations

import re
from dataclasses import dataclass

from compass.errors import InvalidInput

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_-]*)\s*[=:]\s*(.*)")
_PART = re.compile(r"""("[^"]*"|'[^']*')|\s\#.*|(.)""")
_KUBE_SYSTEM = re.compile(r"kube[-_]?system", re.IGNORECASE)
_DEFAULT = re.compile(r"default|defalut", re.IGNORECASE)


@dataclass(frozen=True)
class LegacyConfig:
    """``remove`` maps a namespace to Release names in the order given; ``others`` are assignments kept as text."""

    remove: dict[str, tuple[str, ...]]
    others: dict[str, str]


def parse_legacy_config(text: str, where: str) -> LegacyConfig:
    """Return what a legacy config says; nothing in it is ever executed.

    Raises:
        InvalidInput: a line is neither blank, a comment nor an assignment, or two lines name one list differently.
    """
    remove: dict[str, tuple[str, ...]] = {}
    others: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line)
        if not match:
            raise InvalidInput("read", f"{where}, line {number}", found=repr(bare[:80]), expected="NAME=a,b")
        name, value = match[1], _unquote(match[2])
        namespace = _namespace(name)
        if namespace is None:
            others[name] = value
        elif namespace in remove:
            raise InvalidInput(
                "read", f"{where}, line {number}", found=f"a second list for {namespace}", expected="one"
            )
        else:
            remove[namespace] = tuple(x for x in re.split(r"[,\s]+", value) if x)
    return LegacyConfig(remove, others)


def _namespace(name: str) -> str | None:
    if _KUBE_SYSTEM.search(name):
        return "kube-system"
    return "default" if _DEFAULT.search(name) else None


def _unquote(text: str) -> str:
    """Return a value without its quotes, the brackets of a list, and the comment after it."""
    parts = _PART.findall(f" {text}")
    return "".join(plain or quoted[1:-1] for quoted, plain in parts).strip().removeprefix("(").removesuffix(")").strip()
