"""``kill -9`` at random moments of a load, each followed by the same command: it ends well, little is sent twice."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import random
import signal
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from compass.digests import digest_of
from rehearsal.registry import SimulatedRegistry
from tests.conftest import MakeRegistry
from tests.flows.counting import counted
from tests.flows.running import Desk, ended
from tests.material.archives import Style
from tests.material.bundles import legacy_bundle
from tests.material.images import Image, ImageSpec, build, noise
from tests.servers.registry import MANIFEST_TYPES

pytestmark = pytest.mark.servers
KILLS = int(os.environ.get("COMPASS_TEST_KILLS", "3"))
MIB = 1 << 20
MOST_SENT = 1.2


@dataclass(frozen=True)
class Target:
    """A registry to be loaded into; ``received`` tells how many bytes of blobs it got, ``data`` is where they are."""

    url: str
    received: Callable[[], int]
    data: Path
    images: list[ImageSpec]

    @property
    def stored_bytes(self) -> int:
        """What it holds, each blob and manifest once."""
        return sum(x.stat().st_size for x in self.data.glob("docker/registry/v2/blobs/sha256/*/*/data"))

    def layers_below(self, image: Image) -> tuple[str, tuple[str, ...]]:
        """Return the config digest below the image's tag, and what its layers hash to once they are unpacked."""
        with httpx.Client(base_url=f"{self.url}/v2/{image.name.repository}", trust_env=False) as http:
            document = self._document(http, image.name.tag)
            if "manifests" in document:
                document = self._document(http, document["manifests"][0]["digest"])
            blobs = [http.get(f"/blobs/{x['digest']}").raise_for_status().content for x in document["layers"]]
        assert [digest_of(x) for x in blobs] == [x["digest"] for x in document["layers"]]
        return document["config"]["digest"], tuple(digest_of(gzip.decompress(x)) for x in blobs)

    def _document(self, http: httpx.Client, reference: str) -> dict[str, Any]:
        answer = http.get(f"/manifests/{reference}", headers={"Accept": ", ".join(MANIFEST_TYPES)}).raise_for_status()
        assert digest_of(answer.content) == answer.headers["Docker-Content-Digest"]
        document: dict[str, Any] = answer.json()
        return document


def specs(base: Sequence[int], own: Sequence[int]) -> list[ImageSpec]:
    """Return six images with layers of these sizes, in MiB; those of ``base`` are shared by all."""
    shared = [{f"usr/lib/{n}": noise(size * MIB, f"killed base {n}")} for n, size in enumerate(base)]
    return [
        ImageSpec(
            f"harbor.caicloud.xyz/release/killed-{n}:v1",
            [*shared, *({f"opt/{n}-{m}": noise(size * MIB, f"{n}-{m}")} for m, size in enumerate(own))],
        )
        for n in range(6)
    ]


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Target]:
    """A registry that goes on with an upload whose last answer was lost."""
    with SimulatedRegistry(tmp_path / "registry", resumable=True) as registry:
        images = specs(base=[12], own=[4, 3, 2, 1])
        yield Target(registry.url, lambda: registry.traffic.received_bytes, registry.folder, images)


@pytest.fixture
def real(make_registry: MakeRegistry) -> Iterator[Target]:
    """Distribution's registry: it begins such an upload anew, so what a kill costs depends on the size of the blobs."""
    with make_registry() as registry, counted(registry.host) as way:
        images = specs(base=[1] * 4, own=[1] * 8)
        yield Target(f"http://{way.host}", lambda: way.received_bytes, registry.data, images)


def written(state: Path) -> int:
    """Return how many bytes of blobs lie in a state directory, whole or not."""
    size = 0
    for path in (state / "blobs/sha256").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # moved while we looked
            size += path.stat().st_size
    return size


def load_through_kills(desk: Desk, bundle: Path, target: Target, seed: int, work: int) -> int:
    """Load, killed KILLS times at moments spread over the whole work by chance; return how often it was in the middle.

    The work is counted in bytes written to the state directory and received by the registry.
    """
    chance = random.Random(seed)
    words = ("load", bundle, "--registry", target.url, "--quiet")
    hits = 0
    for left in range(KILLS, 0, -1):
        begun = done = written(desk.state) + target.received()
        moment = begun + chance.uniform(0, 2 * max(0, work - begun) / (left + 1))
        process = desk.start(*words)
        while process.poll() is None and done <= moment:
            time.sleep(0.0005)
            done = written(desk.state) + target.received()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            hits += done > begun
        _, problem = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), problem
    done_at_last = ended(desk.start(*words))
    assert done_at_last.status == 0, done_at_last.err
    return hits


@pytest.mark.parametrize(("where", "style"), [("real", "legacy"), ("simulated", "containerd")])
@pytest.mark.parametrize("seed", [1])
def test_a_load_that_is_killed_again_and_again_ends_well(
    style: Style, where: str, seed: int, desk: Desk, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    target: Target = request.getfixturevalue(where)
    images = target.images
    bundle = legacy_bundle(tmp_path / "bundle" / "component", images, style=style).folder
    size = sum(len(x.data) for x in {x.digest: x for spec in images for x in build(spec).layers}.values())
    hits = load_through_kills(desk, bundle, target, seed, work=2 * size)
    assert hits >= min(2, KILLS)
    for image in map(build, images):
        assert target.layers_below(image) == (image.config_digest, image.diff_ids)
    ratio = target.received() / target.stored_bytes
    print(f"{where}, {style}: {hits} kills, {ratio:.3f} times the bytes")
    assert ratio <= MOST_SENT, f"{ratio:.3f} times the bytes after {hits} kills"
    assert_clean(desk.state)


def assert_clean(state: Path) -> None:
    """Check that nothing of the killed runs is left, and that nobody else may read what is."""
    for path in state.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        if path.is_file() and path.parent.name == "sha256":
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert not list((state / "uploads").glob("*"))
