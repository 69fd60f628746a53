"""Bundles packed by the step, and ways to look into them."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compass.bundle.open import Bundle, open_bundle
from compass.errors import InvalidInput
from compass.progress import Silent
from compass.steps.destination import PackOrder
from compass.steps.pack import Packed, pack
from compass.steps.verify import Verified, verify
from tests.compass.steps.places import workplace
from tests.material.bundles import tar_folder, write_checksums

VERSION = "2.7.1"


def packed(source: Path, output: Path, *, to: str = VERSION, state: str = "state", **order: Any) -> Packed:
    """Pack a bundle; the words are those of ``PackOrder``."""
    folder = source.parent
    with workplace(source, folder, {"state_dir": str(folder / state)}) as place:
        return pack(place, PackOrder(output=output, to_version=to, **order))


def verified(path: Path, folder: Path, **choices: Any) -> Verified:
    """Verify a bundle."""
    with workplace(path, folder, {"state_dir": str(folder / "state")}, **choices) as place:
        return verify(place)


def opened(path: Path) -> Bundle:
    """Open a bundle, unpacked beside it where it must be."""
    return open_bundle(path, path.parent / "state" / "bundles", Silent())


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    """Return the members of a tar in their order."""
    with tarfile.open(path) as tar:
        return {x.name: x for x in tar}


def unpacked(path: Path, folder: Path) -> Path:
    """Write the files of a tar below a folder and return it."""
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
    return folder


def altered(path: Path, folder: Path, change: Callable[[Path], None], *, sums: bool = True) -> Path:
    """Return a packed bundle with its files changed, and its checksums made to fit unless ``sums`` is false."""
    files = unpacked(path, folder / "files")
    change(files)
    if sums:
        signature = files / "checksums.txt.sig"
        data = signature.read_bytes() if signature.exists() else None
        signature.unlink(missing_ok=True)
        write_checksums(files)
        if data is not None:
            signature.write_bytes(data)
    return tar_folder(files, folder / "altered.tar")


def listing(folder: Path) -> list[str]:
    """Return what lies in a folder, but the site and the state directory of a workplace."""
    return sorted(x.name for x in folder.iterdir() if x.name not in ("site", "state"))


def refused(source: Path, output: Path, match: str, kind: type[Exception] = InvalidInput, **order: Any) -> None:
    """Check that packing is refused and leaves the output's folder as it was."""
    before = listing(output.parent) if output.parent.is_dir() else None
    with pytest.raises(kind, match=match):
        packed(source, output, **order)
    assert (listing(output.parent) if output.parent.is_dir() else None) == before
