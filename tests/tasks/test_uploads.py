"""At most so many uploads by a whole site: several machines, one real Prefect server, and what goes wrong with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from rehearsal.registry import SimulatedRegistry
from tests.material.bundles import legacy_bundle
from tests.material.images import ImageSpec, noise
from tests.servers.prefect import prefect_server
from tests.servers.process import free_port, wait_until

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("uploads")]
BIN = Path(sys.executable).parent
LOAD = """
import sys
from prefect import flow
from compass.job import Choices, Job, Where
from tasks import bundle, images

@flow
def load(job: Job) -> None:
    images.load_images(job, bundle.prepare(job))

folder, registry, state, uploads = sys.argv[1:]
load(Job(bundle=folder, where=Where(registry=registry, state_dir=state), choices=Choices(registry_uploads=uploads)))
"""
HOLD = """
import sys, time
from pathlib import Path
from compass.job import Choices, Job, Where
from compass.steps.workplace import Workplace
from tasks.uploads import upload_slots

registry, log, seconds = sys.argv[1:]
job = Job(bundle="", where=Where(registry=registry, state_dir="."), choices=Choices(registry_uploads=1))
place = Workplace(job, {})
with place, upload_slots(place, lambda line: print(line, flush=True)) as slots:
    with slots.hold(lambda: None):
        Path(log).write_text("held")
        time.sleep(float(seconds))
"""


@dataclass(frozen=True)
class Prefect:
    """A real server, and the machines that know of it."""

    folder: Path
    api: str

    def machine(self, name: str, api: str | None = None) -> dict[str, str]:
        """Return the environment of one machine: home and cache are its own."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        return {
            "PATH": os.environ["PATH"], "HOME": str(home), "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_API_URL": api or self.api, "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }  # fmt: skip

    def start(self, code: str, name: str, *words: object, api: str | None = None) -> subprocess.Popen[str]:
        """Run Python code on one machine."""
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            env=self.machine(name, api),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def limit(self, registry: SimulatedRegistry) -> dict[str, Any]:
        """Return what the server says of the limit for a registry."""
        answer = httpx.get(f"{self.api}/v2/concurrency_limits/compass-upgrade-uploads-{registry.host}", timeout=30)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    folder = tmp_path_factory.mktemp("prefect")
    repossessor = {"PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1"}
    with prefect_server(folder, schedules=True, **repossessor) as api:
        yield Prefect(folder, api)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[SimulatedRegistry]:
    with SimulatedRegistry(tmp_path / "registry") as registry:
        yield registry


def load_from_machines(prefect: Prefect, registry: SimulatedRegistry, tmp_path: Path, uploads: int) -> list[str]:
    """Let three machines load bundles of their own at once, and return what each said."""
    running = []
    for name in ("one", "two", "three"):
        own = [ImageSpec(f"h.io/{name}/i{n}:v1", [{"data": noise(4 << 20, f"{name}{n}")}]) for n in range(4)]
        bundle = legacy_bundle(tmp_path / name / "component", own, compression="none").folder
        running.append(prefect.start(LOAD, name, bundle, registry.url, tmp_path / name / "state", uploads))
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda x: x.communicate(timeout=180)[0], running))
    assert [x.returncode for x in running] == [0, 0, 0], said
    assert len(registry.repositories()) == 12
    return said


def test_machines_of_one_server_make_no_more_uploads_than_allowed(
    prefect: Prefect, registry: SimulatedRegistry, tmp_path: Path
) -> None:
    said = load_from_machines(prefect, registry, tmp_path, uploads=2)
    assert registry.traffic.most_uploads <= 2, said
    limit = prefect.limit(registry)
    assert (limit["limit"], limit["active"], limit["active_slots"]) == (2, True, 0), "every slot was given back"


def test_a_limit_that_an_operator_has_set_stays(prefect: Prefect, registry: SimulatedRegistry, tmp_path: Path) -> None:
    name = f"compass-upgrade-uploads-{registry.host}"
    httpx.post(f"{prefect.api}/v2/concurrency_limits/", json={"name": name, "limit": 1}, timeout=30).raise_for_status()
    said = load_from_machines(prefect, registry, tmp_path, uploads=8)
    assert registry.traffic.most_uploads == 1, said
    assert prefect.limit(registry)["limit"] == 1


def test_the_slot_of_a_machine_that_died_is_free_again_after_a_minute(
    prefect: Prefect, registry: SimulatedRegistry, tmp_path: Path
) -> None:
    dead = prefect.start(HOLD, "dead", registry.url, tmp_path / "dead", 600)
    wait_until("the slot to be held", (tmp_path / "dead").exists, 60)
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    assert prefect.limit(registry)["active_slots"] == 1
    began = time.monotonic()
    alive = prefect.start(HOLD, "alive", registry.url, tmp_path / "alive", 0)
    said, _ = alive.communicate(timeout=150)
    assert (alive.returncode, said) == (0, "")
    assert (tmp_path / "alive").exists()
    assert time.monotonic() - began > 20, "it was waited for"
    assert prefect.limit(registry)["active_slots"] == 0


def test_a_server_that_is_away_stops_no_upload(prefect: Prefect, registry: SimulatedRegistry, tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}/api"
    process = prefect.start(HOLD, "away", registry.url, tmp_path / "held", 0, api=away)
    said, _ = process.communicate(timeout=90)
    assert process.returncode == 0, said
    assert (tmp_path / "held").exists()
    assert "the Prefect server did not answer" in said
    assert "uploads are limited on this machine only" in said


def test_a_server_that_never_answers_stops_no_upload_for_long(
    prefect: Prefect, registry: SimulatedRegistry, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        process = prefect.start(HOLD, "silent", registry.url, tmp_path / "held", 0, api=api)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert (tmp_path / "held").exists()
    assert "the Prefect server did not answer (ReadTimeout)" in said
