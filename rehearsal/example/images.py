"""Small container images made on the spot: as an archive of ``docker save``, or pushed to a registry.

Source: image-spec 1.1 (config, manifest); the layout of ``docker save`` before Docker 25.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

import httpx

from compass.digests import Digest, digest_of, hexadecimal
from compass.names import ImageName

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
BUILD_REGISTRY = "harbor.caicloud.xyz"
_MOMENT = "2021-03-04T05:20:00Z"


@dataclass(frozen=True)
class SmallImage:
    """An image of two layers: a base that all share, and one of its own."""

    name: ImageName
    config: bytes
    layers: tuple[bytes, ...]

    @property
    def config_digest(self) -> Digest:
        """The image ID."""
        return digest_of(self.config)


def small_image(path: str) -> SmallImage:
    """Return the image ``release/am_minion:v0.0.7`` of the build registry; the same path gives the same bytes."""
    name = ImageName.parse(f"{BUILD_REGISTRY}/{path}")
    layers = (
        _tar({"etc/os-release": b"NAME=example\n", "bin/sh": b"#!example\n"}),
        _tar({"component": path.encode()}),
    )
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": _MOMENT,
        "config": {"Cmd": ["/component"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(x) for x in layers]},
    }
    return SmallImage(name, json.dumps(config, sort_keys=True).encode(), layers)


def docker_save(image: SmallImage) -> bytes:
    """Return the image as ``docker save | gzip`` writes it."""
    members: dict[str, bytes] = {}
    paths = []
    for number, layer in enumerate(image.layers):
        folder = hexadecimal(digest_of(f"{number}{digest_of(layer)}".encode()))
        members[f"{folder}/VERSION"] = b"1.0"
        members[f"{folder}/layer.tar"] = layer
        paths.append(f"{folder}/layer.tar")
    config = f"{hexadecimal(image.config_digest)}.json"
    members[config] = image.config
    listing = [{"Config": config, "RepoTags": [str(image.name)], "Layers": paths}]
    members["manifest.json"] = json.dumps(listing).encode()
    return gzip.compress(_tar(members), compresslevel=6, mtime=0)


def push(registry_url: str, image: SmallImage) -> Digest:
    """Put the image into a registry under its own repository and tag, and return its manifest's digest.

    Source: distribution specification 1.1, section POST then PUT.
    """
    repository, tag = image.name.repository, image.name.tag
    layers = [gzip.compress(x, compresslevel=6, mtime=0) for x in image.layers]
    with httpx.Client(base_url=registry_url, trust_env=False, timeout=30) as http:
        for blob in (image.config, *layers):
            began = http.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
            where = httpx.URL(registry_url).join(began.headers["Location"])
            where = where.copy_merge_params({"digest": digest_of(blob)})
            http.put(where, content=blob, headers={"Content-Type": "application/octet-stream"}).raise_for_status()
        manifest = json.dumps(_manifest(image, layers)).encode()
        put = http.put(f"/v2/{repository}/manifests/{tag}", content=manifest, headers={"Content-Type": MANIFEST})
        put.raise_for_status()
    return digest_of(manifest)


def _manifest(image: SmallImage, layers: list[bytes]) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": image.config_digest, "size": len(image.config)},
        "layers": [{"mediaType": LAYER, "digest": digest_of(x), "size": len(x)} for x in layers],
    }


def _tar(members: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()
