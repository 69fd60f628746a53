"""Errors of the connection to an API server become one of our families; certificates are read in memory."""

import json
import pickle
import ssl
from pathlib import Path
from typing import Any

import pytest
import urllib3

from compass.cluster.once import Lost
from compass.cluster.transport import (
    Absent,
    Conflict,
    Exists,
    Expired,
    Invalid,
    Moved,
    conflict_causes,
    refused,
    tls_context,
    unreachable,
)
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
        (403, 'user "a" is attempting to grant RBAC permissions not currently held', Refused),
        (403, 'persistentvolumeclaims "a" is forbidden: only dynamically provisioned pvc can be resized', Invalid),
        (403, "exceeded quota: small", Invalid),
        (403, "namespace a is being terminated", Invalid),
        (403, 'admission webhook "x" denied the request', Invalid),
        (404, "x", Absent),
        (408, "x", Lost),
        (409, "x", StepFailed),
        (410, "x", Expired),
        (422, "spec.x: Required value", Invalid),
        (429, "x", Transient),
        (500, "x", Lost),
        (503, "x", Lost),
        (504, "x", Lost),
    ],
)
def test_an_answer_has_its_family(status: int, message: str, family: type[CompassError]) -> None:
    error = answer(status, message)
    assert type(error) is family
    assert str(error).startswith("apply Service/a/b: ")
    assert status == 401 or message in str(error)


def test_a_conflict_is_of_fields_or_of_versions_or_of_names() -> None:
    def conflict(reason: str, **details: Any) -> CompassError:
        body = json.dumps({"kind": "Status", "message": "x", "reason": reason, "details": details})
        return refused("apply", "Service/a/b", 409, body, None)

    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl-edit" using v1', "field": ".spec.x"}
    assert type(conflict("Conflict", causes=[cause])) is Conflict
    assert type(conflict("Conflict")) is Moved
    assert type(conflict("AlreadyExists")) is Exists


@pytest.mark.parametrize(
    ("body", "is_object"),
    [
        ({"kind": "Status", "reason": "NotFound", "message": "x", "details": {"name": "b", "kind": "services"}}, True),
        ({"kind": "Status", "reason": "NotFound", "message": "x", "details": {}}, False),
        ("404 page not found", False),
        ("<html>404</html>", False),
    ],
)
def test_an_absent_object_is_told_from_a_path_that_nobody_knows(body: Any, is_object: bool) -> None:
    error = refused("read", "Service/a/b", 404, body if isinstance(body, str) else json.dumps(body), None)
    assert isinstance(error, Absent)
    assert error.is_object == is_object


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        (f'Invalid value: core.PodSpec{{Env:[]x{{"{SECRET}"}}}}: field is immutable', "field is immutable"),
        (f'Invalid value: {{"env":[{{"value":"{SECRET}"}}]}}: field is immutable', "field is immutable"),
        (f'Invalid value: []string{{"{SECRET}"}}: may not change [a b]', "may not change [a b]"),
        (f'Invalid value: core.PodSpec{{Env: "{SECRET}', "not accepted"),
        (f'Forbidden: is immutable\n\xa0\xa0core.X{{\n-\tA: "{SECRET}",', "Forbidden: is immutable"),
        ("Invalid value: -1: must be more", "Invalid value: -1: must be more"),
        ('Invalid value: "x/y": field is immutable', 'Invalid value: "x/y": field is immutable'),
        ("Required value", "Required value"),
    ],
)
def test_a_fault_is_told_without_the_object_that_the_server_prints(printed: str, told: str) -> None:
    message = f'Thing "b" is invalid: spec.x: {printed}'
    error = answer(422, message, causes=[{"field": "spec.x", "message": printed}] * 2)
    assert isinstance(error, Invalid)
    assert error.causes == [("spec.x", told)]
    assert str(error) == f"apply Service/a/b: spec.x: {told}"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.causes) == (str(error), error.causes)
    assert SECRET not in str(answer(422, message))


def test_a_list_that_cannot_be_merged_is_no_outage() -> None:
    text = "failed to create manager for existing fields: .env: duplicate entries for key"
    assert isinstance(answer(500, text), Invalid)


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


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (ConnectionRefusedError(111, "Connection refused"), False),
        (urllib3.exceptions.NewConnectionError(None, "Connection refused"), False),  # type: ignore[arg-type]
        (urllib3.exceptions.ConnectTimeoutError(None, "timed out"), False),
        (ConnectionResetError(104, "Connection reset by peer"), True),
        (urllib3.exceptions.ReadTimeoutError(None, "/", "timed out"), True),  # type: ignore[arg-type]
        (urllib3.exceptions.ProtocolError("Connection aborted."), True),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_was_sent_may_be_done_although_there_was_no_answer(error: Exception, is_lost: bool) -> None:
    away = unreachable("apply", "x", "https://a", error)
    assert type(away) is (Lost if is_lost else Transient)


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
