"""A bundle's files, in a directory or in a tar read in place."""

import io
import tarfile
from pathlib import Path

import pytest

from compass.bundle import files as module
from compass.bundle.files import BundleFiles, DirectoryFiles
from compass.errors import InvalidInput
from tests.compass.bundle.packing import Member, below, tar, tar_files, written

FILES = {"a": b"A" * 3000, "b/c": b"C", "b/d/e": b"", "说明": b"x"}
MEMBERS: list[Member] = [("b", None), *FILES.items()]


def in_a_folder(path: Path) -> BundleFiles:
    for name, data in FILES.items():
        written(path / "f" / name, data)
    return DirectoryFiles(path / "f")


def in_a_tar(path: Path) -> BundleFiles:
    return tar_files(written(path / "f.tar", tar(MEMBERS)))


both = pytest.mark.parametrize("make", [in_a_folder, in_a_tar])


@both
def test_files_are_found_by_their_path(tmp_path: Path, make: object) -> None:
    assert callable(make)
    files = make(tmp_path)
    assert files.names() == sorted(FILES)
    for name, data in FILES.items():
        assert files.size(name) == len(data)
        with files.open(name) as stream:
            assert stream.read() == data


@both
@pytest.mark.parametrize("name", ["x", "b", "../f/a", "/etc/passwd", ""])
def test_what_is_not_there_is_refused(tmp_path: Path, make: object, name: str) -> None:
    assert callable(make)
    files = make(tmp_path)
    for ask in (files.size, files.open):
        if name == "../f/a" and isinstance(files, DirectoryFiles):
            continue  # it is inside after all
        with pytest.raises(InvalidInput, match=r"no such file|a link to"):
            ask(name)


@both
def test_streams_do_not_share_a_position_and_seek(tmp_path: Path, make: object) -> None:
    assert callable(make)
    files = make(tmp_path)
    with files.open("a") as one, files.open("a") as two:
        one.read(1000)
        assert two.tell() == 0
        assert two.seek(-10, io.SEEK_END) == 2990
        assert len(two.read()) == 10
        assert one.seek(10, io.SEEK_CUR) == 1010
        assert len(one.read()) == 1990
        assert one.read() == b""
        one.seek(0)
        assert one.read(3) == b"AAA"


def test_a_tars_only_folder_is_no_part_of_the_paths(tmp_path: Path) -> None:
    assert tar_files(written(tmp_path / "a.tar", tar(below("top", MEMBERS)))).names() == sorted(FILES)
    assert tar_files(written(tmp_path / "b.tar", tar(below(".", MEMBERS)))).names() == sorted(FILES)
    only_images: list[Member] = [("images/a.tar.gz", b"x"), ("images/b.tar.gz", b"y")]
    assert tar_files(written(tmp_path / "c.tar", tar(only_images))).names() == ["images/a.tar.gz", "images/b.tar.gz"]


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("/etc/x", b"x"), "'/etc/x', no plain file inside"),
        (("../x", b"x"), "no plain file inside"),
        (("b/../../x", b"x"), "no plain file inside"),
        (("l", (tarfile.SYMTYPE, "a")), "'l', no plain file inside"),
        (("l", (tarfile.LNKTYPE, "a")), "'l', no plain file inside"),
        (("p", (tarfile.FIFOTYPE, "")), "'p', no plain file inside"),
        (("a", b"other"), "'a' twice"),
        (("./a", b"other"), "'a' twice"),
    ],
)
def test_a_member_of_a_tar_that_is_no_plain_file_inside_is_refused(tmp_path: Path, member: Member, said: str) -> None:
    path = written(tmp_path / "a.tar", tar([*MEMBERS, member]))
    with pytest.raises(InvalidInput, match=f"read bundle {path}: .*{said}"):
        tar_files(path)


def test_a_tar_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 3)
    with pytest.raises(InvalidInput, match="more than 3 files"):
        tar_files(written(tmp_path / "a.tar", tar(MEMBERS)))


def test_what_a_run_leaves_beside_a_bundle_is_no_part_of_it(tmp_path: Path) -> None:
    left = ("compass-state/x", "release_backup/default/y.yaml", ".git/config", "b/.git/x")
    for name in (*left, "b/compass-state/kept", "b/release_backup/kept"):
        written(tmp_path / "f" / name, b"")
    assert in_a_folder(tmp_path).names() == sorted([*FILES, "b/compass-state/kept", "b/release_backup/kept"])


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "b/../../secret"])
def test_a_link_that_leads_out_of_a_directory_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("secret")
    files = in_a_folder(tmp_path)
    (tmp_path / "f" / "l").symlink_to(target)
    assert "l" in files.names()
    for ask in (files.size, files.open):
        with pytest.raises(InvalidInput, match=r"/f/l: a link to /.*, expected a file inside"):
            ask("l")


def test_a_link_inside_a_directory_is_followed(tmp_path: Path) -> None:
    files = in_a_folder(tmp_path)
    (tmp_path / "f" / "l").symlink_to("b/c")
    with files.open("l") as stream:
        assert stream.read() == b"C"
