"""A tar as a stream is one that others read, the same every time, and exactly as long as was said."""

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from compass.bundle.tarball import TarMember, tar_size, tar_stream
from compass.errors import StepFailed

NAMES = ("bundle.yaml", "scripts/run.sh", "说明", "a" * 99 + "/" + "b" * 200, "empty")


def member(name: str, data: bytes, sha256: str = "") -> TarMember:
    return TarMember(name, len(data), lambda: iter([data[:3], data[3:]]), sha256)


def test_others_read_it_and_it_has_the_size_that_was_said(tmp_path: Path) -> None:
    files = {name: name.encode() * n for n, name in enumerate(NAMES)}
    members = [member(name, data, hashlib.sha256(data).hexdigest()) for name, data in files.items()]
    data = b"".join(tar_stream(members))
    assert len(data) == tar_size(members)
    (tmp_path / "a.tar").write_bytes(data)
    listed = subprocess.run(["tar", "tf", "a.tar"], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert listed.stderr == ""
    assert len(listed.stdout.splitlines()) == len(NAMES)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {x.name: x for x in tar}
        assert list(found) == list(files), "in their order"
        for name, info in found.items():
            stream = tar.extractfile(info)
            assert stream
            assert stream.read() == files[name]
            owner = (info.uid, info.gid, info.uname, info.gname)
            assert (info.mode, info.mtime, *owner) == (0o644, 0, 0, 0, "", "")


def test_a_member_larger_than_a_plain_header_can_say_is_read_too() -> None:
    large = TarMember("large", 9 << 30, lambda: iter(()))
    header = large.header
    assert tar_size([large]) == len(header) + (9 << 30) + 1024
    with tarfile.open(fileobj=io.BytesIO(header), mode="r:") as tar:
        info = tar.next()
        assert info
        assert (info.name, info.size) == ("large", 9 << 30)


@pytest.mark.parametrize("content", [b"short", b"much too long", b"otherwise!"])
def test_a_member_that_changed_meanwhile_stops_it(content: bytes) -> None:
    said = b"as it was."
    changed = TarMember("a", len(said), lambda: iter([content]), hashlib.sha256(said).hexdigest())
    with pytest.raises(StepFailed, match="pack a: it changed while it was read"):
        b"".join(tar_stream([changed]))
