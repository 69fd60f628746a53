"""A layer that was compressed once is not compressed again, and what nobody needs any more goes."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compass.bundle.files import DirectoryFiles
from compass.errors import InvalidInput
from compass.images.archives.normalise import normalise
from compass.images.archives.sweep import UNFINISHED_SECONDS
from compass.images.compression import Compressor, gzip_compressor
from compass.images.layout import Layout
from compass.images.manifests import read_tree
from compass.images.model import StoredImage
from compass.progress import Silent
from tests.compass.images.saved import left_in, spec
from tests.material.archives import Style, docker_save, truncate
from tests.material.images import ImageSpec, build, noise
from tests.servers.process import wait_until

LAYERS = [{f"f{n}": noise(1 << 20, f"known {n}")} for n in range(4)]
IMAGE = ImageSpec("h.io/known/four:v1", LAYERS)


class Killed(Exception):
    """The run ends here."""


class KilledAt(Silent):
    """Progress that ends the run once so much is read."""

    def __init__(self, amount: int) -> None:
        self._left = amount

    def advance(self, what: str, amount: int) -> None:
        self._left -= amount
        if self._left <= 0:
            raise Killed


class Run:
    """One run after another on the same state directory; ``compressed`` counts the layers of the last."""

    def __init__(self, tmp_path: Path) -> None:
        self.archives, self.state = tmp_path / "images", tmp_path / "state"
        self.archives.mkdir()
        self.compressed = 0

    @property
    def layout(self) -> Layout:
        return Layout(self.state)

    def save(self, name: str, *images: ImageSpec, style: Style = "legacy") -> Path:
        docker_save(list(images), self.archives / name, style, "none")
        return self.archives / name

    def __call__(self, *names: str, progress: Any = None) -> dict[str, list[StoredImage]]:
        self.compressed = 0

        def counted() -> Compressor:
            self.compressed += 1
            return gzip_compressor()

        files = DirectoryFiles(self.archives)
        return normalise(files, list(names), self.layout, progress or Silent(), workers=1, compressor=counted)

    def blobs(self) -> set[str]:
        return {x.name for x in (self.state / "blobs/sha256").iterdir()}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def needed(run: Run, images: dict[str, list[StoredImage]]) -> set[str]:
    trees = (read_tree(run.layout, x.digest, "x") for found in images.values() for x in found)
    return {digest[7:] for tree in trees for digest in tree.sizes()}


def test_the_run_after_one_that_was_killed_compresses_the_rest_alone(run: Run) -> None:
    path = run.save("a.tar", IMAGE)
    with pytest.raises(Killed):
        run("a.tar", progress=KilledAt(path.stat().st_size * 5 // 8))
    assert run.compressed == 3, "it was in the middle of the third layer"
    images = run("a.tar")
    assert run.compressed == 2, "two were whole"
    assert run.blobs() == needed(run, images)
    assert [x.config_digests for x in images["a.tar"]] == [(build(IMAGE).config_digest,)]


def test_layers_that_came_compressed_are_gone_on_with_too(run: Run) -> None:
    path = run.save("a.tar", IMAGE, style="containerd")
    with pytest.raises(Killed):
        run("a.tar", progress=KilledAt(path.stat().st_size * 5 // 8))
    whole = run.blobs()
    assert len(whole) >= 2
    times = {x: (run.state / "blobs/sha256" / x).stat().st_ino for x in whole}
    images = run("a.tar")
    assert {x: (run.state / "blobs/sha256" / x).stat().st_ino for x in whole} == times, "they were not written again"
    assert run.blobs() == needed(run, images)


def test_a_layer_of_an_earlier_bundle_is_not_compressed_again(run: Run) -> None:
    run.save("old.tar", IMAGE, style="oci")
    run.save("new.tar", ImageSpec("h.io/known/five:v2", [*LAYERS, {"more": b"more"}]), style="oci")
    run("old.tar")
    run("new.tar")
    assert run.compressed == 1


def test_a_note_that_says_wrong_costs_a_second_reading_and_nothing_else(run: Run) -> None:
    run.save("a.tar", IMAGE)
    good = run("a.tar")
    for path in (run.state / "archives").glob("*.json"):
        path.unlink()
    notes = sorted((run.state / "archives/layers").glob("*.json"))
    one, other = (json.loads(x.read_bytes()) for x in notes[:2])
    notes[0].write_text(json.dumps({**one, "diff_id": other["diff_id"]}))
    assert run("a.tar") == good
    assert json.loads(notes[0].read_bytes())["diff_id"] == one["diff_id"], "and the note is right again"


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2}', "no json"])
def test_a_note_that_cannot_be_read_counts_as_none(text: str, run: Run) -> None:
    run.save("a.tar", IMAGE)
    good = run("a.tar")
    for path in (run.state / "archives").rglob("*.json"):
        path.write_text(text)
    assert run("a.tar") == good
    assert run.blobs() == needed(run, good)


def test_notes_are_for_our_eyes_only(run: Run) -> None:
    run.save("a.tar", IMAGE)
    run("a.tar")
    for path in (run.state / "archives").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


# -- what goes


def test_nothing_is_left_of_a_bad_archive_and_all_of_the_good_ones(run: Run) -> None:
    run.save("good.tar", spec())
    truncate(run.save("bad.tar", IMAGE), 0.7)
    good = run("good.tar")
    before = left_in(run.layout)
    with pytest.raises(InvalidInput, match=r"bad\.tar"):
        run("good.tar", "bad.tar")
    assert left_in(run.layout) == before
    assert run.blobs() == needed(run, good)


def test_what_another_archive_of_the_same_run_had_done_is_kept_when_one_is_bad(run: Run) -> None:
    truncate(run.save("bad.tar", ImageSpec("h.io/known/bad:v1", [{"bad": noise(9 << 20, "bad")}])), 0.9)
    run.save("good.tar", IMAGE)
    with pytest.raises(InvalidInput):
        run("bad.tar", "good.tar")  # the larger one first
    assert run.blobs() == set(), "nothing of the bad one"
    run.save("bad.tar", spec())
    with pytest.raises(Killed):
        run("good.tar", "bad.tar", progress=KilledAt(3 << 20))
    run("bad.tar", "good.tar")
    assert run.compressed < 4 + 2


def test_what_nobody_refers_to_goes_with_the_next_run(run: Run) -> None:
    run.save("a.tar", IMAGE)
    images = run("a.tar")
    blobs = run.state / "blobs/sha256"
    (blobs / hashlib.sha256(b"left").hexdigest()).write_bytes(b"left")
    (blobs / ".writing-killed").write_bytes(b"half")
    run("a.tar")
    assert run.blobs() == needed(run, images)


def test_an_unfinished_archive_is_gone_on_with_for_days_and_not_for_ever(run: Run) -> None:
    path = run.save("a.tar", IMAGE)
    run.save("b.tar", spec())
    with pytest.raises(Killed):
        run("a.tar", progress=KilledAt(path.stat().st_size * 5 // 8))
    other = run("b.tar")
    assert run.blobs() > needed(run, other), "another bundle's run leaves it alone"
    long_ago = time.time() - UNFINISHED_SECONDS - 60
    for note in (run.state / "archives/layers").glob("*.json"):
        os.utime(note, (long_ago, long_ago))
    run("b.tar")
    assert run.blobs() == needed(run, other)
    assert run.compressed == 0, "the notes of finished archives stay, however old"


def test_an_archive_of_which_something_is_gone_is_read_again(run: Run) -> None:
    run.save("a.tar", IMAGE)
    images = run("a.tar")
    layer = read_tree(run.layout, images["a.tar"][0].digest, "x").blobs[1].digest[7:]
    (run.state / "blobs/sha256" / layer).unlink()
    assert run("a.tar") == images
    assert run.blobs() == needed(run, images)


def test_nothing_goes_while_another_process_writes(run: Run, hold: Callable[[], None]) -> None:
    run.save("a.tar", IMAGE)
    images = run("a.tar")
    end = hold()
    left = run.state / "blobs/sha256" / hashlib.sha256(b"its blob").hexdigest()
    left.write_bytes(b"its blob")
    run("a.tar")
    assert left.exists()
    end()
    run("a.tar")
    assert run.blobs() == needed(run, images)


@pytest.fixture
def hold(run: Run, tmp_path: Path) -> Any:
    """Let another process write to the state directory until it is ended."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from compass.images.layout import Layout; from compass.images.archives.sweep import in_use\n"
        "with in_use(Layout(Path(sys.argv[1]))):\n    Path(sys.argv[2]).touch()\n    time.sleep(60)"
    )
    processes: list[subprocess.Popen[bytes]] = []

    def begin() -> Callable[[], None]:
        process = subprocess.Popen([sys.executable, "-c", code, str(run.state), str(tmp_path / "held")])
        processes.append(process)
        wait_until("the other process", (tmp_path / "held").exists, 20)
        return end

    def end() -> None:
        for process in processes:
            process.kill()
            process.wait()

    yield begin
    end()


def test_somebody_elses_layout_is_left_alone(run: Run) -> None:
    run.save("a.tar", IMAGE)
    run("a.tar")
    (run.state / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    theirs = run.state / "blobs/sha256" / hashlib.sha256(b"theirs").hexdigest()
    theirs.write_bytes(b"theirs")
    run("a.tar")
    assert theirs.exists()
