"""``.install-env.sh``: literal assignments read from a shell file, which is never executed."""

from __future__ import annotations

import re
from pathlib import Path

from compass.documents import read_text
from compass.errors import InvalidInput

FILE = ".install-env.sh"
REGISTRY = "CARGO_CFG_DOMAIN"
CA_PATH = "CARGO_CFG_CA_PATH"
USERNAME = "CARGO_CFG_USERNAME"
PASSWORD = "CARGO_CFG_PASSWORD"  # noqa: S105  (the name of a variable)

_ASSIGNMENT = re.compile(r"\s*(?:export\s+|readonly\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_WORD = re.compile(
    r"""(?P<single>'[^']*') | (?P<double>"(?:[^"\\$`]|\\.)*") | (?P<bare>(?:[^\s'"\\$`;&|<>()~{}]|\\.)+)""", re.VERBOSE
)


def parse_environment(text: str) -> dict[str, str]:
    """Return the literal assignments of a shell file, later ones winning.

    A value that only a shell could tell (``$NAME``, back-ticks, arithmetic) is left out, and so are all other lines:
    such a file may hold anything, and only what is literal can be trusted to mean what it says.
    """
    found: dict[str, str] = {}
    for line in text.split("\n"):
        match = _ASSIGNMENT.fullmatch(line)
        if not match:
            continue
        value = _literal(match[2])
        if value is None:
            found.pop(match[1], None)
        else:
            found[match[1]] = value
    return found


def _literal(text: str) -> str | None:
    """Return the one shell word at the start of ``text``, quotes removed; ``None`` when it is not literal."""
    parts, at = [], 0
    while at < len(text) and not text[at].isspace() and text[at] != ";":
        match = _WORD.match(text, at)
        if not match:
            return None
        word = match[0]
        if match["single"]:
            parts.append(word[1:-1])
        elif match["double"]:
            parts.append(re.sub(r'\\(["\\$`])', r"\1", word[1:-1]))
        else:
            parts.append(re.sub(r"\\(.)", r"\1", word))
        at = match.end()
    rest = text[at:].strip().lstrip(";").strip()
    return "".join(parts) if not rest or rest.startswith("#") else None


def read_environment(path: Path) -> dict[str, str]:
    """Return the assignments of the file at ``path``.

    Raises:
        InvalidInput: it is absent or no text.
    """
    return parse_environment(read_text(path, "site environment"))


def registry_of(environment: dict[str, str], path: Path) -> str:
    """Return the site registry that the environment names.

    Raises:
        InvalidInput: it names none.
    """
    registry = environment.get(REGISTRY, "").strip()
    if not registry:
        raise InvalidInput(
            "read site environment", path, found=f"no {REGISTRY}", expected=f"{REGISTRY}=<registry host[:port]>",
            do="add it, or pass --registry",
        )  # fmt: skip
    return registry
