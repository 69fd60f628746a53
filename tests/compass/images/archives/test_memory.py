"""Memory stays flat, however large a layer is: what is read, compressed and sent goes by in pieces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GIB = 1 << 30
SIZE = float(os.environ.get("COMPASS_TEST_LAYER_GIB", "1"))
MOST_MIB = 200
# In a process of its own, whose highest use of memory is what this room needs and nothing else's.
READ = """
import hashlib, io, json, sys, tarfile, time
from pathlib import Path
from compass.digests import Digest
from compass.images.archives.normalise import normalise
from compass.images.layout import Layout
from compass.progress import Silent

PIECE = bytes(1 << 20)
size = int(sys.argv[2])


def header(name, length):
    info = tarfile.TarInfo(name)
    info.size = length
    return info.tobuf(tarfile.GNU_FORMAT)


def member(name, data):
    return header(name, len(data)) + data + bytes(-len(data) % 512)


def archive():
    '''Yield what docker save writes, made on the way: nothing of it lies anywhere.'''
    layer = hashlib.sha256()
    yield header("a/layer.tar", size)
    first = header("usr/zeros", size - 512 - 1024)
    for piece in (first, *(PIECE for _ in range(size // len(PIECE) - 1)), PIECE[512:]):
        layer.update(piece)
        yield piece
    config = json.dumps({"rootfs": {"diff_ids": ["sha256:" + layer.hexdigest()]}}).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    yield member(name, config)
    entry = {"Config": name, "RepoTags": ["h.io/large/one:v1"], "Layers": ["a/layer.tar"]}
    yield member("manifest.json", json.dumps([entry]).encode())
    yield bytes(1024)


class Stream(io.RawIOBase):
    def __init__(self):
        self._pieces, self._rest = archive(), memoryview(b"")

    def readable(self):
        return True

    def readinto(self, buffer):
        while not len(self._rest):
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


class Files:
    def names(self):
        return ["images/large.tar"]

    def size(self, name):
        return size

    def open(self, name):
        return Stream()


layout = Layout(Path(sys.argv[1]))
began = time.monotonic()
known = {"images/large.tar": Digest("sha256:" + "0" * 64)}
(image,) = normalise(Files(), Files().names(), layout, Silent(), digests=known)["images/large.tar"]
# Not getrusage: what it says of a child begins with what its parent had when it forked.
peak = next(x for x in open("/proc/self/status") if x.startswith("VmHWM"))
print(image.name, int(peak.split()[1]) >> 10, f"{time.monotonic() - began:.1f}")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count memory in another unit")
def test_a_layer_of_any_size_goes_by_in_pieces(tmp_path: Path) -> None:
    words = [sys.executable, "-c", READ, str(tmp_path / "state"), str(int(SIZE * GIB))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, peak, seconds = done.stdout.split()
    print(f"a layer of {SIZE} GiB: at most {peak} MiB of memory, {seconds} s")
    assert name == "h.io/large/one:v1"
    assert int(peak) < MOST_MIB
