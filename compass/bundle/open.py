"""Open a bundle in any of its forms: directory, packed tar, component archive, outer package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compass.bundle import legacy
from compass.bundle.archive import Archive
from compass.bundle.checksums import bundle_digest, differences, parse_checksums, refuse_wrong, sum_files
from compass.bundle.config import LegacyConfig, parse_legacy_config
from compass.bundle.definition import Definition, parse_definition
from compass.bundle.files import BundleFiles, DirectoryFiles, TarFiles, is_left_out
from compass.bundle.parts import find_archive
from compass.bundle.signature import VerifyingKey
from compass.bundle.streams import is_plain_tar
from compass.bundle.unpack import COMPONENT_ARCHIVE, OtherPackage, Unpacked, unpack
from compass.digests import Digest
from compass.documents import MAX_BYTES
from compass.errors import InvalidInput
from compass.progress import Progress

DEFINITION = "bundle.yaml"
LAYOUT_INDEX = "oci/index.json"
SIGNATURE_SUFFIX = ".sig"
MAX_SIGNATURE_BYTES = 1 << 10


@dataclass(frozen=True)
class Bundle:
    """An open bundle: its definition, its files, and what was concluded where it did not say.

    ``legacy_site`` is the folder that the old scripts called ``../..``; ``unpacked_sums`` are the sha256 of the files
    when they were unpacked, ``None`` for a bundle that is read where it lies.  ``versions`` are those that the name of
    an outer package in the path leads from and to.
    """

    where: str
    files: BundleFiles
    definition: Definition
    is_legacy: bool
    conclusions: tuple[str, ...]
    legacy_site: Path
    others: tuple[OtherPackage, ...] = ()
    unpacked_sums: dict[str, str] | None = None
    versions: tuple[str, str] | None = None

    def text(self, name: str) -> str:
        """Return a file of the bundle as text.

        Raises:
            InvalidInput: absent, too large, or no UTF-8.
        """
        return _text(self.files, name, self.where)

    @property
    def covered(self) -> list[str]:
        """The files that checksums speak of: all but the checksums and their signature."""
        listing = self.definition.checksums
        apart = {listing, listing + SIGNATURE_SUFFIX} if listing else set()
        return [x for x in self.files.names() if x not in apart]

    @property
    def signature(self) -> bytes | None:
        """The signature of the checksums, where the bundle carries one."""
        name = f"{self.definition.checksums}{SIGNATURE_SUFFIX}"
        if not self.definition.checksums or name not in self.files.names():
            return None
        with self.files.open(name) as stream:
            return stream.read(MAX_SIGNATURE_BYTES)

    @property
    def image_archives(self) -> list[str]:
        """The docker-save archives inside, sorted; empty for a packed bundle, whose images are a layout."""
        return [] if self.has_layout else legacy.image_archives(self.files.names())

    @property
    def has_layout(self) -> bool:
        """Whether the images lie in an OCI layout inside the bundle."""
        return LAYOUT_INDEX in self.files.names()

    @property
    def kubeconfig_template(self) -> str | None:
        """The legacy template for user clusters' kubeconfigs, where the bundle carries one."""
        names = self.files.names()
        return self.text(legacy.KUBECONFIG_TEMPLATE) if legacy.KUBECONFIG_TEMPLATE in names else None


def open_bundle(path: Path, bundles: Path, progress: Progress) -> Bundle:
    """Open the bundle at ``path``; a compressed archive is unpacked below ``bundles`` first.

    Raises:
        InvalidInput: there is nothing there, or it is no bundle, or it is damaged.
        Refused: there is no space to unpack it.
    """
    path = path.absolute()
    if path.is_dir():
        return _open_folder(path, bundles, progress)
    archive = find_archive(path)
    if archive is None:
        raise InvalidInput("open bundle", path, found="no such file or folder", expected="a bundle")
    try:
        return _open_archive(archive, bundles, progress)
    except InvalidInput:
        archive.refuse_wrong_part()
        raise


def _open_archive(archive: Archive, bundles: Path, progress: Progress) -> Bundle:
    path = archive.path
    if is_plain_tar(archive):
        files = TarFiles(archive)
        if DEFINITION in files.names() or legacy.looks_legacy(files.names()):
            return _assemble(files, path, None, (path.name, path.parent.name))
    folder, unpacked = unpack(archive, bundles, progress)
    return _assemble(DirectoryFiles(folder), path, unpacked, (path.name, path.parent.name))


def _open_folder(path: Path, bundles: Path, progress: Progress) -> Bundle:
    files = DirectoryFiles(path, in_place=True)
    if (path / DEFINITION).exists() or legacy.looks_legacy(files.names()):
        return _assemble(files, path, None, (path.parent.name, path.name))
    inside = [x for x in sorted(path.iterdir()) if COMPONENT_ARCHIVE.fullmatch(x.name) and x.is_file()]
    if len(inside) == 1:
        return open_bundle(inside[0], bundles, progress)
    raise InvalidInput("open bundle", path, found="neither bundle.yaml nor images/ and templates/", expected="a bundle")


def _assemble(files: BundleFiles, path: Path, unpacked: Unpacked | None, package_names: tuple[str, ...]) -> Bundle:
    names = files.names()
    is_legacy = DEFINITION not in names
    versions = next((v for v in map(legacy.versions_in, package_names) if v), None)
    definition = _legacy(files, path, versions) if is_legacy else _declared(files, path)
    return Bundle(
        where=str(path),
        files=files,
        definition=definition,
        is_legacy=is_legacy,
        conclusions=tuple(legacy.conclusions(names, definition, versions)) if is_legacy else (),
        legacy_site=_legacy_site(path, unpacked),
        others=unpacked.others if unpacked else (),
        unpacked_sums=unpacked.sums if unpacked else None,
        versions=versions,
    )


def _declared(files: BundleFiles, path: Path) -> Definition:
    definition = parse_definition(_text(files, DEFINITION, str(path)), f"{path}: {DEFINITION}")
    needed = {x for component in definition.components for x in component.templates}
    needed |= {definition.checksums} if definition.checksums else set()
    needed |= {LAYOUT_INDEX} if definition.base else set()
    missing = sorted(needed - set(files.names()))
    if missing:
        raise InvalidInput("open bundle", path, found=f"no {missing[0]}, which bundle.yaml names", do="add it")
    return definition


def _legacy(files: BundleFiles, path: Path, versions: tuple[str, str] | None) -> Definition:
    names = files.names()
    config = LegacyConfig({}, {})
    if legacy.CONFIG in names:
        config = parse_legacy_config(_text(files, legacy.CONFIG, str(path)), f"{path}: {legacy.CONFIG}")
    return legacy.legacy_definition(names, config, versions, str(path))


def _legacy_site(path: Path, unpacked: Unpacked | None) -> Path:
    """Return the folder that lies two above the component bundle, unpacked or as it would be."""
    if unpacked and unpacked.component:
        return path.parent
    return path.parent.parent


def _text(files: BundleFiles, name: str, where: str) -> str:
    if files.size(name) > MAX_BYTES:
        raise InvalidInput("read", f"{where}: {name}", found="too large", expected=f"at most {MAX_BYTES} bytes")
    with files.open(name) as stream:
        try:
            return stream.read().decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidInput("read", f"{where}: {name}", found="bytes that are no UTF-8 text") from None


def verify_bundle(bundle: Bundle, progress: Progress) -> tuple[Digest, dict[str, str]]:
    """Read every file of the bundle; return the bundle's digest, and path to sha256.

    Raises:
        InvalidInput: a file differs from ``checksums.txt``, or from what was unpacked.
    """
    sums = sum_files(bundle.files, bundle.covered, progress)
    wrong = wrong_files(bundle, sums)
    if wrong and isinstance(bundle.files, TarFiles):
        bundle.files.archive.refuse_wrong_part()
    if bundle.definition.checksums:
        refuse_wrong(wrong, bundle.where)
    else:
        refuse_wrong(wrong, str(bundle.files), do=f"remove {bundle.files}, so that it is unpacked again")
    return bundle_digest(sums), sums


def check_signature(bundle: Bundle, key: VerifyingKey) -> None:
    """Check that a bundle was signed by a key; that its files are those of the checksums is another matter.

    Raises:
        InvalidInput: it was not.
    """
    signature, listing = bundle.signature, bundle.definition.checksums
    if signature is None or listing is None:
        found = "no signature"
    elif key.made(signature, bundle.text(listing).encode()):
        return
    else:
        found = "a signature of another key, or of other checksums"
    raise InvalidInput("verify signature of", bundle.where, found=found, expected=f"one that fits {key.path}")


def wrong_files(bundle: Bundle, sums: Mapping[str, str]) -> list[str]:
    """Say what differs from ``checksums.txt``, or from what was unpacked; ``sums`` are those of the files covered.

    Raises:
        InvalidInput: ``checksums.txt`` cannot be read.
    """
    listing = bundle.definition.checksums
    if listing:
        return differences(sums, parse_checksums(bundle.text(listing), f"{bundle.where}: {listing}"))
    if bundle.unpacked_sums is None:
        return []
    return differences(sums, {name: x for name, x in bundle.unpacked_sums.items() if not is_left_out(name)})
