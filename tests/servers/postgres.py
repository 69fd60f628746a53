"""A real PostgreSQL, in a folder of its own and on the loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.assets import ensure_command
from tests.servers.process import Server, listening, with_free_ports

USER = "prefect"
PASSWORD = "only-for-tests"


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Start a server with an empty database; gives its address as SQLAlchemy has it, password and all.

    Raises:
        Missing: there is no PostgreSQL here, and it cannot be unpacked.
        OSError: it does not start.
    """
    assets = ensure_command("postgres")
    environ = {**os.environ, **assets.env, "LC_ALL": "C"}
    secret = folder / "password"
    secret.write_text(PASSWORD)
    words = ["-D", str(folder / "data"), "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
    done = subprocess.run([*_as_nobody(), assets["initdb"], *words], env=environ, capture_output=True, check=False)
    if done.returncode:
        raise OSError(f"initdb: {done.stderr.decode(errors='replace')[-400:]}")

    def start(port: int) -> tuple[Server, int]:
        settings = (f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off")
        flags = [word for x in settings for word in ("-c", x)]
        server = Server(
            "postgres", [*_as_nobody(), assets["postgres"], "-D", str(folder / "data"), *flags],
            folder / "postgres.log", env=environ,
        )  # fmt: skip
        return server.wait_ready(lambda: listening(port)), port

    server, port = with_free_ports(1, start)
    try:
        yield f"postgresql+asyncpg://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        server.stop()


def _as_nobody() -> list[str]:
    """Return what to begin a command with, so that it is not root that runs it: PostgreSQL refuses that."""
    if os.geteuid():
        return []
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"]
