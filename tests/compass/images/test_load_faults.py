"""Images over a faulty line: whatever is met on the way, the registry has what was sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compass.images.layout import Layout
from compass.images.load import load
from compass.images.registry.client import Registry
from compass.progress import Silent
from tests.compass.images.saved import read
from tests.conftest import MakeFaultProxy
from tests.material.archives import docker_save
from tests.material.images import ImageSpec, noise
from tests.servers.faults.plan import Action, Fault, FaultPlan, Hang, Leave, Reset, Say
from tests.servers.registry import DockerRegistry

pytestmark = pytest.mark.servers
REQUESTS = (
    ("HEAD", "/manifests/"), ("GET", "/manifests/"), ("POST", "/uploads/$"), ("POST", "mount="),
    ("PUT", "/uploads/"), ("PATCH", "/uploads/"), ("HEAD", "/blobs/"), ("PUT", "/manifests/"),
)  # fmt: skip
ACTIONS: tuple[Action, ...] = (
    Reset("request"), Reset("request body"), Reset("answer"), Reset("answer body"), Say(429, retry_after_seconds=1),
    Say(500, done=True), Say(503, done=True), Say(503, retry_after_seconds=1), Hang(0.2), Hang(0.2, done=True),
)  # fmt: skip


def plans() -> list[FaultPlan]:
    return [
        *(FaultPlan(*(Fault(action, *request, nth=1) for request in REQUESTS)) for action in ACTIONS),
        *(FaultPlan(Fault(Leave(0.5, silent=silent), "PUT", nth=2)) for silent in (False, True)),
        *(FaultPlan.random(seed, 0.25, most=15) for seed in range(4)),
    ]


def test_images_arrive_whole_whatever_is_met_on_the_way(
    registry: DockerRegistry, make_fault_proxy: MakeFaultProxy, tmp_path: Path
) -> None:
    def arrive(number: int, plan: FaultPlan) -> int:
        shared = {"shared": noise(300_000, f"shared {number}")}
        owns = [{"own": noise(200_000, f"own {number} {n}")} for n in range(2)]
        name = f"harbor.caicloud.xyz/faults-{number}/app"
        archive, layout = tmp_path / f"{number}.tar", Layout(tmp_path / str(number))
        docker_save(
            [ImageSpec(f"{name}{n}:v1", [shared, own]) for n, own in enumerate(owns)], archive, "legacy", "none"
        )
        images, proxy = read(archive, layout), make_fault_proxy(registry.url, plan=plan)
        with Registry(proxy.endpoint, scheme="http", patience_seconds=30) as door:
            load(images, layout, door, Silent())
        for image in images:
            assert registry.manifest(image.name.repository, "v1")[1] == image.digest, proxy.met
        return len(proxy.met)

    with ThreadPoolExecutor(8) as pool:
        met = list(pool.map(arrive, *zip(*enumerate(plans()), strict=True)))
    assert all(met)
