"""What is asked of ``pack``, and where its result goes: decided and checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compass.bundle.legacy import UNKNOWN_VERSION, versions_in
from compass.bundle.open import Bundle
from compass.bundle.outer import ENDING, lowest_version, outer_stem
from compass.bundle.parts import ELSEWHERE, parts_beside, whole_of
from compass.errors import InvalidInput, Refused
from compass.store import disk_error, sync_folder


@dataclass(frozen=True)
class PackOrder:
    """What to pack into, and how; paths are absolute.

    ``base`` is the packed bundle whose blobs are left out, ``part_bytes`` the size of the parts, ``beside`` the other
    packages of an outer package (``None`` when none is wanted), ``key`` a private key to sign with.  The versions are
    those that the bundle leads from and to, where it does not say.
    """

    output: Path
    base: Path | None = None
    part_bytes: int | None = None
    beside: tuple[Path, ...] | None = None
    from_version: str = ""
    to_version: str = ""
    key: Path | None = None
    force: bool = False


@dataclass(frozen=True)
class Destination:
    """The file to write, whole or in parts; ``stem`` is the folder inside an outer package, empty where it is none."""

    path: Path
    version: str
    stem: str = ""
    may_replace: bool = False

    @property
    def there(self) -> list[Path]:
        """What lies there now: the file, or parts of it."""
        return [*([self.path] if self.path.exists() else []), *parts_beside(self.path)]

    def refuse_what_is_there(self) -> None:
        """Check that nothing is replaced that may not be.

        Raises:
            Refused: something lies there.
        """
        if self.there and not self.may_replace:
            raise Refused("pack into", self.there[0], found="it is there already", do="pass --force to replace it")

    def put(self, files: list[Path]) -> list[Path]:
        """Move whole files from aside into place, instead of what lies there, and return where they are.

        Raises:
            Refused: somebody else has put something there meanwhile, and it may not be replaced.
            StepFailed: the disk says no.
        """
        self.refuse_what_is_there()
        new = {self.path.with_name(x.name): x for x in files}
        try:
            for old in self.there:
                if old not in new:
                    old.unlink()
            for target, file in new.items():
                file.replace(target)
            sync_folder(self.path.parent)
        except OSError as error:
            raise disk_error("write bundle", self.path, error, do=ELSEWHERE) from error
        return list(new)


def find_destination(bundle: Bundle, order: PackOrder) -> Destination:
    """Return where the packed bundle goes.

    Raises:
        InvalidInput: the name does not fit, it lies inside the bundle, or a version is not known.
        Refused: something is there already, and it may not be replaced.
    """
    version = _version(bundle, order)
    stem = _stem(bundle, order, version) if order.beside is not None else ""
    default = f"{stem}{ENDING}" if stem else f"{bundle.definition.metadata.name}-{version}.tar"
    path = order.output / default if order.output.is_dir() else order.output
    expected = default if stem else "a name that does not end as a compressed file's"
    if (path.name != default) if stem else path.name.endswith((".gz", ".tgz", ".zst")):
        raise InvalidInput("pack into", path, found=f"the name {path.name}", expected=f"{expected}, or a folder")
    _check_place(path, bundle, order)
    destination = Destination(path, version, stem, may_replace=order.force)
    destination.refuse_what_is_there()
    return destination


def _version(bundle: Bundle, order: PackOrder) -> str:
    said = bundle.definition.metadata.to
    if order.to_version and said not in (order.to_version, UNKNOWN_VERSION):
        raise InvalidInput(
            "pack", bundle.where, found=f"version {said}", expected=order.to_version, do="leave out --to"
        )
    return order.to_version or said


def _stem(bundle: Bundle, order: PackOrder, version: str) -> str:
    hints = (versions_in(order.output.name), bundle.versions)
    hinted = next((x[0] for x in hints if x), None)
    first = order.from_version or lowest_version(bundle.definition.metadata.from_versions) or hinted
    if first is None or version == UNKNOWN_VERSION:
        which = "--from" if first is None else "--to"
        raise InvalidInput(
            "name outer package of", bundle.where, found="a version that is not known", do=f"pass {which}"
        )
    return outer_stem((first, version))


def _check_place(path: Path, bundle: Bundle, order: PackOrder) -> None:
    if not path.parent.is_dir():
        raise InvalidInput("pack into", path, found="no such folder", do="make it first")
    source = Path(bundle.where).resolve()
    if source.is_dir() and path.resolve().is_relative_to(source):
        raise InvalidInput("pack into", path, found="a place inside the bundle", do="write it elsewhere")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InvalidInput("pack into", path, found="no plain file", expected="a new name, or a plain file")
    bases = [order.base, *parts_beside(whole_of(order.base))] if order.base else []
    keys = [order.key] if order.key else []
    inputs = {x.resolve() for x in (source, *bases, *keys, *(order.beside or ()))}
    if not inputs.isdisjoint(x.resolve() for x in (path, *parts_beside(path))):
        raise InvalidInput("pack into", path, found="a file that is read for it", do="write it elsewhere")
