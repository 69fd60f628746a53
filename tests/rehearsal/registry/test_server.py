"""A registry that is kept, stopped, locked with tokens or TLS, and troubled."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from compass.digests import Digest, digest_of
from compass.errors import Refused, StepFailed, Transient
from compass.images.layout import Layout
from compass.images.registry.client import Registry
from compass.images.registry.credentials import Credentials
from compass.images.registry.upload import upload
from rehearsal.registry import BrokenUpload, FalseDigest, Login, NoConnection, SimulatedRegistry, Tls, Unavailable
from tests.material.archives import docker_save
from tests.material.images import ImageSpec, noise
from tests.rehearsal.registry.conftest import Skopeo
from tests.rehearsal.registry.talk import (
    ANY,
    OCTETS,
    PASSWORD,
    USER,
    Peer,
    begin,
    put_blob,
    put_image,
    refused,
    with_digest,
)
from tests.servers.certificates import Authority
from tests.servers.registry import DockerRegistry

DATA = noise(3 << 20, "faults")


@pytest.fixture
def http(simulated: SimulatedRegistry) -> Iterator[httpx.Client]:
    with Peer("simulated", simulated.host).client() as client:
        yield client


@pytest.fixture
def door(simulated: SimulatedRegistry) -> Iterator[Registry]:
    with Registry(simulated.host, scheme="http", patience_seconds=15) as registry:
        yield registry


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state")


@pytest.fixture
def digest(layout: Layout) -> Digest:
    with layout.batch() as batch:
        return batch.put(DATA)


# -- kept


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    with SimulatedRegistry(tmp_path) as first, Peer("first", first.host).client() as http:
        image = put_image(http, "a/b", "v1")
        location = http.patch(begin(http, "a"), content=DATA[:1000], headers=OCTETS).headers["Location"]
        port = first.port
    with pytest.raises(httpx.ConnectError), Peer("gone", first.host).client() as http:
        http.get("/v2/")
    with SimulatedRegistry(tmp_path, port=port) as again, Peer("again", again.host).client() as http:
        assert http.get("/v2/a/b/manifests/v1", headers=ANY).content == image
        assert again.repositories() == ["a/b"]
        assert again.tags("a/b") == {"v1": digest_of(image)}
        status = http.get(location)
        assert status.headers["Range"] == "0-999", "an upload goes on where it was"
        ended = with_digest(status.headers["Location"], digest_of(DATA))
        assert http.put(ended, content=DATA[1000:]).status_code == 201


@pytest.mark.servers
def test_debians_registry_starts_on_our_folder(tmp_path: Path, make_registry: Callable[..., DockerRegistry]) -> None:
    with SimulatedRegistry(tmp_path / "data") as ours, Peer("ours", ours.host).client() as http:
        images = {name: put_image(http, name, "v1", name) for name in ("a", "a/b")}
    theirs = make_registry(folder=tmp_path)
    assert theirs.repositories() == ["a", "a/b"]
    for name, data in images.items():
        assert theirs.manifest(name, "v1")[0] == data
    theirs.stop()
    with SimulatedRegistry(tmp_path / "data") as ours:
        assert ours.tags("a") == {"v1": digest_of(images["a"])}


def test_a_taken_port_is_said(simulated: SimulatedRegistry, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="in use"):
        SimulatedRegistry(tmp_path / "other", port=simulated.port)


def test_tls(tmp_path: Path) -> None:
    authority = Authority("rehearsal")
    pair = authority.server()
    for name, data in (("ca", authority.cert_pem), ("crt", pair.cert_pem), ("key", pair.key_pem)):
        (tmp_path / name).write_bytes(data)
    tls = Tls(tmp_path / "crt", tmp_path / "key")
    with SimulatedRegistry(tmp_path / "registry", tls=tls) as server:
        assert server.url.startswith("https://")
        with Peer("tls", server.host, "https", tmp_path / "ca").client() as http:
            assert begin(http, "a").startswith(server.url)
        with Registry(server.host, ca_file=tmp_path / "ca") as door:
            door.writable("a")


# -- tokens


def test_our_door_gets_tokens(tmp_path: Path) -> None:
    login = Login(USER, PASSWORD, tokens=True, token_seconds=1)
    with SimulatedRegistry(tmp_path, login=login) as server:
        with Registry(server.host, scheme="http", credentials=Credentials(USER, PASSWORD)) as door:
            assert door.begin_upload("a")
            time.sleep(1.1)  # the token ends, and another is asked for
            assert door.begin_upload("a")
            assert door.mount("b", digest_of(b"absent"), "a") is not None
        wrong = Registry(server.host, scheme="http", credentials=Credentials(USER, "wrong"))
        with wrong, pytest.raises(Refused, match="token server said 401"):
            wrong.ping()


def test_tokens_allow_what_they_name(tmp_path: Path) -> None:
    login = Login(USER, PASSWORD, tokens=True)
    with SimulatedRegistry(tmp_path, login=login) as server, Peer("tokens", server.host).client() as http:
        challenge = http.post("/v2/a/blobs/uploads/").headers["WWW-Authenticate"]
        assert challenge == f'Bearer realm="{server.url}/token",service="rehearsal",scope="repository:a:pull,push"'
        assert refused(http.get("/token")) == (401, ["UNAUTHORIZED"])
        params = {"service": "rehearsal", "scope": "repository:a:pull", "offline_token": "true"}
        given = http.get("/token", params=params, auth=(USER, PASSWORD)).json()
        bearer = {"Authorization": f"Bearer {given['token']}"}
        assert http.get("/v2/", headers=bearer).status_code == 200
        assert http.get("/v2/a/tags/list", headers=bearer).status_code == 404
        denied = http.post("/v2/a/blobs/uploads/", headers=bearer)
        assert (denied.status_code, 'error="insufficient_scope"' in denied.headers["WWW-Authenticate"]) == (401, True)
        form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"], "scope": "repository:a:*"}
        more = http.post("/token", data=form).json()["access_token"]
        assert http.post("/v2/a/blobs/uploads/", headers={"Authorization": f"Bearer {more}"}).status_code == 202
        wrong = http.get("/v2/", headers={"Authorization": "Bearer nonsense"})
        assert 'error="invalid_token"' in wrong.headers["WWW-Authenticate"]


@pytest.mark.servers
def test_skopeo_gets_tokens(tmp_path: Path, skopeo: Skopeo) -> None:
    image = ImageSpec("build.example/app:v1", [{"own": DATA}])
    docker_save([image], tmp_path / "in.tar", compression="none")
    with SimulatedRegistry(tmp_path / "registry", login=Login(USER, PASSWORD, tokens=True)) as server:
        words, there = ("--tls-verify=false", f"--creds={USER}:{PASSWORD}"), f"docker://{server.host}/app:v1"
        copy = [x.replace("--", "--dest-") for x in words]
        skopeo("copy", *copy, f"docker-archive:{tmp_path}/in.tar", there)
        assert server.tags("app")["v1"] in skopeo("inspect", *words, there)
        skopeo("delete", *words, there)
        assert server.tags("app") == {}


# -- trouble


@pytest.mark.parametrize("status", [503, 429])
def test_unavailable(simulated: SimulatedRegistry, http: httpx.Client, door: Registry, status: int) -> None:
    simulated.fault(
        Unavailable(status, retry_after_seconds=1, times=2, methods=frozenset({"HEAD"}), path="/manifests/")
    )
    assert http.get("/v2/").status_code == 200
    answer = http.head("/v2/a/manifests/v1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "1")
    assert door.head_manifest("a", "v1") is None, "asked again after a second"
    simulated.fault(Unavailable(times=None))
    for _ in range(3):
        assert refused(http.get("/v2/")) == (503, ["UNAVAILABLE"])
    simulated.heal()
    assert http.get("/v2/").status_code == 200


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_upload_breaks(
    simulated: SimulatedRegistry, door: Registry, layout: Layout, digest: Digest, forgotten: bool
) -> None:
    simulated.fault(BrokenUpload(after_bytes=1 << 20, times=2, forgotten=forgotten))
    upload(door, "a", digest, layout, told=lambda _: None)
    assert door.head_blob("a", digest)


def test_uploads_are_lost(simulated: SimulatedRegistry, http: httpx.Client) -> None:
    locations = [begin(http, "a"), begin(http, "a/b")]
    assert simulated.lose_uploads() == 2
    for location in locations:
        assert refused(http.put(with_digest(location, digest_of(b"")))) == (404, ["BLOB_UPLOAD_UNKNOWN"])

    def body() -> Iterator[bytes]:
        yield DATA[:1000]
        time.sleep(0.1)
        assert simulated.lose_uploads() == 1, "the very one that is being written"
        yield DATA[1000:]

    answer = http.put(with_digest(begin(http, "a"), digest_of(DATA)), content=body())
    assert refused(answer) == (404, ["BLOB_UPLOAD_UNKNOWN"])
    assert http.head(f"/v2/a/blobs/{digest_of(DATA)}").status_code == 404


def test_nobody_answers_for_a_while(simulated: SimulatedRegistry, http: httpx.Client, door: Registry) -> None:
    put_blob(http, "a", DATA)
    simulated.fault(NoConnection(1.0))
    with pytest.raises(httpx.TransportError):
        http.get("/v2/")
    assert door.head_blob("a", digest_of(DATA)), "back at the same port, with everything"
    simulated.fault(NoConnection(3600))
    with Registry(simulated.host, scheme="http", patience_seconds=0.5) as impatient, pytest.raises(Transient):
        impatient.ping()
    simulated.heal()
    door.ping()


def test_an_upload_lives_through_a_stop(simulated: SimulatedRegistry, http: httpx.Client) -> None:
    location = http.patch(begin(http, "a"), content=DATA[:500], headers=OCTETS).headers["Location"]
    slow = threading.Event()

    def body() -> Iterator[bytes]:
        yield DATA[500:1000]
        slow.set()
        time.sleep(0.5)
        yield DATA[1000:]

    def stop() -> None:
        slow.wait()
        simulated.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(httpx.TransportError):
        http.patch(location, content=body(), headers=OCTETS)
    stopper.join()
    simulated.start()
    put_blob(http, "a", DATA)


def test_a_digest_is_a_lie(simulated: SimulatedRegistry, http: httpx.Client, door: Registry) -> None:
    data = put_image(http, "a", "v1")
    simulated.fault(FalseDigest())
    with pytest.raises(StepFailed, match="content with digest"):
        door.get_manifest("a", "v1")
    simulated.fault(FalseDigest())
    with pytest.raises(StepFailed, match="the registry stored"):
        door.put_manifest("a", "v2", data, "application/vnd.oci.image.manifest.v1+json")
    found = door.get_manifest("a", "v1")
    assert found is not None
    assert found.data == data


def test_a_tag_is_forgotten(simulated: SimulatedRegistry, http: httpx.Client, door: Registry) -> None:
    put_image(http, "a", "v1")
    assert simulated.forget_tag("a", "v1")
    assert not simulated.forget_tag("a", "v1")
    assert door.head_manifest("a", "v1") is None
