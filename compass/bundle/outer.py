"""The outer package ``compass-upgrade-A-B.tar.gz``: our bundle with the packages that others make."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from compass.bundle.legacy import versions_in
from compass.bundle.tarball import TarMember, tar_size, tar_stream
from compass.bundle.unpack import COMPONENT_ARCHIVE
from compass.digests import chunks
from compass.errors import InvalidInput

COMPONENT = "compass-component-upgrade.tar"
ENDING = ".tar.gz"
_PACKAGE = re.compile(r".+\.(?:tar|tar\.gz|tgz)")


def outer_stem(versions: tuple[str, str]) -> str:
    """Return what the outer package that leads from one version to another is called, without ending.

    Raises:
        InvalidInput: the versions cannot be read back from the name.
    """
    stem = f"compass-upgrade-{versions[0]}-{versions[1]}"
    if versions_in(stem) != versions:
        raise InvalidInput(
            "name outer package", stem, found=f"versions {versions[0]!r} and {versions[1]!r}",
            expected="digits, letters, '.' and '_', a digit first", do="pass --from and --to",
        )  # fmt: skip
    return stem


def lowest_version(specifier: str) -> str | None:
    """Return the lowest version that a specifier (PEP 440) names as allowed; ``None`` where it has no lower bound."""
    try:
        bounds = [x.version for x in SpecifierSet(specifier) if x.operator in (">=", "==", "~=", "===")]
        return min(bounds, key=Version, default=None)
    except InvalidVersion:  # ``==2.7.*``
        return None


def component_member(stem: str, bundle: Sequence[TarMember]) -> TarMember:
    """Return the outer package's first member: our bundle, put together on the way."""
    return TarMember(f"{stem}/{COMPONENT}", tar_size(bundle), lambda: tar_stream(bundle))


def fellow_members(stem: str, fellows: Sequence[Path]) -> list[TarMember]:
    """Return the outer package's other members, sorted by name.

    Raises:
        InvalidInput: one is unreadable, no package, named like another, or would be taken for our bundle.
    """
    members: list[TarMember] = []
    for fellow in sorted(fellows, key=lambda x: x.name):
        name = f"{stem}/{fellow.name}"
        if not _PACKAGE.fullmatch(fellow.name) or COMPONENT_ARCHIVE.fullmatch(fellow.name):
            found = "the name of our bundle" if COMPONENT_ARCHIVE.fullmatch(fellow.name) else "no .tar, .tar.gz or .tgz"
            raise InvalidInput("pack beside the bundle", fellow, found=found, expected="another package")
        if name in {x.name for x in members}:
            raise InvalidInput("pack beside the bundle", fellow, found="a second package of this name", expected="one")
        members.append(_fellow(name, fellow))
    return members


def _fellow(name: str, path: Path) -> TarMember:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
    except OSError as error:
        raise InvalidInput("pack beside the bundle", path, found=(error.strerror or str(error)).lower()) from None
    return TarMember(name, size, lambda: _pieces(path))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from chunks(file)
