"""How Prefect is set up for us: nothing leaves the site, nothing is stored that need not be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    home = Path(environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    # Prefect makes its database readable for all; the folder is what keeps it private.
    if not home.exists():
        home.mkdir(mode=0o700, parents=True)


@contextmanager
def on_this_machine() -> Iterator[None]:
    """Run flows without heartbeats: nobody watches them here, and each flow would wait a second for its last."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
