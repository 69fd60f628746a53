"""Errors of the connection to an API server become one of our families; certificates are read in memory."""

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import urllib3

from compass.cluster.transport import conflict_causes, refused, tls_context, unreachable
from compass.errors import CompassError, InvalidInput, Refused, StepFailed, Transient
from compass.site.access import Access
from tests.servers.certificates import Authority

SECRET = "hunter2-s3cr3t"


def answer(status: int, message: str = "because", retry_after: str | None = None, **details: Any) -> CompassError:
    body = json.dumps({"kind": "Status", "message": message, "details": details})
    return refused("apply", "Service/a/b", status, body, retry_after)


@pytest.mark.parametrize(
    ("status", "message", "family"),
    [
        (400, "x", StepFailed),
        (401, "x", Refused),
        (403, 'services is forbidden: User "a" cannot patch', Refused),
        (403, "exceeded quota: small", StepFailed),
        (403, "namespace a is being terminated", StepFailed),
        (403, 'admission webhook "x" denied the request', StepFailed),
        (404, "x", StepFailed),
        (409, "x", StepFailed),
        (422, "spec.x: Required value", StepFailed),
        (429, "x", Transient),
        (500, "x", Transient),
        (503, "x", Transient),
        (504, "x", Transient),
    ],
)
def test_an_answer_has_its_family(status: int, message: str, family: type[CompassError]) -> None:
    error = answer(status, message)
    assert type(error) is family
    assert str(error).startswith("apply Service/a/b: ")
    assert status == 401 or message in str(error)


@pytest.mark.parametrize(
    ("header", "details", "seconds"),
    [
        (None, {}, None),
        ("5", {}, 5.0),
        (None, {"retryAfterSeconds": 3}, 3.0),
        ("5", {"retryAfterSeconds": 3}, 3.0),
        ("900", {}, 30.0),
        ("Wed, 21 Oct", {}, None),
    ],
)
def test_a_server_says_when_to_come_back(header: str | None, details: dict[str, int], seconds: float | None) -> None:
    error = answer(429, retry_after=header, **details)
    assert isinstance(error, Transient)
    assert error.retry_after_seconds == seconds


@pytest.mark.parametrize("body", [None, "", "<html>", "[]", b"\xff", '{"message": null}'])
def test_a_body_that_is_no_status_is_told_by_its_number(body: Any) -> None:
    assert str(refused("get", "x", 502, body, None)) == "get x: HTTP 502"
    assert conflict_causes(body) == []


def test_conflicts_are_read_with_their_managers() -> None:
    causes = [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-edit" using v1', "field": ".spec.type"},
        {"reason": "FieldManagerConflict", "message": "conflict", "field": ".spec.x"},
        {"reason": "Other", "message": "x", "field": ".y"},
    ]
    body = json.dumps({"details": {"causes": causes}})
    assert conflict_causes(body) == [("kubectl-edit", ".spec.type"), ("unknown", ".spec.x")]


def test_a_server_that_does_not_answer_may_pass_and_a_certificate_does_not() -> None:
    away = unreachable("get", "x", "https://a", ConnectionRefusedError(111, "Connection refused"))
    assert isinstance(away, Transient)
    assert "https://a does not answer" in str(away)
    bad = urllib3.exceptions.SSLError(ssl.SSLCertVerificationError("certificate verify failed: self-signed"))
    wrong = unreachable("get", "x", "https://a", urllib3.exceptions.MaxRetryError(None, "/", bad))  # type: ignore[arg-type]
    assert isinstance(wrong, InvalidInput)
    assert "certificate-authority-data" in str(wrong)


def test_certificates_and_keys_touch_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    authority = Authority("ca")
    pair = authority.client("me")
    access = Access(
        "https://a", "w", ca_pem=authority.cert_pem, client_cert_pem=pair.cert_pem, client_key_pem=pair.key_pem
    )
    context = tls_context(access)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_was_given_up_is_none() -> None:
    context = tls_context(Access("https://a", "w", skip_tls_verify=True))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_certificates_that_do_not_parse_or_belong_together_are_refused() -> None:
    authority = Authority("ca")
    mine, other = authority.client("me"), authority.client("you")
    for access in (
        Access("https://a", "kubeconfig k", ca_pem=b"no PEM"),
        Access("https://a", "kubeconfig k", ca_pem=b"\xff"),
        Access("https://a", "kubeconfig k", client_cert_pem=SECRET.encode(), client_key_pem=SECRET.encode()),
        Access("https://a", "kubeconfig k", client_cert_pem=mine.cert_pem, client_key_pem=other.key_pem),
        Access("https://a", "kubeconfig k", client_cert_pem=mine.cert_pem),
    ):
        with pytest.raises(InvalidInput, match=r"read certificates of kubeconfig k: .*, expected PEM") as caught:
            tls_context(access)
        assert SECRET not in str(caught.value)
