"""What is written down of uploads under way: for the next run, for our eyes only, and never believed blindly."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.clock import Clock, system_clock
from compass.digests import Digest
from compass.images.registry.sessions import KEPT_SECONDS, Sessions

DIGEST = Digest("sha256:" + "1" * 64)
LOCATION = "/v2/a/b/blobs/uploads/1?_state=x"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


def sessions(folder: Path, registry: str = "reg.example:5000", clock: Clock | None = None) -> Sessions:
    return Sessions(folder, registry, clock or system_clock())


def kept(folder: Path, location: str = LOCATION) -> Path:
    """Write an upload down as a run that is killed leaves it, and return its file."""
    with sessions(folder).record("a/b", DIGEST) as record:
        record.keep("/v2/a/b/blobs/uploads/1?_state=this-one-is-longer-and-goes")
        record.keep(location)
    (path,) = folder.iterdir()
    return path


def found(folder: Path, repository: str = "a/b", registry: str = "reg.example:5000") -> str | None:
    with sessions(folder, registry).record(repository, DIGEST) as record:
        return record.location


def test_the_next_run_finds_where_an_upload_goes_on(folder: Path) -> None:
    assert found(folder) is None
    kept(folder)
    assert found(folder) == LOCATION
    assert found(folder, "a/c") is None
    assert found(folder, registry="other.example") is None


def test_nothing_is_left_of_an_upload_that_is_over(folder: Path) -> None:
    kept(folder)
    with sessions(folder).record("a/b", DIGEST) as record:
        record.forget()
    assert list(folder.iterdir()) == []


def test_only_we_may_read_it(folder: Path) -> None:
    assert stat.S_IMODE(kept(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_two_processes_do_not_go_on_with_the_same_upload(folder: Path) -> None:
    kept(folder)
    code = (
        "import sys; from pathlib import Path; from compass.clock import system_clock\n"
        "from compass.images.registry.sessions import Sessions\n"
        "with Sessions(Path(sys.argv[1]), 'reg.example:5000', system_clock()).record('a/b', sys.argv[2]) as record:\n"
        "    print(record.location); record.keep('/v2/other'); record.forget()"
    )
    words = [sys.executable, "-c", code, str(folder), DIGEST]
    with sessions(folder).record("a/b", DIGEST):
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "None\n"
    assert found(folder) == LOCATION
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == f"{LOCATION}\n"


@pytest.mark.parametrize(
    "harm",
    [
        b"", b"no json", b"{}", b"[]",
        {"version": 2}, {"digest": "sha256:" + "2" * 64}, {"repository": "x"}, {"registry": "evil.example"},
        {"location": "http://evil.example/v2/"}, {"location": "//evil.example/v2/"}, {"more": 1},
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else x.decode() or "empty",
)  # fmt: skip
def test_a_record_that_is_damaged_or_of_something_else_counts_as_none(
    harm: bytes | dict[str, Any], folder: Path
) -> None:
    path = kept(folder)
    whole = json.loads(path.read_bytes())
    path.write_bytes(harm if isinstance(harm, bytes) else json.dumps({**whole, **harm}).encode())
    assert found(folder) is None
    kept(folder)
    assert found(folder) == LOCATION, "it is written anew"


def test_what_registries_have_long_forgotten_is_dropped(folder: Path) -> None:
    path = kept(folder)
    now = system_clock().now()
    later = Clock(lambda: now + timedelta(seconds=KEPT_SECONDS + 60), lambda: 0.0, lambda _: None)
    sessions(folder)
    assert path.exists()
    sessions(folder, clock=later)
    assert not path.exists()


def test_a_disk_that_takes_nothing_stops_no_upload(tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file where the folder should be")
    with sessions(tmp_path / "uploads").record("a/b", DIGEST) as record:
        record.keep(LOCATION)
        assert record.location is None
        record.forget()
    assert [x.name for x in tmp_path.iterdir()] == ["uploads"]
