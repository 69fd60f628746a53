"""The state directory: private, whole or absent, and cleaned of what the dead left."""

import os
import subprocess
from pathlib import Path

import pytest

from compass import store
from compass.errors import Refused, StepFailed
from compass.store import (
    StateDirectory,
    drop_leftovers,
    folder_aside,
    free_bytes,
    need_space,
    private_folder,
    write_file,
)


def modes(root: Path) -> dict[str, int]:
    return {x.relative_to(root).as_posix(): x.stat().st_mode & 0o777 for x in root.rglob("*")}


def dead_process() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_files_and_the_folders_above_are_private(tmp_path: Path) -> None:
    write_file(tmp_path / "a" / "b" / "c", b"data")
    assert modes(tmp_path) == {"a": 0o700, "a/b": 0o700, "a/b/c": 0o600}
    assert (tmp_path / "a/b/c").read_bytes() == b"data"


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"old")
    inode = (tmp_path / "a").stat().st_ino
    with (tmp_path / "a").open("rb") as reader:
        write_file(tmp_path / "a", b"new")
        assert reader.read() == b"old", "who reads the old one reads it to its end"
    assert (tmp_path / "a").stat().st_ino != inode
    assert [x.name for x in tmp_path.iterdir()] == ["a"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StepFailed, match=r"write .*/a: Is a directory"):
        write_file(tmp_path / "a", b"x")
    assert [x.name for x in tmp_path.iterdir()] == ["a"]


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StepFailed, match=r"create folder .*: Not a directory"):
        private_folder(tmp_path / "a" / "b")


def test_a_folder_aside_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "state" / "x"
    with folder_aside(target) as aside:
        (aside / "f").write_text("1")
        assert not target.exists()
    assert (target / "f").read_text() == "1"
    assert [x.name for x in target.parent.iterdir()] == ["x"]
    assert target.stat().st_mode & 0o777 == 0o700


def test_a_folder_aside_that_fails_leaves_nothing_not_even_folders(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ZeroDivisionError), folder_aside(tmp_path / "mine" / "a" / "b" / "c") as aside:
        (aside / "f").write_text(str(1 / 0))
    assert [x.name for x in tmp_path.rglob("*")] == ["mine"], "what was there before stays"


def test_a_folder_that_came_to_be_meanwhile_is_kept(tmp_path: Path) -> None:
    with folder_aside(tmp_path / "x") as aside:
        (aside / "f").write_text("late")
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "f").write_text("first")
    assert (tmp_path / "x" / "f").read_text() == "first"
    assert [x.name for x in tmp_path.iterdir()] == ["x"]


def test_what_a_dead_process_left_is_dropped_and_a_living_ones_is_not(tmp_path: Path) -> None:
    dead, living = tmp_path / f".partial-{dead_process()}-ab", tmp_path / f".partial-{os.getppid()}-ab"
    foreign = tmp_path / ".partial-not-ours"
    for folder in (dead, living, foreign):
        (folder / "deep").mkdir(parents=True)
    drop_leftovers(tmp_path)
    assert sorted(x.name for x in tmp_path.iterdir()) == sorted([living.name, foreign.name])


def test_too_little_space_is_refused_with_what_to_do(tmp_path: Path) -> None:
    free = free_bytes(tmp_path / "not" / "there" / "yet")
    need_space(tmp_path / "not" / "there", 0, "keep it")
    with pytest.raises(
        Refused, match=r"^keep it below .*: \d+ MiB free, expected \d+ MiB; free space, or pass --state-dir"
    ):
        need_space(tmp_path / "not" / "there", free + (1 << 30), "keep it")
    assert list(tmp_path.iterdir()) == []


def test_a_reserve_is_left_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SPACE_RESERVE_BYTES", free_bytes(tmp_path) * 2)
    with pytest.raises(Refused):
        need_space(tmp_path, 0, "keep it")


def test_what_is_kept_has_its_place(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.bundles == tmp_path / "bundles"
    assert state.reports == tmp_path / "reports"
    assert state.backups("one") == tmp_path / "backups" / "one"
