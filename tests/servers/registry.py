"""A real OCI registry on the loopback: Debian's docker-registry (the distribution project's)."""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.servers.assets import Assets, Missing
from tests.servers.certificates import Authority
from tests.servers.process import Server, with_free_ports

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


@dataclass(frozen=True)
class Login:
    """Who may use a registry."""

    user: str
    password: str


class DockerRegistry:
    """One registry; ``with`` stops it and removes its folder.

    With a ``login`` it asks for a password; with ``tls`` it speaks https with a certificate of its own authority
    (``ca_file``).
    """

    def __init__(
        self, assets: Assets, folder: Path | None = None, *, login: Login | None = None, tls: bool = False
    ) -> None:
        self._assets = assets
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="registry-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.login = login
        self.tls = tls
        self.port = 0
        self._server: Server | None = None
        if tls:
            self._write_certificates()
        if login:
            (self.folder / "htpasswd").write_text(f"{login.user}:{bcrypt(login.password)}\n")
        try:
            self.port, self._server = with_free_ports(1, lambda port: (port, self._start(port)))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def host(self) -> str:
        """Address and port, as an image name begins."""
        return f"127.0.0.1:{self.port}"

    @property
    def scheme(self) -> str:
        """How it is spoken to: http or https."""
        return "https" if self.tls else "http"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://{self.host}"

    @property
    def data(self) -> Path:
        """The folder that holds blobs and tags."""
        return self.folder / "data"

    @property
    def ca_file(self) -> Path:
        """The certificate authority of a registry with TLS."""
        return self.folder / "ca.crt"

    @property
    def log(self) -> Path:
        """What the server wrote, one line for each request."""
        return self.folder / "registry.log"

    def stop(self) -> None:
        """Stop the server; its data stay."""
        if self._server:
            self._server.stop(grace_seconds=1)

    def start(self) -> None:
        """Start the server again at the same port with the same data."""
        self._server = self._start(self.port)

    def close(self) -> None:
        """Stop the server and remove what was written."""
        if self._server:
            self._server.stop(grace_seconds=0)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def client(self) -> httpx.Client:
        """Return an HTTP client that trusts the registry and knows its password."""
        verify: Any = ssl.create_default_context(cafile=str(self.ca_file)) if self.tls else False
        auth = (self.login.user, self.login.password) if self.login else None
        return httpx.Client(base_url=self.url, auth=auth, verify=verify, timeout=30, trust_env=False)

    def repositories(self) -> list[str]:
        """Return the names of all repositories, sorted."""
        with self.client() as http:
            names = http.get("/v2/_catalog", params={"n": 1000}).raise_for_status().json()["repositories"]
        return sorted(names)

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository, sorted; none when it does not exist."""
        with self.client() as http:
            answer = http.get(f"/v2/{repository}/tags/list")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return []
        return sorted(answer.raise_for_status().json()["tags"] or [])

    def manifest(self, repository: str, reference: str) -> tuple[bytes, str, str]:
        """Return a manifest's bytes, digest and media type."""
        with self.client() as http:
            answer = http.get(f"/v2/{repository}/manifests/{reference}", headers={"Accept": ", ".join(MANIFEST_TYPES)})
        answer.raise_for_status()
        return answer.content, answer.headers["Docker-Content-Digest"], answer.headers["Content-Type"]

    def blob(self, repository: str, digest: str) -> bytes:
        """Return the bytes of a blob."""
        with self.client() as http:
            return http.get(f"/v2/{repository}/blobs/{digest}").raise_for_status().content

    def everything(self) -> dict[str, Any]:
        """Return what the registry holds, read from its disk, to compare before and after.

        ``repositories`` has the digest of each tag, ``blobs`` the size of each blob, ``uploads`` what was begun and
        not ended; of an upload that was cancelled the server leaves empty folders, which do not count.
        """
        root = self.data / "docker/registry/v2"
        return {
            "repositories": _tags_on_disk(root / "repositories"),
            "blobs": {f"sha256:{x.parent.name}": x.stat().st_size for x in sorted(root.glob("blobs/sha256/*/*/data"))},
            "uploads": sorted(
                str(x.parent.relative_to(root)) for x in root.glob("repositories/**/_uploads/*/startedat")
            ),
        }

    def _write_certificates(self) -> None:
        authority = Authority("test registry")
        server = authority.server()
        self.ca_file.write_bytes(authority.cert_pem)
        (self.folder / "server.crt").write_bytes(server.cert_pem)
        (self.folder / "server.key").write_bytes(server.key_pem)

    def _config(self, port: int) -> dict[str, Any]:
        http: dict[str, Any] = {"addr": f"127.0.0.1:{port}"}
        if self.tls:
            http["tls"] = {"certificate": str(self.folder / "server.crt"), "key": str(self.folder / "server.key")}
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.data)}, "delete": {"enabled": True}},
            "http": http,
        }
        if self.login:
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(self.folder / "htpasswd")}}
        return config

    def _start(self, port: int) -> Server:
        config = self.folder / "config.yml"
        config.write_text(yaml.safe_dump(self._config(port)))
        words = [self._assets["docker-registry"], "serve", str(config)]
        server = Server("docker-registry", words, self.log, self._assets.env)
        return server.wait_ready(lambda: self._answers(port), 30)

    def _answers(self, port: int) -> bool:
        try:
            with self.client() as http:
                return http.get(f"{self.scheme}://127.0.0.1:{port}/v2/").is_success
        except httpx.TransportError as error:
            raise OSError(str(error)) from None


def bcrypt(password: str) -> str:
    """Return the bcrypt hash of a password, made by the C library's crypt.

    Raises:
        Missing: this system's crypt does not know bcrypt.
    """
    library = ctypes.CDLL(ctypes.util.find_library("crypt") or None)
    library.crypt.restype = ctypes.c_char_p
    # A fixed salt is as good as any for a password that lives as long as a test.
    hashed = library.crypt(password.encode(), b"$2b$04$abcdefghijklmnopqrstuu")
    if not hashed or not hashed.startswith(b"$2b$"):
        raise Missing("bcrypt: this system's crypt library does not know it")
    return str(hashed.decode())


def _tags_on_disk(root: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for link in sorted(root.glob("**/_manifests/tags/*/current/link")):
        tag = link.parent.parent
        repository = tag.parent.parent.parent.relative_to(root)
        found.setdefault(str(repository), {})[tag.name] = link.read_text()
    return found
