"""A real Kubernetes control plane on the loopback: etcd, kube-apiserver and, if asked for, the controller manager."""

from __future__ import annotations

import atexit
import base64
import shutil
import signal
import ssl
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.servers.assets import Assets
from tests.servers.certificates import Authority, Pair, new_key_pem
from tests.servers.process import Server, listening, wait_until, with_free_ports

ADMIN_TOKEN = "admin-token-of-the-tests"
READER_TOKEN = "reader-token-without-rights"
READY_SECONDS = 90


class ControlPlane:
    """One control plane; ``with`` stops it and removes its folder.

    ``token`` and the client certificate are an administrator's (``system:masters``); ``reader_token`` belongs to a
    user who is known and may do nothing.
    """

    token = ADMIN_TOKEN
    reader_token = READER_TOKEN
    host = "127.0.0.1"

    def __init__(self, assets: Assets, folder: Path | None = None, *, controllers: bool = True) -> None:
        self._assets = assets
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="control-plane-"))
        self.port = 0
        self._tokens = {ADMIN_TOKEN: ("admin", "system:masters"), READER_TOKEN: ("reader", "")}
        self._authority = Authority("test control plane")
        self.ca_pem = self._authority.cert_pem
        admin = self.client_certificate("admin", ["system:masters"])
        self.client_cert_pem, self.client_key_pem = admin.cert_pem, admin.key_pem
        self._write_files()
        self._etcd = ""
        self._api: Server | None = None
        self._controllers: Server | None = None
        try:
            self._start(controllers)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the API server is."""
        return f"https://{self.host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """Address and port, as Cluster objects name them."""
        return f"{self.host}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate authority in a file."""
        return self.folder / "ca.crt"

    @property
    def service_account_key_file(self) -> Path:
        """The key that service account tokens are signed with."""
        return self.folder / "sa.key"

    @property
    def logs(self) -> Path:
        """The folder of the log files."""
        return self.folder / "logs"

    def client(self, token: str = "", timeout_seconds: float = 30) -> httpx.Client:
        """Return an HTTP client that trusts the server and speaks as the administrator, or as ``token``."""
        return api_client(self.url, token or self.token, self.ca_file, timeout_seconds)

    def kubeconfig(self, path: Path | None = None, **how: Any) -> Path:
        """Write a kubeconfig and return its path; ``how`` as in ``kubeconfig_document``."""
        path = path or Path(tempfile.mkdtemp(dir=self.folder)) / "kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(self.kubeconfig_document(**how), sort_keys=False))
        return path

    def kubeconfig_document(
        self, *, auth: str = "token", token: str = "", name: str = "test", namespace: str = "", trust: bool = True
    ) -> dict[str, Any]:
        """Return a kubeconfig as a document.

        ``auth`` is ``token`` (the administrator's, or ``token``), ``certificate`` or ``none``; without ``trust`` the
        certificate authority is left out, so that the server cannot be verified.
        """
        cluster = {"server": self.url}
        if trust:
            cluster["certificate-authority-data"] = text64(self.ca_pem)
        user: dict[str, str] = {}
        if auth == "token":
            user = {"token": token or self.token}
        elif auth == "certificate":
            user = {
                "client-certificate-data": text64(self.client_cert_pem),
                "client-key-data": text64(self.client_key_pem),
            }
        context = {"cluster": name, "user": f"{name}-admin", **({"namespace": namespace} if namespace else {})}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": f"{name}-admin", "user": user}],
            "contexts": [{"name": name, "context": context}],
            "current-context": name,
        }

    def client_certificate(self, user: str, groups: Sequence[str] = ()) -> Pair:
        """Return a client certificate that the server takes for ``user``."""
        return self._authority.client(user, groups)

    def user(self, name: str, token: str, groups: Sequence[str] = ()) -> str:
        """Make ``token`` known as ``name``'s, who may do nothing yet; restarts the API server, which reads it once."""
        self._tokens[token] = (name, ",".join(groups))
        self._write_tokens()
        if self._api and self._api.running:
            self.stop_api()
            self.start_api()
        return token

    def stop_api(self) -> None:
        """Stop the API server; its data stay in etcd."""
        if self._api:
            self._api.stop(grace_seconds=0.5)

    def start_api(self) -> None:
        """Start the API server again at the same port with the same data."""
        self._api = self._start_api(self.port)
        if self._controllers and not self._controllers.running:
            # It ends when it misses the API server at a bad moment; on a real cluster the kubelet starts it again.
            self._controllers = with_free_ports(1, self._start_controllers)

    def suspend(self) -> None:
        """Let the API server hang: connections are accepted and nothing is answered."""
        assert self._api
        self._api.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended API server go on."""
        assert self._api
        self._api.signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop everything and remove what was written."""
        for server in (self._controllers, self._api):
            if server:
                server.stop(grace_seconds=0)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, controllers: bool) -> None:
        self._etcd = _etcd(self._assets)
        self.port, self._api = with_free_ports(1, lambda port: (port, self._start_api(port)))
        with self.client() as api:
            # Made a moment after the server says that it is ready.
            for namespace in ("default", "kube-system"):
                wait_served(api, f"/api/v1/namespaces/{namespace}")
        if controllers:
            self._controllers = with_free_ports(1, self._start_controllers)

    def _write_files(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        server = self._authority.server()
        for name, data in {
            "ca.crt": self.ca_pem,
            "server.crt": server.cert_pem,
            "server.key": server.key_pem,
            "sa.key": new_key_pem(),
        }.items():
            (self.folder / name).write_bytes(data)
        self._write_tokens()

    def _write_tokens(self) -> None:
        lines = [f'{token},{name},{name},"{groups}"' for token, (name, groups) in self._tokens.items()]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")

    def _spawn(self, name: str, *flags: str) -> Server:
        return Server(name, [self._assets[name], *flags], self.logs / f"{name}.log", self._assets.env)

    def _start_api(self, port: int) -> Server:
        api = self._spawn(
            "kube-apiserver",
            f"--etcd-servers={self._etcd}",
            f"--etcd-prefix=/{self.folder.name}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            # An endpoint on the loopback is refused by the server's own validation, again and again.
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder / 'certs'}",
            f"--tls-cert-file={self.folder / 'server.crt'}",
            f"--tls-private-key-file={self.folder / 'server.key'}",
            f"--client-ca-file={self.ca_file}",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--service-account-key-file={self.service_account_key_file}",
            f"--service-account-signing-key-file={self.service_account_key_file}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
        )
        with api_client(f"https://127.0.0.1:{port}", self.token, self.ca_file, timeout_seconds=2) as http:
            api.wait_ready(lambda: _healthy(http, "/readyz"), READY_SECONDS)
        return api

    def _start_controllers(self, port: int) -> Server:
        kubeconfig = self.kubeconfig(self.folder / "controller-manager.kubeconfig")
        manager = self._spawn(
            "kube-controller-manager",
            f"--kubeconfig={kubeconfig}",
            f"--service-account-private-key-file={self.service_account_key_file}",
            "--leader-elect=false",
            *self._assets.without_http("kube-controller-manager"),
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder / 'controller-manager-certs'}",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )
        manager.wait_ready(lambda: listening(port), READY_SECONDS)
        with self.client() as api:
            # Made by one of the controllers: they are at work.
            wait_served(api, "/api/v1/namespaces/default/serviceaccounts/default", READY_SECONDS)
        return manager


_etcds: list[str] = []
_starting = threading.Lock()


def _etcd(assets: Assets) -> str:
    """Return the address of the etcd that all control planes of this process share, each below its own prefix."""
    with _starting:
        if not _etcds:
            _etcds.append(_start_etcd(assets))
        return _etcds[0]


def _start_etcd(assets: Assets) -> str:
    folder = Path(tempfile.mkdtemp(prefix="etcd-"))

    def start(port: int, peer_port: int) -> tuple[str, Server]:
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        words = [
            assets["etcd"], f"--data-dir={folder / 'data'}", f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}", "--unsafe-no-fsync",
        ]  # fmt: skip
        etcd = Server("etcd", words, folder / "etcd.log", assets.env)
        with httpx.Client(base_url=client, timeout=2, trust_env=False) as http:
            etcd.wait_ready(lambda: _healthy(http, "/health"), READY_SECONDS)
        return client, etcd

    address, server = with_free_ports(2, start)

    def end() -> None:
        server.stop(0)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return address


def api_client(url: str, token: str, ca_file: Path, timeout_seconds: float = 30) -> httpx.Client:
    """Return an HTTP client for an API server; no proxy of the environment comes between."""
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {token}"},
        verify=ssl.create_default_context(cafile=str(ca_file)),
        timeout=timeout_seconds,
        trust_env=False,
    )


def wait_served(api: httpx.Client, path: str, timeout_seconds: float = 30) -> None:
    """Wait until the API server has something at ``path``."""
    wait_until(path, lambda: api.get(path).is_success, timeout_seconds)


def text64(data: bytes) -> str:
    """Return bytes as a kubeconfig carries them."""
    return base64.b64encode(data).decode()


def _healthy(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).is_success
    except httpx.TransportError as error:
        raise OSError(str(error)) from None
