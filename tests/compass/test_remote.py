"""Copies of a backup in a store: read back, complete or not there, and no password in an address."""

from __future__ import annotations

import stat
from pathlib import Path

import fsspec
import pytest

from compass.errors import InvalidInput, StepFailed
from compass.remote import copy_in, copy_out, is_remote


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    folder = tmp_path / "backup"
    for name, text in {"objects/Service/a/one.yaml": "one\n", "index.json": "{}"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


NAMES = ["index.json", "objects/Service/a/one.yaml"]


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_copy_comes_back_as_it_went(backup: Path, tmp_path: Path, kind: str) -> None:
    store = f"file://{tmp_path}/store" if kind == "file" else "memory://store"
    address = copy_out(backup, NAMES, store, "here/one", "index.json")
    assert address == f"{store}/here/one"
    found = copy_in(address, tmp_path / "state" / "one", "index.json")
    assert {str(x.relative_to(found)): x.read_text() for x in found.rglob("*") if x.is_file()} == {
        str(x.relative_to(backup)): x.read_text() for x in backup.rglob("*") if x.is_file()
    }
    assert stat.S_IMODE((found / "index.json").stat().st_mode) == 0o600


def test_the_index_comes_last_so_that_an_incomplete_copy_is_known(backup: Path, tmp_path: Path) -> None:
    (backup / "objects/Service/a/one.yaml").unlink()
    with pytest.raises(StepFailed, match="copy to"):
        copy_out(backup, NAMES, f"file://{tmp_path}/store", "here/one", "index.json")
    assert not (tmp_path / "store/here/one/index.json").exists()
    with pytest.raises(InvalidInput, match=r"no index\.json, expected a whole backup"):
        copy_in(f"file://{tmp_path}/store/here/one", tmp_path / "state" / "one", "index.json")
    assert not (tmp_path / "state").exists()


def test_a_store_that_gives_something_else_back_is_caught(backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("memory")
    kind = type(files)
    before = kind.open

    def lying(self: object, path: str, mode: str = "rb", **more: object) -> object:
        stream = before(self, path, mode, **more)
        if "lies" in path and mode == "rb":
            stream.read(1)
        return stream

    monkeypatch.setattr(kind, "open", lying)
    with pytest.raises(StepFailed, match=r"found=|sha256 .* expected"):
        copy_out(backup, NAMES, "memory://lies", "here", "index.json")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://me:secret@bucket/x", "a password in its address"),
        ("nowhere://bucket/x", "Protocol not known"),
        ("https://files.site/x?sig=secret", "a query in its address"),
        ("simplecache::s3://me:secret@bucket/x", "a password in its address"),
        ("zip://x::ftp://me:secret@files.site/y.zip", "a password in its address"),
    ],
)
def test_an_address_that_has_no_sense_is_refused(backup: Path, address: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        copy_out(backup, NAMES, address, "here", "index.json")
    assert "secret" not in str(caught.value)


def test_an_address_is_told_from_a_path() -> None:
    assert [is_remote(x) for x in ("s3://a/b", "zip::file://a", "/a/b", "a/b", "./a")] == [
        True,
        True,
        False,
        False,
        False,
    ]
