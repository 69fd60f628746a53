"""The door to a registry, against a real one and against faulty ways to it."""

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compass.clock import system_clock
from compass.digests import Digest, digest_of
from compass.errors import CompassError, InvalidInput, Refused, StepFailed, Transient
from compass.images.model import OCI_MANIFEST
from compass.images.registry.client import Registry
from compass.images.registry.credentials import Credentials
from tests.compass.images.proxy import Alter, Proxy, Rule, Say, Seen, proxy
from tests.compass.images.saved import spec
from tests.material.images import build
from tests.material.push import push
from tests.servers.registry import DockerRegistry, Login

pytestmark = pytest.mark.servers
LOGIN = Login("anne", "s3cret:x")
ANNE = Credentials("anne", "s3cret:x")
ABSENT = Digest("sha256:" + "0" * 64)


@pytest.fixture(scope="module")
def closed(make_registry: Callable[..., DockerRegistry]) -> DockerRegistry:
    """A registry with a password and TLS."""
    return make_registry(login=LOGIN, tls=True)


def plain(host: str, **how: Any) -> Registry:
    return Registry(host, scheme="http", **{"patience_seconds": 0, **how})


def nobody(rule: Rule) -> Any:
    """A server that a rule answers for alone."""
    return proxy("http://127.0.0.1:1", rule)


def test_what_is_there_is_found_and_read_and_what_is_not_is_none(registry: DockerRegistry) -> None:
    image = spec("h.io/registry/found:v1")
    digest = push(registry, image)
    with plain(registry.host) as door:
        door.ping()
        assert door.head_manifest("registry/found", "v1") == digest
        manifest = door.get_manifest("registry/found", digest)
        assert manifest
        assert (digest_of(manifest.data), manifest.media_type) == (digest, OCI_MANIFEST)
        assert door.head_blob("registry/found", build(image).config_digest)
        assert not door.head_blob("registry/found", ABSENT)
        assert door.head_manifest("registry/found", "v2") is None
        assert door.get_manifest("registry/nothing", "v1") is None


def test_writable_leaves_nothing_behind(registry: DockerRegistry) -> None:
    uploads = "**/registry/writable/_uploads/*/startedat"
    with plain(registry.host) as door:
        location = door.begin_upload("registry/writable")
        assert len(list(registry.data.glob(uploads))) == 1
        door.cancel_upload("registry/writable", location)
        door.writable("registry/writable")
    assert not list(registry.data.glob(uploads))


def test_a_blob_is_mounted_from_another_repository(registry: DockerRegistry) -> None:
    image = spec("h.io/registry/from:v1")
    push(registry, image)
    with plain(registry.host) as door:
        assert door.mount("registry/to", build(image).config_digest, "registry/from") is None
        assert door.head_blob("registry/to", build(image).config_digest)
        location = door.mount("registry/to", ABSENT, "registry/from")
        assert location
        door.cancel_upload("registry/to", location)


def test_a_password_and_a_private_authority(closed: DockerRegistry) -> None:
    with Registry(closed.host, credentials=ANNE, ca_file=closed.ca_file, patience_seconds=0) as door:
        door.ping()
        door.writable("closed/x")


@pytest.mark.parametrize("credentials", [None, Credentials("anne", "wrong-word")])
def test_without_the_right_password_we_are_refused_and_told_what_to_do(
    credentials: Credentials | None, closed: DockerRegistry
) -> None:
    with (
        Registry(closed.host, credentials=credentials, ca_file=closed.ca_file, patience_seconds=0) as door,
        pytest.raises(Refused, match=f"docker login {closed.host}, or set COMPASS_REGISTRY_USERNAME") as caught,
    ):
        door.writable("closed/x")
    assert "UNAUTHORIZED" in str(caught.value)
    assert "wrong-word" not in repr(caught.value)


def test_an_authority_that_is_not_trusted_is_told(closed: DockerRegistry) -> None:
    with Registry(closed.host) as door, pytest.raises(InvalidInput, match=r"not trusted .* pass --registry-ca"):
        door.ping()


def test_a_registry_without_tls_is_told(registry: DockerRegistry) -> None:
    with (
        Registry(registry.host) as door,
        pytest.raises(InvalidInput, match="no TLS, expected https; pass --registry http://"),
    ):
        door.ping()


def test_a_ca_file_of_another_form_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(InvalidInput, match=r"ca\.crt: .*expected PEM"):
        Registry("h.io", ca_file=tmp_path / "ca.crt")


def test_a_registry_that_is_away_for_a_moment_only_delays(make_registry: Callable[..., DockerRegistry]) -> None:
    server = make_registry()
    server.stop()
    timer = threading.Timer(1.0, server.start)
    timer.start()
    try:
        with plain(server.host, patience_seconds=20) as door:
            door.ping()
    finally:
        timer.join()


def test_a_registry_that_stays_away_is_transient(make_registry: Callable[..., DockerRegistry]) -> None:
    server = make_registry()
    server.stop()
    with plain(server.host, patience_seconds=0.5) as door, pytest.raises(Transient, match=server.host):
        door.ping()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_answer_that_may_change_is_asked_for_again(status: int, registry: DockerRegistry) -> None:
    answers = iter([Say(status), Say(status, {"Retry-After": "0"})])
    with proxy(registry.url, lambda _: next(answers, None)) as way, plain(way.host, patience_seconds=20) as door:
        door.ping()
    assert way.count("GET") == 3


def test_retry_after_is_followed(registry: DockerRegistry) -> None:
    answers = iter([Say(429, {"Retry-After": "1"})])
    clock = system_clock()
    with proxy(registry.url, lambda _: next(answers, None)) as way, plain(way.host, patience_seconds=20) as door:
        begin = clock.monotonic()
        door.ping()
        assert clock.monotonic() - begin >= 1


def test_an_answer_that_will_not_change_is_not_asked_for_again() -> None:
    body = json.dumps({"errors": [{"code": "NAME_INVALID", "message": "bad\nname"}]}).encode()
    with (
        nobody(lambda _: Say(400, body=body)) as way,
        plain(way.host, patience_seconds=20) as door,
        pytest.raises(StepFailed, match=r"answer 400 \(NAME_INVALID bad name\)"),
    ):
        door.begin_upload("a/b")
    assert way.count("POST") == 1


def test_a_manifest_that_does_not_hash_to_its_digest_is_an_error(registry: DockerRegistry) -> None:
    digest = push(registry, spec("h.io/registry/lying:v1"))
    with (
        proxy(registry.url, lambda _: Alter({"Docker-Content-Digest": ABSENT})) as way,
        plain(way.host) as door,
        pytest.raises(StepFailed, match=f"content with digest {digest}, expected {ABSENT}"),
    ):
        door.get_manifest("registry/lying", "v1")


def test_a_registry_that_stores_another_manifest_is_an_error(registry: DockerRegistry) -> None:
    push(registry, spec("h.io/registry/storing:v1"))
    with proxy(registry.url, lambda _: Alter({"Docker-Content-Digest": ABSENT})) as way, plain(way.host) as door:
        with plain(registry.host) as straight:
            manifest = straight.get_manifest("registry/storing", "v1")
        assert manifest
        with pytest.raises(StepFailed, match=f"the registry stored {ABSENT}, expected {manifest.digest}"):
            door.put_manifest("registry/storing", "v2", manifest.data, manifest.media_type)


@pytest.mark.parametrize("path", ["manifests", "uploads"])
def test_nobody_else_is_spoken_to_whatever_the_registry_says(path: str) -> None:
    elsewhere = Say(307 if path == "manifests" else 202, {"Location": "http://127.0.0.2:1/elsewhere"})
    with (
        nobody(lambda _: elsewhere) as way,
        plain(way.host, credentials=ANNE) as door,
        pytest.raises(Refused, match=r"leads to '127\.0\.0\.2:1'"),
    ):
        door.get_manifest("a/b", "v1") if path == "manifests" else door.begin_upload("a/b")


def test_a_redirect_inside_the_registry_is_followed(registry: DockerRegistry) -> None:
    digest = push(registry, spec("h.io/registry/moved:v1"))

    def rule(seen: Seen) -> Say | None:
        if seen.path == "/v2/old/manifests/v1":
            return Say(301, {"Location": "/v2/registry/moved/manifests/v1"})
        return None

    with proxy(registry.url, rule) as way, plain(way.host) as door:
        assert door.head_manifest("old", "v1") == digest


def test_an_address_that_cannot_be_is_an_error() -> None:
    with (
        nobody(lambda _: Say(202, {"Location": "/v2/a\x7f/blobs/uploads/1"})) as way,
        plain(way.host) as door,
        pytest.raises(StepFailed, match="an address that cannot be"),
    ):
        door.cancel_upload("a/b", door.begin_upload("a/b"))


def test_redirects_without_end_are_an_error() -> None:
    with (
        nobody(lambda seen: Say(301, {"Location": seen.path})) as way,
        plain(way.host) as door,
        pytest.raises(StepFailed, match="redirects without end"),
    ):
        door.get_manifest("a/b", "v1")


def test_a_blob_that_is_kept_elsewhere_is_there() -> None:
    with nobody(lambda _: Say(307, {"Location": "https://storage/x"})) as way, plain(way.host) as door:
        assert door.head_blob("a/b", ABSENT)
    assert len(way.seen) == 1


@pytest.fixture
def token_server() -> tuple[dict[str, Any], Rule]:
    """A registry's token rules; the first value tells what it gave and sets how it behaves."""
    state: dict[str, Any] = {"given": [], "seconds": 300, "realm": "http://{host}/token"}

    def rule(seen: Seen) -> Say | None:
        host = seen.headers["Host"]
        if seen.path.startswith("/token"):
            expected = "Basic " + base64.b64encode(f"{ANNE.username}:{ANNE.password}".encode()).decode()
            if seen.method == "GET" and seen.headers.get("Authorization") != expected:
                return Say(401)
            state["given"].append(f"{seen.method} {seen.path}")
            token = f"token-{len(state['given'])}"
            state["valid"] = token
            return Say(200, body=json.dumps({"token": token, "expires_in": state["seconds"]}).encode())
        if seen.headers.get("Authorization") != f"Bearer {state.get('valid')}":
            realm = state["realm"].format(host=host)
            return Say(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="reg",scope="x"'})
        return Say(200) if seen.path == "/v2/" else None

    return state, rule


def test_a_token_is_fetched_once_for_each_scope(
    token_server: tuple[dict[str, Any], Rule], registry: DockerRegistry
) -> None:
    state, rule = token_server
    push(registry, spec("h.io/registry/token:v1"))
    with proxy(registry.url, rule) as way, plain(way.host, credentials=ANNE) as door:
        for _ in range(3):
            assert door.head_manifest("registry/token", "v1")
        assert len(state["given"]) == 1
        assert "scope=repository%3Aregistry%2Ftoken%3Apull" in state["given"][0]
        assert "service=reg" in state["given"][0]
        door.writable("registry/token")
        assert len(state["given"]) == 2


def test_a_token_that_is_no_longer_good_is_fetched_anew(
    token_server: tuple[dict[str, Any], Rule], registry: DockerRegistry
) -> None:
    state, rule = token_server
    with proxy(registry.url, rule) as way, plain(way.host, credentials=ANNE) as door:
        door.ping()
        state["valid"] = "another"
        door.ping()
    assert len(state["given"]) == 2


def test_an_identity_token_is_exchanged(token_server: tuple[dict[str, Any], Rule], registry: DockerRegistry) -> None:
    state, rule = token_server
    with (
        proxy(registry.url, rule) as way,
        plain(way.host, credentials=Credentials(identity_token="refresh")) as door,
    ):
        door.ping()
    assert state["given"] == ["POST /token"]


def test_a_token_server_elsewhere_is_refused_unless_allowed(token_server: tuple[dict[str, Any], Rule]) -> None:
    state, rule = token_server
    with nobody(rule) as other, nobody(rule) as way:
        state["realm"] = f"http://{other.host}/token"
        with (
            plain(way.host, credentials=ANNE) as door,
            pytest.raises(Refused, match=f"a token server at '{other.host}'"),
        ):
            door.ping()
        assert other.seen == []
        with plain(way.host, credentials=ANNE, token_hosts=frozenset({other.host})) as door:
            door.ping()
        assert len(other.seen) == 1


def test_a_token_server_that_refuses_us_is_told(token_server: tuple[dict[str, Any], Rule]) -> None:
    _, rule = token_server
    with (
        nobody(rule) as way,
        plain(way.host, credentials=Credentials("anne", "wrong-word")) as door,
        pytest.raises(Refused, match="docker login") as caught,
    ):
        door.ping()
    assert "wrong-word" not in repr(caught.value)


def test_no_error_carries_what_we_log_in_with(registry: DockerRegistry) -> None:
    secret = base64.b64encode(b"anne:s3cret:x").decode()

    def failing(status: int) -> Rule:
        def rule(seen: Seen) -> Say:
            return Say(status if "Authorization" in seen.headers else 401, {"WWW-Authenticate": "Basic realm=x"})

        return rule

    for status in (400, 401, 403, 404, 500):
        with nobody(failing(status)) as way, plain(way.host, credentials=ANNE) as door:
            with pytest.raises(CompassError) as caught:
                door.begin_upload("a/b")
            assert secret not in repr(caught.value) + str(caught.value)
            assert "s3cret" not in repr(caught.value) + str(caught.value)
            before = way.count("POST")
            with pytest.raises(CompassError):
                door.begin_upload("a/b")
            assert way.count("POST") == before + 1, "a wrong password is not tried again and again"


def test_the_environment_names_no_proxy_for_us(registry: DockerRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with plain(registry.host) as door:
        door.ping()


def test_who_we_are_is_told_to_the_registry() -> None:
    with nobody(lambda _: Say(200)) as way, plain(way.host) as door:
        door.ping()
    assert way.seen[0].headers["User-Agent"].startswith("compass-upgrade/")


def test_an_answer_without_end_is_cut(registry: DockerRegistry) -> None:
    with (
        nobody(lambda _: Say(200, body=bytes(9 << 20))) as way,
        plain(way.host) as door,
        pytest.raises(StepFailed, match="more than 8388608 bytes"),
    ):
        door.get_manifest("a/b", "v1")


def test_the_proxy_of_these_tests_passes_on(registry: DockerRegistry) -> None:
    way: Proxy
    with proxy(registry.url, lambda _: None) as way, plain(way.host) as door:
        door.writable("registry/passed")
    assert [x.method for x in way.seen] == ["POST", "DELETE"]
