"""Workplaces that need no server: a bundle, a site's folder, and clusters as values."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compass.clock import Clock
from compass.documents import dump_yaml
from compass.job import Choices, Job, Where
from compass.steps.workplace import Target, Workplace
from tests.material.bundles import site_folder

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)
USER = Target(name="user1", role="user", endpoint="10.0.0.2", control_endpoint="10.0.0.1")
CONTROL = Target(name="control", role="control", endpoint="10.0.0.1", control_endpoint="10.0.0.1")


def workplace(bundle: Path, folder: Path, where: Any = None, **choices: Any) -> Workplace:
    """Return a workplace for a bundle, whose site and state lie below ``folder``."""
    site = site_folder(folder / "site", registry="10.0.0.9:5000")
    known = {"site": str(site), "state_dir": str(folder / "state")}
    job = Job(bundle=str(bundle), where=Where(**{**known, **(where or {})}), choices=Choices(**choices))
    return Workplace(job, {}, Clock(now=lambda: NOW, monotonic=lambda: 0.0, sleep=lambda _: None))


def kubeconfig(path: Path, server: str = "https://10.0.0.1:6443", name: str = "admin@site") -> Path:
    """Write a kubeconfig of one context."""
    document = {
        "current-context": name,
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": name, "context": {"cluster": "c"}}],
    }
    path.write_text(dump_yaml(document))
    return path
