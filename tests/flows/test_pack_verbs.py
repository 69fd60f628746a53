"""``pack`` and ``verify`` as a person gives them, and what a site does with a packed bundle."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compass.bundle.archive import Archive
from compass.bundle.files import TarFiles
from compass.images import compression
from compass.images.layout import FilesLayout
from compass.steps.images import load_images
from compass.steps.prepare import prepare
from tests.compass.steps.packs import altered, packed
from tests.compass.steps.places import workplace
from tests.flows.running import Case, Desk, listing, site_registry
from tests.material.bundles import component_images, legacy_bundle, old_images
from tests.material.images import ImageSpec, noise
from tests.material.keys import key_pair
from tests.servers.registry import DockerRegistry


@pytest.fixture
def empty(make_registry: Callable[..., DockerRegistry]) -> Iterator[DockerRegistry]:
    """A registry of the test's own, empty."""
    server = make_registry()
    yield server
    server.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def whole(bundle: Path, out: Path) -> Path:
    """The bundle, packed."""
    packed(bundle, out / "b.tar")
    return out / "b.tar"


@pytest.fixture
def pair(bundle: Path, out: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The bundle before, and a bundle that relies on it; they share layers that no other test has."""

    def own(specs: list[ImageSpec]) -> list[ImageSpec]:
        base = {"usr/lib/base": noise(30_000, str(tmp_path))}
        return [ImageSpec(x.name, [base, *x.layers]) for x in specs]

    before = legacy_bundle(tmp_path / "before" / "component", own(old_images())).folder
    after = legacy_bundle(tmp_path / "after" / "component", own(component_images())).folder
    packed(before, out / "old.tar", to="2.7.0")
    packed(after, out / "new.tar", base=out / "old.tar")
    return out / "old.tar", out / "new.tar"


def test_a_bundle_is_packed_verified_and_shown(desk: Desk, bundle: Path, out: Path) -> None:
    done = desk.run("pack", bundle, "-o", out / "b.tar", "--to", "2.7.1", "--output", "json")
    assert done.status == 0, done.err
    said = json.loads(done.out)
    assert (said["version"], len(said["images"]), said["files"]) == ("2.7.1", 3, [str(out / "b.tar")])
    for form in ("text", "json"):
        for verb in ("verify", "inspect"):
            shown = desk.run(verb, out / "b.tar", "--output", form)
            assert shown.status == 0, shown.err
            assert said["digest"] in shown.out
            if verb == "inspect":
                assert all(x["digest"] in shown.out for x in said["images"])
    assert "images  3, 10 blobs; all whole" in desk.run("verify", out / "b.tar").out
    inside = json.loads(desk.run("inspect", out / "b.tar", "--output", "json").out)
    assert [(x["name"], x["digest"], x["size"]) for x in inside["images"]] == [
        (x["name"], x["digest"], x["size"]) for x in said["images"]
    ]
    assert sorted(x.name for x in out.iterdir()) == ["b.tar"]
    assert not desk.state.exists(), "nothing is kept"


def test_packing_tells_its_progress_in_bytes(desk: Desk, bundle: Path, out: Path) -> None:
    done = desk.run("pack", bundle, "-o", out / "b.tar")
    for step in ("verify bundle", "read images", "write bundle"):
        assert f"{step}: " in done.err
    assert desk.run("pack", bundle, "-o", out / "c.tar", "--quiet").err == ""


def test_what_is_wrong_ends_with_the_status_that_says_so(desk: Desk, whole: Path, bundle: Path, out: Path) -> None:
    assert desk.run("pack", bundle).status == 2
    again = desk.run("pack", bundle, "-o", whole)
    assert again.status == 4
    assert "it is there already; pass --force to replace it" in again.error
    assert desk.run("pack", bundle, "-o", whole, "--force").status == 0
    for words, said in (
        (("-o", bundle / "b.tar"), "a place inside the bundle"),
        (("-o", out / "c.tar", "--split", "4 bananas"), "expected a size such as"),
        (("-o", out / "c.tar", "--base", bundle), "a bundle that is not packed"),
        (("-o", out / "c.tar", "--sign", whole), "an Ed25519 private key"),
        (("-o", out, "--outer", bundle / "run.sh", "--from", "1", "--to", "2"), "no .tar, .tar.gz or .tgz"),
    ):
        done = desk.run("pack", bundle, *words)
        assert (done.status, said in done.error) == (2, True), done.err
    assert sorted(x.name for x in out.iterdir()) == ["b.tar"]


def test_a_damaged_bundle_is_told_with_status_2_and_as_json(desk: Desk, whole: Path, tmp_path: Path) -> None:
    def harm(files: Path) -> None:
        (files / "scripts/config").write_text("x")
        (files / "run.sh").unlink()

    damaged = altered(whole, tmp_path / "x", harm, sums=False)
    for form in ("text", "json"):
        done = desk.run("verify", damaged, "--output", form)
        assert done.status == 2
        assert "run.sh is missing (and 1 more)" in done.error
    told = json.loads(done.out)
    assert (told["is_right"], "run.sh is missing (and 1 more)" in told["problem"]) == (False, True)


def test_parts_and_an_outer_package_are_read_by_every_verb(desk: Desk, bundle: Path, out: Path, tmp_path: Path) -> None:
    fellow = tmp_path / "workspace-upgrade.tar.gz"
    fellow.write_bytes(noise(1_000_000, "fellow"))
    words = ("--outer", fellow, "--from", "2.7.0", "--to", "2.7.1", "--split", "300K")
    done = desk.run("pack", bundle, "-o", out, *words, "--output", "json")
    assert done.status == 0, done.err
    *parts, listed = (Path(x) for x in json.loads(done.out)["files"])
    assert [x.name for x in parts] == [f"compass-upgrade-2.7.0-2.7.1.tar.gz.{n:03}" for n in range(len(parts))]
    assert listed.name == "compass-upgrade-2.7.0-2.7.1.tar.gz.sha256"
    for name in (parts[0], out / "compass-upgrade-2.7.0-2.7.1.tar.gz"):
        shown = desk.run("inspect", name)
        assert shown.status == 0, shown.err
        assert "compass-component 2.7.1" in shown.out
        assert "workspace-upgrade.tar.gz" in shown.out
    parts[1].unlink()
    missing = desk.run("verify", parts[0])
    assert missing.status == 2
    assert f"{parts[1]}: the part is missing" in missing.error


def test_a_signature_is_asked_for_with_the_key(desk: Desk, bundle: Path, out: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "key")
    _, other = key_pair(tmp_path, "other")
    done = desk.run("pack", bundle, "-o", out / "b.tar", "--sign", private)
    assert done.status == 0, done.err
    assert private.read_text() not in done.out + done.err
    assert "signature valid" in desk.run("verify", out / "b.tar", "--key", public).out
    assert "signed, see verify --key" in desk.run("inspect", out / "b.tar").out
    for verb, *where in (("verify",), ("inspect",), ("load", "--registry", "http://127.0.0.1:1")):
        refused = desk.run(verb, out / "b.tar", "--key", other, *where)
        assert refused.status == 2
        assert "a signature of another key" in refused.error


# -- what a site does with it


@pytest.mark.servers
def test_a_packed_bundle_is_loaded_without_decompression_and_scratch_space(
    whole: Path, tmp_path: Path, empty: DockerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something is decompressed")

    monkeypatch.setattr(compression, "Inflating", refuse)
    monkeypatch.setattr(gzip, "open", refuse)
    monkeypatch.setattr(zlib, "decompressobj", refuse)
    with workplace(whole, tmp_path / "desk", {"registry": site_registry(empty)}) as place:
        prepared = prepare(place)
        before = listing(tmp_path / "desk" / "state")
        done = load_images(place, prepared.archives)
        kept = {x: y for x, y in listing(tmp_path / "desk" / "state").items() if x not in before and len(y) > 1}
        assert not [x for x in kept if "blobs" in x or "archives" in x], kept
        declared = {x.name: x.digest for x in place.bundle.definition.images}
    assert {x.name: x.digest for x in done.images} == declared
    inside = FilesLayout(TarFiles(Archive.of(whole)))
    for image in inside.images():
        assert empty.manifest(image.name.repository, image.name.tag)[1] == image.digest
    sizes = empty.everything()["blobs"]
    assert sizes == {x: inside.size(x) for x in sizes}


@pytest.mark.servers
def test_a_differential_bundle_is_loaded_after_its_base_and_not_before(
    desk: Desk, pair: tuple[Path, Path], empty: DockerRegistry
) -> None:
    old, new = pair
    where = ("--registry", site_registry(empty))
    before = empty.everything()
    early = desk.run("load", new, *where)
    assert early.status == 4
    assert "blobs that the bundle relies on are absent" in early.error
    assert "compass-component 2.7.0 (sha256:" in early.error
    assert empty.everything() == before
    assert desk.run("load", old, *where).status == 0
    done = desk.run("load", new, *where, "--output", "json")
    assert done.status == 0, done.err
    said = {x["name"]: x["digest"] for x in json.loads(done.out)["images"]}
    inside = json.loads(desk.run("inspect", new, "--output", "json").out)
    assert said == {x["name"]: x["digest"] for x in inside["images"]}
    for spec in component_images():
        repository, _, tag = spec.name.partition("/")[2].rpartition(":")
        assert empty.manifest(repository, tag)[1] == said[spec.name]
    assert desk.run("verify", new).status == 0
    assert "relies on 2 blobs" in desk.run("inspect", new).out


@pytest.mark.servers
@pytest.mark.prefect
def test_a_site_without_the_base_is_refused_before_anything_is_touched(case: Case, pair: tuple[Path, Path]) -> None:
    old, new = pair
    said = case.refused(new, *case.where(), status=4)
    assert "load that bundle first" in said
    planned = case.desk.run("plan", new, "--allow-data-loss", *case.where())
    assert planned.status == 4
    assert "load that bundle first" in planned.error
    assert case.desk.run("load", old, *case.where()).status == 0
    planned = case.desk.run("plan", new, "--allow-data-loss", *case.where())
    assert planned.status == 3, planned.err
    assert "3 of 3 to push" in planned.out
