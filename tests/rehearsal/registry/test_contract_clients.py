"""The clients that a site has, the same with our registry and with Debian's: ours, skopeo, docker, containerd, crane.

The last three are replayed; the sequences are those of
``docker``: moby, distribution/push_v2.go and pull_v2.go, over distribution's registry/client/blob_writer.go;
``containerd``: remotes/docker/pusher.go; ``crane``: go-containerregistry, pkg/v1/remote/write.go.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from compass.digests import Digest, digest_of
from compass.errors import Refused
from compass.images.layout import Layout
from compass.images.load import load, locate
from compass.images.model import DOCKER_MANIFEST
from compass.images.registry.client import Registry
from compass.images.registry.credentials import Credentials
from compass.progress import Silent
from tests.compass.images.saved import read
from tests.material.archives import docker_save
from tests.material.images import ImageSpec, noise
from tests.rehearsal.registry.conftest import Skopeo
from tests.rehearsal.registry.talk import (
    ANY,
    OCTETS,
    PASSWORD,
    USER,
    Peer,
    codes,
    manifest,
    put_blob,
    put_image,
    put_manifest,
)
from tests.rehearsal.registry.talk import with_digest as ended
from tests.servers.assets import Assets, Missing, node_possible
from tests.servers.need import need
from tests.servers.process import Server

CONFIG, LAYER = b'{"os":"linux"}', noise(2 << 20, "layer")
Push = Callable[[httpx.Client, str, bytes], httpx.Response]


def images(repository: str) -> list[ImageSpec]:
    """Return two images that share a layer."""
    shared = {"bin/base": noise(300_000, "shared")}
    names = [f"build.example/{repository}/{x}:v1" for x in ("one", "two")]
    return [ImageSpec(x, [shared, {"own": noise(50_000, x)}]) for x in names]


def door(peer: Peer, password: str = "") -> Registry:
    return Registry(peer.host, scheme="http", credentials=Credentials(USER, password) if password else None)


# -- our own


def test_our_loader_brings_images_and_finds_them_again(peer: Peer, name: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    docker_save(images(name), tmp_path / "a.tar.gz")
    stored = read(tmp_path / "a.tar.gz", layout)
    with door(peer) as registry:
        first = load(stored, layout, registry, Silent())
        again = load(stored, layout, registry, Silent())
        assert all(x.is_there for x in locate(stored, layout, registry))
        for image, loaded in zip(stored, first, strict=True):
            found = registry.get_manifest(image.name.repository, "v1")
            assert found is not None
            assert (found.digest, found.media_type) == (loaded.digest, image.media_type)
    assert sum(x.bytes_skipped for x in first) >= 300_000, "the shared layer was taken over"
    assert {x.bytes_sent for x in again} == {0}


def test_our_door_asks_what_it_asks(peer: Peer, name: str) -> None:
    with door(peer) as registry:
        registry.ping()
        registry.writable(name)
        assert registry.head_manifest(name, "v1") is None
        assert not registry.head_blob(name, digest_of(b"absent"))
        with peer.client() as http:
            put_blob(http, f"{name}/other", LAYER)
        assert registry.mount(name, digest_of(LAYER), f"{name}/other") is None
        assert registry.mount(name, digest_of(b"absent"), f"{name}/other") is not None


# -- who may


def test_a_password_is_asked_for(locked: Peer, name: str) -> None:
    with locked.client() as http:
        for method, path, detail in (
            ("GET", "/v2/", None),
            ("GET", f"/v2/{name}/tags/list", ["pull"]),
            ("HEAD", f"/v2/{name}/blobs/{digest_of(b'')}", ["pull"]),
            ("POST", f"/v2/{name}/blobs/uploads/", ["pull", "push"]),
            ("DELETE", f"/v2/{name}/manifests/{digest_of(b'')}", ["delete"]),
            ("GET", "/v2/_catalog", ["*"]),
        ):
            answer = http.request(method, path)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith('Basic realm="')
            if method != "HEAD":
                assert codes(answer) == ["UNAUTHORIZED"]
                said = answer.json()["errors"][0]["detail"]
                assert (said and [x["Action"] for x in said]) == detail
        for wrong in ((USER, "wrong"), ("nobody", PASSWORD)):
            assert http.get("/v2/", auth=wrong).status_code == 401
        assert http.get("/v2/", headers={"Authorization": "Basic !!"}).status_code == 401
        assert http.get("/v2/", auth=(USER, PASSWORD)).status_code == 200


def test_our_door_logs_in(locked: Peer, name: str) -> None:
    with door(locked, PASSWORD) as registry:
        registry.writable(name)
    for password in ("", "wrong"):
        with door(locked, password) as registry, pytest.raises(Refused, match="docker login"):
            registry.ping()


# -- docker, containerd, crane


def docker(http: httpx.Client, name: str, data: bytes) -> httpx.Response:
    """Ask, open, send in one chunk of unknown length, end with the digest."""
    digest = digest_of(data)
    assert http.head(f"/v2/{name}/blobs/{digest}").status_code == 404
    begun = http.post(f"/v2/{name}/blobs/uploads/", params={"from": "library/none", "mount": digest})
    assert begun.status_code == 202
    sent = http.patch(begun.headers["Location"], content=pieces(data))
    assert sent.headers["Range"] == f"0-{len(data) - 1}"
    return http.put(ended(sent.headers["Location"], digest))


def containerd(http: httpx.Client, name: str, data: bytes) -> httpx.Response:
    """Ask, open, send all with the digest."""
    digest = digest_of(data)
    assert http.head(f"/v2/{name}/blobs/{digest}", headers={"Accept": "*/*"}).status_code == 404
    begun = http.post(f"/v2/{name}/blobs/uploads/")
    headers = {**OCTETS, "Content-Length": str(len(data))}
    return http.put(ended(begun.headers["Location"], digest), content=pieces(data), headers=headers)


def crane(http: httpx.Client, name: str, data: bytes) -> httpx.Response:
    """Ask, open with a mount of no source, send in one chunk, end with the digest."""
    digest = digest_of(data)
    assert http.head(f"/v2/{name}/blobs/{digest}").status_code == 404
    begun = http.post(f"/v2/{name}/blobs/uploads/", params={"mount": digest})
    sent = http.patch(begun.headers["Location"], content=pieces(data), headers=OCTETS)
    return http.put(ended(sent.headers["Location"], digest), headers=OCTETS)


def pieces(data: bytes) -> Iterator[bytes]:
    return (data[n : n + 32_768] for n in range(0, len(data), 32_768))


@pytest.mark.parametrize("push", [docker, containerd, crane])
def test_what_clients_push_they_pull(http: httpx.Client, name: str, push: Push) -> None:
    for blob in (LAYER, CONFIG):
        assert push(http, name, blob).headers["Docker-Content-Digest"] == digest_of(blob)
    assert http.head(f"/v2/{name}/manifests/v1", headers=ANY).status_code == 404
    data = manifest(CONFIG, LAYER, media_type=DOCKER_MANIFEST)
    assert put_manifest(http, name, "v1", data, DOCKER_MANIFEST).status_code == 201
    found = http.head(f"/v2/{name}/manifests/v1", headers=ANY)
    assert found.headers["Content-Type"] == DOCKER_MANIFEST
    digest = found.headers["Docker-Content-Digest"]
    got = http.get(f"/v2/{name}/manifests/{digest}", headers=ANY).json()
    for blob in (got["config"], *got["layers"]):
        answer = http.get(f"/v2/{name}/blobs/{blob['digest']}")
        assert digest_of(answer.content) == blob["digest"]
        half = blob["size"] // 2
        rest = http.get(f"/v2/{name}/blobs/{blob['digest']}", headers={"Range": f"bytes={half}-"})
        assert rest.content == answer.content[half:], "a pull that broke goes on"


# -- containerd itself


@pytest.fixture
def ctr(tmp_path: Path, assets: Assets) -> Iterator[Callable[..., str]]:
    """Run containerd's ctr, on a containerd that only fetches and pushes."""
    need(lambda: require_root(assets))
    socket, config = tmp_path / "containerd.sock", tmp_path / "containerd.toml"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    folders = ["--root", str(tmp_path / "root"), "--state", str(tmp_path / "state"), "--address", str(socket)]
    binary = need(lambda: assets["containerd"])
    server = Server("containerd", [binary, "-c", str(config), *folders], tmp_path / "containerd.log", assets.env)

    def run(*words: str) -> str:
        command = [str(Path(binary).with_name("ctr")), "-a", str(socket), "-n", "tests", *words]
        env = {**os.environ, **assets.env}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    try:
        server.wait_ready(socket.exists, 30)
        yield run
    finally:
        server.stop()


def require_root(assets: Assets) -> None:
    """Say what a containerd needs."""
    if not node_possible() or not Path(assets["containerd"]).with_name("ctr").exists():
        raise Missing("containerd: needs root on Linux, and ctr beside it")


@pytest.mark.servers
@pytest.mark.node
def test_containerd_fetches_and_pushes(locked: Peer, name: str, ctr: Callable[..., str]) -> None:
    login = f"{USER}:{PASSWORD}"
    with locked.client((USER, PASSWORD)) as http:
        data = put_image(http, name, "v1")
        ctr("content", "fetch", "--plain-http", "-u", login, f"{locked.host}/{name}:v1")
        pushed = f"{locked.host}/{name}/pushed:v2"
        ctr("images", "push", "--plain-http", "-u", login, pushed, f"{locked.host}/{name}:v1")
        assert http.get(f"/v2/{name}/pushed/manifests/v2", headers=ANY).content == data


# -- skopeo


@pytest.mark.servers
def test_skopeo_copies_there_and_back(locked: Peer, name: str, tmp_path: Path, skopeo: Skopeo) -> None:
    saved = docker_save(images(name)[:1], tmp_path / "in.tar", compression="none")[0]
    there, other = (f"docker://{locked.host}/{name}/{x}" for x in ("app:v1", "moved:v2"))
    login, plain = f"{USER}:{PASSWORD}", "tls-verify=false"
    skopeo("copy", f"--dest-{plain}", f"--dest-creds={login}", f"docker-archive:{tmp_path}/in.tar", there)
    both = (f"--src-{plain}", f"--src-creds={login}", f"--dest-{plain}", f"--dest-creds={login}")
    skopeo("copy", *both, there, other)
    skopeo("copy", f"--src-{plain}", f"--src-creds={login}", other, f"docker-archive:{tmp_path}/out.tar:back/app:v1")
    back = read(tmp_path / "out.tar", Layout(tmp_path / "state"))[0]
    assert back.config_digests == (saved.config_digest,)
    with locked.client((USER, PASSWORD)) as http:
        first, second = (http.head(f"/v2/{name}/{x}", headers=ANY) for x in ("app/manifests/v1", "moved/manifests/v2"))
        assert first.headers["Docker-Content-Digest"] == second.headers["Docker-Content-Digest"]
    assert '"v1"' in skopeo("list-tags", f"--{plain}", f"--creds={login}", there.rpartition(":")[0])
    assert Digest(first.headers["Docker-Content-Digest"]) in skopeo("inspect", f"--{plain}", f"--creds={login}", there)
    skopeo("delete", f"--{plain}", f"--creds={login}", there)
    with locked.client((USER, PASSWORD)) as http:
        assert http.head(f"/v2/{name}/app/manifests/v1", headers=ANY).status_code == 404
