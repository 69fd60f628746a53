"""A real Prefect server, and questions to its API."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from tests.servers.assets import cache_root
from tests.servers.process import Server, free_port

BIN = Path(sys.executable).parent
SERVICES = (
    "SCHEDULER", "LATE_RUNS", "FOREMAN", "CANCELLATION_CLEANUP", "PAUSE_EXPIRATIONS", "CLEANUP_RECONCILER",
    "EVENT_PERSISTER", "TASK_RUN_RECORDER", "TRIGGERS",
)  # fmt: skip


def environ_of(folder: Path, address: str) -> dict[str, str]:
    """Return the whole environment of a process that speaks to a server and keeps what it writes in ``folder``."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept, "HOME": str(folder), "PREFECT_HOME": str(folder / "home"), "PREFECT_API_URL": address,
        "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


@contextmanager
def prefect_server(folder: Path, *, schedules: bool, ui: bool = False, **settings: str) -> Iterator[str]:
    """Start a server; with ``schedules`` it plans runs by itself, without it does nothing by itself but answer.

    With ``ui`` it has pages for a browser, too; ``settings`` are more of Prefect's.  Gives the address of its API.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}/api"
    give_database(folder / "home")
    environ = environ_of(folder, address) | settings
    if not schedules:
        environ |= {f"PREFECT_SERVER_SERVICES_{x}_ENABLED": "false" for x in SERVICES}
    words = [str(BIN / "prefect"), "server", "start", "--port", str(port), "--ui" if ui else "--no-ui"]
    server = Server("prefect server", words, folder / "server.log", env=environ)
    try:
        server.wait_ready(lambda: _answers(f"{address}/health"), 120)
        yield address
    finally:
        server.stop(5)


def give_database(home: Path) -> None:
    """Give a home of Prefect its database as every start but the first one finds it, which takes half as long.

    It is made once for each version, below the cache folder.
    """
    made = cache_root() / f"prefect-{version('prefect')}"
    if not made.is_dir():
        made.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".prefect-", dir=made.parent))
        environ = environ_of(folder, "") | {"PREFECT_HOME": str(folder)}
        words = [str(BIN / "prefect"), "server", "database", "upgrade", "--yes"]
        subprocess.run(words, env=environ, check=True, capture_output=True, timeout=120)
        with suppress(OSError):  # another process was first
            folder.rename(made)
        shutil.rmtree(folder, ignore_errors=True)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in made.glob("prefect.db*"):
        shutil.copy(file, home)


@contextmanager
def prefect_worker(
    folder: Path, address: str, name: str, *, pool: str = "compass", limit: int = 10
) -> Iterator[Server]:
    """Start a process worker that does at most ``limit`` runs at a time; it may be stopped by whoever has it."""
    words = [str(BIN / "prefect"), "worker", "start", "--pool", "compass", "--name", name, "--limit", str(limit)]
    worker = Server("prefect worker", words, folder / f"worker-{name}.log", env=environ_of(folder, address))
    try:
        yield worker
    finally:
        worker.signal(signal.SIGINT)
        worker.stop(5)


def asked(url: str, **body: Any) -> Any:
    """Return the server's answer; 503, or no answer to a question, means that its database is busy, and ask again."""
    for _ in range(20):
        try:
            answer = httpx.post(url, json=body, timeout=60)
        except httpx.ReadTimeout:
            if not url.endswith("/filter"):
                raise
            continue
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            return answer.raise_for_status().json()
        time.sleep(0.5)
    raise TimeoutError(f"{url} is busy")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False
