"""Who may do what: a password, asked for directly or through a token server.

Sources: RFC 7617; distribution's specifications Token Authentication and OAuth2 Token Authentication.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from rehearsal.registry.errors import RegistryError, json_response

REALM = "rehearsal"
_METHODS = {"GET": ("pull",), "HEAD": ("pull",), "DELETE": ("delete",)}


@dataclass(frozen=True)
class Login:
    """Who may use the registry; with ``tokens`` the password is for ``/token``, which gives out short-lived tokens."""

    user: str
    password: str = field(repr=False)
    tokens: bool = False
    token_seconds: int = 300


@dataclass(frozen=True)
class _Token:
    grants: frozenset[tuple[str, str, str]]
    ends: float


class Access:
    """The doorkeeper."""

    def __init__(self, login: Login | None) -> None:
        self.login = login
        self._tokens: dict[str, _Token] = {}
        self._refresh = secrets.token_urlsafe(24)

    def check(self, request: Request, name: str, path: str, base: str) -> None:
        """Let a request pass.

        Raises:
            RegistryError: it has to say who asks, or may not do this.
        """
        if self.login is None:
            return
        wanted = _wanted(request, name, path)
        detail = [{"Type": kind, "Class": "", "Name": what, "Action": action} for kind, what, action in wanted] or None
        if not self.login.tokens:
            if not self._password_fits(request):
                headers = {"WWW-Authenticate": f'Basic realm="{REALM}"'}
                raise RegistryError("UNAUTHORIZED", detail, headers=headers)
            return
        if (error := self._token_error(request, wanted)) is not None:
            challenge = f'Bearer realm="{base}/token",service="{REALM}"{_scopes(wanted)}{error}'
            raise RegistryError("UNAUTHORIZED", detail, headers={"WWW-Authenticate": challenge})

    async def token(self, request: Request) -> Response:
        """Answer at ``/token``: GET with the password as basic, POST with a form.

        Raises:
            RegistryError: the password or the refresh token is wrong.
        """
        form = dict(parse_qsl((await request.body()).decode())) if request.method == "POST" else {}
        if not (self._form_fits(form) if form else self._password_fits(request)):
            raise RegistryError("UNAUTHORIZED", headers={"WWW-Authenticate": f'Basic realm="{REALM}"'})
        scopes = form["scope"].split() if "scope" in form else request.query_params.getlist("scope")
        return json_response(self._issue(" ".join(scopes).split(), offline="offline" in str(form or request.url.query)))

    def _issue(self, scopes: Iterable[str], *, offline: bool) -> dict[str, Any]:
        seconds = self.login.token_seconds if self.login else 0
        grants = {grant for scope in scopes for grant in _granted(scope)}
        now = time.monotonic()
        self._tokens = {k: v for k, v in self._tokens.items() if v.ends > now}
        token = secrets.token_urlsafe(24)
        self._tokens[token] = _Token(frozenset(grants), now + seconds)
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        answer = {"token": token, "access_token": token, "expires_in": seconds, "issued_at": issued}
        return answer | ({"refresh_token": self._refresh} if offline else {})

    def _password_fits(self, request: Request) -> bool:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        try:
            said = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and self._is_login(said)

    def _form_fits(self, form: dict[str, str]) -> bool:
        if form.get("grant_type") == "refresh_token":
            return hmac.compare_digest(form.get("refresh_token", "").encode(), self._refresh.encode())
        return self._is_login(f"{form.get('username', '')}:{form.get('password', '')}".encode())

    def _is_login(self, said: bytes) -> bool:
        return self.login is not None and hmac.compare_digest(said, f"{self.login.user}:{self.login.password}".encode())

    def _token_error(self, request: Request, wanted: list[tuple[str, str, str]]) -> str | None:
        """Return what the challenge says of the token, nothing if none was sent; ``None`` lets the request pass."""
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return ""
        token = self._tokens.get(text)
        if token is None or token.ends <= time.monotonic():
            return ',error="invalid_token"'
        return None if token.grants.issuperset(wanted) else ',error="insufficient_scope"'


def _wanted(request: Request, name: str, path: str) -> list[tuple[str, str, str]]:
    """Return what a request asks to do (distribution 2.8, handlers/app.go, appendAccessRecords)."""
    if path == "/v2/_catalog":
        return [("registry", "catalog", "*")]
    if not name:
        return []
    wanted = [("repository", name, action) for action in _METHODS.get(request.method, ("pull", "push"))]
    source = request.query_params.get("from")
    return wanted + ([("repository", source, "pull")] if source else [])


def _granted(scope: str) -> list[tuple[str, str, str]]:
    """Return what a scope such as ``repository:a/b:pull,push`` allows."""
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    every = ("pull", "push", "delete") if actions == "*" and kind == "repository" else actions.split(",")
    return [(kind, name, action) for action in every]


def _scopes(wanted: list[tuple[str, str, str]]) -> str:
    named: dict[tuple[str, str], list[str]] = {}
    for kind, name, action in wanted:
        named.setdefault((kind, name), []).append(action)
    text = " ".join(f"{kind}:{name}:{','.join(actions)}" for (kind, name), actions in named.items())
    return f',scope="{text}"' if text else ""
