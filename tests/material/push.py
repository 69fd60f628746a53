"""Put images into a registry without the code under test, and lay them out as a packed bundle carries them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compass.digests import Digest, hexadecimal
from compass.names import ImageName
from tests.material.images import OCI_INDEX, ImageSpec, build, to_json
from tests.servers.registry import DockerRegistry


def push(registry: DockerRegistry, spec: ImageSpec, *, compressed: bool = True) -> Digest:
    """Put an image into the registry under its own repository and tag; return the digest of its manifest."""
    image = build(spec)
    *parts, manifest = image.stored(compressed=compressed)
    base = f"/v2/{image.name.repository}"
    with registry.client() as http:
        for blob in parts:
            begun = http.post(f"{base}/blobs/uploads/").raise_for_status()
            where = begun.headers["Location"]
            mark = "&" if "?" in where else "?"
            http.put(f"{where}{mark}digest={blob.digest}", content=blob.data).raise_for_status()
        kind = {"Content-Type": manifest.media_type}
        http.put(f"{base}/manifests/{image.name.tag}", content=manifest.data, headers=kind).raise_for_status()
    return manifest.digest


def at(registry: DockerRegistry, spec: ImageSpec) -> str:
    """Return the name by which nodes pull an image from the registry."""
    return str(ImageName.parse(spec.name).at(registry.host))


def oci_layout(specs: Sequence[ImageSpec], folder: Path) -> list[dict[str, Any]]:
    """Write images as an OCI layout with gzipped layers; return name, digest and size of each for ``bundle.yaml``."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    named: list[dict[str, Any]] = []
    for spec in specs:
        stored = build(spec).stored(compressed=True)
        for blob in stored:
            (blobs / hexadecimal(blob.digest)).write_bytes(blob.data)
        names = {"org.opencontainers.image.ref.name": spec.name, "io.containerd.image.name": spec.name}
        named.append({**stored[-1].descriptor, "annotations": names})
        size = sum(len(x.data) for x in stored)
        entries.append({"name": spec.name, "digest": str(stored[-1].digest), "size": size})
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": named}
    (folder / "index.json").write_bytes(to_json(index))
    (folder / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
    return entries
