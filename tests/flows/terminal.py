"""Run code on a terminal, and read what a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(code: str, *, columns: int, rows: int) -> list[str]:
    """Run Python code whose standard error is a terminal of this size; return every line that was ever shown."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": str(rows)},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # the other end is closed
    finally:
        os.close(ours)
    assert process.wait() == 0
    return [x for x in re.split(r"[\r\n]+", _ESCAPE.sub("", shown.decode())) if x.strip()]


def answered(words: Sequence[str], environ: Mapping[str, str], question: str, answer: str) -> tuple[int, str]:
    """Run a command at a terminal and answer its question; return its exit status and what a person would see."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL, env=dict(environ))
    os.close(theirs)
    shown, is_answered = b"", False
    try:
        while piece := os.read(ours, 65536):
            shown += piece
            if not is_answered and question.encode() in shown:
                os.write(ours, f"{answer}\n".encode())
                is_answered = True
    except OSError:
        pass  # the other end is closed
    finally:
        os.close(ours)
    return process.wait(), _ESCAPE.sub("", shown.decode())
