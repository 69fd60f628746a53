"""Digests are sha256 and nothing else."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.digests import chunks, digest_of, digest_of_stream, hexadecimal, parse_digest
from compass.errors import InvalidInput

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_digest_of_nothing_is_known() -> None:
    assert digest_of(b"") == EMPTY
    assert parse_digest(EMPTY) == EMPTY
    assert hexadecimal(digest_of(b"")) == EMPTY[7:]


@given(st.binary(), st.integers(1, 10))
def test_a_stream_has_the_digest_of_its_bytes(data: bytes, size: int) -> None:
    assert digest_of_stream(io.BytesIO(data)) == digest_of(data)
    assert b"".join(chunks(io.BytesIO(data), size)) == data


@pytest.mark.parametrize(
    "text", ["", EMPTY[7:], EMPTY[:-1], EMPTY + "0", EMPTY.upper(), EMPTY + "\n", "sha512:" + "0" * 64]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="read digest"):
        parse_digest(text)
