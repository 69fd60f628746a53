"""Packing that is killed, or runs out of space or memory, leaves nothing behind that matters."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from tests.compass.steps.packs import listing, packed, verified
from tests.material.archives import docker_save
from tests.material.bundles import legacy_bundle
from tests.material.images import ImageSpec, noise
from tests.servers.need import absent

ROOT = Path(__file__).parents[3]
PACK = """
import sys, time
from pathlib import Path
from compass import store
from compass.errors import CompassError
from compass.job import Job, Where
from compass.steps.destination import PackOrder
from compass.steps.pack import pack
from compass.steps.workplace import Workplace
source, output, slow_at = sys.argv[1:]
store.SPACE_RESERVE_BYTES = 0
class Slow:
    def begin(self, *x): pass
    def note(self, x): pass
    def advance(self, what, amount):
        if what == slow_at:
            print("going", flush=True)
            time.sleep(60)
try:
    pack(Workplace(Job(bundle=source, where=Where(state_dir=source + ".state")), {}, progress=Slow()),
         PackOrder(output=Path(output), part_bytes=100_000))
except CompassError as error:
    print(type(error).__name__, error)
    print("left:", sorted(str(x.relative_to(Path(output).parent)) for x in Path(output).parent.rglob("*")))
"""


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    return legacy_bundle(tmp_path / "in" / "bundle").folder


@pytest.mark.parametrize("where", ["read images", "write bundle"])
def test_a_run_that_is_killed_leaves_a_part_that_the_next_one_removes(tmp_path: Path, legacy: Path, where: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", PACK, str(legacy), str(out / "b.tar"), where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        assert process.stdout.readline() == b"going\n"
        process.send_signal(signal.SIGKILL)
    (part,) = out.iterdir()
    assert part.name.startswith(f".partial-{process.pid}-")
    assert part.stat().st_mode & 0o777 == 0o700
    packed(legacy, out / "b.tar")
    assert listing(out) == ["b.tar"]
    packed(legacy, tmp_path / "other.tar")
    assert (out / "b.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()


@pytest.mark.parametrize(
    ("disk_has", "said"),
    [
        ("size=64k", r"Refused pack below .* MiB free, expected"),
        ("size=64m,nr_inodes=18", r"Refused write .*: the disk is full; free space"),
    ],
    ids=["seen before", "met on the way"],
)
def test_a_disk_that_is_full_is_refused_and_nothing_is_left(
    tmp_path: Path, legacy: Path, disk_has: str, said: str
) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        absent("a small disk: root and unshare")
    docker_save([ImageSpec("h.io/a/b:v1", [{"f": noise(3_000_000)}])], legacy / "images" / "b.tar.gz")
    disk = tmp_path / "disk"
    disk.mkdir()
    small = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o {disk_has} none {disk} && exec "$@"', "sh"]
    command = [*small, sys.executable, "-c", PACK, str(legacy), str(disk / "b.tar"), ""]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        absent(f"a small disk: {done.stderr.strip()}")
    assert done.stderr == ""
    error, left = done.stdout.splitlines()
    assert re.search(said, error), error
    assert left == "left: []"


def test_memory_stays_flat_whatever_the_size_of_a_layer(tmp_path: Path, legacy: Path) -> None:
    big = [ImageSpec("h.io/a/big:v1", [{"f": bytes(100 << 20)}])]
    docker_save(big, legacy / "images" / "big.tar", "legacy", "none")
    tracemalloc.start()
    try:
        packed(legacy, tmp_path / "b.tar")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 << 20
    assert verified(tmp_path / "b.tar", tmp_path).images == 4
