"""What an archive has compressed is taken over: the layer is whole for every reader, and little is compressed."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import os
import subprocess
import tarfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compass.digests import digest_of, hexadecimal
from compass.igzip import fast_zlib
from compass.images.archives import splicing
from compass.images.archives.members import BLOCK, Member, members
from compass.images.archives.splicing import MIN_LAYER_BYTES, Splicing, Unspliced
from compass.images.compression import Tap, drain
from compass.images.deflate import BlockGzip
from compass.images.layout import Layout
from compass.images.manifests import layout_index, read_tree
from compass.images.model import OCI_INDEX
from tests.compass.images.saved import read
from tests.material.archives import docker_save
from tests.material.images import ImageSpec, build, noise, prose
from tests.servers.assets import ensure_command
from tests.servers.need import need

MIB = 1 << 20
Gzip = Callable[[bytes], bytes]


def by_level(level: int, memory: int = 8, module: Any = zlib) -> Gzip:
    def gzipped(data: bytes) -> bytes:
        compressor = module.compressobj(level, zlib.DEFLATED, 31, memory)
        packed: bytes = compressor.compress(data) + compressor.flush()
        return packed

    return gzipped


def in_blocks(data: bytes) -> bytes:
    """Compress as pigz does."""
    with ThreadPoolExecutor(2) as pool:
        compressor = BlockGzip(pool, 4)
        return compressor.compress(data) + compressor.flush()


def in_members(data: bytes) -> bytes:
    """Compress as bgzip does."""
    return b"".join(gzip.compress(data[n : n + 60_000]) for n in range(0, len(data), 60_000))


def by_command(data: bytes) -> bytes:
    return subprocess.run(["gzip", "-c"], input=data, capture_output=True, check=True).stdout


WAYS: dict[str, Gzip] = {
    "gzip": by_command,
    "level 1": by_level(1),
    "level 9": by_level(9),
    "little memory": by_level(6, 1),
    "much memory": by_level(6, 9),
    "igzip": by_level(1, module=fast_zlib),
    "igzip's best": by_level(3, module=fast_zlib),
    "pigz": in_blocks,
}
LAYERS = {
    "prose": prose(5 * MIB, "splicing"),
    "little": prose(MIN_LAYER_BYTES + 17, "little"),
    "zeros inside": prose(2 * MIB, "a") + bytes(4 * MIB) + prose(2 * MIB, "b"),
    "noise inside": prose(MIB, "a") + noise(MIB, "b") + prose(2 * MIB, "c"),
}
ODD = {
    "noise": noise(2 * MIB, "layer"),
    "zeros": bytes(8 * MIB),
    "zeros at the end": prose(3 * MIB, "z") + bytes(30 * MIB),
}


def tar_of(*contents: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number, content in enumerate(contents):
            info = tarfile.TarInfo(f"{number}/layer.tar")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


TEXT64 = base64.b64encode(noise(900_000, "base64"))


def each(data: bytes, use: Callable[[Member], None]) -> None:
    stream: Any = io.BytesIO(data)
    head = stream.read(BLOCK)
    for member in members(Tap(head, stream, lambda _: None), head, "test"):
        assert isinstance(member, Member)
        use(member)


class Counted:
    """gzip_compressor, that counts what it is given."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self) -> Any:
        inner, outer = fast_zlib.compressobj(1, zlib.DEFLATED, 31), self

        class Compressor:
            def compress(self, data: Any) -> bytes:
                outer.bytes += len(data)
                packed: bytes = inner.compress(data)
                return packed

            def flush(self) -> bytes:
                packed: bytes = inner.flush()
                return packed

        return Compressor()


def spliced(data: bytes) -> list[bytes]:
    found: list[bytes] = []

    def use(member: Member) -> None:
        written: list[bytes] = []
        assert member.inflating
        with Splicing(member.inflating, written.append, member.size) as one:
            one.take(member.head)
            drain(member.rest, one.take)
            one.finish()
        found.append(b"".join(written))

    each(data, use)
    return found


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """What was compressed anew, in whole layers."""
    counted = Counted()
    monkeypatch.setattr(splicing, "gzip_compressor", counted)
    return counted


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("what", LAYERS)
def test_a_layer_is_taken_over_and_whole_for_every_reader(what: str, how: str, compressed: Counted) -> None:
    contents = [LAYERS["prose"], LAYERS[what], LAYERS["little"]]
    found = spliced(WAYS[how](tar_of(*contents)))
    for data, content in zip(found, contents, strict=True):
        assert gzip.decompress(data) == content
        assert fast_zlib.decompress(data, 31) == content
        done = subprocess.run(["gzip", "-dc"], input=data, capture_output=True, check=True)
        assert (done.stdout == content, done.stderr) == (True, b"")
    assert compressed.bytes == 0, "nothing was compressed as a whole"


@pytest.mark.parametrize("how", [*WAYS, "level 0", "bgzip"])
@pytest.mark.parametrize("what", ODD)
def test_a_layer_whose_blocks_cannot_be_used_is_compressed_or_asked_for_again(what: str, how: str) -> None:
    ways = {**WAYS, "level 0": by_level(0), "bgzip": in_members}
    data = ways[how](tar_of(LAYERS["little"], ODD[what], LAYERS["little"]))
    with contextlib.suppress(Unspliced):  # what expands to very much is not looked at
        found = spliced(data)
        assert [gzip.decompress(x) for x in found] == [LAYERS["little"], ODD[what], LAYERS["little"]]


@pytest.mark.parametrize("shift", range(0, 80 << 10, 12 << 10))
def test_a_layer_whose_only_block_with_codes_lies_near_its_end(shift: int) -> None:
    content = bytes(700_000) + TEXT64[: 300_000 + shift] + prose(40_000, "b") + TEXT64[500_000:600_000]
    with contextlib.suppress(Unspliced):
        found = spliced(WAYS["igzip"](tar_of(LAYERS["prose"], content, TEXT64)))
        assert [gzip.decompress(x) for x in found] == [LAYERS["prose"], content, TEXT64]


@pytest.mark.parametrize("share", [2, 3, 5, 9])
def test_a_layer_in_two_members_is_asked_for_again(share: int) -> None:
    data = tar_of(prose(12 * MIB, "members"))
    cut = len(data) // share
    with pytest.raises(Unspliced):
        spliced(gzip.compress(data[:cut], 1) + gzip.compress(data[cut:], 1))


def bits(*parts: tuple[int, int]) -> bytes:
    value = size = 0
    for part, count in parts:
        value, size = value | part << size, size + count
    return value.to_bytes((size + 7) // 8, "little")


def false_block(length: int) -> bytes:
    """Return an empty block with codes of its own and the header of a stored block."""
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
    codes = {18: 1, 1: 2, 0: 2}
    one = (3, 2)
    zeros = {n: [(0, 1), (n - 11, 7)] for n in (138, 117, 25)}
    head = bits(
        (4, 3), (10, 5), (16, 5), (15, 4), *[(codes.get(x, 0), 3) for x in order],
        one, *zeros[138], *zeros[117], one, *zeros[25], one, one, (1, 1), (0, 3),
    )  # fmt: skip
    return head + length.to_bytes(2, "little") + (length ^ 0xFFFF).to_bytes(2, "little")


@pytest.mark.parametrize("how", ["much memory", "igzip"])
@pytest.mark.parametrize("step", [16500, 50000])
@pytest.mark.parametrize("length", [65535, 20000])
def test_what_looks_like_a_block_and_is_none_leads_nowhere(length: int, step: int, how: str) -> None:
    """Inside stored blocks, something that was made to mislead: the right content follows it for long."""
    source = noise(6 * MIB, "misleading")
    content = b"".join(source[n : n + step] + false_block(length) for n in range(0, len(source), step))
    content += prose(300_000, "after")
    with contextlib.suppress(Unspliced):
        found = spliced(WAYS[how](tar_of(content, LAYERS["little"])))
        assert [gzip.decompress(x) for x in found] == [content, LAYERS["little"]]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kinds=st.lists(st.tuples(st.sampled_from(["prose", "noise", "zeros"]), st.integers(0, 1_500_000)), max_size=6),
    cut=st.integers(0, 70_000),
    how=st.sampled_from(sorted(WAYS)),
)
def test_whatever_a_layer_is_made_of_it_is_whole_or_asked_for_again(
    kinds: list[tuple[str, int]], cut: int, how: str
) -> None:
    make = {"prose": lambda n: LAYERS["little"][cut : cut + n], "noise": lambda n: noise(n, str(cut)), "zeros": bytes}
    content = LAYERS["prose"][cut : cut + 3 * MIB] + b"".join(make[kind](size) for kind, size in kinds)
    data = WAYS[how](tar_of(content, LAYERS["little"]))
    try:
        found = spliced(data)
    except Unspliced:
        return
    assert [gzip.decompress(x) for x in found] == [content, LAYERS["little"]]


SPEC = ImageSpec(
    "harbor.caicloud.xyz/release/spliced:v1",
    [{"a": LAYERS["prose"]}, {"b": LAYERS["noise inside"]}, {"c": b"small"}, {"d": LAYERS["zeros inside"]}],
)
ENDING = ImageSpec("harbor.caicloud.xyz/release/ending:v1", [{"a": ODD["zeros at the end"]}, {"b": LAYERS["prose"]}])


@pytest.mark.parametrize("spec", [SPEC, ENDING], ids=["taken over", "read again"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_archive_gives_its_images_whatever_could_be_taken_over(
    spec: ImageSpec, workers: int, tmp_path: Path
) -> None:
    docker_save([spec], tmp_path / "a.tar.gz", "oci")
    layout = Layout(tmp_path / "state")
    image = read(tmp_path / "a.tar.gz", layout, workers=workers)[0]
    tree = read_tree(layout, image.digest, "x")
    unpacked = [gzip.decompress(layout.open(x.digest).read()) for x in tree.blobs[1:]]
    assert tuple(map(digest_of, unpacked)) == build(spec).diff_ids
    assert {x.name for x in (layout.root / "blobs/sha256").iterdir()} == {hexadecimal(x) for x in tree.sizes()}


@pytest.mark.servers
def test_skopeo_unpacks_what_was_taken_over(tmp_path: Path) -> None:
    program = need(lambda: ensure_command("skopeo"))
    docker_save([SPEC], tmp_path / "a.tar.gz", "legacy")
    layout = Layout(tmp_path / "state")
    images = read(tmp_path / "a.tar.gz", layout)
    (layout.root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout.root / "index.json").write_bytes(layout_index(images, layout))
    assert json.loads((layout.root / "index.json").read_bytes())["mediaType"] == OCI_INDEX
    command = [program["skopeo"], "--insecure-policy", "copy", "-q", f"oci:{layout.root}"]
    environ = {**os.environ, **program.env, "HOME": str(tmp_path)}
    subprocess.run([*command, f"docker-archive:{tmp_path}/out.tar:x/y:z"], check=True, env=environ)
    with tarfile.open(tmp_path / "out.tar") as tar:
        layers = json.load(tar.extractfile("manifest.json") or io.BytesIO())[0]["Layers"]
        found = [digest_of((tar.extractfile(x) or io.BytesIO()).read()) for x in layers]
    assert tuple(found) == build(SPEC).diff_ids
