"""The answers to a registry's question who we are: basic, or a token from the registry's own token server.

Sources: RFC 7235; distribution's specifications Token Authentication and OAuth2 Token Authentication.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from compass.errors import Refused, StepFailed, Transient
from compass.images.manifests import read_json
from compass.images.registry.credentials import PASSWORD_VARIABLE, USERNAME_VARIABLE, Credentials
from compass.images.registry.wire import Answer, Wire

DEFAULT_TOKEN_SECONDS = 60.0
_EARLY_SECONDS = 10.0
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')

Scopes = tuple[str, ...]


@dataclass(frozen=True)
class _Bearer:
    realm: str
    service: str


@dataclass(frozen=True)
class _Token:
    header: str
    ends: float


class Authenticator:
    """Gives each request its ``Authorization``; shared by threads.

    A token server on another host than the registry is asked only if ``token_hosts`` names it.
    """

    def __init__(
        self, wire: Wire, credentials: Credentials | None, token_hosts: frozenset[str], monotonic: Callable[[], float]
    ) -> None:
        self._wire, self._credentials, self._monotonic = wire, credentials, monotonic
        self._hosts = token_hosts | {wire.host}
        self._scheme: _Bearer | str = ""
        self._tokens: dict[Scopes, _Token] = {}
        self._lock = threading.Lock()

    def headers(self, scopes: Scopes) -> dict[str, str]:
        """Return the headers for a request in these scopes, as far as the registry has asked for any."""
        with self._lock:
            if isinstance(self._scheme, _Bearer):
                return {"Authorization": self._token(self._scheme, scopes)}
            return {"Authorization": _basic(self._credentials)} if self._scheme and self._credentials else {}

    def challenged(self, answer: Answer, sent: Mapping[str, str], scopes: Scopes) -> bool:
        """Learn from a 401 what the registry asks for; tell whether asking again can help.

        Raises:
            Refused: the token server is another host, or plain http below https.
        """
        text = answer.headers.get("www-authenticate", "")
        with self._lock:
            if (at := text.lower().find("bearer ")) >= 0:
                parameters = dict(_PARAMETER.findall(text[at:]))
                self._scheme = self._checked(_Bearer(parameters.get("realm", ""), parameters.get("service", "")))
                cached = self._tokens.get(scopes)
                if cached and cached.header == sent.get("Authorization"):
                    del self._tokens[scopes]
                return True
            if "basic" in text.lower() and "Authorization" not in sent:
                self._scheme = "basic"
                return self._credentials is not None
        return False

    def _checked(self, bearer: _Bearer) -> _Bearer:
        realm = urlsplit(bearer.realm)
        if realm.netloc not in self._hosts:
            do = "allow it as a token host if it is meant"
            raise Refused("log in to registry", self._wire.host, found=f"a token server at {realm.netloc!r}", do=do)
        if realm.scheme != self._wire.scheme and realm.scheme != "https":
            found = f"a token server by {realm.scheme}"
            raise Refused("log in to registry", self._wire.host, found=found, expected="https")
        return bearer

    def _token(self, bearer: _Bearer, scopes: Scopes) -> str:
        now = self._monotonic()
        cached = self._tokens.get(scopes)
        if cached is None or cached.ends <= now:
            text, seconds = self._ask(bearer, scopes)
            cached = _Token(f"Bearer {text}", now + max(seconds - _EARLY_SECONDS, seconds / 2))
            self._tokens[scopes] = cached
        return cached.header

    def _ask(self, bearer: _Bearer, scopes: Scopes) -> tuple[str, float]:
        words = [("service", bearer.service), *(("scope", scope) for scope in scopes)]
        if self._credentials and self._credentials.identity_token:
            answer = self._exchange(bearer, self._credentials.identity_token, scopes)
        else:
            headers = {"Authorization": _basic(self._credentials)} if self._credentials else {}
            mark = "&" if urlsplit(bearer.realm).query else "?"
            answer = self._wire.send("GET", f"{bearer.realm}{mark}{urlencode(words)}", headers)
        return self._read(answer)

    def _exchange(self, bearer: _Bearer, identity_token: str, scopes: Scopes) -> Answer:
        form = {
            "grant_type": "refresh_token",
            "service": bearer.service,
            "client_id": "compass-upgrade",
            "scope": " ".join(scopes),
            "refresh_token": identity_token,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._wire.send("POST", bearer.realm, headers, urlencode(form).encode())

    def _read(self, answer: Answer) -> tuple[str, float]:
        host = self._wire.host
        if answer.status == 429 or answer.status >= 500:
            raise Transient("log in to registry", host, found=f"its token server answered {answer.status}")
        if answer.status in (401, 403):
            raise Refused("log in to registry", host, found=f"the token server said {answer.status}", do=advice(host))
        value = read_json(answer.body, "the answer of the token server") if answer.status == 200 else None
        token = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(token, str) or not token.isascii():
            found = f"answer {answer.status} without a token"
            raise StepFailed("log in to registry", host, found=found, expected="a token")
        seconds = value.get("expires_in")
        return token, float(seconds) if isinstance(seconds, int | float) and seconds > 0 else DEFAULT_TOKEN_SECONDS


def advice(host: str) -> str:
    """Return what to do when a registry does not let us."""
    return f"log in with docker login {host}, or set {USERNAME_VARIABLE} and {PASSWORD_VARIABLE}"


def _basic(credentials: Credentials | None) -> str:
    if credentials is None:
        return ""
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
