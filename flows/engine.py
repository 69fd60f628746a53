"""How Prefect is set up for us: nothing leaves the site, nothing is stored that need not be."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from compass import stopping
from compass.errors import CompassError, InvalidInput, StepFailed
from compass.store import write_file

SERVER_PID = "compass-upgrade-server.pid"
NOBODY = 1  # the parent of a process whose own has ended
#: What every flow shares.
FLOW_SETTINGS: dict[str, Any] = {"persist_result": False, "retries": 0}

SETTINGS: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "compass",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
}
#: On one's own machine: the screen belongs to our progress, and nobody looks for heartbeats.
COMMAND_LINE_SETTINGS: Mapping[str, str] = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}


def set_up(environ: MutableMapping[str, str] = os.environ) -> None:
    """Give Prefect its settings before it is imported; what the user has set stays."""
    for name, value in {**SETTINGS, **COMMAND_LINE_SETTINGS}.items():
        environ.setdefault(name, value)
    _refuse_no_address(environ.get("PREFECT_API_URL", ""))
    home = prefect_home(environ)
    # Prefect makes its database readable for all; the folder is what keeps it private.
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            "make Prefect's folder",
            home,
            found=error.strerror or str(error),
            do="set PREFECT_HOME to a folder of yours",
        ) from None


def _refuse_no_address(text: str) -> None:
    try:
        parts = urlsplit(text)
        is_good = not text or (parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0)
    except ValueError:  # also of a port that is none
        is_good = False
    if not is_good:
        # It may have a password in it: it is not shown.
        raise InvalidInput("read PREFECT_API_URL", found="no address of a server", expected="http://host:4200/api")


@contextmanager
def on_this_machine() -> Iterator[None]:
    """Run flows on Prefect's local server: apart from the terminal, and without heartbeats that nobody watches.

    In the terminal's process group the server would be killed by the Ctrl-C that lets our step come to its end, and
    with our standard output it would keep the pipes of whoever reads us open.
    """
    server: Any = import_module("prefect.server.api.server")
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    end_server(prefect_home(), NOBODY)
    # Prefect has no setting for it; the module starts nothing else.
    apart = SimpleNamespace(**{**vars(subprocess), "Popen": _apart})
    before, server.subprocess = server.subprocess, apart
    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield
    finally:
        server.subprocess = before


def _apart(args: list[str], **settings: Any) -> subprocess.Popen[Any]:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(args, start_new_session=True, **{**settings, **quiet})
    write_file(prefect_home() / SERVER_PID, str(process.pid).encode())
    return process


def prefect_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where Prefect keeps its database on this machine."""
    return Path(environ.get("PREFECT_HOME") or Path.home() / ".prefect")


def end_server(home: Path, parent: int) -> None:
    """End the local server of this home if ``parent`` is its parent; those of killed runs have none."""
    try:
        pid = int((home / SERVER_PID).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        found = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return
    if b"prefect.server.api.server:create_app" in words and found == parent:
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)


def as_known(error: BaseException, subject: str) -> CompassError:
    """Return an error as one of ours: what is not is Prefect's, or a defect, and says of which type it is."""
    if isinstance(error, CompassError):
        return error
    lines = str(error).strip().splitlines() or [""]
    where = f"; PREFECT_API_URL is {os.environ['PREFECT_API_URL']}" if os.environ.get("PREFECT_API_URL") else ""
    return StepFailed("run steps of", subject, found=f"{type(error).__name__}: {lines[0][:300]}{where}",
                      do="see whether the Prefect server answers, then give the same command again")  # fmt: skip


def best_effort(publish: Callable[..., object], *words: object) -> None:
    """Publish to Prefect what is on disk anyway; a server that is away must not hide how the run ended."""
    with suppress(Exception):
        publish(*words)


@contextmanager
def stops_on_signal(tell: Callable[[str], None]) -> Iterator[Callable[[], int]]:
    """Let Ctrl-C or SIGTERM end the step that runs and begin no other; a second one ends the process at once.

    Gives what returns the exit status of a process that was stopped, 0 when it was not.
    """
    seen: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if seen:
            end_server(prefect_home(), os.getpid())
            os._exit(128 + number)  # threads would be waited for by anything gentler
        seen.append(number)
        stopping.request()
        tell("stopping: the step that runs comes to its end; once more to end at once")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield lambda: 128 + seen[0] if seen else 0
    finally:
        stopping.withdraw()
        for number, handler in before.items():
            signal.signal(number, handler)
