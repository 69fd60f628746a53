"""Unpack a compressed bundle below the state directory: once, safely, and never half."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import re
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from compass.bundle.archive import Archive
from compass.bundle.files import KNOWN_FOLDERS
from compass.bundle.streams import DAMAGE, CountingStream, plain_stream
from compass.digests import CHUNK_BYTES, chunks, digest_of_stream, hexadecimal
from compass.documents import Document
from compass.errors import InvalidInput
from compass.progress import Progress
from compass.store import folder_aside, need_space, write_file

COMPONENT_ARCHIVE = re.compile(r"(?:.*/)?(?:comapss|compass)-component-upgrade[^/]*\.(?:tar|tar\.gz|tgz)")
MAX_MEMBERS = 100_000
MAX_BYTES = 1 << 40
RATIO_GRACE_BYTES = 256 << 20
MAX_RATIO = 200
MAX_PATH_BYTES = 1024
_DAMAGED: tuple[type[Exception], ...] = (tarfile.TarError, *DAMAGE)


class OtherPackage(Document):
    """A package beside ours in the outer archive: known by its checksum, and left alone."""

    name: str
    size: int
    sha256: str


class Unpacked(Document):
    """What an archive held; ``sums`` is the sha256 of every file at the time it was unpacked."""

    source: str
    sha256: str
    component: str
    others: tuple[OtherPackage, ...]
    sums: dict[str, str]


@dataclass
class _Pass:
    """One walk through an archive: what it has met, and the limits it keeps."""

    where: Archive
    compressed: CountingStream
    members: int = 0
    size: int = 0
    sums: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    others: list[OtherPackage] = field(default_factory=list)
    component: str = ""

    def bad(self, member: str, found: str) -> InvalidInput:
        return InvalidInput("unpack", f"{self.where}: {member}", found=found, expected="plain files inside the archive")

    def count(self, member: tarfile.TarInfo) -> None:
        self.members += 1
        self.size += max(0, member.size)
        if self.members > MAX_MEMBERS or self.size > MAX_BYTES:
            raise self.bad(member.name, f"more than {MAX_MEMBERS} files or {MAX_BYTES >> 40} TiB")

    def check_ratio(self, read: int) -> None:
        if read > RATIO_GRACE_BYTES and read > MAX_RATIO * max(1, self.compressed.count):
            raise InvalidInput(
                "unpack", self.where, found=f"it expands more than {MAX_RATIO} times", expected="a bundle"
            )


def unpack(archive: Archive, bundles: Path, progress: Progress) -> tuple[Path, Unpacked]:
    """Unpack ``archive`` below ``bundles`` unless it is there already; return the folder and what is known of it.

    The outer package is recognised by the component archive inside it; that one is unpacked in the same pass.

    Raises:
        InvalidInput: damaged, or a member leads out, is no plain file, or expands without end.
        Refused: there is not enough space.
    """
    with archive.open() as file:
        sha256 = hexadecimal(digest_of_stream(file))
    target = bundles / sha256
    known = _known(target)
    if known:
        return target / "content", known
    shutil.rmtree(target, ignore_errors=True)  # damaged since
    # Compressed images do not shrink again: what is inside is at least as large as the archive.
    need_space(bundles, archive.size, "unpack bundle")
    with folder_aside(target) as aside:
        content = aside / "content"
        content.mkdir(mode=0o700)
        with archive.open() as file:
            seen = _walk_archive(archive, file, content, progress)
        unpacked = Unpacked(
            source=archive.path.name, sha256=sha256, component=seen.component, others=tuple(seen.others), sums=seen.sums
        )
        write_file(aside / "unpacked.json", json.dumps(unpacked.model_dump(), indent=1).encode())
    return target / "content", unpacked


def _known(target: Path) -> Unpacked | None:
    if not (target / "content").is_dir():
        return None
    try:
        return Unpacked.model_validate_json((target / "unpacked.json").read_bytes())
    except (OSError, ValueError):
        return None


def _walk_archive(archive: Archive, file: BinaryIO, content: Path, progress: Progress) -> _Pass:
    counting = CountingStream(file)
    seen = _Pass(archive, counting)
    progress.begin("unpack bundle", archive.size, "bytes")
    try:
        stream = plain_stream(cast(BinaryIO, io.BufferedReader(counting, CHUNK_BYTES)), archive)
        _walk(stream, seen, content, progress, nested=False)
    except _DAMAGED as error:
        raise InvalidInput(
            "unpack", archive, found=f"damaged or cut short ({error})", do="copy the archive again from its source"
        ) from error
    if not seen.sums:
        raise InvalidInput("unpack", archive, found="no files", expected="an upgrade bundle")
    _sum_links(seen)
    _strip_common_folder(content, seen)
    return seen


def _walk(stream: BinaryIO, seen: _Pass, content: Path, progress: Progress, *, nested: bool) -> None:
    told = 0
    # Only the outermost stream is checked to its end by gzip's own checksum; tarfile reads to its end marker.
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_WholeMember) as tar:
        for member in tar:
            seen.count(member)
            if not nested and member.isreg() and COMPONENT_ARCHIVE.fullmatch(member.name):
                _begin_component(member, seen, content)
                inner = plain_stream(cast(BinaryIO, tar.extractfile(member)), f"{seen.where}: {member.name}")
                _walk(inner, seen, content, progress, nested=True)
            elif not nested and (seen.component or _is_beside(member)):
                _note_other(tar, member, seen)
            else:
                _extract(tar, member, seen, content)
            progress.advance("unpack bundle", seen.compressed.count - told)
            told = seen.compressed.count
    for chunk in chunks(stream):
        seen.size += len(chunk)
        seen.check_ratio(seen.size)


class _WholeMember(tarfile.TarInfo):
    """A member of an archive that must go on until its end marker; ``tarfile`` takes a cut for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _WholeMember:
        try:
            return super().fromtarfile(tar)
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error) or "no end marker") from None


def _begin_component(member: tarfile.TarInfo, seen: _Pass, content: Path) -> None:
    """Start anew: what came before the component archive are files of the outer package, not of our bundle."""
    if seen.component:
        raise seen.bad(member.name, f"a second component bundle, beside {seen.component}")
    seen.component = member.name
    for name, sha256 in seen.sums.items():
        if name not in seen.links:
            seen.others.append(OtherPackage(name=name, size=(content / name).stat().st_size, sha256=sha256))
    seen.sums.clear()
    seen.links.clear()
    shutil.rmtree(content)
    content.mkdir(mode=0o700)


def _is_beside(member: tarfile.TarInfo) -> bool:
    """Tell whether a member is one of the outer package's archives rather than a file of our own bundle."""
    parts = member.name.removeprefix("./").strip("/").split("/")
    is_ours = len(parts) > 2 or parts[0] in KNOWN_FOLDERS
    return member.isreg() and not is_ours and bool(re.search(r"\.(tar|tgz|tar\.gz)$", parts[-1]))


def _note_other(tar: tarfile.TarFile, member: tarfile.TarInfo, seen: _Pass) -> None:
    if member.isreg():
        digest = digest_of_stream(cast(BinaryIO, tar.extractfile(member)))
        seen.others.append(OtherPackage(name=member.name, size=member.size, sha256=hexadecimal(digest)))


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, seen: _Pass, content: Path) -> None:
    name = _safe_name(member, seen)
    if name == ".":
        return
    path = content / name
    try:
        (path if member.isdir() else path.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise seen.bad(member.name, "a folder of a file's name") from None
    if member.isdir():
        return
    if path.is_symlink() or path.exists():
        raise seen.bad(member.name, "a name that is there twice")
    if member.issym() or member.islnk():
        _link(member, name, path, seen)
    elif member.isreg():
        need_space(content, member.size, "unpack bundle")
        seen.sums[name] = _write_member(tar, member, path, seen)
    else:
        raise seen.bad(member.name, "a device or pipe")


def _safe_name(member: tarfile.TarInfo, seen: _Pass) -> str:
    name = posixpath.normpath(member.name)
    if name.startswith(("/", "../")) or name == ".." or "\0" in name or "\\" in name:
        raise seen.bad(member.name, "a path that leads out of the archive")
    if not _can_be_named(name):
        raise seen.bad(repr(name[:80]), "a name that is too long, or no text of one line")
    parents = {posixpath.join(*name.split("/")[:i]) for i in range(1, len(name.split("/")))}
    if parents & seen.links.keys():
        raise seen.bad(member.name, "a path through a link")
    return name


def _can_be_named(name: str) -> bool:
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        return False
    return "\n" not in name and len(raw) <= MAX_PATH_BYTES and all(len(x) <= 255 for x in raw.split(b"/"))


def _link(member: tarfile.TarInfo, name: str, path: Path, seen: _Pass) -> None:
    # A hard link's target is named from the root of the archive, a symbolic link's from its own folder.
    start = posixpath.dirname(name) if member.issym() else ""
    target = posixpath.normpath(posixpath.join(start, member.linkname))
    if target.startswith(("/", "../")) or target == ".." or member.linkname.startswith("/"):
        raise seen.bad(member.name, f"a link to {member.linkname!r}")
    path.symlink_to(posixpath.relpath(target, posixpath.dirname(name) or "."))
    seen.links[name] = target


def _sum_links(seen: _Pass) -> None:
    """Give each link the sum of the file that it leads to."""
    for name in seen.links:
        target, steps = name, 0
        while target in seen.links and steps <= len(seen.links):
            target, steps = seen.links[target], steps + 1
        if target in seen.sums:
            seen.sums[name] = seen.sums[target]


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, seen: _Pass) -> str:
    hasher = hashlib.sha256()
    stream = cast(BinaryIO, tar.extractfile(member))
    read = seen.size - member.size
    with path.open("xb") as out:
        path.chmod(0o600)
        for chunk in chunks(stream):
            read += len(chunk)
            seen.check_ratio(read)
            hasher.update(chunk)
            out.write(chunk)
    if path.stat().st_size != member.size:
        raise InvalidInput("unpack", f"{seen.where}: {member.name}", found="cut short", do="copy the archive again")
    return hasher.hexdigest()


def _strip_common_folder(content: Path, seen: _Pass) -> None:
    """Lift the files out of the one folder that an archive usually has at its top."""
    tops = list(content.iterdir())
    if len(tops) != 1 or not tops[0].is_dir() or tops[0].is_symlink() or tops[0].name in KNOWN_FOLDERS:
        return
    folder = tops[0].rename(content.parent / "lifted")
    content.rmdir()
    folder.rename(content)
    seen.sums = {name.partition("/")[2]: value for name, value in seen.sums.items()}


def describe(unpacked: Unpacked) -> dict[str, Any]:
    """Return what ``inspect`` tells of the outer package."""
    return {
        "source": unpacked.source,
        "sha256": unpacked.sha256,
        "component": unpacked.component,
        "others": [x.model_dump() for x in unpacked.others],
    }
