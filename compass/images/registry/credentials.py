"""Who we are at a registry: what Docker, Podman or the environment already know.

Sources: Docker CLI reference, ``docker login`` (``config.json``); containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compass.documents import read_text
from compass.errors import InvalidInput
from compass.images.manifests import read_json

USERNAME_VARIABLE = "COMPASS_REGISTRY_USERNAME"
PASSWORD_VARIABLE = "COMPASS_REGISTRY_PASSWORD"  # noqa: S105 - the name of a variable
_PATHS = frozenset({"", "v1", "v2"})


@dataclass(frozen=True)
class Credentials:
    """A user name and a password, or an identity token for the registry's token server; never shown."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


def find_credentials(
    host: str, environment: Mapping[str, str], home: Path, fallback: Credentials | None = None
) -> Credentials | None:
    """Return the credentials for a registry: from the environment, else Docker's or Podman's files, else ``fallback``.

    Raises:
        InvalidInput: a file is damaged, one of the two variables is set alone, or the only credentials for the
            host are in a credential helper: a program, which is not run.
    """
    if given := _from_environment(environment):
        return given
    helpers = []
    for path in _files(environment, home):
        document = _read(path)
        if found := _from_auths(document, host, path):
            return found
        if helper := _helper(document, host):
            helpers.append((path, helper))
    if helpers and fallback is None:
        path, helper = helpers[0]
        do = f"set {USERNAME_VARIABLE} and {PASSWORD_VARIABLE}"
        raise InvalidInput(
            "find credentials for",
            host,
            found=f"only the credential helper {helper!r} in {path}, which is not run",
            do=do,
        )
    return fallback


def _from_environment(environment: Mapping[str, str]) -> Credentials | None:
    username, password = environment.get(USERNAME_VARIABLE, ""), environment.get(PASSWORD_VARIABLE, "")
    if bool(username) != bool(password):
        absent = PASSWORD_VARIABLE if username else USERNAME_VARIABLE
        raise InvalidInput("read registry credentials", found=f"{absent} is not set", do="set both or none")
    return Credentials(username, password) if username else None


def _files(environment: Mapping[str, str], home: Path) -> Iterator[Path]:
    docker = environment.get("DOCKER_CONFIG")
    candidates = [
        environment.get("REGISTRY_AUTH_FILE"),
        Path(docker) / "config.json" if docker else home / ".docker" / "config.json",
        Path(runtime) / "containers" / "auth.json" if (runtime := environment.get("XDG_RUNTIME_DIR")) else None,
    ]
    for path in (Path(candidate) for candidate in candidates if candidate):
        if path.is_file():
            yield path


def _read(path: Path) -> dict[str, Any]:
    value = read_json(read_text(path, "registry credentials").encode(), str(path))
    if not isinstance(value, dict):
        raise InvalidInput("read registry credentials", path, found=f"a {type(value).__name__}", expected="an object")
    return value


def _from_auths(document: dict[str, Any], host: str, path: Path) -> Credentials | None:
    auths = document.get("auths")
    for key, entry in auths.items() if isinstance(auths, dict) else ():
        if _names(key, host) and isinstance(entry, dict) and (found := _from_entry(entry, f"{path}: {key}")):
            return found
    return None


def _names(key: str, host: str) -> bool:
    """Tell whether a key means a registry: ``host``, ``https://host``, ``https://host/v1/``."""
    name, _, path = key.partition("://")[2].partition("/") if "://" in key else key.partition("/")
    return name == host and path.strip("/") in _PATHS


def _from_entry(entry: dict[str, Any], where: str) -> Credentials | None:
    texts = {key: value for key, value in entry.items() if isinstance(value, str)}
    username, password = texts.get("username", ""), texts.get("password", "")
    if auth := texts.get("auth"):
        username, password = _decode(auth, where)
    token = texts.get("identitytoken", "")
    if token or (username and password):
        return Credentials(username, password, token)
    return None


def _decode(auth: str, where: str) -> tuple[str, str]:
    try:
        username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = username = password = ""
    if not colon:
        expected = "base64 of user:password"
        raise InvalidInput("read registry credentials", where, found="an auth of another form", expected=expected)
    return username, password.rstrip("\0")


def _helper(document: dict[str, Any], host: str) -> str:
    """Return the helper that holds the credentials of a host; Docker leaves an empty entry where a store has them."""
    helpers, auths, store = document.get("credHelpers"), document.get("auths"), document.get("credsStore")
    if isinstance(helpers, dict) and isinstance(helpers.get(host), str):
        return str(helpers[host])
    if isinstance(store, str) and isinstance(auths, dict) and any(_names(key, host) for key in auths):
        return store
    return ""
