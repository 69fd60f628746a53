"""HTTP to one registry and to nothing else: no proxies, no redirects, errors turned into the families."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from compass import __version__
from compass.errors import InvalidInput, StepFailed, Transient

MAX_ANSWER_BYTES = 8 << 20
# The registry answers to the end of an upload only when it has hashed and stored the blob.
TIMEOUT = httpx.Timeout(connect=10, read=300, write=60, pool=None)
_HEADERS = {"User-Agent": f"compass-upgrade/{__version__}", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Answer:
    """What came back; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Wire:
    """Connections to ``scheme://host``, shared by threads."""

    def __init__(self, host: str, scheme: str, ca_file: Path | None, connections: int) -> None:
        self.host, self.scheme = host, scheme
        self.base = f"{scheme}://{host}"
        self._client = httpx.Client(
            verify=_trust(ca_file),
            trust_env=False,
            follow_redirects=False,
            timeout=TIMEOUT,
            headers=_HEADERS,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | Iterable[bytes] = b""
    ) -> Answer:
        """Send one request and return the whole answer; ``url`` is absolute, or a path at the registry.

        Raises:
            Transient: no connection, a time-out, or it broke on the way.
            InvalidInput: the certificate is not trusted, or this is no TLS server.
        """
        where = self.base + url if url.startswith("/") else url
        try:
            with self._client.stream(method, where, headers=headers, content=body or None) as response:
                data = b"" if method == "HEAD" else self._read(response)
                return Answer(response.status_code, dict(response.headers), data)
        except httpx.HTTPError as error:
            raise self._failure(error, urlsplit(where).netloc) from None
        except httpx.InvalidURL as error:
            raise StepFailed("ask registry", self.host, found=f"an address that cannot be ({error})") from None

    def _read(self, response: httpx.Response) -> bytes:
        data = bytearray()
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) > MAX_ANSWER_BYTES:
                raise StepFailed("read answer of registry", self.host, found=f"more than {MAX_ANSWER_BYTES} bytes")
        return bytes(data)

    def _failure(self, error: httpx.HTTPError, host: str) -> InvalidInput | StepFailed | Transient:
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                do = "pass --registry-ca with the certificate of its authority, and the name that it has there"
                found = f"a certificate that is not trusted ({cause.verify_message})"
                return InvalidInput("connect to registry", host, found=found, do=do)
            if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
                do = f"pass --registry http://{host} if that is meant"
                return InvalidInput("connect to registry", host, found="no TLS", expected="https", do=do)
        if isinstance(error, httpx.LocalProtocolError):
            return StepFailed("send to registry", host, found=str(error).lower())
        if isinstance(error, httpx.TimeoutException):
            return Transient("ask registry", host, found="no answer in time", do="see whether it runs")
        found = (str(error) or type(error).__name__).lower()
        return Transient("ask registry", host, found=found, do="see whether it runs, and --registry is right")


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return what servers are trusted: this machine's authorities, and those of ``ca_file``."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # an SSLError is one too
            found = error.strerror or str(error)
            raise InvalidInput("read the registry's CA file", ca_file, found=found, expected="PEM") from None
    return context


def _causes(error: BaseException) -> Iterable[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
