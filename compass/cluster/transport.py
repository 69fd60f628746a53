"""TLS and errors of the connection to an API server: secrets in memory, answers as one of our families."""

from __future__ import annotations

import json
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compass.errors import CompassError, InvalidInput, Refused, StepFailed, Transient
from compass.site.access import Access


class Moved(StepFailed):
    """The object has changed since it was read; whoever read it may read it again."""


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
    return Transient(did, subject, found=f"{server} does not answer ({_short(reason)})")


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
    if status == 403 and "quota" not in message and "being terminated" not in message and "webhook" not in message:
        return Refused(did, subject, found=message, do="give the kubeconfig's user this right")
    if status == 500 and "failed to create typed patch object" in message:  # its word for a manifest against the schema
        return InvalidInput(did, subject, found=message, expected="fields as the cluster's API has them")
    if status == 409 and answer.get("reason") == "Conflict":
        return Moved(did, subject, found=message)
    if status == 429 or status >= 500:
        error = Transient(did, subject, found=message)
        seconds = (answer.get("details") or {}).get("retryAfterSeconds") or retry_after
        error.retry_after_seconds = min(float(str(seconds)), 30.0) if str(seconds or "").isdigit() else None
        return error
    return StepFailed(did, subject, found=message)


def _status(body: Any) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (TypeError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


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
