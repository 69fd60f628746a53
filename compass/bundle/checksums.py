"""Checksums of a bundle's files, and the digest of the whole."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from compass.bundle.files import BundleFiles
from compass.digests import CHUNK_BYTES, Digest, digest_of
from compass.errors import InvalidInput
from compass.progress import Progress
from compass.together import together

STEP = "verify bundle"
_MOST_READERS = 4  # more make a disk seek
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def parse_checksums(text: str, where: str) -> dict[str, str]:
    """Return path to sha256 from lines as ``sha256sum`` writes them.

    Raises:
        InvalidInput: a line does not fit, or a path is there twice.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(_lines(text), 1):
        match = _LINE.fullmatch(line)
        if not match or match[2] in sums:
            raise InvalidInput(
                "read", f"{where}, line {number}", found=repr(line[:80]), expected="'<sha256>  <path>', once"
            )
        sums[match[2]] = match[1]
    return sums


def _lines(text: str) -> list[str]:
    lines = re.split(r"\r?\n", text)  # a file's name may have what ``splitlines`` splits at
    return lines if lines[-1] else lines[:-1]


def write_checksums(sums: Mapping[str, str]) -> str:
    """Return the lines for ``sums``, sorted by path; the inverse of ``parse_checksums``.

    Raises:
        InvalidInput: a path is no text of one line.
    """
    for path in sums:
        if "\n" in path or "\r" in path or _is_no_text(path):
            raise InvalidInput("list checksums of", repr(path), found="a file's name that is no text of one line")
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums))


def _is_no_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return True
    return False


def bundle_digest(sums: Mapping[str, str]) -> Digest:
    """Return the digest of the whole bundle: that of its checksum lines."""
    return digest_of(write_checksums(sums).encode())


def sum_files(files: BundleFiles, names: list[str], progress: Progress) -> dict[str, str]:
    """Return the sha256 of each file, reading each once, some side by side."""
    sizes = {name: files.size(name) for name in names}
    progress.begin(STEP, sum(sizes.values()), "bytes")
    stop = threading.Event()

    def sum_file(name: str) -> str:
        hasher = hashlib.sha256()
        with files.open(name) as stream:
            while not stop.is_set() and (chunk := stream.read(CHUNK_BYTES)):
                hasher.update(chunk)
                progress.advance(STEP, len(chunk))
        return hasher.hexdigest()

    # The largest first: a large one that begins last would be waited for alone.
    order = sorted(names, key=sizes.__getitem__, reverse=True)
    with ThreadPoolExecutor(max_workers=min(_MOST_READERS, os.cpu_count() or 1)) as pool:
        sums = dict(zip(order, together(pool, sum_file, order, stop), strict=True))
    return {name: sums[name] for name in names}


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Say of each file that is missing, not listed, or another one, what is wrong with it."""
    return [
        *(f"{path} is missing" for path in sorted(expected.keys() - found.keys())),
        *(f"{path} is not listed" for path in sorted(found.keys() - expected.keys())),
        *(
            f"{path} has sha256 {found[path]}, not {expected[path]}"
            for path in sorted(found.keys() & expected.keys())
            if found[path] != expected[path]
        ),
    ]


def refuse_wrong(wrong: Sequence[str], where: str, do: str = "copy the bundle again from its source") -> None:
    """Check that nothing is wrong with a bundle.

    Raises:
        InvalidInput: something is; the first is named, and how many more.
    """
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InvalidInput("verify bundle", where, found=wrong[0] + more, do=do)
