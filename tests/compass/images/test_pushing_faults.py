"""A registry in trouble: what passes is survived and costs no byte more than it must, what does not is told in full."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compass.errors import StepFailed
from compass.images.layout import Layout
from compass.images.load import load
from compass.images.model import StoredImage
from compass.images.registry.client import Registry
from rehearsal.registry import BrokenUpload, FalseDigest, Fault, NoConnection, SimulatedRegistry, Unavailable
from rehearsal.registry.faults import FALSE_DIGEST
from tests.compass.images.archives.test_normalise import Counting
from tests.compass.images.saved import read
from tests.material.archives import docker_save
from tests.material.images import ImageSpec, noise

LARGE = 24 << 20


@pytest.fixture(params=[True, False], ids=["resumable", "as distribution"])
def registry(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SimulatedRegistry]:
    with SimulatedRegistry(tmp_path / "registry", resumable=request.param) as registry:
        yield registry


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state")


@pytest.fixture
def images(tmp_path: Path, layout: Layout) -> list[StoredImage]:
    """Two images with a large layer in common."""
    base = {"base": noise(LARGE, "faults")}
    specs = [ImageSpec(f"h.io/faults/i{n}:v1", [base, {"own": noise(50_000, f"own {n}")}]) for n in range(2)]
    docker_save(specs, tmp_path / "a.tar", compression="none")
    return read(tmp_path / "a.tar", layout)


def loaded(registry: SimulatedRegistry, layout: Layout, images: list[StoredImage]) -> None:
    progress = Counting()
    with Registry(registry.host, scheme="http", patience_seconds=20) as door:
        load(images, layout, door, progress)
    assert progress.done == progress.total, "every byte is counted once, whatever was sent again"
    for image in images:
        assert registry.tags(image.name.repository) == {"v1": image.digest}


def unique_bytes(layout: Layout, images: list[StoredImage]) -> int:
    """Return how much a load sends at least: each blob once, manifests apart."""
    manifests = {x.digest for x in images}
    blobs = [x for x in (layout.root / "blobs/sha256").iterdir() if f"sha256:{x.name}" not in manifests]
    return sum(x.stat().st_size for x in blobs)


@pytest.mark.parametrize(
    "fault",
    [
        Unavailable(429, retry_after_seconds=1, times=5),
        Unavailable(429, retry_after_seconds=1, times=2, methods=frozenset({"PUT"})),
        Unavailable(500, times=6),
        Unavailable(503, times=3, methods=frozenset({"POST"})),
        NoConnection(1.5),
    ],
    ids=["429", "429 at the end of an upload", "500", "503", "no connection"],
)
def test_trouble_that_passes_is_survived(
    fault: Fault, registry: SimulatedRegistry, layout: Layout, images: list[StoredImage]
) -> None:
    registry.fault(fault)
    began = time.monotonic()
    loaded(registry, layout, images)
    if isinstance(fault, Unavailable) and fault.retry_after_seconds:
        assert time.monotonic() - began >= fault.retry_after_seconds, "the registry's own word is followed"


def test_a_connection_that_is_reset_in_the_middle_of_an_upload_is_survived(
    registry: SimulatedRegistry, layout: Layout, images: list[StoredImage], request: pytest.FixtureRequest
) -> None:
    registry.fault(BrokenUpload(after_bytes=LARGE // 2, times=2))
    loaded(registry, layout, images)
    again = registry.traffic.received_bytes - unique_bytes(layout, images)
    if "resumable" in request.node.name:
        assert again == 0, "what had arrived is not sent again"
    else:
        assert LARGE // 2 <= again <= LARGE * 3, "an upload whose answer was lost begins anew there"


def test_an_upload_session_that_is_dropped_is_survived(
    registry: SimulatedRegistry, layout: Layout, images: list[StoredImage]
) -> None:
    registry.fault(BrokenUpload(after_bytes=LARGE // 2, forgotten=True))
    loaded(registry, layout, images)


def test_a_registry_that_lies_about_a_digest_fails_with_both(
    registry: SimulatedRegistry, layout: Layout, images: list[StoredImage]
) -> None:
    registry.fault(FalseDigest(times=None))
    with Registry(registry.host, scheme="http", patience_seconds=5) as door, pytest.raises(StepFailed) as caught:
        load(images, layout, door, Counting())
    stored = {f"sha256:{x.name}" for x in (layout.root / "blobs/sha256").iterdir()}
    assert FALSE_DIGEST in caught.value.found
    assert caught.value.expected in stored, "the true one is named too"
    assert registry.tags("faults/i0") == {}, "nothing is tagged"
