"""The two registries that the contract runs against, and the real skopeo."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest

from rehearsal.registry import Login, SimulatedRegistry
from tests.rehearsal.registry.talk import PASSWORD, USER, Peer
from tests.servers.assets import ensure_command
from tests.servers.need import need
from tests.servers.registry import DockerRegistry
from tests.servers.registry import Login as RealLogin

Skopeo = Callable[..., str]


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Callable[..., Peer]]:
    """Return a registry by name, started when first asked for; with ``locked`` it asks for a password."""
    started: dict[tuple[str, bool], SimulatedRegistry | DockerRegistry] = {}

    def start(name: str, locked: bool) -> SimulatedRegistry | DockerRegistry:
        if name == "docker-registry":
            make = request.getfixturevalue("make_registry")
            return cast(DockerRegistry, make(login=RealLogin(USER, PASSWORD) if locked else None))
        return SimulatedRegistry(tmp_path_factory.mktemp("registry"), login=Login(USER, PASSWORD) if locked else None)

    def get(name: str, *, locked: bool = False) -> Peer:
        if (name, locked) not in started:
            started[name, locked] = start(name, locked)
        return Peer(name, started[name, locked].host)

    yield get
    for server in started.values():
        server.close()


@pytest.fixture(params=["simulated", pytest.param("docker-registry", marks=pytest.mark.servers)])
def peer(request: pytest.FixtureRequest, peers: Callable[..., Peer]) -> Peer:
    """Each of the two registries: use repositories of your own."""
    return peers(request.param)


@pytest.fixture(params=["simulated", pytest.param("docker-registry", marks=pytest.mark.servers)])
def locked(request: pytest.FixtureRequest, peers: Callable[..., Peer]) -> Peer:
    """Each of the two registries, with a password."""
    return peers(request.param, locked=True)


@pytest.fixture
def http(peer: Peer) -> Iterator[httpx.Client]:
    """A client of ``peer``."""
    with peer.client() as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository of the test's own."""
    return "".join(x if x.isalnum() else "-" for x in request.node.name.lower()).replace("--", "-").strip("-")[:200]


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[SimulatedRegistry]:
    """A registry of ours for one test."""
    with SimulatedRegistry(tmp_path / "registry") as server:
        yield server


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    """Run the real skopeo and return what it printed."""
    assets = need(lambda: ensure_command("skopeo"))
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, **assets.env, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}

    def run(*words: str) -> str:
        command = [need(lambda: assets["skopeo"]), "--insecure-policy", *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run
