"""Image archives to measure with: real files of this machine as layers, in the form that ``docker save | gzip -1`` has.

The same files give the same archives.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tests.servers.assets import go_arch

IMAGES = 6
BASE_BYTES = 171_000_000
OWN_BYTES = (157_000_000, 79_000_000)
SOURCE = Path("/usr")
MAX_SHARE = 0.1  # of a layer, for one file
CREATED = "2021-03-05T08:00:00Z"
MTIME = 1614931200
REPOSITORY = "release/bench"


@dataclass(frozen=True)
class Archive:
    """One archive with one image; ``name`` is the image's full name, ``config_digest`` its identity."""

    path: Path
    name: str
    config_digest: str

    @property
    def short_name(self) -> str:
        """Repository and tag, without the host."""
        return self.name.partition("/")[2]


@dataclass(frozen=True)
class _Layer:
    path: Path
    diff_id: str


def write_archives(folder: Path, scale: float = 1.0, source: Path = SOURCE) -> list[Archive]:
    """Write the archives below ``folder``: images that share a base layer and have two layers each of their own.

    Raises:
        SystemExit: there are too few files below ``source``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = real_files(source)
    base = _layer(folder / "base.layer", source, names, BASE_BYTES * scale)
    own = [
        [_layer(folder / f"{n}-{m}.layer", source, names, size * scale) for m, size in enumerate(OWN_BYTES)]
        for n in range(IMAGES)
    ]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        archives = list(pool.map(lambda n: _archive(folder, n, [base, *own[n]]), range(IMAGES)))
    for layer in [base, *(x for layers in own for x in layers)]:
        layer.path.unlink()
    return archives


def real_files(root: Path) -> Iterator[str]:
    """Yield the files below ``root`` by their paths there, in an order without rhyme that is the same every time.

    A layer that takes the next ones is a mixture of programs, data and text, as layers of images are.
    """
    found = []
    for where, _, names in os.walk(root):
        below = os.path.relpath(where, root)
        found += [os.path.normpath(f"{below}/{x}") for x in names]
    yield from sorted(found, key=lambda x: hashlib.sha256(os.fsencode(x)).digest())


def _layer(path: Path, source: Path, names: Iterator[str], wanted_bytes: float) -> _Layer:
    """Write a plain tar of the next files; links, and files too large for it, are passed over."""
    hashing = _Hashing(path)
    with hashing, tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        while hashing.size < wanted_bytes:
            name = next(names, None)
            if name is None:
                raise SystemExit("too few files to make layers of: give a smaller --scale")
            if data := _content(source / name, MAX_SHARE * wanted_bytes):
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.mode = len(data), MTIME, 0o755
                tar.addfile(info, io.BytesIO(data))
    return _Layer(path, f"sha256:{hashing.hasher.hexdigest()}")


def _content(path: Path, max_bytes: float) -> bytes:
    """Return what a file holds; nothing of a link, of a file too large, or of one that cannot be read."""
    try:
        is_fit = path.is_file() and not path.is_symlink() and path.stat().st_size <= max_bytes
        return path.read_bytes() if is_fit else b""
    except OSError:
        return b""


class _Hashing(io.RawIOBase):
    """A file that is hashed as it is written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.hasher, self.size = hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hasher.update(data)
        self.size += len(data)
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _archive(folder: Path, number: int, layers: Sequence[_Layer]) -> Archive:
    name = f"bench.invalid/{REPOSITORY}-{number}:v1"
    config = _json(
        {
            "architecture": go_arch(),
            "config": {"Env": ["PATH=/usr/bin"], "Cmd": ["/usr/bin/true"]},
            "created": CREATED,
            "history": [{"created": CREATED, "created_by": f"COPY layer {n}"} for n in range(len(layers))],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [x.diff_id for x in layers]},
        }
    )
    digest = hashlib.sha256(config).hexdigest()
    path = folder / f"bench-{number}-v1.tar.gz"
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        _write_members(tar, name, (f"{digest}.json", config), layers)
    return Archive(path, name, f"sha256:{digest}")


def _write_members(tar: tarfile.TarFile, name: str, config: tuple[str, bytes], layers: Sequence[_Layer]) -> None:
    """Write what Docker until version 24 wrote: a folder for each layer, named alike wherever the layer is shared."""
    ids: list[str] = []
    for number, layer in enumerate(layers):
        top = config[0] if number == len(layers) - 1 else ""
        below = ids[-1:]
        ids.append(hashlib.sha256(f"{below} {layer.diff_id} {top}".encode()).hexdigest())
        folder = tarfile.TarInfo(f"{ids[-1]}/")
        folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, MTIME
        tar.addfile(folder)
        _add(tar, f"{ids[-1]}/VERSION", b"1.0")
        _add(tar, f"{ids[-1]}/json", _json({"id": ids[-1], **({"parent": below[0]} if below else {}), "os": "linux"}))
        info = tarfile.TarInfo(f"{ids[-1]}/layer.tar")
        info.size, info.mtime = layer.path.stat().st_size, MTIME
        with layer.path.open("rb") as stream:
            tar.addfile(info, stream)
    _add(tar, *config)
    entry = {"Config": config[0], "RepoTags": [name], "Layers": [f"{x}/layer.tar" for x in ids]}
    _add(tar, "manifest.json", _json([entry]))
    repository, _, tag = name.rpartition(":")
    _add(tar, "repositories", _json({repository: {tag: ids[-1]}}))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), MTIME
    tar.addfile(info, io.BytesIO(data))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def unpacked_bytes(archives: Sequence[Archive]) -> int:
    """Return what the archives hold, uncompressed."""
    return sum(_unpacked(x.path.open("rb")) for x in archives)


def _unpacked(stream: BinaryIO) -> int:
    with stream, gzip.GzipFile(fileobj=stream) as packed:
        size = 0
        while piece := packed.read(1 << 20):
            size += len(piece)
    return size
