"""``.install-env.sh``: what is literal is read as bash would read it, and nothing is executed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from compass.errors import InvalidInput
from compass.site.environment import parse_environment, read_environment, registry_of
from tests.material.templates import INSTALL_ENV

BASH = shutil.which("bash") or "bash"
NAMES = ("A", "B_1", "CARGO_CFG_DOMAIN")
SHOW = f"{sys.executable} -c 'import json,os;print(json.dumps({{k: v for k, v in os.environ.items()}}))'"


def sourced(text: str, folder: Path) -> dict[str, str]:
    """Return what bash has for the names after it sourced the text."""
    (folder / "env.sh").write_bytes(text.encode())
    script = f"unset {' '.join(NAMES)}; set -a; . ./env.sh >/dev/null 2>&1; {SHOW}"
    done = subprocess.run(
        [BASH, "-c", script], cwd=folder, capture_output=True, check=True, env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    )
    return {k: v for k, v in json.loads(done.stdout).items() if k in NAMES}


plain = st.characters(exclude_categories=["Cs", "Cc"])
single = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="'"), max_size=8).map(
    lambda x: f"'{x}'"
)
double = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"`$\\'), max_size=8).map(
    lambda x: f'"{x}"'
)
escaped = st.sampled_from(
    ['"a\\"b"', '"\\$HOME"', '"\\\\"', '"\\`"', '"\\n"', "a\\ b", "\\'", '\\"', "\\$A", "\\\\", "\\#", "\\~"]
)
bare = st.text(st.sampled_from("abcXYZ019.:/-_,+@%^=[]?*!#"), min_size=1, max_size=8)
words = st.lists(st.one_of(single, double, escaped, bare), max_size=3).map("".join)
tails = st.sampled_from(["", " ", "\t", " # comment", "  #", ";", " ; # x"])
starts = st.sampled_from(["", "export ", "  ", "export   "])
literals = st.tuples(starts, st.sampled_from(NAMES), words, tails).map(lambda x: f"{x[0]}{x[1]}={x[2]}{x[3]}")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(literals, max_size=25))
@example([f"A={x}" for x in ("pa#ss", "#x", "a=b", "'a'\"b\"c", "a\\ b", "", "''", "x:y", "1 # 2", "%s", "!")])
def test_literal_assignments_are_read_as_bash_reads_them(tmp_path: Path, lines: list[str]) -> None:
    text = "\n".join(["#!/bin/bash", "", *lines, ""])
    found = {k: v for k, v in parse_environment(text).items() if k in NAMES}
    assert found == sourced(text, tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(starts, st.text(st.sampled_from("ab \t'\"\\$`~;&|<>(){}#*=:"), max_size=10)), min_size=1, max_size=8
    )
)
def test_a_value_is_never_another_one_than_bash_has(tmp_path: Path, values: list[tuple[str, str]]) -> None:
    for start, value in values:
        text = f"{start}A={value}\n"
        read = parse_environment(text).get("A")
        if read is not None:
            assert sourced(text, tmp_path).get("A") == read, text


@pytest.mark.parametrize(
    "value",
    ["$HOME", "${HOME}", '"$HOME"', '"${X:-y}"', "`id`", '"`id`"', "$(id)", '"$(id)"', "$((1+1))", "~/x", "a:~/b",
     "(a b)", "$'a'", "<(id)", "a\\", "'a", '"a', "a b", "a; reboot", "a && b", "a | b", "a & b", "{a,b}", "a > b"],
)  # fmt: skip
def test_what_only_a_shell_could_tell_is_left_out(value: str) -> None:
    assert parse_environment(f"A=before\nA={value}\nB=1\n") == {"B": "1"}


def test_nothing_is_executed(tmp_path: Path) -> None:
    parse_environment(f"A=$(touch {tmp_path}/one)\nB=`touch {tmp_path}/two`\ntouch {tmp_path}/three\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line", ["echo A=1", "if A=1; then", "A =1", "A= 1", "1A=1", "# A=1", "a-b=1", "A+=1", "A[0]=1", "unset A"]
)
def test_other_lines_are_passed_over(line: str) -> None:
    assert "1" not in parse_environment(f"{line}\n").values()


@pytest.mark.parametrize("char", ["\x85", "\u2028", "\x0c", "\x1c"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, char: str) -> None:
    text = f"A='one{char}B_1=two'\n"
    assert parse_environment(text) == sourced(text, tmp_path) == {"A": f"one{char}B_1=two"}


def test_the_later_assignment_wins_and_windows_lines_are_read() -> None:
    assert parse_environment("A=1\r\nexport B='x y'\r\nA=\"2\"\r\n") == {"A": "2", "B": "x y"}


def test_the_material_is_read(tmp_path: Path) -> None:
    path = tmp_path / ".install-env.sh"
    path.write_text(INSTALL_ENV.format(registry="10.0.0.1:5000"))
    found = read_environment(path)
    assert found == {
        "CARGO_CFG_DOMAIN": "10.0.0.1:5000",
        "CARGO_CFG_IP": "127.0.0.1",
        "CARGO_CFG_PASSWORD": "not-a-password",
    }
    assert registry_of(found, path) == "10.0.0.1:5000"


@pytest.mark.parametrize("text", ["", "CARGO_CFG_DOMAIN=\n", "CARGO_CFG_DOMAIN='  '\n", "CARGO_CFG_DOMAIN=$HOST\n"])
def test_an_environment_without_a_registry_says_what_to_add(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"no CARGO_CFG_DOMAIN, expected .*; add it, or pass --registry"):
        registry_of(parse_environment(text), tmp_path / ".install-env.sh")


def test_an_absent_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"read site environment .*/\.install-env\.sh: No such file"):
        read_environment(tmp_path / ".install-env.sh")
