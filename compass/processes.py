"""Processes of this machine: which one are we, and has another one ended."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from compass.documents import Document

_PROC = Path("/proc")
_STATE, _THREADS, _STARTED = 0, 17, 19  # after the command in proc(5), stat


class Process(Document):
    """One process, told from every other that had or will have its number.

    ``machine`` is the boot and the namespaces in which ``pid`` and ``started`` (clock ticks since that boot) mean
    anything: two containers of one machine are two machines.  Both are empty where the system has no ``/proc`` of its
    own; nobody can tell then whether the process has ended.
    """

    pid: int = Field(gt=0, lt=1 << 31)
    started: str = ""
    machine: str = ""


def this_process() -> Process:
    """Return the process that asks."""
    stat = _stat("self")
    return Process(pid=os.getpid(), started=stat[_STARTED] if stat else "", machine=_machine())


def has_ended(process: Process) -> bool:
    """Tell whether a process is known to have ended; never so of one that runs, or of another machine."""
    if not process.started or not process.machine or process.machine != _machine():
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's; its stat may be hidden too
    stat = _stat(str(process.pid))
    if not stat:
        return False
    # A dead process is there until its parent asks for its status; its first thread may be dead before the others.
    is_dead = stat[_STATE] in ("Z", "X") and int(stat[_THREADS]) <= 1
    return is_dead or stat[_STARTED] != process.started


def _stat(pid: str) -> list[str]:
    try:
        text = (_PROC / pid / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the command before it may hold spaces and brackets


def _machine() -> str:
    try:
        if str((_PROC / "self").readlink()) != str(os.getpid()):
            return ""  # the /proc of another pid namespace
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        spaces = [str(x.readlink()) for x in (_PROC / "self/ns/pid", _PROC / "self/ns/time") if x.is_symlink()]
    except OSError:
        return ""
    return " ".join([boot, *spaces])
