"""Archives member by member, good and bad."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from compass.bundle.archive import Archive
from compass.bundle.files import TarFiles
from compass.bundle.open import Bundle, open_bundle, verify_bundle
from compass.progress import Silent

#: A name, and: its bytes, ``None`` for a folder, or (type, what it links to).
Member = tuple[str, bytes | tuple[bytes, str] | None]
LEGACY: tuple[Member, ...] = (("images/a.tar.gz", b"A" * 2000), ("scripts/config", b""), ("templates/a.j2", b"a: b\n"))


def tar(members: Sequence[Member], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar of the members in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, what in members:
            member = tarfile.TarInfo(name)
            if isinstance(what, tuple):
                member.type, member.linkname = what
            elif what is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            else:
                member.size = len(what)
            archive.addfile(member, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


def tgz(members: Sequence[Member]) -> bytes:
    """Return the tar, compressed."""
    return gzip.compress(tar(members), compresslevel=1, mtime=0)


def below(folder: str, members: Sequence[Member] = LEGACY) -> list[Member]:
    """Return the members inside a folder."""
    return [(f"{folder}/{name}", what) for name, what in members]


def written(path: Path, data: bytes) -> Path:
    """Write the bytes and return where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def opened(path: Path, state: Path | None = None) -> Bundle:
    """Open and verify a bundle, with its state directory beside it."""
    bundle = open_bundle(path, (state or path.parent / "state") / "bundles", Silent())
    verify_bundle(bundle, Silent())
    return bundle


def tar_files(path: Path) -> TarFiles:
    """Return the files of a plain tar."""
    return TarFiles(Archive.of(path))


def contents(bundle: Bundle) -> dict[str, bytes]:
    """Return every file of a bundle."""
    found = {}
    for name in bundle.files.names():
        with bundle.files.open(name) as stream:
            found[name] = stream.read()
    return found


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return everything below a folder with inode and time of change."""
    return {str(x.relative_to(folder)): (x.lstat().st_ino, x.lstat().st_mtime_ns) for x in folder.rglob("*")}
