"""Bundles as they reach a site: the legacy layout, its archives, and the packed form."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from compass.names import ImageName
from tests.material import templates
from tests.material.archives import MTIME, Compression, Saved, Style, docker_save
from tests.material.images import ImageSpec, noise, runnable
from tests.material.push import oci_layout
from tests.servers.control_plane import ControlPlane

BUILD_REGISTRY = "harbor.caicloud.xyz"
VERSIONS = ("2.7.0", "2.7.1")
SCRIPTS = ("upgrade.sh", "check_image.sh", "release_backup.sh", "remove_components.sh", "kubectl")
BASE_LAYER = {"etc/os-release": b"NAME=tests\n", "usr/lib/base": noise(20_000, "base")}


@dataclass(frozen=True)
class LegacyBundle:
    """A bundle in the seed's layout; ``saved`` are its images, sorted by archive."""

    folder: Path
    saved: tuple[Saved, ...]


def component_images(*, real: bool = False) -> list[ImageSpec]:
    """Return the three images of the upgrade, which share a base layer; ``real`` ones run on a real node."""
    specs = [
        _image("release/am_minion:v0.0.7"),
        _image("release/release-controller:v0.2.10"),
        _image("release/templates:v1.2.14"),
    ]
    return [runnable(x) for x in specs] if real else specs


def old_images(*, real: bool = False) -> list[ImageSpec]:
    """Return the images of the version before, which a site runs already."""
    specs = [_image("release/am_minion:v0.0.6"), _image("release/release-controller:v0.2.9")]
    return [runnable(x) for x in specs] if real else specs


def legacy_bundle(
    folder: Path,
    images: Sequence[ImageSpec] | None = None,
    *,
    style: Style = "legacy",
    compression: Compression = "gzip",
    kubeconfig: Literal["A", "B"] = "B",
    config: str = templates.CONFIG,
    controller_template: str = "release_controller.yaml.j2",
) -> LegacyBundle:
    """Make the seed's layout below ``folder``; ``kubeconfig`` A is by password, B by certificate."""
    saved: list[Saved] = []
    ending = {"gzip": ".tar.gz", "none": ".tar", "zstd": ".tar.zst"}[compression]
    for spec in images if images is not None else component_images():
        name = ImageName.parse(spec.name)
        stem = f"{name.repository.rpartition('/')[2].replace('_', '-')}-{name.tag}"
        saved += docker_save([spec], folder / "images" / f"{stem}{ending}", style, compression)
    by_style = {"A": templates.KUBECONFIG_PASSWORD, "B": templates.KUBECONFIG_CERTIFICATE}
    _write(
        folder,
        {
            "run.sh": "#!/bin/bash\n",
            "scripts/config": config,
            **{f"scripts/{x}": "" for x in SCRIPTS},
            "templates/am_minion_ks_dp.yaml.j2": templates.MINION,
            f"templates/{controller_template}": templates.RELEASE_CONTROLLER,
            "templates/kubeconfig.j2": by_style[kubeconfig],
        },
    )
    return LegacyBundle(folder, tuple(saved))


def component_archive(folder: Path, into: Path | None = None, *, spelling: str = "comapss") -> Path:
    """Pack a legacy bundle as ``comapss-component-upgrade.tar.gz`` (or spelled ``compass``) and return its path."""
    stem = f"{spelling}-component-upgrade"
    path = (into or folder.parent) / f"{stem}.tar.gz"
    members = {f"{stem}/{name}": data for name, data in _files(folder).items()}
    path.write_bytes(gzip.compress(_tar(members), compresslevel=1, mtime=0))
    return path


def outer_archive(component: Path, into: Path | None = None, versions: tuple[str, str] = VERSIONS) -> Path:
    """Pack a component archive with its fellows as ``compass-upgrade-A-B.tar.gz`` and return its path."""
    stem = f"compass-upgrade-{versions[0]}-{versions[1]}"
    path = (into or component.parent) / f"{stem}.tar.gz"
    fellows = {
        "compass-kernel-upgrade.tar.gz": gzip.compress(_tar({"kernel/README": b"kernel\n"}), mtime=0),
        "workspace-upgrade.tar.gz": gzip.compress(_tar({"workspace/README": b"workspace\n"}), mtime=0),
    }
    members = {component.name: component.read_bytes(), **fellows}
    packed = _tar({f"{stem}/{name}": data for name, data in members.items()})
    path.write_bytes(gzip.compress(packed, compresslevel=1, mtime=0))
    return path


def definition(images: Sequence[Mapping[str, Any]], **changes: Any) -> dict[str, Any]:
    """Return a ``bundle.yaml`` for the two components; ``changes`` replace its top-level keys."""
    minion_service = {"apiVersion": "v1", "kind": "Service", "namespace": "kube-system", "name": "am-minion"}
    document = {
        "apiVersion": "compass.upgrade/v1",
        "kind": "UpgradeBundle",
        "metadata": {"name": "compass-component", "from": f">={VERSIONS[0]},<{VERSIONS[1]}", "to": VERSIONS[1]},
        "sourceRegistry": BUILD_REGISTRY,
        "images": [dict(x) for x in images],
        "variables": {"addon_master_port": {"type": "integer", "default": 6009}},
        "components": [
            {
                "name": "am-minion",
                "roles": ["user"],
                "templates": ["templates/am_minion_ks_dp.yaml.j2"],
                "delete": [minion_service],
                "dropInitContainers": ["check-master"],
            },
            {"name": "release-controller", "roles": ["user"], "templates": ["templates/release_controller.yaml.j2"]},
        ],
        "remove": {"default": ["old-console", "old-gateway"], "kube-system": ["old-exporter"]},
        "protect": [],
        "checksums": "checksums.txt",
    }
    return {**document, **changes}


def packed_folder(folder: Path, images: Sequence[ImageSpec] | None = None, **changes: Any) -> Path:
    """Write the files of a packed bundle below ``folder`` and return it; ``changes`` as in ``definition``."""
    entries = oci_layout(images if images is not None else component_images(), folder / "oci")
    _write(
        folder,
        {
            "bundle.yaml": yaml.safe_dump(definition(entries, **changes), sort_keys=False),
            "templates/am_minion_ks_dp.yaml.j2": templates.MINION,
            "templates/release_controller.yaml.j2": templates.RELEASE_CONTROLLER,
        },
    )
    write_checksums(folder)
    return folder


def packed_bundle(path: Path, images: Sequence[ImageSpec] | None = None, **changes: Any) -> Path:
    """Make a packed bundle, one plain tar, at ``path`` and return it; ``changes`` as in ``definition``."""
    folder = packed_folder(path.with_suffix(".files"), images, **changes)
    return tar_folder(folder, path)


def tar_folder(folder: Path, path: Path) -> Path:
    """Write the files below ``folder`` as a plain tar, ``bundle.yaml`` first, and return its path."""
    files = _files(folder)
    first = {name: files.pop(name) for name in ("bundle.yaml", "checksums.txt") if name in files}
    path.write_bytes(_tar(first | files))
    return path


def write_checksums(folder: Path) -> None:
    """Write ``checksums.txt`` for every other file below ``folder``."""
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in _files(folder).items() if name != "checksums.txt"}
    (folder / "checksums.txt").write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def site_folder(folder: Path, control: ControlPlane | None = None, registry: str = "127.0.0.1:5000") -> Path:
    """Make the folder that an installer leaves: ``.install-env.sh`` and ``.kubectl.kubeconfig``; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".install-env.sh").write_text(templates.INSTALL_ENV.format(registry=registry))
    if control:
        control.kubeconfig(folder / ".kubectl.kubeconfig", name="control")
    return folder


def _image(short: str) -> ImageSpec:
    name = short.rpartition("/")[2].partition(":")[0]
    return ImageSpec(f"{BUILD_REGISTRY}/{short}", [BASE_LAYER, {f"pangolin/{name}": noise(5_000, short)}])


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _files(folder: Path) -> dict[str, bytes]:
    found = sorted(x for x in folder.rglob("*") if x.is_file())
    return {x.relative_to(folder).as_posix(): x.read_bytes() for x in found}


def _tar(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), MTIME
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()
