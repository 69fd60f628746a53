"""Servers that are away for a while in the middle of a step only delay it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import MakeSite
from tests.flows.running import Case, Desk, Watched, wait_settled
from tests.material.bundles import component_images, legacy_bundle
from tests.material.clusters import get
from tests.material.images import ImageSpec, noise
from tests.servers.registry import DockerRegistry

pytestmark = [
    pytest.mark.servers, pytest.mark.prefect, pytest.mark.shared_prefect, pytest.mark.xdist_group("outages"),
]  # fmt: skip
AWAY_SECONDS = 20
LARGE_BYTES = 96 << 20


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A bundle with an image that takes a moment to push, and that no other test has."""
    name = "harbor.caicloud.xyz/release/am_minion:v0.0.8"
    large = ImageSpec(name, [{"data/noise": noise(LARGE_BYTES, "outages")}])
    folder = legacy_bundle(
        tmp_path / "bundle" / "component", [large, *component_images()[1:]], compression="none"
    ).folder
    template = folder / "templates" / "am_minion_ks_dp.yaml.j2"
    template.write_text(template.read_text().replace("am_minion:v0.0.7", "am_minion:v0.0.8"))
    return folder


def away(running: Watched, go: Callable[[], None], come_back: Callable[[], None]) -> None:
    """Let a server go and come back, and see that the command waits meanwhile."""
    go()
    time.sleep(AWAY_SECONDS)
    assert running.running, running.end()
    come_back()


@pytest.fixture
def fragile(make_site: MakeSite, desk: Desk) -> Iterator[Case]:
    """A site whose servers come and go, and where pods take a while to start."""
    with make_site(users=("user-1",), releases=3) as site:
        kubelet = wait_settled(site).kubelets["user-1"]
        kubelet.behaviour = replace(kubelet.behaviour, start_seconds=3.0)
        yield Case.at(desk, site)


def test_servers_that_are_away_for_20_seconds_only_delay_an_upgrade(fragile: Case, large: Path) -> None:
    registry, user = fragile.site.registry, fragile.site.users["user-1"]
    began = time.monotonic()
    words = ("--yes", "--allow-data-loss", "--verbose", *fragile.where())
    running = Watched(fragile.desk.start("upgrade", large, *words))

    running.wait_until("an upload", lambda: pushed_bytes(registry) > LARGE_BYTES // 8)
    assert max(registry.everything()["blobs"].values()) < LARGE_BYTES, "the upload was over already"
    away(running, registry.stop, registry.start)

    running.wait_until("the rollout", lambda: running.said("user-1: apply: "))
    assert not running.said("user-1: roll out: "), "the rollout was over already"
    away(running, user.stop_api, user.start_api)

    done = running.end()
    assert done.status == 0, done.err
    assert time.monotonic() - began > 2 * AWAY_SECONDS
    assert "asking again: " in done.err
    assert registry.tags("release/am_minion") == ["v0.0.6", "v0.0.8"]
    live = get(user, "apps/v1", "Deployment", "kube-system", "am-minion")
    assert live
    assert live["status"]["availableReplicas"] == live["status"]["updatedReplicas"] == 1


def pushed_bytes(registry: DockerRegistry) -> int:
    """Return how much of uploads that are not ended lies on the registry's disk."""
    size = 0
    for folder, _, names in os.walk(registry.data):
        if "/_uploads/" in folder and "data" in names:
            with contextlib.suppress(FileNotFoundError):  # ended while we looked
                size += (Path(folder) / "data").stat().st_size
    return size
