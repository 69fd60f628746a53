"""Child processes of the tests: own process group, own log, a probe that says ready, and no survivors."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

PORT_TRIES = 5
T = TypeVar("T")

# Below the range from which the kernel takes the source ports of outgoing connections: a server that is stopped for a
# while finds its port free when it comes back.
_PORTS = range(15000, 32000)
_given: set[int] = set()

# The death signal follows the *thread* that forked, so one thread that lives as long as we do forks them all.
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")
_setpriv = shutil.which("setpriv") if sys.platform == "linux" else None


class DidNotStart(Exception):
    """A server ended early or never got ready; the end of its log is in the message."""

    def __init__(self, name: str, why: str, log: Path) -> None:
        tail = log.read_text(errors="replace")[-1500:] if log.exists() else ""
        self.port_taken = "address already in use" in tail
        super().__init__(f"{name} {why}; the end of {log}:\n{tail}")


def free_port() -> int:
    """Return a port of the loopback that nobody listens on, another one each time."""
    for port in random.sample(_PORTS, 200):
        if port not in _given and _bindable(port):
            _given.add(port)
            return port
    raise OSError("no free port on the loopback")


def with_free_ports(count: int, start: Callable[..., T]) -> T:
    """Call ``start(port, ...)``, again with other ports when somebody was faster to take one."""
    for left in reversed(range(PORT_TRIES)):
        try:
            return start(*(free_port() for _ in range(count)))
        except DidNotStart as error:
            if not error.port_taken or not left:
                raise
    raise AssertionError("unreachable")


class Server:
    """One running child process."""

    def __init__(self, name: str, words: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._popen = _forker.submit(self._fork, list(words), {**os.environ, **(env or {})}).result()

    def _fork(self, words: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        # A Python function between fork and exec would do the same, but may hang where there are threads.
        guard = [_setpriv, "--pdeathsig=KILL", "--"] if _setpriv else []
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [*guard, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """The process id, which is the id of its group too."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Tell whether the process has not ended."""
        return self._popen.poll() is None

    def wait_ready(self, probe: Callable[[], bool], timeout_seconds: float = 60) -> Server:
        """Return when ``probe`` says yes; an ``OSError`` of the probe means not yet.

        Raises:
            DidNotStart: the process ended, or the time is over (the process is stopped then).
        """
        end = time.monotonic() + timeout_seconds
        while time.monotonic() < end:
            if not self.running:
                raise DidNotStart(self.name, f"ended with status {self._popen.returncode}", self.log)
            if answers(probe):
                return self
            time.sleep(0.05)
        self.stop(grace_seconds=0)
        raise DidNotStart(self.name, f"was not ready within {timeout_seconds:g} s", self.log)

    def stop(self, grace_seconds: float = 5) -> None:
        """End the process group: politely first, for good after ``grace_seconds``."""
        if self.running and grace_seconds:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace_seconds)
        self.signal(signal.SIGKILL)
        self._popen.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and whatever it started in its group."""
        try:
            os.killpg(self._popen.pid, number)
        except (ProcessLookupError, PermissionError):
            # All gone; macOS says "permission" for a group of which only the dead are left.
            return


def answers(probe: Callable[[], bool]) -> bool:
    """Call a probe; not being able to connect is a no."""
    try:
        return probe()
    except OSError:
        return False


def listening(port: int) -> bool:
    """Tell whether somebody accepts connections on a port of the loopback."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def wait_until(what: str, condition: Callable[[], T], timeout_seconds: float = 30, every_seconds: float = 0.1) -> T:
    """Return the first true value of ``condition``.

    Raises:
        TimeoutError: it never was true; ``what`` says what was waited for.
    """
    end = time.monotonic() + timeout_seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_seconds:g} s for {what}")
        time.sleep(every_seconds)


def descendants(pid: int) -> list[int]:
    """Return every process that comes from one, nearest first (Linux)."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, fresh = [], [pid]
    while fresh:
        fresh = [child for child, parent in parents.items() if parent in fresh]
        found += fresh
    return found


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port that only lingers in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
