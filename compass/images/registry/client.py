"""The one door to a registry.

Source: OCI distribution specification 1.1; the section is named with each call.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self
from urllib.parse import urlencode, urljoin, urlsplit

from compass.clock import Clock, system_clock
from compass.digests import Digest, digest_of, parse_digest
from compass.errors import InvalidInput, Refused, StepFailed, Transient
from compass.images.model import INDEX_TYPES, MANIFEST_TYPES
from compass.images.registry.auth import Authenticator, Scopes, advice
from compass.images.registry.credentials import Credentials
from compass.images.registry.wire import Answer, Wire
from compass.names import registry_host
from compass.patience import PATIENCE_SECONDS, patiently

ACCEPT = ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))
MAX_REDIRECTS = 3
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class RemoteManifest:
    """A manifest or index as the registry gave it; ``data`` hashes to ``digest``."""

    data: bytes = field(repr=False)
    media_type: str
    digest: Digest


class Registry:
    """One registry, spoken to by several threads.

    Every request that ends in ``Transient`` is asked again for up to ``patience_seconds``.  ``scheme`` is ``https``
    unless http is chosen.  ``token_hosts`` are the hosts beside the registry that may be asked for tokens.

    Raises from every call:
        Refused: the registry does not let us; says how to log in.
        Transient: it stayed away longer than our patience.
        InvalidInput: its certificate is not trusted.
        StepFailed: it said no, in its own words, or what it said cannot be.
    """

    def __init__(
        self,
        host: str,
        *,
        scheme: str = "https",
        credentials: Credentials | None = None,
        ca_file: Path | None = None,
        token_hosts: frozenset[str] = frozenset(),
        clock: Clock | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        connections: int = 16,
    ) -> None:
        if scheme not in ("https", "http"):
            raise InvalidInput("open registry", host, found=f"scheme {scheme!r}", expected="https or http")
        self.host = registry_host(host)
        self.patience_seconds = patience_seconds
        self._clock = clock or system_clock()
        self._wire = Wire(self.host, scheme, ca_file, connections)
        self._auth = Authenticator(self._wire, credentials, token_hosts, self._clock.monotonic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def ping(self) -> None:
        """Check that a registry answers (section Determining Support)."""
        answer = self.ask("GET", "/v2/", ())
        if answer.status != 200:
            found = f"answer {answer.status} to /v2/"
            raise StepFailed("ask registry", self.host, found=found, expected="an OCI registry")

    # -- manifests

    def head_manifest(self, repository: str, reference: str) -> Digest | None:
        """Return the digest of a manifest; ``None`` when there is none (section Checking if content exists)."""
        answer = self._manifest("HEAD", repository, reference)
        if answer is None:
            return None
        if text := answer.headers.get("docker-content-digest"):
            return parse_digest(text)
        manifest = self.get_manifest(repository, reference)  # the header is optional
        return manifest.digest if manifest else None

    def get_manifest(self, repository: str, reference: str) -> RemoteManifest | None:
        """Return a manifest checked against its own hash; ``None`` when there is none (section Pulling manifests)."""
        answer = self._manifest("GET", repository, reference)
        if answer is None:
            return None
        digest = digest_of(answer.body)
        for expected in (answer.headers.get("docker-content-digest"), reference if ":" in reference else None):
            if expected and expected != digest:
                subject = f"{self.host}/{repository} {reference}"
                raise StepFailed("read manifest", subject, found=f"content with digest {digest}", expected=expected)
        return RemoteManifest(answer.body, answer.headers.get("content-type", "").partition(";")[0].strip(), digest)

    def _manifest(self, method: str, repository: str, reference: str) -> Answer | None:
        path = f"/v2/{repository}/manifests/{reference}"
        answer = self.ask(method, path, pull(repository), headers={"Accept": ACCEPT})
        if answer.status == 404:
            return None
        if answer.status != 200:
            self.fail("read manifest", f"{repository} {reference}", answer)
        return answer

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> Digest:
        """Store a manifest under a tag or its digest and return its digest (section Pushing Manifests)."""
        path = f"/v2/{repository}/manifests/{reference}"
        answer = self.ask("PUT", path, push(repository), headers={"Content-Type": media_type}, body=data)
        if answer.status not in (200, 201, 202):
            self.fail("put manifest", f"{repository}:{reference}", answer)
        digest = digest_of(data)
        said = answer.headers.get("docker-content-digest", digest)
        if said != digest:
            subject = f"{self.host}/{repository}:{reference}"
            raise StepFailed("put manifest", subject, found=f"the registry stored {said}", expected=digest)
        return digest

    # -- blobs

    def head_blob(self, repository: str, digest: Digest) -> bool:
        """Tell whether a repository has a blob (section Checking if content exists in the registry)."""
        answer = self.ask("HEAD", f"/v2/{repository}/blobs/{digest}", pull(repository))
        if answer.status == 404:
            return False
        # A registry that keeps blobs elsewhere answers with where that is, which need not be asked.
        if answer.status not in (200, 302, 307):
            self.fail("look for blob", f"{repository} {digest}", answer)
        return True

    def mount(self, repository: str, digest: Digest, source: str) -> str | None:
        """Take a blob over from another repository (section Mounting a blob from another repository).

        Returns:
            ``None`` when it is there now; else where to upload it.
        """
        query = urlencode({"mount": digest, "from": source}, safe=":/")
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/?{query}", (*push(repository), *pull(source)))
        if answer.status == 201:
            return None
        return self.location(answer, "mount blob", f"{repository} {digest}")

    def begin_upload(self, repository: str) -> str:
        """Open an upload and return where it goes (section POST then PUT)."""
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/", push(repository))
        return self.location(answer, "open upload", repository)

    def cancel_upload(self, repository: str, location: str) -> None:
        """Give up an upload; a registry that cannot forgets it by itself."""
        self.ask("DELETE", location, push(repository))

    def writable(self, repository: str) -> None:
        """Check that we may push to a repository; nothing is left there.

        Raises:
            Refused: we may not.
        """
        location = self.begin_upload(repository)
        # Some registries want a right of its own for giving up; what is not given up they forget by themselves.
        with contextlib.suppress(Refused, StepFailed):
            self.cancel_upload(repository, location)

    # -- for the uploads

    def ask(
        self,
        method: str,
        path: str,
        scopes: Scopes,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send a request and return the answer, asked again while the registry is away."""
        return patiently(
            lambda: self.ask_once(method, path, scopes, headers=headers, body=lambda: body), self.patience_seconds
        )

    def ask_once(
        self,
        method: str,
        path: str,
        scopes: Scopes,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], bytes | Iterable[bytes]] = bytes,
    ) -> Answer:
        """Send a request once, logged in as the registry asks; ``body`` is called for each time that it is sent."""
        for _ in range(MAX_REDIRECTS):
            answer = self._logged_in(method, path, scopes, headers or {}, body)
            if method not in ("GET", "HEAD") or answer.status not in (301, 302, 307, 308) or "/blobs/" in path:
                return answer
            path = self.inside(answer.headers.get("location", ""), "follow redirect", path, base=path)
        raise StepFailed("ask registry", self.host, found="redirects without end")

    def _logged_in(
        self,
        method: str,
        path: str,
        scopes: Scopes,
        headers: Mapping[str, str],
        body: Callable[[], bytes | Iterable[bytes]],
    ) -> Answer:
        known = self._auth.headers(scopes)
        answer = self._wire.send(method, path, {**headers, **known}, body())
        if answer.status == 401 and self._auth.challenged(answer, known, scopes):
            answer = self._wire.send(method, path, {**headers, **self._auth.headers(scopes)}, body())
        if answer.status in (401, 403):
            subject = f"{self.host}{urlsplit(path).path}"
            raise Refused(f"{method.lower()} at registry", subject, found=_said(answer), do=advice(self.host))
        if answer.status in _AGAIN:
            raise self._away(answer)
        return answer

    def _away(self, answer: Answer) -> Transient:
        error = Transient("ask registry", self.host, found=_said(answer))
        wanted = _retry_after(answer.headers.get("retry-after", ""), self._clock)
        error.retry_after_seconds = None if wanted is None else min(wanted, self.patience_seconds)
        return error

    def location(self, answer: Answer, did: str, subject: str) -> str:
        """Return where an upload goes on, as a path at this registry."""
        if answer.status != 202 or "location" not in answer.headers:
            self.fail(did, subject, answer)
        return self.inside(answer.headers["location"], did, subject)

    def inside(self, location: str, did: str, subject: str, base: str = "") -> str:
        """Return a location as path and query; the scheme in it is ignored, many proxies get that wrong.

        Raises:
            Refused: it is another host's.
        """
        parts = urlsplit(urljoin(self._wire.base + base, location))
        if _host(parts.netloc) != _host(self.host):
            do = "only the registry itself is spoken to"
            raise Refused(did, subject, found=f"the registry leads to {parts.netloc!r}", expected=self.host, do=do)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def fail(self, did: str, subject: str, answer: Answer) -> NoReturn:
        """Raise what the registry said.

        Raises:
            StepFailed: always.
        """
        raise StepFailed(did, f"{self.host}/{subject}", found=_said(answer))


def pull(repository: str) -> Scopes:
    """Return the scope to read a repository."""
    return (f"repository:{repository}:pull",)


def push(repository: str) -> Scopes:
    """Return the scope to read and write a repository."""
    return (f"repository:{repository}:pull,push",)


def error_codes(answer: Answer) -> list[str]:
    """Return the codes of a registry's error (section Error Codes)."""
    try:
        errors = json.loads(answer.body)["errors"]
        return [str(error["code"]) for error in errors]
    except (ValueError, KeyError, TypeError):
        return []


def _said(answer: Answer) -> str:
    """Return what a registry says of an error, on one line."""
    try:
        errors = json.loads(answer.body)["errors"]
        words = "; ".join(f"{error.get('code', '')} {error.get('message', '')}".strip() for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        words = ""
    words = " ".join(words.split())[:300]
    return f"answer {answer.status}" + (f" ({words})" if words else "")


def _retry_after(text: str, clock: Clock) -> float | None:
    """Return the seconds of a Retry-After, which is a number or a date (RFC 9110, section 10.2.3)."""
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(text) - clock.now()).total_seconds())
    except (ValueError, TypeError):
        return None


def _host(netloc: str) -> str:
    return netloc.removesuffix(":443").removesuffix(":80").lower()
