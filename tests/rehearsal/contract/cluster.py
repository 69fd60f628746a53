"""The two kinds of cluster that the contract runs against, spoken to in the same words."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from rehearsal.pulling import PullFailed
from tests.servers.process import wait_until

Json = dict[str, Any]
T = TypeVar("T")
DIGEST = "sha256:" + "5" * 64
AGENT = "contract/1.0"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Images:
    """A registry's answers without a registry: it has every image but those of the repository ``absent``."""

    def pull(self, text: str) -> str:
        if "absent" in text:
            head = f'failed to pull and unpack image "{text}": failed to resolve reference "{text}"'
            raise PullFailed(f"rpc error: code = NotFound desc = {head}: {text}: not found")
        return f"{text.rpartition(':')[0]}@{DIGEST}"


@dataclass(frozen=True)
class Cluster:
    """How a cluster is reached."""

    name: str
    url: str
    token: str
    reader_token: str
    ca_pem: str
    kubeconfig: Path

    def client(self, token: str | None = None) -> httpx.Client:
        """Return a client that speaks as the administrator, as somebody else, or (empty) as nobody."""
        token = self.token if token is None else token
        headers = {"User-Agent": AGENT, **({"Authorization": f"Bearer {token}"} if token else {})}
        verify = ssl.create_default_context(cadata=self.ca_pem)
        return httpx.Client(base_url=self.url, headers=headers, verify=verify, timeout=30, trust_env=False)

    def kubectl(self, *words: str, fails: bool = False, stdin: str = "") -> str:
        """Run the real kubectl and return what it says."""
        command = [str(Path(sys.executable).with_name("kubectl")), "--kubeconfig", str(self.kubeconfig), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, input=stdin or None)
        assert (done.returncode != 0) == fails, f"{words}: {done.stdout}{done.stderr}"
        return done.stderr if fails else done.stdout


def kubeconfig(path: Path, url: str, token: str, ca_pem: str) -> Path:
    """Write a kubeconfig."""
    authority = path.with_suffix(".crt")
    authority.write_text(ca_pem)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": str(authority)}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(document))
    path.chmod(0o600)
    return path


@dataclass(frozen=True)
class Space:
    """A namespace of a test's own."""

    cluster: Cluster
    api: httpx.Client
    namespace: str

    def path(self, plural: str, name: str = "", *, of: str = "") -> str:
        """Return a path: ``of`` is the API version, by default that of the plural's usual place."""
        version = of or _USUAL.get(plural, "v1")
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        return f"{root}/namespaces/{self.namespace}/{plural}{f'/{name}' if name else ''}"

    def post(self, plural: str, body: Json, **query: str) -> httpx.Response:
        return self.api.post(self.path(plural), json=body, params=query)

    def get(self, plural: str, name: str = "", **query: str) -> httpx.Response:
        return self.api.get(self.path(plural, name), params=query)

    def put(self, plural: str, body: Json, **query: str) -> httpx.Response:
        return self.api.put(self.path(plural, body["metadata"]["name"]), json=body, params=query)

    def patch(self, plural: str, name: str, body: Any, kind: str = MERGE_PATCH, **query: str) -> httpx.Response:
        headers = {"Content-Type": kind}
        return self.api.patch(self.path(plural, name), content=json.dumps(body), headers=headers, params=query)

    def apply(self, plural: str, body: Json, manager: str, **query: str) -> httpx.Response:
        query["fieldManager"] = manager
        return self.patch(plural, body["metadata"]["name"], body, APPLY_PATCH, **query)

    def delete(self, plural: str, name: str, **options: Any) -> httpx.Response:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", **options}
        return self.api.request("DELETE", self.path(plural, name), json=body)

    def ready(self, plural: str, name: str, holds: Callable[[Json], T], what: str = "") -> T:
        """Wait until something holds of an object and return what it gives."""

        def look() -> T | None:
            answer = self.get(plural, name)
            return holds(answer.json()) if answer.is_success else None

        return wait_until(what or f"{plural}/{name}", look, timeout_seconds=30, every_seconds=0.05)  # type: ignore[return-value]

    def gone(self, plural: str, name: str) -> None:
        """Wait until an object is gone."""
        wait_until(f"no {plural}/{name}", lambda: self.get(plural, name).status_code == 404, every_seconds=0.05)

    def items(self, plural: str, **query: str) -> list[Json]:
        return list(self.get(plural, **query).raise_for_status().json()["items"])


_USUAL = {
    **dict.fromkeys(("deployments", "daemonsets", "statefulsets", "replicasets", "controllerrevisions"), "apps/v1"),
    "jobs": "batch/v1",
    "leases": "coordination.k8s.io/v1",
    "roles": "rbac.authorization.k8s.io/v1",
    "rolebindings": "rbac.authorization.k8s.io/v1",
}


def config_map(name: str, data: Json | None = None, **metadata: Any) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": data or {"a": "1"}}


def deployment(name: str, image: str = "site/thing:v1", replicas: int = 1, **spec: Any) -> Json:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels}, "template": template(labels, image), **spec,
        },
    }  # fmt: skip


def template(labels: Json, image: str = "site/thing:v1", **spec: Any) -> Json:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    container = {"name": "main", "image": image, "env": env, "ports": [{"containerPort": 80}]}
    return {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec},
    }


def service(name: str, **spec: Any) -> Json:
    spec = {"selector": {"app": name}, "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def managers(item: Json) -> dict[tuple[str, str], Json]:
    """Return the fields by manager and operation."""
    return {(x["manager"], x["operation"]): x["fieldsV1"] for x in item["metadata"].get("managedFields", [])}


def said(answer: httpx.Response) -> tuple[int, str, str]:
    """Return how a request was refused: code, reason, message."""
    body = answer.json()
    assert (body["kind"], body["apiVersion"], body["status"]) == ("Status", "v1", "Failure"), body
    assert body["code"] == answer.status_code
    return answer.status_code, body.get("reason", ""), body["message"]
