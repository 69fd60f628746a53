"""Keys are those of openssl, and openssl verifies what is signed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from compass.bundle.signature import SigningKey, VerifyingKey
from compass.errors import InvalidInput
from tests.compass.bundle.packing import written
from tests.material.keys import key_pair
from tests.servers.need import absent

CONTENT = b"0" * 64 + b"  bundle.yaml\n"


def test_what_a_key_signs_its_public_half_verifies_and_no_other(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "one")
    _, other = key_pair(tmp_path, "two")
    signature = SigningKey.read(private).sign(CONTENT)
    assert len(signature) == 64
    assert VerifyingKey.read(public).made(signature, CONTENT)
    assert not VerifyingKey.read(public).made(signature, CONTENT + b"x")
    assert not VerifyingKey.read(public).made(signature[:-1], CONTENT)
    assert not VerifyingKey.read(other).made(signature, CONTENT)


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    private, _ = key_pair(tmp_path, "one")
    assert repr(SigningKey.read(private)) == "SigningKey()"


def test_openssl_makes_keys_that_are_read_and_verifies_what_is_signed(tmp_path: Path) -> None:
    if not (openssl := shutil.which("openssl")):
        absent("openssl")

    def run(*words: str) -> str:
        return subprocess.run([openssl, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    run("genpkey", "-algorithm", "ed25519", "-out", "key.pem")
    run("pkey", "-in", "key.pem", "-pubout", "-out", "pub.pem")
    written(tmp_path / "checksums.txt", CONTENT)
    written(tmp_path / "checksums.txt.sig", SigningKey.read(tmp_path / "key.pem").sign(CONTENT))
    words = ("-in", "checksums.txt", "-sigfile", "checksums.txt.sig")
    assert "Verified Successfully" in run("pkeyutl", "-verify", "-pubin", "-inkey", "pub.pem", "-rawin", *words)


@pytest.mark.parametrize("what", ["absent", "text", "another kind", "public", "password"])
def test_what_is_no_private_key_to_sign_with_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "key.pem"
    said = "expected an Ed25519 private key as PEM; make one with openssl"
    if what == "absent":
        said = "no such file"
    elif what == "text":
        written(path, b"hello")
    elif what == "another kind":
        key_pair(tmp_path, "key", rsa=True)
    elif what == "public":
        path = key_pair(tmp_path, "x")[1]
    else:
        path, said = key_pair(tmp_path, "key", password=b"secret-of-the-key")[0], "a key with a password"
    with pytest.raises(InvalidInput, match=said) as caught:
        SigningKey.read(path)
    assert "secret-of" not in str(caught.value)


@pytest.mark.parametrize("what", ["text", "private", "another kind"])
def test_what_is_no_public_key_to_verify_with_is_refused(tmp_path: Path, what: str) -> None:
    private, public = key_pair(tmp_path, "key", rsa=what == "another kind")
    path = {"text": written(tmp_path / "t", b"x"), "private": private, "another kind": public}[what]
    with pytest.raises(InvalidInput, match="expected an Ed25519 public key as PEM"):
        VerifyingKey.read(path)
