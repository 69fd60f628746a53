"""Rewrite a ``docker save`` archive of Docker 20.10 in the layout of Docker 28: an OCI layout and a ``manifest.json``.

Layers (plain), configs and the old JSON of each layer are blobs; ``manifest.json`` has ``LayerSources``.

Source: OCI image specification 1.1, image-layout.md; moby 28, what image/tarexport writes.

Run ``python -m tests.compass.images.samples.docker_28 OLD.tar.gz NEW.tar.gz`` from the project's folder.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import posixpath
import sys
import tarfile
from pathlib import Path
from typing import Any

OCI = "application/vnd.oci.image"
MTIME = 0


def main(old: Path, new: Path) -> None:
    """Write ``new`` from ``old``."""
    with tarfile.open(old) as tar:
        links = {x.name: posixpath.normpath(f"{x.name}/../{x.linkname}") for x in tar if x.issym()}
        files = {x.name: tar.extractfile(x).read() for x in tar if x.isreg()}
    blobs: dict[str, bytes] = {}
    entries, manifests = [], []
    repositories: dict[str, dict[str, str]] = {}
    for image in json.loads(files["manifest.json"]):
        config = put(blobs, files[image["Config"]])
        layers = [put(blobs, files[links.get(x, x)]) for x in image["Layers"]]
        for layer in image["Layers"]:
            put(blobs, files[posixpath.dirname(layer) + "/json"])
        sources = [described(f"{OCI}.layer.v1.tar", x, blobs) for x in layers]
        document = {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
                    "config": described(f"{OCI}.config.v1+json", config, blobs), "layers": sources}  # fmt: skip
        manifest = put(blobs, compact(document))
        for name in image["RepoTags"]:
            repository, _, tag = name.rpartition(":")
            repositories.setdefault(repository, {})[tag] = layers[-1].removeprefix("sha256:")
            about = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}
            manifests.append({**described(f"{OCI}.manifest.v1+json", manifest, blobs), "annotations": about})
        entries.append({"Config": member(config), "RepoTags": image["RepoTags"], "Layers": [*map(member, layers)],
                        "LayerSources": {x["digest"]: x for x in sources}})  # fmt: skip
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": manifests}
    documents = {
        "index.json": compact(index),
        "manifest.json": compact(entries) + b"\n",
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "repositories": compact(repositories) + b"\n",
    }
    new.write_bytes(gzip.compress(archive({member(x): blobs[x] for x in sorted(blobs)} | documents), mtime=0))


def put(blobs: dict[str, bytes], data: bytes) -> str:
    """Keep a blob and return its digest."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blobs[digest] = data
    return digest


def described(media_type: str, digest: str, blobs: dict[str, bytes]) -> dict[str, Any]:
    """Return the descriptor of a blob."""
    return {"mediaType": media_type, "digest": digest, "size": len(blobs[digest])}


def member(digest: str) -> str:
    """Return the path of a blob in the archive."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def compact(value: Any) -> bytes:
    """Return JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def archive(files: dict[str, bytes]) -> bytes:
    """Return a tar of the files, the folders first."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in ("blobs/", "blobs/sha256/"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, MTIME
            tar.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), MTIME
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
