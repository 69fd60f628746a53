"""Every way in which an archive can be bad is told in one line, and leaves nothing behind."""

import gzip
import hashlib
import io
import json
import resource
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compass.errors import InvalidInput, StepFailed
from compass.images import compression
from compass.images.archives import content, members
from compass.images.archives.normalise import survey
from compass.images.layout import Layout
from tests.compass.images.saved import Members, altered, change_json, left_in, read, spec, write
from tests.material.archives import Style, corrupt_layer, docker_save, truncate
from tests.material.images import build, to_json

STYLES: list[Style] = ["legacy", "oci", "containerd"]


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    layout = Layout(tmp_path / "state")
    yield layout
    assert left_in(layout) == [], "nothing is left behind"


def refused(path: Path, layout: Layout, *words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(path, layout)
    text = str(caught.value).replace(str(path.parent), "")  # the folder carries the name of the test
    assert "\n" not in text
    for word in (path.name, *words):
        assert word in text


def one_layer(m: Members) -> str:
    return next(x for x in m if x.endswith("layer.tar"))


def config_name(m: Members) -> str:
    return next(x for x in m if x.endswith(".json") and len(x) == 69)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("packed", ["gzip", "none"])
def test_a_truncated_archive(keep: float, packed: str, tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "a.tar", "legacy", packed)  # type: ignore[arg-type]
    truncate(tmp_path / "a.tar", keep)
    refused(tmp_path / "a.tar", layout, "cut short")


def test_a_plain_archive_cut_between_two_members(tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "a.tar", "legacy", "none")
    with tarfile.open(tmp_path / "a.tar") as tar:
        end = tar.getmembers()[-1].offset
    with (tmp_path / "a.tar").open("r+b") as file:
        file.truncate(end)
    refused(tmp_path / "a.tar", layout, "cut short")


@pytest.mark.parametrize("style", ["legacy", "oci"])
def test_a_layer_with_a_changed_byte(style: Style, tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "a.tar.gz", style)
    corrupt_layer(tmp_path / "a.tar.gz")
    diff_id = build(spec()).diff_ids[0]
    refused(tmp_path / "a.tar.gz", layout, f"expected {diff_id}", "layer.tar" if style == "legacy" else "blobs/sha256/")


def test_a_changed_byte_in_a_compressed_layer(tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "a.tar", "containerd", "none")
    corrupt_layer(tmp_path / "a.tar")
    refused(tmp_path / "a.tar", layout, "blobs/sha256/")


def test_a_damaged_gzip_checksum(tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "a.tar.gz")
    data = bytearray((tmp_path / "a.tar.gz").read_bytes())
    data[-6] ^= 1
    (tmp_path / "a.tar.gz").write_bytes(data)
    refused(tmp_path / "a.tar.gz", layout, "damaged gzip data")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the archive is cut short"),
        (b"hello", "the archive is cut short"),
        (b"hello" * 1000, "no tar header"),
        (gzip.compress(b"hello" * 1000, mtime=0), "no tar header"),
        (b"\x1f\x8bnonsense" * 100, "damaged gzip data"),
        (bytes(10240), "no member"),
        (b"PK\x03\x04" * 1000, "no tar header"),
    ],
)
def test_no_archive_at_all(data: bytes, words: str, tmp_path: Path, layout: Layout) -> None:
    (tmp_path / "a.tar.gz").write_bytes(data)
    refused(tmp_path / "a.tar.gz", layout, words)


def test_zstd_without_a_decoder(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_ZSTD_MODULES", ())
    (tmp_path / "a.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(1000))
    refused(tmp_path / "a.tar.zst", layout, "zstd", "install the Python package backports.zstd")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../evil"])
def test_a_path_that_leads_out(name: str, tmp_path: Path, layout: Layout) -> None:
    write(tmp_path / "a.tar.gz", {name: b"x"})
    refused(tmp_path / "a.tar.gz", layout, "leads out", name)


@pytest.mark.parametrize(
    ("kind", "target", "words"),
    [
        (tarfile.SYMTYPE, "../../evil", "out of the archive"),
        (tarfile.SYMTYPE, "/etc/passwd", "out of the archive"),
        (tarfile.LNKTYPE, "../evil", "out of the archive"),
        (tarfile.CHRTYPE, "", "a special file"),
        (tarfile.FIFOTYPE, "", "a special file"),
    ],
)
def test_a_member_that_no_image_archive_has(
    kind: bytes, target: str, words: str, tmp_path: Path, layout: Layout
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("x/layer.tar")
        info.type, info.linkname = kind, target
        tar.addfile(info)
    refused(tmp_path / "a.tar", layout, words, "x/layer.tar")


def test_links_in_a_circle(tmp_path: Path, layout: Layout) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, target in (("manifest.json", "other"), ("other", "manifest.json")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    refused(tmp_path / "a.tar", layout, "circle")


CHANGES: dict[str, tuple[Callable[[Members], object], list[str]]] = {
    "no manifest": (lambda m: m.pop("manifest.json"), ["neither manifest.json nor index.json"]),
    "no layer": (lambda m: m.pop(one_layer(m)), ["layer.tar", "no such layer"]),
    "no config": (lambda m: m.pop(config_name(m)), ["no such config"]),
    "other config": (lambda m: m.update({config_name(m): b"{}"}), ["with digest sha256:44136f", "expected sha256:"]),
    "no name": (
        lambda m: (m.pop("repositories"), change_json(m, "manifest.json", lambda v: v[0].update(RepoTags=[]))),
        ["without a name", "save it by name and tag"],
    ),
    "bad name": (
        lambda m: change_json(m, "manifest.json", lambda v: v[0].update(RepoTags=["UPPER/x:v1"])),
        ["UPPER/x:v1", "manifest.json"],
    ),
    "a layer too few": (
        lambda m: change_json(m, "manifest.json", lambda v: v[0]["Layers"].pop()),
        ["1 layers, expected 2"],
    ),
    "layers in another order": (
        lambda m: change_json(m, "manifest.json", lambda v: v[0]["Layers"].reverse()),
        ["diff id", "as its config says"],
    ),
    "manifest of another form": (lambda m: m.update({"manifest.json": b'{"a": 1}'}), ["manifest.json", "a list"]),
    "manifest of no form": (lambda m: m.update({"manifest.json": b'[{"a": 1}]'}), ["Config: field required"]),
    "manifest no json": (lambda m: m.update({"manifest.json": b"[{"}), ["manifest.json", "expected JSON"]),
    "deep json": (lambda m: m.update({"manifest.json": b"[" * 100_000}), ["manifest.json", "expected JSON"]),
    "layer that is text": (
        lambda m: m.update({one_layer(m): b"hello " * 999}),
        ["layer.tar", "neither a tar nor gzip nor zstd"],
    ),
    "huge json": (lambda m: m.update({"manifest.json": b"[" + b" " * (5 << 20)}), ["manifest.json", "at most 4194304"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_an_archive_that_does_not_hold_together(name: str, tmp_path: Path, layout: Layout) -> None:
    change, words = CHANGES[name]
    refused(altered(tmp_path / "a.tar.gz", lambda m: change(m) and None), layout, *words)


def first_manifest(m: Members) -> str:
    return f"blobs/sha256/{json.loads(m['index.json'])['manifests'][0]['digest'][7:]}"


OCI_CHANGES: dict[str, tuple[Callable[[Members], object], list[str]]] = {
    "no manifest": (lambda m: m.pop(first_manifest(m)), ["no such manifest"]),
    "manifest with other content": (lambda m: m.update({first_manifest(m): b"{}"}), ["content with digest"]),
    "index with a bad digest": (
        lambda m: change_json(m, "index.json", lambda v: v["manifests"][0].update(digest="md5:1")),
        ["index.json", "manifests.0.digest"],
    ),
    "index of another form": (lambda m: m.update({"index.json": b'{"layers": []}'}), ["manifests: field required"]),
    "no name": (
        lambda m: (
            m.pop("manifest.json"),
            change_json(m, "index.json", lambda v: v["manifests"][0].pop("annotations")),
        ),
        ["without a name"],
    ),
    "only a tag": (
        lambda m: (
            m.pop("manifest.json"),
            change_json(m, "index.json", lambda v: v["manifests"][0]["annotations"].pop("io.containerd.image.name")),
        ),
        ["without a name"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OCI_CHANGES)
def test_an_oci_archive_that_does_not_hold_together(name: str, tmp_path: Path, layout: Layout) -> None:
    change, words = OCI_CHANGES[name]
    refused(altered(tmp_path / "a.tar.gz", lambda m: change(m) and None, "oci"), layout, *words)


def test_a_manifest_that_is_an_index_too(tmp_path: Path, layout: Layout) -> None:
    def change(m: Members) -> None:
        data = to_json({"manifests": [], "layers": []})
        digest = hashlib.sha256(data).hexdigest()
        m[f"blobs/sha256/{digest}"] = data
        change_json(m, "index.json", lambda v: v["manifests"][0].update(digest=f"sha256:{digest}"))

    refused(altered(tmp_path / "a.tar.gz", change, "oci"), layout, "expected an image manifest (layers) or an index")


def test_the_same_member_twice(tmp_path: Path, layout: Layout) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for data in (b"[]", b"[{}]"):
            info = tarfile.TarInfo("manifest.json")
            info.size = 4
            tar.addfile(info, io.BytesIO(data.ljust(4)))
    refused(tmp_path / "a.tar", layout, "manifest.json", "the same member twice")


def test_two_images_of_one_name(tmp_path: Path, layout: Layout) -> None:
    docker_save([spec(), spec(own="other")], tmp_path / "a.tar.gz")
    refused(tmp_path / "a.tar.gz", layout, "two images named harbor.caicloud.xyz/release/app:v1")


def test_a_decompression_bomb(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "FREE_BYTES", 1 << 20)
    write(tmp_path / "a.tar", {"x/layer.tar": bytes(20 << 20)}, "none")
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    refused(tmp_path / "a.tar.gz", layout, "decompression bomb", "at most 500 to 1")


def test_a_bomb_inside_a_compressed_layer(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "FREE_BYTES", 1 << 20)
    write(tmp_path / "a.tar", {"x/layer.tar": gzip.compress(bytes(20 << 20), mtime=0)}, "none")
    refused(tmp_path / "a.tar", layout, "x/layer.tar", "decompression bomb")


def test_too_many_members(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_MEMBERS", 10)
    write(tmp_path / "a.tar.gz", {f"f{n}": b"" for n in range(11)})
    refused(tmp_path / "a.tar.gz", layout, "more than 10 members")


def test_too_much_json(tmp_path: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MAX_DOCUMENTS_BYTES", 1000)
    write(tmp_path / "a.tar.gz", {f"f{n}.json": b'{"a": "' + b"x" * 300 + b'"}' for n in range(5)})
    refused(tmp_path / "a.tar.gz", layout, "more than 1000 bytes of JSON")


def test_a_tar_header_that_would_fill_the_memory(tmp_path: Path, layout: Layout) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(tmp_path / "a.tar", layout, "a tar header of 1099511627776 bytes")


def test_a_damaged_tar_header(tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "a.tar", "legacy", "none")
    with tarfile.open(tmp_path / "a.tar") as tar:
        offset = tar.getmembers()[-1].offset
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[offset + 3] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    refused(tmp_path / "a.tar", layout, "a damaged tar header")


def test_data_after_the_end(tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "a.tar", "legacy", "none")
    with (tmp_path / "a.tar").open("ab") as file:
        file.write(b"more")
    refused(tmp_path / "a.tar", layout, "data after the end")


def test_a_full_disk_fails_the_step_and_leaves_nothing(tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "a.tar.gz")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(StepFailed, match="free space") as caught:
            read(tmp_path / "a.tar.gz", layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "file too large" in str(caught.value).lower()


def test_a_survey_finds_bad_archives_too(tmp_path: Path, layout: Layout) -> None:
    docker_save([spec()], tmp_path / "a.tar.gz")
    truncate(tmp_path / "a.tar.gz")
    with pytest.raises(InvalidInput, match=r"a\.tar\.gz: .*cut short"):
        survey(lambda: (tmp_path / "a.tar.gz").open("rb"), "a.tar.gz")
