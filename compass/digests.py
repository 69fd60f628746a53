"""Content digests (OCI image specification 1.1, descriptor.md, section Digests); only sha256 is used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import BinaryIO, NewType

from compass.errors import InvalidInput

Digest = NewType("Digest", str)
CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def parse_digest(text: str) -> Digest:
    """Return ``text`` as a digest.

    Raises:
        InvalidInput: it is not ``sha256:`` and 64 lower-case hexadecimal digits.
    """
    if not _DIGEST.fullmatch(text):
        raise InvalidInput("read digest", found=repr(text[:80]), expected="sha256:<64 hexadecimal digits>")
    return Digest(text)


def digest_of(data: bytes) -> Digest:
    """Return the digest of ``data``."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_of_stream(stream: BinaryIO) -> Digest:
    """Return the digest of everything left in ``stream``."""
    hasher = hashlib.sha256()
    for chunk in chunks(stream):
        hasher.update(chunk)
    return Digest("sha256:" + hasher.hexdigest())


def chunks(stream: BinaryIO, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the content of ``stream`` in pieces of at most ``size`` bytes."""
    while chunk := stream.read(size):
        yield chunk


def hexadecimal(digest: Digest) -> str:
    """Return the digits alone, as file names use them."""
    return digest.removeprefix("sha256:")
