"""Sizes of parts are those of ``split``."""

import pytest

from compass.errors import InvalidInput
from flows.packing import part_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 << 30), ("4G", 4 << 30), ("4gib", 4 << 30), ("700M", 700 << 20), ("700MB", 700_000_000),
        ("64K", 65536), ("1T", 1 << 40), ("65536", 65536), (" 1G ", 1 << 30),
    ],
)  # fmt: skip
def test_a_size_is_read_as_split_reads_it(text: str, size: int) -> None:
    assert part_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "1.5G", "4 GiB", "4X", "4iB", "4B", "١G", "4GG"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"read option --split: .*, expected a size such as 4GiB or 700M"):
        part_size(text)


@pytest.mark.parametrize("text", ["0", "1", "63K"])
def test_parts_that_are_too_small_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="at least 65536 bytes"):
        part_size(text)
