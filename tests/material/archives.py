"""Archives as ``docker save`` wrote them over the years, and ways to break them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from compass.digests import Digest, hexadecimal
from compass.names import ImageName
from tests.material.images import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Blob, Image, ImageSpec, build, chain_ids, to_json
from tests.servers.assets import Missing

Style = Literal["legacy", "oci", "containerd"]
Compression = Literal["gzip", "none", "zstd"]
MTIME = 1614931200
IN_TOTO = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Saved:
    """What is known of an image in an archive."""

    name: ImageName
    config_digest: Digest
    diff_ids: tuple[Digest, ...]


def docker_save(
    specs: Sequence[ImageSpec], path: Path, style: Style = "legacy", compression: Compression = "gzip"
) -> list[Saved]:
    """Write an archive of images and return what is in it, in the order of ``specs``.

    ``legacy`` is what Docker wrote until version 24: a folder for each layer, a shared one as a link.  ``oci`` is
    Docker 25 and later: an OCI layout with plain layers and a ``manifest.json``.  ``containerd`` is the same with
    Docker's containerd image store: gzipped layers, each image behind an index with an attestation.
    """
    images = [build(x) for x in specs]
    members = {"legacy": _legacy, "oci": _oci, "containerd": _containerd}[style](images)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(compress(_tar(members), compression))
    return [Saved(x.name, x.config_digest, x.diff_ids) for x in images]


def compress(data: bytes, how: Compression) -> bytes:
    """Return data compressed, without time or name.

    Raises:
        Missing: no ``zstd`` command is here.
    """
    if how == "gzip":
        return gzip.compress(data, compresslevel=1, mtime=0)
    if how == "none":
        return data
    if not (zstd := shutil.which("zstd")):
        raise Missing("zstd: no such command")
    return subprocess.run([zstd, "-q", "-c"], input=data, check=True, capture_output=True).stdout


def corrupt_layer(path: Path) -> None:
    """Change one byte in the middle of the first image's first layer; the archive stays whole otherwise."""
    raw = path.read_bytes()
    packed = raw.startswith(b"\x1f\x8b")
    data = bytearray(gzip.decompress(raw) if packed else raw)
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest
        layer = tar.getmember(json.load(manifest)[0]["Layers"][0])
        while layer.issym():
            layer = tar.getmember(layer.linkname.removeprefix("../"))
        data[layer.offset_data + layer.size // 2] ^= 0xFF
    path.write_bytes(compress(bytes(data), "gzip" if packed else "none"))


def truncate(path: Path, keep: float = 0.6) -> None:
    """Cut a file off, as a copy that ran out of space does; ``keep`` is the share that stays."""
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * keep))


Member = tuple[tarfile.TarInfo, bytes]


def _tar(members: Iterator[Member]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _file(name: str, data: bytes) -> Member:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(data), MTIME
    return member, data


def _folder(name: str) -> Member:
    member = tarfile.TarInfo(f"{name}/")
    member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, MTIME
    return member, b""


def _link(name: str, target: str) -> Member:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mtime = tarfile.SYMTYPE, target, MTIME
    return member, b""


def _legacy(images: Sequence[Image]) -> Iterator[Member]:
    folders: set[str] = set()
    first_at: dict[Digest, str] = {}
    for image in images:
        ids = _v1_ids(image)
        for number, (v1_id, layer) in enumerate(zip(ids, image.layers, strict=True)):
            if v1_id in folders:
                continue
            folders.add(v1_id)
            yield _folder(v1_id)
            yield _file(f"{v1_id}/VERSION", b"1.0")
            parent = {"parent": ids[number - 1]} if number else {}
            yield _file(f"{v1_id}/json", to_json({"id": v1_id, **parent, "os": "linux"}))
            if layer.digest in first_at:
                yield _link(f"{v1_id}/layer.tar", f"../{first_at[layer.digest]}/layer.tar")
            else:
                first_at[layer.digest] = v1_id
                yield _file(f"{v1_id}/layer.tar", layer.data)
    for config in {x.config.digest: x.config for x in images}.values():
        yield _file(f"{hexadecimal(config.digest)}.json", config.data)
    entries = [
        (x, f"{hexadecimal(x.config_digest)}.json", [f"{v1_id}/layer.tar" for v1_id in _v1_ids(x)]) for x in images
    ]
    yield _file("manifest.json", to_json([_manifest_entry(*entry) for entry in entries]))
    yield _file("repositories", to_json(_repositories(images)))


def _v1_ids(image: Image) -> list[str]:
    """Return the folder of each layer; the top one belongs to its image alone, as Docker had it."""
    chain = chain_ids(image)
    ids = [hashlib.sha256(f"layer {x}".encode()).hexdigest() for x in chain]
    ids[-1] = hashlib.sha256(f"image {image.config_digest} {chain[-1]}".encode()).hexdigest()
    return ids


def _manifest_entry(image: Image, config: str, layers: Sequence[str]) -> dict[str, Any]:
    return {"Config": config, "RepoTags": [str(image.name)], "Layers": list(layers)}


def _repositories(images: Sequence[Image]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for image in images:
        repository, _, tag = str(image.name).rpartition(":")
        found.setdefault(repository, {})[tag] = _v1_ids(image)[-1]
    return found


def _oci(images: Sequence[Image]) -> Iterator[Member]:
    stored = [x.stored(compressed=False) for x in images]
    tops = [blobs[-1] for blobs in stored]
    yield from _layout(images, [b for blobs in stored for b in blobs], tops, stored)


def _containerd(images: Sequence[Image]) -> Iterator[Member]:
    stored = [x.stored(compressed=True) for x in images]
    blobs = [b for each in stored for b in each]
    tops = []
    for image, each in zip(images, stored, strict=True):
        *parts, attestation = _attestation(each[-1])
        top = Blob(to_json(_index_of(image, each[-1], attestation)), OCI_INDEX)
        blobs += [*parts, attestation, top]
        tops.append(top)
    yield from _layout(images, blobs, tops, stored)


def _attestation(manifest: Blob) -> tuple[Blob, Blob, Blob]:
    """Return what BuildKit puts beside an image: a statement, a config of no platform, a manifest of both."""
    statement = Blob(to_json({"subject": [{"digest": {"sha256": hexadecimal(manifest.digest)}}]}), IN_TOTO)
    rootfs = {"type": "layers", "diff_ids": [statement.digest]}
    config = Blob(to_json({"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": rootfs}), OCI_CONFIG)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor,
        "layers": [statement.descriptor],
    }
    return statement, config, Blob(to_json(document), OCI_MANIFEST)


def _index_of(image: Image, manifest: Blob, attestation: Blob) -> dict[str, Any]:
    about = {"vnd.docker.reference.digest": manifest.digest, "vnd.docker.reference.type": "attestation-manifest"}
    unknown = {"architecture": "unknown", "os": "unknown"}
    platform = {"architecture": image.spec.architecture, "os": "linux"}
    return {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {**manifest.descriptor, "platform": platform},
            {**attestation.descriptor, "annotations": about, "platform": unknown},
        ],
    }


def _layout(
    images: Sequence[Image], blobs: Sequence[Blob], tops: Sequence[Blob], stored: Sequence[Sequence[Blob]]
) -> Iterator[Member]:
    yield _folder("blobs")
    yield _folder("blobs/sha256")
    for digest, blob in sorted({x.digest: x for x in blobs}.items()):
        yield _file(_blob_path(digest), blob.data)
    named = [
        {
            **top.descriptor,
            "annotations": {
                "io.containerd.image.name": str(image.name),
                "org.opencontainers.image.ref.name": image.name.tag,
            },
        }
        for image, top in zip(images, tops, strict=True)
    ]
    yield _file("index.json", to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": named}))
    entries = [
        _manifest_entry(image, _blob_path(image.config_digest), [_blob_path(x.digest) for x in each[:-2]])
        for image, each in zip(images, stored, strict=True)
    ]
    yield _file("manifest.json", to_json(entries))
    yield _file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')


def _blob_path(digest: Digest) -> str:
    return f"blobs/sha256/{hexadecimal(digest)}"
