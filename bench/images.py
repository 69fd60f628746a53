"""How fast ``compass-upgrade load`` is, beside docker, skopeo, crane and curl with the same images in the same run.

Six archives as ``docker save | gzip -1`` writes them (about 900 MB, a shared base layer, real files as content) are
loaded into an empty registry, and again when nothing has changed: as archives, and as the bundle that ``pack`` makes
of them.  curl sends the blobs of that bundle and nothing else: the floor.  Every way is whole processes, start-up and
all; each begins with an empty registry of its own and with nothing left for the disk to write.  After each load every
tag is compared with its archive.  The median of the rounds counts; least and most are beside it.

Run ``.venv/bin/python -m bench.images [--scale F] [--rounds N] [--only WAY ...]``.  It ends with status 1 when a
target is missed; a run of smaller scale, which measures how fast programs start, is not judged.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.archives import Archive, unpacked_bytes, write_archives
from bench.measuring import cores, run, say, timed
from bench.ways import COMPASS, Absent, Compass, Way, crane, curl, docker, installed, skopeo
from tests.material.bundles import legacy_bundle
from tests.servers.assets import Assets, ensure, find
from tests.servers.registry import DockerRegistry

ROUNDS = 3
WAYS = ("docker", "skopeo", "crane", "curl", "archives", "packed")
MB = 1_000_000
OF_SKOPEO = (1 / 5, 1 / 15)  # first time, again
OF_CURL = 1.5
OF_ARCHIVES = 0.65
MAX_PEAK_BYTES = 200 * MB


@dataclass
class Measured:
    """What one way took in each round, in seconds, and the most memory that it had."""

    way: Way
    first: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    peak_bytes: int = 0


@dataclass(frozen=True)
class Figure:
    """A quotient or a size, and what it must not exceed."""

    what: str
    found: float
    wanted: float | None = None

    @property
    def met(self) -> bool:
        """Tell whether it exceeds nothing."""
        return self.wanted is None or self.found <= self.wanted

    def __str__(self) -> str:
        verdict = "" if self.wanted is None else f"  at most {self.wanted:.3f}: {'met' if self.met else 'MISSED'}"
        return f"{self.what:74}{self.found:8.3f}{verdict}"


def main() -> int:
    """Measure, compare, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the images, as a share of the full one")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each way is measured")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS, metavar="WAY", help=", ".join(WAYS))
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the temporary folder is large
    with tempfile.TemporaryDirectory(prefix="bench-images-") as name:
        folder = Path(name)
        bundle = legacy_bundle(folder / "bundle", images=[]).folder
        # In a process of its own: the kernel counts no child lower than the process that started it.
        with ProcessPoolExecutor(max_workers=1) as pool:
            archives, unpacked = pool.submit(make_archives, bundle / "images", given.scale).result()
        size = sum(x.path.stat().st_size for x in archives)
        say(f"{len(archives)} archives of {size / MB:.0f} MB, {unpacked / MB:.0f} MB unpacked; {cores()} cores")
        packed, share = folder / "bundle.tar", 0.0
        if {"curl", "packed"} & set(given.only):
            seconds, _ = timed(lambda: run([COMPASS, "pack", bundle, "-o", packed], installed()))
            share = packed.stat().st_size / size
            say(f"packed in {seconds:.1f} s: {packed.stat().st_size / MB:.0f} MB")
        measured = {name: Measured(way) for name, way in possible(given.only, archives, bundle, packed, folder)}
        try:
            for number in range(given.rounds):
                for one in measured.values():
                    measure(one, archives, folder / "registry")
                    latest = ", again ".join(f"{x[-1]:.2f} s" for x in (one.first, one.again) if x)
                    say(f"round {number + 1}: {one.way.name}: {latest}")
        finally:
            for one in measured.values():
                one.way.forget()
    found = list(figures(measured, share))
    if given.scale < 1:  # then it is measured how fast programs start
        found = [replace(x, wanted=None) for x in found]
    say(*table(measured), *found)
    return 0 if all(x.met for x in found) else 1


def make_archives(folder: Path, scale: float) -> tuple[list[Archive], int]:
    """Write the archives and return them with what they hold, in bytes."""
    archives = write_archives(folder, scale)
    return archives, unpacked_bytes(archives)


def possible(
    only: Sequence[str], archives: Sequence[Archive], bundle: Path, packed: Path, folder: Path
) -> Iterator[tuple[str, Way]]:
    """Yield each way that is wanted and possible here; of the others it is said why they are not."""
    ways: dict[str, Callable[[], Way]] = {
        "docker": lambda: docker(archives),
        "skopeo": lambda: skopeo(archives, folder, find()),
        "crane": lambda: crane(archives, folder),
        "curl": lambda: curl(packed, folder, 1),
        "curl 8": lambda: curl(packed, folder, 8),
        "archives": lambda: Compass(bundle, "compass-upgrade load, archives", folder),
        "packed": lambda: Compass(packed, "compass-upgrade load, packed bundle", folder),
    }
    for name, make in ways.items():
        if name.partition(" ")[0] not in only:
            continue
        try:
            yield name, make()
        except Absent as error:
            say(f"left out: {error}")


def measure(one: Measured, archives: Sequence[Archive], folder: Path) -> None:
    """Load into an empty registry and again, and check what is there then."""
    one.way.forget()
    with DockerRegistry(registry_assets(), folder) as registry:
        for kept in (one.first, one.again)[: 2 if one.way.tags else 1]:
            os.sync()
            seconds, peak = timed(lambda: one.way.load(registry.host))
            kept.append(seconds)
            one.peak_bytes = max(one.peak_bytes, peak)
            if one.way.tags:
                check(archives, registry)
    shutil.rmtree(folder)


def registry_assets() -> Assets:
    """Return the server binaries; nothing is built when the registry is here."""
    assets = find()
    return assets if "docker-registry" in assets else ensure()


def check(archives: Sequence[Archive], registry: DockerRegistry) -> None:
    """Compare every tag with its archive.

    Raises:
        SystemExit: one is another image.
    """
    for archive in archives:
        repository, _, tag = archive.short_name.rpartition(":")
        found = json.loads(registry.manifest(repository, tag)[0])["config"]["digest"]
        if found != archive.config_digest:
            raise SystemExit(f"{archive.short_name}: the registry has {found}, the archive {archive.config_digest}")


def table(measured: Mapping[str, Measured]) -> Iterator[str]:
    """Yield what was measured, a line for each way."""
    yield f"\n{'seconds: median (least to most)':44}{'first time':>24}{'again':>24}"
    for one in measured.values():
        yield f"{one.way.name:44}{spread(one.first):>24}{spread(one.again):>24}"
    yield ""


def figures(measured: Mapping[str, Measured], packed_share: float) -> Iterator[Figure]:
    """Yield everything of which both sides were measured."""
    archives, packed = measured.get("archives"), measured.get("packed")
    for name in ("docker", "skopeo", "crane"):
        if archives and (peer := measured.get(name)):
            first, again = OF_SKOPEO if name == "skopeo" else (None, None)
            what = f"load of archives / {peer.way.name}"
            yield Figure(f"{what}, first time", quotient(archives.first, peer.first), first)
            yield Figure(f"{what}, again", quotient(archives.again, peer.again), again)
    floors = [x for name, x in measured.items() if name.startswith("curl")]
    if packed:
        shares = {x.way.name: quotient(packed.first, x.first) for x in floors}
        for name, share in shares.items():
            # Judged beside curl as it is used by itself, blob after blob; many at a time show how much is left.
            wanted = OF_CURL if share == min(shares.values()) else None
            yield Figure(f"load of packed bundle / {name}, first time", share, wanted)
    if packed_share:
        yield Figure("packed bundle / archives, in bytes", packed_share, OF_ARCHIVES)
    for one in (archives, packed):
        if one:
            yield Figure(f"{one.way.name}: peak of memory in MB", one.peak_bytes / MB, MAX_PEAK_BYTES / MB)


def quotient(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the quotient of two medians."""
    return statistics.median(ours) / statistics.median(theirs)


def spread(seconds: Sequence[float]) -> str:
    """Return median, least and most."""
    if not seconds:
        return "-"
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    sys.exit(main())
