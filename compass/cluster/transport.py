"""TLS and errors of the connection to an API server: secrets in memory, answers as one of our families."""

from __future__ import annotations

import json
import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3

from compass.cluster.once import Lost
from compass.errors import CompassError, InvalidInput, Refused, StepFailed, Transient
from compass.site.access import Access

FIELD_MANAGER = "compass-upgrade"
# What a server says to somebody who lacks a right; other answers of 403 are those of admission.
_NO_RIGHT = (" cannot ", "attempting to grant")
# What 1.20 says of an object that has two items of one name in a list that merges by name.
_NOT_MERGED = ("failed to create manager for existing fields", "failed to create typed live object")
_PRINTED = re.compile(r"\w+ value: [^\"\s]*[{\[](?:.*[}\]]: |.*)")


# No connection came about.
_NOT_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError, ConnectionRefusedError)


class Conflict(Refused):
    """Server-side apply met fields that others own; ``causes`` is (manager, field) of each."""

    def __init__(self, did: str, subject: object, causes: list[tuple[str, str]]) -> None:
        manager, field = causes[0]
        more = f" (and {len(causes) - 1} more)" if len(causes) > 1 else ""
        super().__init__(
            did, subject, found=f"field {field} is owned by {manager!r}{more}", expected=repr(FIELD_MANAGER),
            do="release the field or pass --force-conflicts",
        )  # fmt: skip
        self.causes = causes


class Moved(StepFailed):
    """The object has changed since it was read; whoever read it may read it again."""


class Exists(StepFailed):
    """An object of this name is there already."""


class Absent(StepFailed):
    """There is no such object; ``is_object`` is whether the server named it, not only the path."""

    is_object = False


class Expired(StepFailed):
    """The list is too old to be continued."""


class Invalid(StepFailed):
    """The server does not take what the object would be; ``causes`` is (field, reason) of each fault that it names.

    What it shows of an object is left out: there may be secrets in it.
    """

    def __init__(self, did: str, subject: object, causes: list[tuple[str, str]]) -> None:
        shown = "; ".join(f"{field}: {reason}" if field else reason for field, reason in causes)
        super().__init__(did, subject, found=shown[:600])
        self.causes = causes


def tls_context(access: Access) -> ssl.SSLContext:
    """Return the TLS settings of an access; the client's key touches no disk that outlives this call.

    Raises:
        InvalidInput: a certificate or the key does not parse, or they do not belong together.
    """
    try:
        context = ssl.create_default_context(cadata=access.ca_pem.decode("ascii") if access.ca_pem else None)
        if access.skip_tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if access.client_cert_pem:
            with _in_memory(access.client_cert_pem + b"\n" + access.client_key_pem) as path:
                context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInput("read certificates of", access.where, found=str(error), expected="PEM") from None
    return context


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """Give OpenSSL a path to read from; the file is in memory, or gone before the block ends."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile(mode="wb") as file:  # made 0600
        file.write(data)
        file.flush()
        yield file.name


def connections(access: Access) -> urllib3.PoolManager:
    """Return the connections to the API server of an access; nothing is asked twice by them.

    Raises:
        InvalidInput: as ``tls_context``.
    """
    settings: dict[str, Any] = {"maxsize": 16, "retries": False}
    if access.server.startswith("https://"):
        settings["ssl_context"] = tls_context(access)
        if access.skip_tls_verify:  # preflight says so once, urllib3 with every request
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        if access.tls_server_name:
            settings |= {"server_hostname": access.tls_server_name, "assert_hostname": access.tls_server_name}
    if access.proxy_url:
        return urllib3.ProxyManager(access.proxy_url, **settings)
    return urllib3.PoolManager(**settings)


def authorization(access: Access) -> dict[str, str]:
    """Return the headers that say who we are; none for a client certificate."""
    if access.token:
        return {"authorization": f"Bearer {access.token}"}
    if access.username:
        return dict(urllib3.util.make_headers(basic_auth=f"{access.username}:{access.password}"))
    return {}


def unreachable(did: str, subject: object, server: str, error: Exception) -> CompassError:
    """Return what a failed connection means: a certificate stays wrong, everything else may pass."""
    reason: Any = error
    while getattr(reason, "reason", None) is not None and not isinstance(reason, ssl.SSLError):
        reason = reason.reason
    text = str(reason)
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        return InvalidInput(
            did, subject, found=f"the certificate of {server} is not signed by the CA of the kubeconfig",
            expected="its CA in certificate-authority-data",
        )  # fmt: skip
    kind = Transient if isinstance(reason, _NOT_SENT) else Lost
    return kind(did, subject, found=f"{server} does not answer ({_short(reason)})")


def _short(reason: Any) -> str:
    text = " ".join(str(reason).split())
    for marker in (": Failed to establish a new connection: ", ">: ", "object at "):
        text = text.rpartition(marker)[2] if marker != "object at " else text
    return text[:200] or type(reason).__name__


def refused(did: str, subject: object, status: int, body: Any, retry_after: str | None) -> CompassError:
    """Return what an API server's error answer means.

    Source: kubernetes.io, reference, API concepts; the ``Status`` kind of meta/v1.
    """
    answer = _status(body)
    message = " ".join(str(answer.get("message") or f"HTTP {status}").split())[:600]
    if status == 401:
        return Refused(did, subject, found="the API server does not accept the credentials", do="renew the kubeconfig")
    if status == 403 and any(x in message for x in _NO_RIGHT):
        return Refused(did, subject, found=message, do="give the kubeconfig's user this right")
    if status in (403, 422) or (status == 500 and any(x in message for x in _NOT_MERGED)):
        return Invalid(did, subject, _faults(answer) or [("", _without_values(str(answer.get("message") or message)))])
    if status == 500 and "failed to create typed patch object" in message:  # its word for a manifest against the schema
        return InvalidInput(did, subject, found=message, expected="fields as the cluster's API has them")
    if status == 409 and (causes := conflict_causes(body)):
        return Conflict(did, subject, causes)
    if status == 409 and answer.get("reason") in ("Conflict", "AlreadyExists"):
        kind = Moved if answer["reason"] == "Conflict" else Exists
        return kind(did, subject, found=message)
    if status in (408, 429) or status >= 500:
        error = Transient(did, subject, found=message) if status == 429 else Lost(did, subject, found=message)
        seconds = (answer.get("details") or {}).get("retryAfterSeconds") or retry_after
        error.retry_after_seconds = min(float(str(seconds)), 30.0) if str(seconds or "").isdigit() else None
        return error
    if status == 404:
        absent = Absent(did, subject, found=message)
        absent.is_object = answer.get("reason") == "NotFound" and "name" in (answer.get("details") or {})
        return absent
    return (Expired if status == 410 else StepFailed)(did, subject, found=message)


def _status(body: Any) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (TypeError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _faults(answer: dict[str, Any]) -> list[tuple[str, str]]:
    causes = (answer.get("details") or {}).get("causes") or []
    found = [(str(x.get("field") or ""), _without_values(str(x.get("message") or ""))) for x in causes]
    return list(dict.fromkeys(found))


def _without_values(reason: str) -> str:
    """Return a reason without the objects that servers print into it: ``Invalid value: core.PodSpec{...}: reason``.

    Differences, which some add to it, begin on a line of their own.
    """
    first = (reason.splitlines() or [""])[0]
    return " ".join(_PRINTED.sub("", first).split()) or "not accepted"


def conflict_causes(body: Any) -> list[tuple[str, str]]:
    """Return (manager, field) of each server-side apply conflict that a 409 answer names."""
    causes = (_status(body).get("details") or {}).get("causes") or []
    found = []
    for cause in causes:
        if cause.get("reason") == "FieldManagerConflict":
            # message: conflict with "kubectl-client-side-apply" using apps/v1 at 2021-01-01T00:00:00Z
            parts = str(cause.get("message", "")).split('"')
            found.append((parts[1] if len(parts) > 2 else "unknown", str(cause.get("field", ""))))
    return found
