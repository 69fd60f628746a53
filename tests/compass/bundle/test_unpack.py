"""Unpacking is safe against any archive, happens once, and is never half."""

import gzip
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from compass import store
from compass.bundle import unpack as module
from compass.bundle.archive import Archive
from compass.bundle.unpack import describe, unpack
from compass.errors import InvalidInput, Refused
from compass.progress import Silent
from tests.compass.bundle.packing import LEGACY, Member, below, contents, opened, tar, tgz, tree, written
from tests.material.bundles import component_archive, legacy_bundle, outer_archive
from tests.material.images import noise
from tests.servers.need import absent

ROOT = Path(__file__).parents[3]
FILES = {name: what for name, what in LEGACY if isinstance(what, bytes)}
GOOD = below("c")
# Header and data, header and two of data, header and data, the end: in blocks of 512 bytes.
THREE = tar([("c/templates/0.j2", b"0" * 10), ("c/templates/1.j2", b"1" * 600), ("c/templates/2.j2", b"2" * 512)])


def refuse(path: Path, match: str, kind: type[Exception] = InvalidInput) -> str:
    """Check that an archive is refused and leaves nothing, and return what was said."""
    state = path.parent / "state"
    with pytest.raises(kind, match=match) as caught:
        opened(path)
    assert str(path) in str(caught.value)
    assert not state.exists(), sorted(state.rglob("*"))
    return str(caught.value)


BAD_MEMBERS: dict[str, tuple[list[Member], str, str]] = {
    "an absolute path": ([("/etc/evil", b"x")], "/etc/evil", "leads out"),
    "a path upwards": ([("../evil", b"x")], "../evil", "leads out"),
    "a path upwards from a folder": ([("c/../../evil", b"x")], "c/../../evil", "leads out"),
    "only upwards": ([("..", None)], "..", "leads out"),
    "a path with backslashes": ([("c\\..\\..\\evil", b"x")], "evil", "leads out"),
    "an absolute link": ([("c/l", (tarfile.SYMTYPE, "/etc/passwd"))], "c/l", "a link to '/etc/passwd'"),
    "a link upwards": ([("c/l", (tarfile.SYMTYPE, "../../x"))], "c/l", "a link to '../../x'"),
    "a link upwards by a detour": ([("c/l", (tarfile.SYMTYPE, "a/../../../x"))], "c/l", "a link to"),
    "a path through a link": ([("c/l", (tarfile.SYMTYPE, "d")), ("c/l/evil", b"x")], "c/l/evil", "through a link"),
    "a deep path through a link": (
        [("c/l", (tarfile.SYMTYPE, ".")), ("c/l/a/b/evil", b"x")], "c/l/a/b/evil", "through a link"),
    "an absolute hard link": ([("c/l", (tarfile.LNKTYPE, "/etc/passwd"))], "c/l", "a link to '/etc/passwd'"),
    "a hard link upwards": ([("c/l", (tarfile.LNKTYPE, "../x"))], "c/l", "a link to '../x'"),
    "a character device": ([("c/dev", (tarfile.CHRTYPE, ""))], "c/dev", "device or pipe"),
    "a block device": ([("c/dev", (tarfile.BLKTYPE, ""))], "c/dev", "device or pipe"),
    "a pipe": ([("c/pipe", (tarfile.FIFOTYPE, ""))], "c/pipe", "device or pipe"),
    "a name twice": ([("c/templates/a.j2", b"other")], "c/templates/a.j2", "there twice"),
    "a name twice, spelled otherwise": ([("c/./templates//a.j2", b"other")], "a.j2", "there twice"),
    "a link over a file": ([("c/templates/a.j2", (tarfile.SYMTYPE, "b"))], "c/templates/a.j2", "there twice"),
    "a file below a file": ([("c/templates/a.j2/b", b"x")], "c/templates/a.j2/b", "a folder of a file's name"),
    "a folder over a file": ([("c/templates/a.j2", None)], "c/templates/a.j2", "a folder of a file's name"),
    "a name that no disk takes": ([("c/" + "n" * 300, b"x")], "nnnn", "too long"),
    "a name of two lines": ([("c/a\nb", b"x")], "c/a", "one line"),
    "a name that is no text": ([("c/a\udcff", b"x")], "c/a", "no text"),
}  # fmt: skip


@pytest.mark.parametrize(("members", "named", "why"), BAD_MEMBERS.values(), ids=BAD_MEMBERS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_an_unsafe_member_is_refused_by_name_and_nothing_is_left(
    tmp_path: Path, members: list[Member], named: str, why: str, first: bool
) -> None:
    twice = "twice" in why or "folder of" in why
    path = written(tmp_path / "b.tar.gz", tgz([*members, *GOOD] if first and not twice else [*GOOD, *members]))
    assert named in refuse(path, why)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["b.tar.gz"]


@pytest.mark.parametrize(("members", "named", "why"), BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_an_unsafe_member_of_the_component_inside_is_refused(
    tmp_path: Path, members: list[Member], named: str, why: str
) -> None:
    outer = tgz([("o/compass-component-upgrade.tar.gz", tgz([*GOOD, *members]))])
    assert named in refuse(written(tmp_path / "b.tar.gz", outer), why)


def test_a_link_inside_is_kept_and_proven(tmp_path: Path) -> None:
    links: list[Member] = [
        ("c/images/soft.tar.gz", (tarfile.SYMTYPE, "a.tar.gz")),
        ("c/images/hard.tar.gz", (tarfile.LNKTYPE, "c/images/a.tar.gz")),
        ("c/templates/again.j2", (tarfile.SYMTYPE, "../templates/later.j2")),
        ("c/templates/later.j2", (tarfile.SYMTYPE, "a.j2")),
    ]
    path = written(tmp_path / "b.tar.gz", tgz([*GOOD, *links]))
    bundle = opened(path)
    found = contents(bundle)
    assert found["images/soft.tar.gz"] == found["images/hard.tar.gz"] == FILES["images/a.tar.gz"]
    assert found["templates/again.j2"] == FILES["templates/a.j2"]
    assert found.keys() == {*FILES, *(name.removeprefix("c/") for name, _ in links)}


def test_a_link_to_nothing_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "b.tar.gz", tgz([*GOOD, ("c/images/l.tar.gz", (tarfile.SYMTYPE, "gone.tar.gz"))]))
    with pytest.raises(InvalidInput, match=r"images/l.tar.gz: no such file"):
        opened(path)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 5)
    extra: list[Member] = [(f"c/f{n}", b"") for n in range(5)]
    refuse(written(tmp_path / "b.tar.gz", tgz([*GOOD, *extra])), r"c/f2: more than 5 files")
    assert contents(opened(written(tmp_path / "good.tar.gz", tgz([*GOOD, *extra[:2]]))))


def test_more_bytes_than_a_bundle_may_have_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 5000)
    refuse(written(tmp_path / "b.tar.gz", tgz([*GOOD, ("c/big", bytes(3500))])), "c/big: more than")


@pytest.mark.parametrize(
    "make",
    [
        lambda: gzip.compress(tar([*GOOD, ("c/zeros", bytes(3 << 20))]), mtime=0),
        lambda: gzip.compress(tar(GOOD) + bytes(3 << 20), mtime=0),
        lambda: tgz([("o/compass-component-upgrade.tar.gz", gzip.compress(tar([*GOOD, ("c/zeros", bytes(3 << 20))])))]),
    ],
    ids=["inside", "after the end", "in the component"],
)
def test_an_archive_that_expands_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: object
) -> None:
    monkeypatch.setattr(module, "RATIO_GRACE_BYTES", 1 << 20)
    assert callable(make)
    refuse(written(tmp_path / "b.tar.gz", make()), "expands more than 200 times")


def test_an_archive_that_expands_much_but_is_small_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path / "b.tar.gz", gzip.compress(tar([*GOOD, ("c/zeros", bytes(3 << 20))]), mtime=0))
    assert len(contents(opened(path))["zeros"]) == 3 << 20


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.2, 0.5, 0.8, 0.99, 0.9999])
def test_a_compressed_archive_that_is_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    data = tgz([*GOOD, ("c/images/b.tar.gz", noise(300_000, "x"))])
    refuse(written(tmp_path / "b.tar.gz", data[: max(11, int(len(data) * share))]), "damaged or cut short")


@pytest.mark.parametrize("missing", [1, 4, 8])
def test_a_compressed_archive_without_its_checksum_is_refused(tmp_path: Path, missing: int) -> None:
    refuse(written(tmp_path / "b.tar.gz", tgz(GOOD)[:-missing]), "damaged or cut short")


@pytest.mark.parametrize("at", [512 * 2, 512 * 2 + 100, 512 * 3 + 17, 512 * 5, 512 * 7, 512 * 7 + 1])
@pytest.mark.parametrize("nested", [False, True], ids=["itself", "in the outer package"])
def test_a_tar_that_was_cut_before_it_was_compressed_is_refused(tmp_path: Path, at: int, nested: bool) -> None:
    data = gzip.compress(THREE[:at], mtime=0)
    if nested:
        data = tgz([("o/compass-component-upgrade.tar.gz", data)])
    refuse(written(tmp_path / "b.tar.gz", data), "damaged or cut short")


def test_a_broken_header_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    whole = bytearray(tar(GOOD))
    at = whole.index(b"c/scripts/config")
    whole[at + 5] ^= 0xFF
    refuse(written(tmp_path / "b.tar.gz", gzip.compress(bytes(whole))), "damaged or cut short")


def test_a_changed_byte_is_found_by_the_compressions_checksum(tmp_path: Path) -> None:
    data = bytearray(tgz([*GOOD, ("c/images/b.tar.gz", noise(100_000, "x"))]))
    data[len(data) // 2] ^= 0x01
    refuse(written(tmp_path / "b.tar.gz", bytes(data)), "damaged or cut short")


@pytest.mark.parametrize("at", [700, 512 * 2, 512 * 3 + 1, 512 * 5, 512 * 7, 512 * 8, 512 * 9 - 1])
def test_a_plain_tar_that_is_cut_short_is_refused(tmp_path: Path, at: int) -> None:
    refuse(written(tmp_path / "b.tar", THREE[:at]), "cut short|unexpected end of data")
    assert len(contents(opened(written(tmp_path / "whole.tar", THREE[: 512 * 9])))) == 3


@pytest.mark.parametrize(
    ("start", "called"),
    [
        (b"\x28\xb5\x2f\xfd", "a zstd file"),
        (b"\xfd7zXZ\x00", "a xz file"),
        (b"PK\x03\x04", "a zip file"),
        (b"BZh9", "a bzip2 file"),
    ],
)
def test_another_compression_is_called_by_its_name(tmp_path: Path, start: bytes, called: str) -> None:
    said = refuse(written(tmp_path / "b.tar.gz", start + bytes(2000)), called)
    assert "expected tar or tar.gz" in said


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello\n" * 500,
        gzip.compress(b"hello\n" * 500, mtime=0),
        gzip.compress(b"", mtime=0),
        b"\x1f\x8b",
        noise(4000, "n"),
    ],
)
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    refuse(written(tmp_path / "b.tar.gz", data), "damaged or cut short")


@pytest.mark.parametrize("data", [tgz([]), tar([]), tgz([("c", None), ("c/images", None)])])
def test_an_archive_without_files_is_refused(tmp_path: Path, data: bytes) -> None:
    refuse(written(tmp_path / "b.tar.gz", data), "no files, expected an upgrade bundle")


@pytest.mark.parametrize("folder", ["", "c", "./c", "."])
@pytest.mark.parametrize("with_folders", [True, False])
def test_a_component_archive_may_have_a_folder_at_its_top_or_none(
    tmp_path: Path, folder: str, with_folders: bool
) -> None:
    members = below(folder) if folder else list(LEGACY)
    if with_folders:
        top = f"{folder}/" if folder else ""
        members = [(f"{top}images", None), (f"{top}templates", None), *members]
    bundle = opened(written(tmp_path / "compass-component-upgrade.tar.gz", tgz(members)))
    assert contents(bundle) == FILES
    assert bundle.others == ()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read(tmp_path: Path, form: int) -> None:
    long = f"templates/{'l' * 90}/{'m' * 90}.j2"
    path = written(tmp_path / "b.tar.gz", gzip.compress(tar(below("c", [*LEGACY, (long, b"long")]), form)))
    assert contents(opened(path)) == {**FILES, long: b"long"}


@pytest.mark.parametrize("spelling", ["comapss", "compass"])
@pytest.mark.parametrize("top", ["", "o/", "o/p/"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_component_bundle_is_found_in_the_outer_package_and_its_fellows_are_listed(
    tmp_path: Path, spelling: str, top: str, place: int
) -> None:
    fellows: list[Member] = [
        (f"{top}compass-kernel-upgrade.tar.gz", b"kernel"),
        (f"{top}README.txt", b"read me"),
    ]
    component = (f"{top}{spelling}-component-upgrade.tar.gz", tgz([("c", None), *GOOD]))
    folders: list[Member] = [(x, None) for x in ("o", "o/p") if top.startswith(x)]
    outer = [*folders, *fellows[:place], component, *fellows[place:]]
    bundle = opened(written(tmp_path / "compass-upgrade-2.7.0-2.7.1.tar.gz", tgz(outer)))
    assert contents(bundle) == FILES
    assert {x.name: (x.size, x.sha256) for x in bundle.others} == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in fellows if isinstance(data, bytes)
    }
    assert bundle.definition.metadata.to == "2.7.1"


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar"])
def test_the_component_inside_may_be_compressed_or_not(tmp_path: Path, ending: str) -> None:
    inner = tar(GOOD) if ending == "tar" else tgz(GOOD)
    path = written(tmp_path / "outer.tar.gz", tgz([(f"o/comapss-component-upgrade-2.7.1.{ending}", inner)]))
    assert contents(opened(path)) == FILES


def test_an_outer_package_that_is_not_compressed_is_unpacked_too(tmp_path: Path) -> None:
    outer = tar([("o", None), ("o/comapss-component-upgrade.tar.gz", tgz(GOOD)), ("o/workspace.tar.gz", b"w")])
    bundle = opened(written(tmp_path / "outer.tar", outer))
    assert contents(bundle) == FILES
    assert [x.name for x in bundle.others] == ["o/workspace.tar.gz"]


def test_two_component_bundles_are_one_too_many(tmp_path: Path) -> None:
    names = ("o/comapss-component-upgrade.tar.gz", "o/compass-component-upgrade.tar.gz")
    path = written(tmp_path / "outer.tar.gz", tgz([(x, tgz(GOOD)) for x in names]))
    refuse(path, "a second component bundle, beside o/comapss-component-upgrade.tar.gz")


def test_a_bundle_as_it_is_handed_over_is_opened(tmp_path: Path) -> None:
    made = legacy_bundle(tmp_path / "made", kubeconfig="A")
    (tmp_path / "in").mkdir()
    outer = outer_archive(component_archive(made.folder, tmp_path), tmp_path / "in")
    bundle = opened(outer)
    on_disk = {x.relative_to(made.folder).as_posix(): x.read_bytes() for x in made.folder.rglob("*") if x.is_file()}
    assert contents(bundle) == on_disk
    assert sorted(x.name.rpartition("/")[2] for x in bundle.others) == [
        "compass-kernel-upgrade.tar.gz",
        "workspace-upgrade.tar.gz",
    ]
    assert bundle.legacy_site == tmp_path / "in"
    assert "versions 2.7.0 to 2.7.1, from the outer package's name" in bundle.conclusions


def test_what_was_unpacked_is_private_and_known_by_the_archives_sha256(tmp_path: Path) -> None:
    path = written(tmp_path / "b.tar.gz", tgz([("o/compass-component-upgrade.tar.gz", tgz(GOOD)), ("o/x.tar", b"x")]))
    folder, unpacked = unpack(Archive.of(path), tmp_path / "state" / "bundles", Silent())
    assert unpacked.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert folder == tmp_path / "state" / "bundles" / unpacked.sha256 / "content"
    assert unpacked.sums == {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    assert describe(unpacked)["others"][0]["name"] == "o/x.tar"
    assert describe(unpacked)["component"] == "o/compass-component-upgrade.tar.gz"
    for here in (tmp_path / "state", tmp_path / "state" / "bundles", folder.parent):
        assert here.stat().st_mode & 0o777 == 0o700
    assert all(x.stat().st_mode & 0o077 == 0 for x in folder.rglob("*") if x.is_file())


def test_a_second_run_uses_what_the_first_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path / "b.tar.gz", tgz(GOOD))
    first = contents(opened(path))
    before = tree(tmp_path / "state")
    shutil.copy(path, tmp_path / "renamed.tar.gz")
    assert contents(opened(path)) == contents(opened(tmp_path / "renamed.tar.gz", tmp_path / "state")) == first
    assert tree(tmp_path / "state") == before


@pytest.mark.parametrize("harm", ["no record", "damaged record", "no content"])
def test_what_was_unpacked_and_then_damaged_is_unpacked_again(tmp_path: Path, harm: str) -> None:
    path = written(tmp_path / "b.tar.gz", tgz(GOOD))
    opened(path)
    (record,) = (tmp_path / "state").rglob("unpacked.json")
    if harm == "no content":
        shutil.rmtree(record.parent / "content")
    elif harm == "no record":
        record.unlink()
    else:
        record.write_text("{")
    assert contents(opened(path)) == FILES
    assert record.read_text().startswith("{\n")


@pytest.mark.parametrize("harm", ["changed", "removed", "added"])
def test_an_unpacked_file_that_is_not_as_it_was_is_found(tmp_path: Path, harm: str) -> None:
    path = written(tmp_path / "b.tar.gz", tgz(GOOD))
    opened(path)
    (file,) = (tmp_path / "state").rglob("a.j2")
    if harm == "removed":
        file.unlink()
    else:
        (file if harm == "changed" else file.with_name("b.j2")).write_text("evil")
    said = {"changed": "a.j2 has sha256", "removed": "a.j2 is missing", "added": "b.j2 is not listed"}
    with pytest.raises(InvalidInput, match=f"{said[harm]}.*unpacked again"):
        opened(path)


def test_what_the_old_scripts_left_inside_a_bundle_does_no_harm(tmp_path: Path) -> None:
    extra: list[Member] = [("c/release_backup/default/a.yaml", b"x"), ("c/.git/config", b"x")]
    assert contents(opened(written(tmp_path / "b.tar.gz", tgz([*GOOD, *extra])))) == FILES


SLOW = """
import sys, time
from pathlib import Path
from compass.bundle.archive import Archive
from compass.bundle.unpack import unpack
class Slow:
    def begin(self, *x): pass
    def note(self, x): pass
    def advance(self, *x):
        print("going", flush=True)
        time.sleep(60)
unpack(Archive.of(Path(sys.argv[1])), Path(sys.argv[2]), Slow())
"""


def test_a_run_killed_in_the_middle_leaves_a_part_that_the_next_one_removes(tmp_path: Path) -> None:
    path, bundles = written(tmp_path / "b.tar.gz", tgz(GOOD)), tmp_path / "state" / "bundles"
    command = [sys.executable, "-c", SLOW, str(path), str(bundles)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        assert process.stdout.readline() == b"going\n"
        process.send_signal(signal.SIGKILL)
    (part,) = bundles.iterdir()
    assert part.name.startswith(f".partial-{process.pid}-")
    assert list((part / "content").rglob("*")), "it was in the middle"
    bundle = opened(path)
    assert contents(bundle) == FILES
    assert [x.name for x in bundles.iterdir()] == [hashlib.sha256(path.read_bytes()).hexdigest()]


def test_too_little_space_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SPACE_RESERVE_BYTES", 1 << 60)
    path = written(tmp_path / "b.tar.gz", tgz(GOOD))
    with pytest.raises(Refused, match=r"unpack bundle below .* MiB free, expected .* --state-dir on another disk"):
        opened(path)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["b.tar.gz"]


FILL = """
import sys
from pathlib import Path
from compass import store
from compass.bundle.archive import Archive
from compass.bundle.unpack import unpack
from compass.errors import Refused
from compass.progress import Silent
store.SPACE_RESERVE_BYTES = int(sys.argv[3])
state = Path(sys.argv[2])
try:
    unpack(Archive.of(Path(sys.argv[1])), state / "a" / "bundles", Silent())
except Refused as error:
    print(error)
    print("left:", sorted(str(x.relative_to(state)) for x in state.rglob("*")))
"""


@pytest.mark.parametrize(
    ("disk_has", "data", "said"),
    [
        ("size=1m", b"x", "unpack bundle below .* MiB free, expected"),
        ("size=64m,nr_inodes=50", b"", "write below .*: the disk is full; free space, or pass --state-dir"),
    ],
    ids=["seen before", "met on the way"],
)
def test_a_disk_that_is_full_is_refused_and_nothing_is_left(
    tmp_path: Path, disk_has: str, data: bytes, said: str
) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        absent("a small disk: root and unshare")
    path = written(tmp_path / "b.tar.gz", tgz([*GOOD, *((f"c/f{n}", data) for n in range(600))]))
    disk = tmp_path / "disk"
    disk.mkdir()
    small = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o {disk_has} none {disk} && exec "$@"', "sh"]
    command = [*small, sys.executable, "-c", FILL, str(path), str(disk), "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        absent(f"a small disk: {done.stderr.strip()}")
    assert done.stderr == ""
    error, left = done.stdout.splitlines()
    assert re.search(said, error), error
    assert left == "left: []"


def test_progress_counts_the_archives_own_bytes(tmp_path: Path) -> None:
    path = written(tmp_path / "b.tar.gz", tgz([*GOOD, ("c/images/b.tar.gz", noise(3_000_000, "x"))]))
    counted: list[int] = []

    class Counting(Silent):
        def begin(self, what: str, total: int, unit: str) -> None:
            assert (what, total, unit) == ("unpack bundle", path.stat().st_size, "bytes")

        def advance(self, what: str, amount: int) -> None:
            assert amount >= 0
            counted.append(amount)

    unpack(Archive.of(path), tmp_path / "bundles", Counting())
    assert sum(counted) <= path.stat().st_size
    assert sum(counted) > path.stat().st_size // 2


def test_unpacking_twice_at_once_gives_one(tmp_path: Path) -> None:
    path, bundles = written(tmp_path / "b.tar.gz", tgz(GOOD)), tmp_path / "a" / "bundles"
    command = [sys.executable, "-c", FILL, str(path), str(tmp_path), "0"]
    running = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    deadline = time.monotonic() + 60
    assert [x.wait(deadline - time.monotonic()) for x in running] == [0] * 4
    assert [x.name for x in bundles.iterdir()] == [hashlib.sha256(path.read_bytes()).hexdigest()]
