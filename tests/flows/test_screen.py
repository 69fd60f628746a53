"""What a person sees: results on standard output, everything else on standard error, counts that never go back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from flows import screen as module
from flows.screen import PlainProgress, Screen, bytes_text, time_text
from tests.flows.terminal import on_a_terminal
from tests.material.bundles import legacy_bundle


def test_json_goes_to_standard_output_and_progress_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen("json")
    with screen.progress() as make:
        progress = make("user-1")
        progress.begin("apply", 1, "objects")
        progress.advance("apply", 1)
        screen.result({"名称": "值"}, lambda: None)
    seen = capsys.readouterr()
    assert json.loads(seen.out) == {"名称": "值"}
    assert seen.err == "user-1: apply: 1 of 1\n"


def test_quiet_leaves_only_results_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=True)
    with screen.progress() as make:
        make("").note("on the way")
    screen.tell("starting")
    screen.say("[bold]result[/bold]")
    screen.fail("it failed")
    seen = capsys.readouterr()
    assert seen.out == "[bold]result[/bold]\n"
    assert seen.err == "error: it failed\n"


def test_a_table_in_a_file_is_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    digest = "sha256:" + "0" * 64
    Screen().table(("image", "digest", "more"), [("a" * 80, digest, "b" * 80)])
    assert f"{digest}" in capsys.readouterr().out


def test_lines_of_progress_never_count_backwards_and_end_with_the_whole() -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append, "")
    progress.begin("load images", 1000, "bytes")
    progress.begin("load images", 3000, "bytes")
    for _ in range(3):
        progress.advance("load images", 1000)
    progress.advance("load images", 0)
    assert lines == ["load images: 3.0 kB of 3.0 kB"]


def test_lines_on_the_way_tell_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_EVERY_SECONDS", 0.0)
    lines: list[str] = []
    progress = PlainProgress(lines.append, "")
    progress.begin("load images", 4_000_000, "bytes")
    for _ in range(4):
        time.sleep(0.02)
        progress.advance("load images", 1_000_000)
    assert len(lines) == 4
    for line in lines[:-1]:
        assert re.fullmatch(r"load images: \d\.0 MB of 4\.0 MB, \d+\.\d MB/s, 1 s left", line), line
    assert lines[-1] == "load images: 4.0 MB of 4.0 MB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59, "59 s"), (59.5, "1 min 0 s"), (200, "3 min 20 s"), (3600, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_time_is_told_as_people_say_it(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_what_cannot_be_told_is_not() -> None:
    assert bytes_text(1000, 2000, 0.0, None) == "1.0 kB of 2.0 kB"
    assert bytes_text(1000, 2000, 100.0, None) == "1.0 kB of 2.0 kB, 100 B/s"
    assert bytes_text(2000, 2000, 100.0, 0.0) == "2.0 kB of 2.0 kB"


SHOW = """
import time
from flows.screen import Screen
with Screen().progress() as make:
    progress = make("")
    progress.begin("verify bundle", 987_654_321, "bytes")
    progress.advance("verify bundle", 987_654_321)
    progress.begin("load images", 98_765_432_100, "bytes")
    for _ in range(20):
        time.sleep(0.1)
        progress.advance("load images", 123_456_789)
"""


def test_a_bar_fits_a_terminal_of_80_columns_with_rate_and_time_left() -> None:
    lines = on_a_terminal(SHOW, columns=80, rows=24)
    assert max(map(len, lines)) <= 80
    shown = [x for x in lines if "load images" in x and "left" in x]
    assert shown, lines
    for line in shown:
        assert re.search(r"━.* \d+\.\d [MG]B of 98\.8 GB, \d+\.\d [MG]B/s, (\d+ min )?\d+ s left", line), line
    counts = [float(x) for line in shown for x in re.findall(r"(\d+\.\d) MB of", line)]
    assert all(a <= b for a, b in pairwise(counts)), "it never goes back"


def test_an_output_without_chinese_gets_what_it_can_show(tmp_path: Path) -> None:
    folder = legacy_bundle(tmp_path / "包" / "bundle").folder

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, words)],
            capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False,
        )  # fmt: skip

    assert run("inspect", folder).returncode == 0
    assert json.loads(run("verify", folder, "--output", "json").stdout)["bundle"] == str(folder)
    wrong = run("inspect", folder.parent)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "\\u5305" in wrong.stderr
