"""The outer package: its name, and what lies in it."""

from pathlib import Path

import pytest

from compass.bundle.archive import Archive
from compass.bundle.outer import component_member, fellow_members, lowest_version, outer_stem
from compass.bundle.tarball import TarMember, tar_stream
from compass.bundle.unpack import unpack
from compass.errors import InvalidInput
from compass.progress import Silent
from tests.compass.bundle.packing import tgz, written

BUNDLE = [TarMember("templates/a.j2", 3, lambda: iter([b"a: "]))]


def test_the_name_carries_the_versions() -> None:
    assert outer_stem(("2.7.0", "2.7.1")) == "compass-upgrade-2.7.0-2.7.1"


@pytest.mark.parametrize("versions", [("2.7-0", "2.7.1"), ("v2", "3"), ("", "2"), ("2.7.0", "2.7.1/x")])
def test_versions_that_cannot_be_read_back_from_the_name_are_refused(versions: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput, match=r"name outer package .*; pass --from and --to"):
        outer_stem(versions)


@pytest.mark.parametrize(
    ("specifier", "lowest"),
    [
        (">=2.7.0,<2.7.1", "2.7.0"),
        ("==2.7.0", "2.7.0"),
        (">=2.10,>=2.9", "2.9"),
        ("<3", None),
        ("", None),
        ("==2.7.*", None),
    ],
)
def test_the_version_that_a_bundle_leads_from_is_the_lowest_that_it_may_be_applied_to(
    specifier: str, lowest: str | None
) -> None:
    assert lowest_version(specifier) == lowest


def test_the_bundle_comes_first_and_is_found_among_its_fellows(tmp_path: Path) -> None:
    fellows = [written(tmp_path / f"{x}-upgrade.tar.gz", tgz([(x, b"x")])) for x in ("workspace", "kernel")]
    stem = "compass-upgrade-1-2"
    members = [component_member(stem, BUNDLE), *fellow_members(stem, fellows)]
    names = ["compass-component-upgrade.tar", "kernel-upgrade.tar.gz", "workspace-upgrade.tar.gz"]
    assert [x.name for x in members] == [f"compass-upgrade-1-2/{x}" for x in names]
    path = written(tmp_path / "out.tar", b"".join(tar_stream(members)))
    folder, known = unpack(Archive.of(path), tmp_path / "bundles", Silent())
    assert (folder / "templates" / "a.j2").read_bytes() == b"a: "
    assert [x.name for x in known.others] == [f"compass-upgrade-1-2/{x}" for x in names[1:]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("README.md", "no .tar, .tar.gz or .tgz, expected another package"),
        ("comapss-component-upgrade.tar.gz", "the name of our bundle"),
        ("compass-component-upgrade-2.tar", "the name of our bundle"),
    ],
)
def test_what_would_not_be_read_back_as_a_fellow_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        fellow_members("x", [written(tmp_path / name, b"x")])


def test_two_fellows_of_one_name_or_an_absent_one_are_refused(tmp_path: Path) -> None:
    same = [written(tmp_path / x / "a.tar", b"x") for x in "12"]
    with pytest.raises(InvalidInput, match="a second package of this name"):
        fellow_members("x", same)
    with pytest.raises(InvalidInput, match="no such file"):
        fellow_members("x", [tmp_path / "none.tar"])
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(InvalidInput, match="is a directory"):
        fellow_members("x", [tmp_path / "folder.tar"])
