"""Signatures of bundles: Ed25519 over the checksums, made and verified without asking anybody.

A signature is the 64 bytes of RFC 8032 and nothing else, so that other tools verify it too (docs/formats.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from compass.errors import InvalidInput

MAX_KEY_BYTES = 1 << 20


@dataclass(frozen=True)
class SigningKey:
    """A private key; it is never shown."""

    _key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> SigningKey:
        """Return the key of a PEM file (PKCS #8).

        Raises:
            InvalidInput: unreadable, protected by a password, or of another kind.
        """
        do = "make one with openssl genpkey -algorithm ed25519"
        try:
            key = load_pem_private_key(_read(path), password=None)
        except TypeError:
            raise InvalidInput("read key", path, found="a key with a password", expected="one without", do=do) from None
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidInput("read key", path, expected="an Ed25519 private key as PEM", do=do)
        return cls(key)

    def sign(self, content: bytes) -> bytes:
        """Return the signature of some content."""
        return self._key.sign(content)


@dataclass(frozen=True)
class VerifyingKey:
    """A public key, and the file that it came from."""

    path: Path
    _key: Ed25519PublicKey = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> VerifyingKey:
        """Return the key of a PEM file (SubjectPublicKeyInfo).

        Raises:
            InvalidInput: unreadable, or of another kind.
        """
        try:
            key = load_pem_public_key(_read(path))
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise InvalidInput("read key", path, expected="an Ed25519 public key as PEM")
        return cls(path, key)

    def made(self, signature: bytes, content: bytes) -> bool:
        """Tell whether the private half of this key made a signature of some content."""
        try:
            self._key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise InvalidInput("read key", path, found=(error.strerror or str(error)).lower()) from None
