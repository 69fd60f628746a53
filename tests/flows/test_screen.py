"""What a person sees: results on standard output, everything else on standard error, counts that never go back."""

from __future__ import annotations

import json

import pytest

from flows.screen import PlainProgress, Screen


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
