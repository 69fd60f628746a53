"""Archives of this room's tests: whole ones, and the same with a member changed."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compass.bundle.files import DirectoryFiles
from compass.images.archives.normalise import normalise
from compass.images.layout import Layout
from compass.images.model import StoredImage
from compass.progress import Silent
from tests.material.archives import Style, compress, docker_save
from tests.material.images import ImageSpec, noise

BASE = {"bin/base": noise(40_000, "base"), "etc/os-release": b"NAME=test\n" * 500}
Members = dict[str, bytes]


def spec(name: str = "harbor.caicloud.xyz/release/app:v1", own: str = "app", **more: Any) -> ImageSpec:
    """Return an image with a layer that all share and one of its own."""
    return ImageSpec(name, [BASE, {f"opt/{own}": noise(30_000, own)}], **more)


def read(path: Path, layout: Layout, **how: Any) -> list[StoredImage]:
    """Return the images of one archive, brought into a layout."""
    return normalise(DirectoryFiles(path.parent), [path.name], layout, Silent(), **how)[path.name]


def altered(path: Path, change: Callable[[Members], None], style: Style = "legacy") -> Path:
    """Write an archive of one image whose members were changed; links of the original are left out."""
    docker_save([spec()], path, style, "none")
    members: Members = {}
    with tarfile.open(path) as tar:
        for info in tar:
            if stream := tar.extractfile(info) if info.isreg() else None:
                members[info.name] = stream.read()
    change(members)
    write(path, members)
    return path


def write(path: Path, members: Members, compression: Any = "gzip") -> None:
    """Write a tar of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(compress(out.getvalue(), compression))


def change_json(members: Members, name: str, change: Callable[[Any], None]) -> None:
    """Change a JSON member in place."""
    value = json.loads(members[name])
    change(value)
    members[name] = json.dumps(value).encode()


def left_in(layout: Layout) -> list[str]:
    """Return every file below a layout but its lock."""
    found = (str(x.relative_to(layout.root)) for x in layout.root.rglob("*") if x.is_file())
    return sorted(x for x in found if x != "archives/.lock")
