"""Container images out of nothing: real layers, real configs, always the same bytes for the same words."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from compass.digests import Digest, digest_of, hexadecimal
from compass.names import ImageName
from tests.material.sleeper import sleeper

CREATED = "2021-03-05T08:00:00Z"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
SLEEPER_PATHS = ("sleep", "bin/sh")


@dataclass(frozen=True)
class ImageSpec:
    """What an image shall be: its full name, the files of each layer, and the program it runs."""

    name: str
    layers: Sequence[Mapping[str, bytes]]
    entrypoint: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "amd64"


@dataclass(frozen=True)
class Blob:
    """Bytes with the digest that names them."""

    data: bytes
    media_type: str

    @cached_property
    def digest(self) -> Digest:
        """The digest of the bytes."""
        return digest_of(self.data)

    @property
    def descriptor(self) -> dict[str, Any]:
        """How a manifest points to it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


@dataclass(frozen=True)
class Image:
    """A built image; ``layers`` are uncompressed tars, bottom first."""

    spec: ImageSpec
    layers: tuple[Blob, ...]
    config: Blob

    @property
    def name(self) -> ImageName:
        """The name that it has at the build registry."""
        return ImageName.parse(self.spec.name)

    @property
    def config_digest(self) -> Digest:
        """The identity of the content, however it is compressed."""
        return self.config.digest

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        """The digests of the uncompressed layers."""
        return tuple(x.digest for x in self.layers)

    def stored(self, *, compressed: bool) -> tuple[Blob, ...]:
        """Return every blob as an OCI layout holds it: layers, config, and the manifest last."""
        layers = tuple(gzipped(x) if compressed else x for x in self.layers)
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.config.descriptor,
            "layers": [x.descriptor for x in layers],
        }
        return (*layers, self.config, Blob(to_json(manifest), OCI_MANIFEST))


def build(spec: ImageSpec) -> Image:
    """Make the layers and the config of an image."""
    layers = tuple(Blob(layer_tar(files), OCI_LAYER) for files in spec.layers)
    config = {
        "architecture": spec.architecture,
        "config": {"Entrypoint": list(spec.entrypoint) or None, "Env": ["PATH=/bin"], "Labels": dict(spec.labels)},
        "created": CREATED,
        "history": [{"created": CREATED, "created_by": f"COPY layer {n}"} for n in range(len(layers))],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [x.digest for x in layers]},
    }
    return Image(spec, layers, Blob(to_json(config), OCI_CONFIG))


def runnable(spec: ImageSpec, *arguments: str) -> ImageSpec:
    """Return the spec with a program that sleeps until SIGTERM as its entrypoint, so that real pods run it.

    The same program lies at ``/bin/sh`` and ends at once with status 0 there, whatever it is told; with the
    argument ``--exit=N`` it ends with status N.

    Raises:
        Missing: this machine has no compiler for it.
    """
    program = sleeper()
    layer = dict.fromkeys(SLEEPER_PATHS, program)
    return replace(spec, layers=[layer, *spec.layers], entrypoint=["/sleep", *arguments])


def noise(size_bytes: int, seed: str = "") -> bytes:
    """Return bytes that do not compress, the same ones for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size_bytes)


def layer_tar(files: Mapping[str, bytes]) -> bytes:
    """Return the files as a layer: an uncompressed tar, everything executable and root's."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in sorted({parent for path in files for parent in _parents(path)}):
            tar.addfile(_member(folder, tarfile.DIRTYPE))
        for path, data in sorted(files.items()):
            member = _member(path, tarfile.REGTYPE)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def gzipped(layer: Blob) -> Blob:
    """Return a layer compressed, without time or name, so that it has the same digest every time."""
    return Blob(gzip.compress(layer.data, compresslevel=1, mtime=0), OCI_LAYER_GZIP)


def to_json(value: Any) -> bytes:
    """Return a value as the JSON that digests are taken of."""
    return json.dumps(value, separators=(",", ":")).encode()


def chain_ids(image: Image) -> list[str]:
    """Return the chain id of each layer as hexadecimal digits (OCI image specification, Layer ChainID)."""
    chain: list[str] = []
    for diff_id in image.diff_ids:
        data = f"sha256:{chain[-1]} {diff_id}" if chain else diff_id
        chain.append(hashlib.sha256(data.encode()).hexdigest() if chain else hexadecimal(diff_id))
    return chain


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _member(path: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type, member.mode, member.mtime = kind, 0o755, 1614931200
    return member


def prose(size_bytes: int, seed: str = "") -> bytes:
    """Return bytes that compress as programs and texts do: words that come back, and now and then something new."""
    chance = random.Random(seed)
    words = [noise(chance.randint(2, 12), f"{seed} {n}").hex().encode() for n in range(2000)]
    parts: list[bytes] = []
    size = 0
    while size < size_bytes:
        parts.append(chance.choice(words) if chance.random() < 0.9 else chance.randbytes(chance.randint(1, 30)))
        size += len(parts[-1])
    return b"".join(parts)[:size_bytes]
