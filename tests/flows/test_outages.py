"""Servers that are away for a while in the middle of a step only delay it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.flows.running import Case, Watched
from tests.material.bundles import component_images, legacy_bundle
from tests.material.images import ImageSpec, noise
from tests.servers.process import wait_until
from tests.servers.site import WITHOUT_MASTER

pytestmark = [pytest.mark.servers, pytest.mark.prefect, pytest.mark.xdist_group("own-site")]
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


def test_servers_that_are_away_for_20_seconds_only_delay_an_upgrade(own: Case, large: Path) -> None:
    control, user, registry = own.site.control, own.site.users["user-1"], own.site.registry
    own.site.kubelets["user-1"].behaviour = replace(WITHOUT_MASTER, start_seconds=3.0)
    began = time.monotonic()
    running = Watched(own.desk.start("upgrade", large, "--yes", "--allow-data-loss", "--verbose", *own.where()))

    running.wait_until("an upload", lambda: running.said("starting Prefect") and pushed_bytes(own) > LARGE_BYTES // 8)
    assert max(registry.everything()["blobs"].values()) < LARGE_BYTES, "the upload was over already"
    away(running, registry.stop, registry.start)

    running.wait_until("the control cluster's turn", lambda: running.said("load images: "))
    away(running, control.suspend, control.resume)

    running.wait_until("the rollout", lambda: running.said("user-1: apply: "))
    assert not running.said("user-1: roll out: "), "the rollout was over already"
    away(running, user.stop_api, user.start_api)

    done = running.end()
    assert done.status == 0, done.err
    assert time.monotonic() - began > 3 * AWAY_SECONDS
    assert registry.tags("release/am_minion") == ["v0.0.6", "v0.0.8"]
    assert "upgraded" in done.out
    wait_until("no upload is left", lambda: not registry.everything()["uploads"], 5)


def pushed_bytes(case: Case) -> int:
    """Return how much of uploads that are not ended lies on the registry's disk."""
    size = 0
    for folder, _, names in os.walk(case.site.registry.data):
        if "/_uploads/" in folder and "data" in names:
            with contextlib.suppress(FileNotFoundError):  # ended while we looked
                size += (Path(folder) / "data").stat().st_size
    return size
