"""The two registries that the contract runs against, and the real skopeo."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from rehearsal.registry import Login, SimulatedRegistry
from tests.rehearsal.registry.talk import PASSWORD, USER, Peer
from tests.servers.assets import ensure_command
from tests.servers.need import need
from tests.servers.registry import Login as RealLogin

Skopeo = Callable[..., str]


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Callable[..., Peer]]:
    """Return a registry by name, started when first asked for; with ``locked`` it asks for a password."""
    started: dict[tuple[str, bool], SimulatedRegistry] = {}

    def get(name: str, *, locked: bool = False) -> Peer:
        if name == "docker-registry":
            return _real(request, locked)
        if (name, locked) not in started:
            login = Login(USER, PASSWORD) if locked else None
            started[name, locked] = SimulatedRegistry(tmp_path_factory.mktemp("registry"), login=login)
        return Peer(name, started[name, locked].host)

    yield get
    for server in started.values():
        server.close()


def _real(request: pytest.FixtureRequest, locked: bool) -> Peer:
    make = request.getfixturevalue("make_registry")
    key = f"_contract_{locked}"
    if not hasattr(request.config, key):
        setattr(request.config, key, make(login=RealLogin(USER, PASSWORD) if locked else None))
    return Peer("docker-registry", getattr(request.config, key).host)


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
