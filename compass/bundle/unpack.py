"""Unpack a compressed bundle below the state directory: once, safely, and never half."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

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

    where: Path
    compressed: CountingStream
    members: int = 0
    size: int = 0
    sums: dict[str, str] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    others: list[OtherPackage] = field(default_factory=list)
    component: str = ""

    def bad(self, member: str, found: str) -> InvalidInput:
        return InvalidInput("unpack", f"{self.where}: {member}", found=found, expected="plain files inside the archive")

    def count(self, member: tarfile.TarInfo) -> None:
        self.members += 1
        self.size += member.size
        if self.members > MAX_MEMBERS or self.size > MAX_BYTES:
            raise self.bad(member.name, f"more than {MAX_MEMBERS} files or {MAX_BYTES >> 40} TiB")

    def check_ratio(self, read: int) -> None:
        if read > RATIO_GRACE_BYTES and read > MAX_RATIO * max(1, self.compressed.count):
            raise InvalidInput(
                "unpack", self.where, found=f"it expands more than {MAX_RATIO} times", expected="a bundle"
            )


def unpack(archive: Path, bundles: Path, progress: Progress) -> tuple[Path, Unpacked]:
    """Unpack ``archive`` below ``bundles`` unless it is there already; return the folder and what is known of it.

    The outer package is recognised by the component archive inside it; that one is unpacked in the same pass.

    Raises:
        InvalidInput: damaged, or a member leads out, is no plain file, or expands without end.
        Refused: there is not enough space.
    """
    with archive.open("rb") as file:
        sha256 = hexadecimal(digest_of_stream(file))
    target = bundles / sha256
    known = _known(target)
    if known:
        return target / "content", known
    # Compressed images do not shrink again: what is inside is at least as large as the archive.
    need_space(bundles, archive.stat().st_size, "unpack bundle")
    with folder_aside(target) as aside:
        content = aside / "content"
        content.mkdir(mode=0o700)
        with archive.open("rb") as file:
            seen = _walk_archive(archive, file, content, progress)
        unpacked = Unpacked(
            source=archive.name, sha256=sha256, component=seen.component, others=tuple(seen.others), sums=seen.sums
        )
        write_file(aside / "unpacked.json", json.dumps(unpacked.model_dump(), indent=1).encode())
    return target / "content", unpacked


def _known(target: Path) -> Unpacked | None:
    try:
        return Unpacked.model_validate_json((target / "unpacked.json").read_bytes())
    except (OSError, ValueError):
        return None


def _walk_archive(archive: Path, file: BinaryIO, content: Path, progress: Progress) -> _Pass:
    counting = CountingStream(file)
    seen = _Pass(archive, counting)
    progress.begin("unpack bundle", archive.stat().st_size, "bytes")
    try:
        stream = plain_stream(cast(BinaryIO, io.BufferedReader(counting, CHUNK_BYTES)), archive)
        _walk(stream, seen, content, progress, nested=False)
    except _DAMAGED as error:
        raise InvalidInput(
            "unpack", archive, found=f"damaged or cut short ({error})", do="copy the archive again from its source"
        ) from error
    if not seen.sums:
        raise InvalidInput("unpack", archive, found="no files", expected="an upgrade bundle")
    _strip_common_folder(content, seen)
    return seen


def _walk(stream: BinaryIO, seen: _Pass, content: Path, progress: Progress, *, nested: bool) -> None:
    told = 0
    # Only the outermost stream is checked to its end by gzip's own checksum; tarfile reads to its end marker.
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            seen.count(member)
            if not nested and member.isreg() and COMPONENT_ARCHIVE.fullmatch(member.name):
                seen.component = member.name
                inner = plain_stream(cast(BinaryIO, tar.extractfile(member)), f"{seen.where}: {member.name}")
                seen.sums.clear()
                _walk(inner, seen, content, progress, nested=True)
            elif not nested and (seen.component or _is_beside(member)):
                _note_other(tar, member, seen)
            else:
                _extract(tar, member, seen, content)
            progress.advance("unpack bundle", seen.compressed.count - told)
            told = seen.compressed.count
    for chunk in chunks(stream):
        seen.check_ratio(seen.size + len(chunk))


def _is_beside(member: tarfile.TarInfo) -> bool:
    """Tell whether a member is one of the outer package's archives rather than a file of our own bundle."""
    parts = member.name.removeprefix("./").strip("/").split("/")
    return member.isreg() and len(parts) <= 2 and bool(re.search(r"\.(tar|tgz|tar\.gz)$", parts[-1]))


def _note_other(tar: tarfile.TarFile, member: tarfile.TarInfo, seen: _Pass) -> None:
    if member.isreg():
        digest = digest_of_stream(cast(BinaryIO, tar.extractfile(member)))
        seen.others.append(OtherPackage(name=member.name, size=member.size, sha256=hexadecimal(digest)))


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, seen: _Pass, content: Path) -> None:
    name = _safe_name(member, seen)
    if name == ".":
        return
    path = content / name
    if member.isdir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    parents = {posixpath.join(*name.split("/")[:i]) for i in range(1, len(name.split("/")))}
    if parents & seen.links:
        raise seen.bad(member.name, "a path through a link")
    return name


def _link(member: tarfile.TarInfo, name: str, path: Path, seen: _Pass) -> None:
    # A hard link's target is named from the root of the archive, a symbolic link's from its own folder.
    start = posixpath.dirname(name) if member.issym() else ""
    target = posixpath.normpath(posixpath.join(start, member.linkname))
    if target.startswith(("/", "../")) or target == ".." or member.linkname.startswith("/"):
        raise seen.bad(member.name, f"a link to {member.linkname!r}")
    path.symlink_to(posixpath.relpath(target, posixpath.dirname(name) or "."))
    seen.links.add(name)


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
    known = {"images", "templates", "scripts", "oci"}
    if len(tops) != 1 or not tops[0].is_dir() or tops[0].is_symlink() or tops[0].name in known:
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
