"""Checksums are read back from what was written, and tell what differs."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.bundle.checksums import (
    bundle_digest,
    differences,
    parse_checksums,
    refuse_wrong,
    sum_files,
    write_checksums,
)
from compass.bundle.files import DirectoryFiles
from compass.digests import digest_of
from compass.errors import InvalidInput
from compass.progress import Silent

SUM = "0" * 64
paths = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=20)
sums = st.dictionaries(paths, st.binary(max_size=4).map(lambda x: hashlib.sha256(x).hexdigest()), max_size=5)


@given(sums)
def test_what_is_written_is_read_back(listed: dict[str, str]) -> None:
    assert parse_checksums(write_checksums(listed), "it") == listed


def test_lines_are_those_of_sha256sum(tmp_path: Path) -> None:
    for name in ("a", "b c", "说明", "b\x85c", "b\u2028c"):
        (tmp_path / name).write_bytes(name.encode())
    names = sorted(x.name for x in tmp_path.iterdir())
    done = subprocess.run(["sha256sum", "--", *names], cwd=tmp_path, capture_output=True, check=True)
    found = sum_files(DirectoryFiles(tmp_path), names, Silent())
    assert parse_checksums(done.stdout.decode(), "it") == found
    assert write_checksums(found) == done.stdout.decode()


def test_lines_of_windows_and_binary_marks_are_read() -> None:
    assert parse_checksums(f"{SUM} *a\r\n{SUM}  b\r\n", "it") == {"a": SUM, "b": SUM}
    assert parse_checksums("", "it") == {}


@pytest.mark.parametrize(
    "text",
    [
        f"{SUM} a",
        f"{SUM[1:]}  a",
        f"{SUM.replace('0', 'G')}  a",
        f"{SUM}  ",
        "a",
        "\n\n",
        f"{SUM}  b\n\n",
        f"\\{SUM}  a\\nb",
    ],
)
def test_a_line_that_does_not_fit_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"read checksums\.txt, line \d: .*expected '<sha256>  <path>', once"):
        parse_checksums(text, "checksums.txt")


def test_a_path_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="line 2"):
        parse_checksums(f"{SUM}  a\n{'1' * 64}  a\n", "it")


@pytest.mark.parametrize("path", [f"a\n{SUM}  b", "a\rb", "a\udcff"])
def test_a_path_that_would_forge_a_line_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="no text of one line"):
        bundle_digest({path: SUM})


def test_the_digest_is_that_of_the_lines_in_order() -> None:
    one, two = {"a": SUM, "b": "1" * 64}, {"b": "1" * 64, "a": SUM}
    assert bundle_digest(one) == bundle_digest(two) == digest_of(f"{SUM}  a\n{'1' * 64}  b\n".encode())
    assert bundle_digest(one) != bundle_digest({"a": SUM, "c": "1" * 64})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"a": SUM}, "b is missing"),
        ({"a": SUM, "b": SUM, "c": SUM}, "c is not listed"),
        ({"a": SUM, "b": "1" * 64}, f"b has sha256 {'1' * 64}, not {SUM}"),
        ({"c": SUM}, "a is missing (and 2 more)"),
    ],
)
def test_what_differs_is_named(found: dict[str, str], said: str) -> None:
    expected = {"a": SUM, "b": SUM}
    refuse_wrong(differences(expected, dict(expected)), "bundle")
    with pytest.raises(InvalidInput) as caught:
        refuse_wrong(differences(found, expected), "bundle")
    assert str(caught.value) == f"verify bundle bundle: {said}; copy the bundle again from its source"
