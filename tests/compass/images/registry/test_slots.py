"""At most so many uploads at a time, whoever asks: threads, and processes that end well or are killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compass.clock import Clock, system_clock
from compass.errors import StepFailed
from compass.images.registry import slots as module
from compass.images.registry.slots import LockedSlots, Turns, slots_folder
from tests.servers.process import wait_until

HOLDER = """
import os, sys, time
from pathlib import Path
from compass.clock import system_clock
from compass.images.registry.slots import LockedSlots
folder, count, times, log = sys.argv[1:]
slots = LockedSlots(Path(folder), int(count), system_clock(), print)
record = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for _ in range(int(times)):
    with slots.hold(lambda: None):
        os.write(record, b"+")
        time.sleep(0.05 if int(times) > 1 else 60)
        os.write(record, b"-")
"""


def never() -> None:
    """Go on waiting."""


def here(folder: Path, count: int = 1, tell: Callable[[str], None] = print) -> LockedSlots:
    return LockedSlots(folder, count, system_clock(), tell)


def holder(folder: Path, log: Path, *, count: int, times: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), str(count), str(times), str(log)])


def most_at_once(log: Path) -> int:
    now = most = 0
    for sign in log.read_text():
        now += 1 if sign == "+" else -1
        most = max(most, now)
    assert now == 0
    return most


def test_several_processes_hold_no_more_slots_than_there_are(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [holder(tmp_path / "slots", log, count=2, times=8) for _ in range(4)]
    assert [x.wait(60) for x in processes] == [0] * 4
    assert len(log.read_text()) == 2 * 4 * 8
    assert most_at_once(log) == 2


def test_threads_of_one_process_share_the_slots_too(tmp_path: Path) -> None:
    slots, lock = here(tmp_path, 3), threading.Lock()
    held: list[int] = []
    now = 0

    def upload(_: int) -> None:
        nonlocal now
        with slots.hold(never):
            with lock:
                now += 1
                held.append(now)
            time.sleep(0.02)
            with lock:
                now -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, range(24)))
    assert max(held) == 3


def test_a_process_that_is_killed_gives_its_slot_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = holder(tmp_path / "slots", log, count=1, times=1)
    wait_until("the slot to be held", log.exists, 20)
    checks = []

    def check() -> None:
        checks.append(1)
        if len(checks) == 3:
            process.send_signal(signal.SIGKILL)

    with here(tmp_path / "slots").hold(check):
        assert len(checks) >= 3, "it was waited for"
    assert process.wait() == -signal.SIGKILL


def test_who_waits_can_give_up(tmp_path: Path) -> None:
    class GivenUp(Exception):
        pass

    def check() -> None:
        raise GivenUp

    slots = here(tmp_path)
    with slots.hold(never), pytest.raises(GivenUp), slots.hold(check):
        pass
    with slots.hold(check):
        pass  # a free slot is taken without a question


def test_a_block_that_fails_gives_its_slot_back(tmp_path: Path) -> None:
    slots = here(tmp_path)
    with pytest.raises(ZeroDivisionError), slots.hold(never):
        raise ZeroDivisionError
    with slots.hold(never):
        pass


def test_who_waits_for_long_is_told_why_once(tmp_path: Path) -> None:
    seconds = iter(range(0, 1000, 5))
    clock = Clock(now=system_clock().now, monotonic=lambda: next(seconds), sleep=lambda _: None)
    told: list[str] = []
    slots = LockedSlots(tmp_path / "reg.example:5000", 1, clock, told.append)
    left = 20

    def check() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise TimeoutError

    with slots.hold(never), pytest.raises(TimeoutError), slots.hold(check):
        pass
    assert told == ["waiting: as many uploads to reg.example:5000 as are allowed (1) are under way"]


def test_a_run_that_allows_more_goes_beyond_one_that_allows_fewer(tmp_path: Path) -> None:
    few, many = here(tmp_path, 1), here(tmp_path, 2)
    with few.hold(never), many.hold(never):
        pass


def test_the_folder_is_ours_alone(tmp_path: Path) -> None:
    with here(tmp_path / "a" / "b").hold(never):
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
        assert [stat.S_IMODE(x.stat().st_mode) for x in (tmp_path / "a" / "b").iterdir()] == [0o600]


def test_a_folder_that_cannot_be_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    slots = here(tmp_path / "file" / "slots")
    with (
        pytest.raises(StepFailed, match="set XDG_CACHE_HOME to a folder of yours"),
        slots.hold(lambda: None),
    ):
        pytest.fail("nobody may upload without being counted")


def test_runs_meet_in_the_users_cache_by_registry(tmp_path: Path) -> None:
    ours = Path("compass-upgrade/uploads/reg.example:5000")
    assert slots_folder({}, tmp_path, "reg.example:5000") == tmp_path / ".cache" / ours
    assert slots_folder({"XDG_CACHE_HOME": "/cache"}, tmp_path, "reg.example:5000") == Path("/cache") / ours
    assert slots_folder({"XDG_CACHE_HOME": "relative"}, tmp_path, "reg.example:5000") == tmp_path / ".cache" / ours


def test_a_turn_ends_when_the_body_is_sent_or_the_block_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.01)
    turns = Turns(10)
    with turns.take(10, never) as end:
        with pytest.raises(TimeoutError), turns.take(1, _give_up):
            pass
        end()
        end()
        with turns.take(4, _give_up), turns.take(6, _give_up), pytest.raises(TimeoutError), turns.take(1, _give_up):
            pass
    with turns.take(10, _give_up):
        pass


def test_who_weighs_more_than_is_allowed_has_its_turn_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.01)
    turns = Turns(10)
    with turns.take(1000, _give_up), pytest.raises(TimeoutError), turns.take(0, _give_up):
        pass
    with turns.take(1, _give_up), pytest.raises(TimeoutError), turns.take(1000, _give_up):
        pass


def _give_up() -> None:
    raise TimeoutError


def test_no_slot_is_inherited_by_what_a_run_starts(tmp_path: Path) -> None:
    with here(tmp_path).hold(never):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], close_fds=False)
    end = time.monotonic() + 10  # a child holds its parent's files until its program has begun

    def check() -> None:
        assert time.monotonic() < end

    try:
        with here(tmp_path).hold(check):
            assert child.poll() is None
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
