"""How the tests speak to a registry: as curl would."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from compass.digests import Digest, digest_of
from compass.images.model import DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST

ANY = {"Accept": ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))}
OCTETS = {"Content-Type": "application/octet-stream"}
USER, PASSWORD = "compass", "rehearsal-password"


@dataclass(frozen=True)
class Peer:
    """A registry under test: ours, or Debian's."""

    name: str
    host: str
    scheme: str = "http"
    ca_file: Path | None = None

    def client(self, auth: tuple[str, str] | None = None) -> httpx.Client:
        """Return an HTTP client for it."""
        verify: Any = ssl.create_default_context(cafile=str(self.ca_file)) if self.ca_file else False
        base = f"{self.scheme}://{self.host}"
        return httpx.Client(base_url=base, auth=auth, verify=verify, timeout=30, trust_env=False)


def begin(http: httpx.Client, name: str) -> str:
    """Open an upload and return where it is."""
    answer = http.post(f"/v2/{name}/blobs/uploads/")
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


def with_digest(location: str, digest: str) -> str:
    """Return the location that ends an upload."""
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def put_blob(http: httpx.Client, name: str, data: bytes) -> Digest:
    """Store a blob."""
    digest = digest_of(data)
    answer = http.put(with_digest(begin(http, name), digest), content=data, headers=OCTETS)
    assert answer.status_code == 201, answer.text
    return digest


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """Return how a manifest names some bytes."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


def manifest(config: bytes, *layers: bytes, media_type: str | None = OCI_MANIFEST, **more: Any) -> bytes:
    """Return a manifest."""
    document: dict[str, Any] = {"schemaVersion": 2, **({"mediaType": media_type} if media_type else {})}
    document["config"] = descriptor(config, OCI_CONFIG)
    document["layers"] = [descriptor(x, "application/vnd.oci.image.layer.v1.tar") for x in layers]
    return json.dumps(document | more).encode()


def index(*manifests: bytes, media_type: str = OCI_INDEX, child: str = OCI_MANIFEST, **more: Any) -> bytes:
    """Return an index."""
    platform = {"os": "linux", "architecture": "amd64"}
    named = [descriptor(x, child, platform=platform) for x in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": named} | more).encode()


def put_manifest(
    http: httpx.Client, name: str, reference: str, data: bytes, media_type: str = OCI_MANIFEST
) -> httpx.Response:
    """Send a manifest and return the answer."""
    return http.put(f"/v2/{name}/manifests/{reference}", content=data, headers={"Content-Type": media_type})


def put_image(http: httpx.Client, name: str, tag: str, seed: str = "") -> bytes:
    """Store a small image and return its manifest."""
    config, layer = f'{{"seed":"{seed}"}}'.encode(), b"layer " + seed.encode()
    put_blob(http, name, config)
    put_blob(http, name, layer)
    data = manifest(config, layer)
    assert put_manifest(http, name, tag, data).status_code == 201
    return data


def codes(answer: httpx.Response) -> list[str]:
    """Return the codes of an error (distribution specification, section Error Codes)."""
    assert answer.headers["Content-Type"].startswith("application/json")
    return [x["code"] for x in answer.json()["errors"]]


def refused(answer: httpx.Response) -> tuple[int, list[str]]:
    """Return status and codes of an error."""
    return answer.status_code, codes(answer)
