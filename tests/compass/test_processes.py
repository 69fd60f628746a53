"""A process is told from every other that had its number, and called dead only when it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from compass.processes import Process, has_ended, this_process
from tests.servers.process import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are known by /proc")
ROOT = Path(__file__).parents[2]
NAME = "a) Z 1 (b"
SAYS_ITSELF = f"""
from compass.processes import this_process
open("/proc/self/comm", "w").write("{NAME}")
print(this_process().model_dump_json(), flush=True)
input()
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SAYS_ITSELF], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def said_by(process: subprocess.Popen[str]) -> Process:
    assert process.stdout
    return Process.model_validate_json(process.stdout.readline())


def test_this_process_lives() -> None:
    here = this_process()
    assert here == this_process()
    assert here.pid == os.getpid()
    assert here.started
    assert here.machine
    assert not has_ended(here)


def test_another_process_has_ended_once_it_is_killed(child: subprocess.Popen[str]) -> None:
    other = said_by(child)
    assert other.machine == this_process().machine
    assert not has_ended(other)
    child.kill()
    child.wait()
    assert has_ended(other)


def test_a_process_that_is_stopped_has_not_ended(child: subprocess.Popen[str]) -> None:
    other = said_by(child)
    child.send_signal(signal.SIGSTOP)
    assert not has_ended(other)


def test_a_dead_process_whose_parent_has_not_asked_has_ended(child: subprocess.Popen[str]) -> None:
    other = said_by(child)
    os.kill(child.pid, signal.SIGKILL)
    wait_until("a zombie", lambda: Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    assert has_ended(other)


def test_a_number_that_was_given_again_does_not_bring_the_dead_back() -> None:
    assert has_ended(this_process().model_copy(update={"started": "1"}))


@pytest.mark.parametrize("words", [{"machine": "another boot"}, {"machine": ""}, {"started": ""}], ids=str)
def test_of_a_process_elsewhere_nothing_is_known(words: dict[str, str]) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    dead = this_process().model_copy(update={"pid": process.pid, "started": "1"})
    assert has_ended(dead)
    assert not has_ended(dead.model_copy(update=words))


def test_a_process_of_somebody_else_is_alive() -> None:
    first = Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]
    assert not has_ended(this_process().model_copy(update={"pid": 1, "started": first}))


@pytest.mark.parametrize("pid", [0, -1, 1 << 31])
def test_what_is_no_process_number_is_refused(pid: int) -> None:
    with pytest.raises(ValidationError):
        Process(pid=pid)


def test_a_name_with_brackets_and_spaces_is_read_over(child: subprocess.Popen[str]) -> None:
    other = said_by(child)
    assert f"({NAME})" in Path(f"/proc/{child.pid}/stat").read_text()
    assert not has_ended(other)
