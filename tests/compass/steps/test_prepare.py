"""A bundle is verified before anything else, and fits the version that a cluster has."""

from pathlib import Path
from typing import Any

import pytest

from compass.bundle.definition import parse_definition
from compass.cluster.record import Record
from compass.documents import dump_yaml
from compass.errors import InvalidInput, Refused
from compass.steps.prepare import prepare, refuse_version
from tests.compass.steps.places import workplace
from tests.material.bundles import definition, legacy_bundle, packed_bundle


def record(version: str, state: str = "done") -> Record:
    words: dict[str, Any] = dict.fromkeys(("bundle", "digest", "plan_digest", "step", "by", "tool", "started"), "x")
    return Record(version=version, state=state, **words)  # type: ignore[arg-type]


def test_a_bundle_is_summed_up(tmp_path: Path) -> None:
    made = legacy_bundle(tmp_path / "bundle")
    found = prepare(workplace(made.folder, tmp_path))
    assert (found.name, found.version, found.is_legacy) == ("compass-component", "legacy", True)
    assert found.components == ("control-cleanup", "am-minion", "release-controller")
    files = [x for x in made.folder.rglob("*") if x.is_file()]
    assert (found.files, found.size_bytes) == (len(files), sum(x.stat().st_size for x in files))
    assert len(found.archives) == 3
    assert all(x.startswith("sha256:") and len(x) == 71 for x in found.archives.values())


def test_one_changed_byte_is_another_digest_or_an_error(tmp_path: Path) -> None:
    folder = legacy_bundle(tmp_path / "bundle", images=[]).folder
    before = prepare(workplace(folder, tmp_path)).digest
    (folder / "run.sh").write_text("#!/bin/sh\n")
    assert prepare(workplace(folder, tmp_path)).digest != before
    path = packed_bundle(tmp_path / "b.tar", images=[])
    assert prepare(workplace(path, tmp_path)).is_legacy is False
    data = bytearray(path.read_bytes())
    data[data.index(b"release-controller")] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInput):
        prepare(workplace(path, tmp_path))


@pytest.mark.parametrize(
    ("records", "fits"),
    [
        ([], True),
        ([record("2.7.0")], True),
        ([record("2.7.1")], True),
        ([record("2.6.9")], False),
        ([record("2.8.0")], False),
        ([record("legacy")], False),
        ([record("2.6.9", "failed"), record("2.7.0")], True),
        ([record("2.7.0", "running"), record("2.6.9")], False),
        ([record("2.6.9", "failed")], True),
    ],
)
def test_a_bundle_starts_from_the_last_version_that_was_done(records: list[Record], fits: bool) -> None:
    bundle = parse_definition(dump_yaml(definition([])), "b")  # from >=2.7.0,<2.7.1 to 2.7.1
    if fits:
        refuse_version(bundle, records, "c")
        return
    with pytest.raises(
        Refused, match=r"upgrade cluster c: version .*, expected one of .*; apply the bundle that leads there first"
    ):
        refuse_version(bundle, records, "c")


def test_a_bundle_that_names_no_version_starts_from_any() -> None:
    bundle = parse_definition(dump_yaml(definition([], metadata={"name": "a", "to": "9"})), "b")
    refuse_version(bundle, [record("1.0")], "c")
