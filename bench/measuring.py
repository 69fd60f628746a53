"""What every bench needs: how long a call takes, what a program needs, on how many cores."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Return how long a call took, and what it returned."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def run(words: Sequence[str | Path], env: Mapping[str, str] | None = None) -> int:
    """Run a program to its end and return the most memory that it had, in bytes; it must end well.

    Linux counts no child lower than the process that started it.
    """
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(list(words), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            out.seek(0)
            raise SystemExit(f"{' '.join(map(str, words))}: {out.read().decode(errors='replace')}")
    return usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def say(*lines: object) -> None:
    """Print lines at once."""
    print(*lines, sep="\n", flush=True)
