"""``compass-upgrade load``: images only, ahead of a window; no cluster, no Prefect, as often as one likes."""

from __future__ import annotations

import base64
import json
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rehearsal.registry import Login as SimulatedLogin
from rehearsal.registry import SimulatedRegistry
from tests.conftest import MakeRegistry
from tests.flows.running import Desk, Ended, ended, listing
from tests.material.archives import truncate
from tests.material.bundles import component_images, legacy_bundle, packed_bundle, site_folder
from tests.material.images import ImageSpec, build, noise
from tests.servers.registry import DockerRegistry, Login

pytestmark = pytest.mark.servers
PASSWORD = "marker-of-the-load-4471"


@pytest.fixture
def empty(make_registry: MakeRegistry) -> Any:
    """A registry of the test's own."""
    server = make_registry()
    yield server
    server.close()


def load(desk: Desk, bundle: Path, registry: str, *words: object, **how: Any) -> Ended:
    return desk.run("load", bundle, "--registry", registry, *words, **how)


def images_in(done: Ended) -> dict[str, dict[str, Any]]:
    assert done.status == 0, done.err
    return {x["name"]: x for x in json.loads(done.out)["images"]}


def test_the_images_are_there_and_the_answer_proves_it(desk: Desk, bundle: Path, empty: DockerRegistry) -> None:
    done = load(desk, bundle, empty.url, "--output", "json")
    found = images_in(done)
    assert sorted(found) == sorted(x.name for x in component_images())
    for spec in component_images():
        image, said = build(spec), found[spec.name]
        data, digest, _ = empty.manifest(image.name.repository, image.name.tag)
        assert (said["digest"], said["target"]) == (digest, f"{empty.host}/{image.name.short_path}")
        assert json.loads(data)["config"]["digest"] == image.config_digest
        assert said["config_digests"] == [image.config_digest]
    document = json.loads(done.out)
    on_disk = sum(empty.everything()["blobs"].values())
    assert document["bytes_sent"] == sum(x["bytes_sent"] for x in found.values()) == on_disk
    assert document["registry"] == empty.host
    assert document["bundle"]["name"] == "compass-component"


def test_a_second_load_sends_nothing(desk: Desk, bundle: Path, empty: DockerRegistry) -> None:
    first = images_in(load(desk, bundle, empty.url, "--output", "json"))
    before = empty.everything()
    again = images_in(load(desk, bundle, empty.url, "--output", "json"))
    assert empty.everything() == before
    for name, image in again.items():
        assert image["digest"] == first[name]["digest"]
        assert image["bytes_sent"] == 0
        assert image["bytes_skipped"] == first[name]["bytes_sent"] + first[name]["bytes_skipped"]


def test_a_site_folder_needs_no_kubeconfig(desk: Desk, bundle: Path, empty: DockerRegistry) -> None:
    files = site_folder(desk.folder / "site", None, empty.url)
    done = desk.run("load", bundle, "--site", files)
    assert done.status == 0, done.err
    assert "release/am_minion" in empty.repositories()


def test_prefect_is_not_so_much_as_imported(desk: Desk, bundle: Path, empty: DockerRegistry) -> None:
    environ = {"PYTHONPROFILEIMPORTTIME": "1", "PREFECT_API_URL": "http://127.0.0.1:1"}
    done = load(desk, bundle, empty.url, environ=environ)
    assert done.status == 0, done.err
    imported = {x.rpartition("|")[2].strip() for x in done.err.splitlines() if x.startswith("import time:")}
    assert "compass.images.registry.upload" in imported
    assert not {x for x in imported if x.partition(".")[0] in ("prefect", "tasks", "fastapi")}


def test_lines_tell_how_far_it_is_and_quiet_leaves_the_result_alone(
    desk: Desk, bundle: Path, empty: DockerRegistry
) -> None:
    done = load(desk, bundle, empty.url)
    for step in ("verify bundle", "read images", "load images"):
        assert re.search(rf"^{step}: (\S+ \S+) of \1$", done.err, re.MULTILINE), done.err
    assert f"3 images in {empty.host}, " in done.out
    assert "release/am_minion:v0.0.7" in done.out
    quiet = load(desk, bundle, empty.url, "--quiet")
    assert quiet.err == ""
    assert quiet.out.endswith(f"3 images in {empty.host}, 0 B sent\n")


def test_a_packed_bundle_is_sent_from_where_it_lies(desk: Desk, tmp_path: Path, empty: DockerRegistry) -> None:
    path = packed_bundle(tmp_path / "packed" / "bundle.tar")
    found = images_in(load(desk, path, empty.url, "--output", "json"))
    assert len(found) == 3
    assert not list(desk.state.rglob("sha256/*")), "nothing is unpacked"


def test_a_bundle_without_images_has_nothing_to_load(desk: Desk, bundle: Path, empty: DockerRegistry) -> None:
    for archive in (bundle / "images").iterdir():
        archive.unlink()
    done = load(desk, bundle, empty.url)
    assert (done.status, done.out) == (0, "the bundle has no images\n"), done.err


# -- what is refused, and touches nothing


def test_a_damaged_archive_is_found_before_anything_is_sent(desk: Desk, bundle: Path, empty: DockerRegistry) -> None:
    archive = sorted((bundle / "images").iterdir())[-1]
    truncate(archive)
    done = load(desk, bundle, empty.url)
    assert done.status == 2
    assert archive.name in done.error
    assert empty.everything()["blobs"] == {}


def test_a_changed_byte_of_a_packed_bundle_is_found_first(desk: Desk, tmp_path: Path, empty: DockerRegistry) -> None:
    path = packed_bundle(tmp_path / "packed" / "bundle.tar")
    data = bytearray(path.read_bytes())
    at = data.index(build(component_images()[0]).stored(compressed=True)[1].data) + 100
    data[at] ^= 1
    path.write_bytes(data)
    done = load(desk, path, empty.url)
    assert done.status == 2
    assert "has sha256" in done.error
    assert empty.everything()["blobs"] == {}


def test_http_is_spoken_only_when_it_is_asked_for_by_name(desk: Desk, bundle: Path, empty: DockerRegistry) -> None:
    done = load(desk, bundle, empty.host)
    assert done.status == 2
    assert "no TLS, expected https; pass --registry http://" in done.error


def test_a_registry_that_is_away_is_a_failure(desk: Desk, bundle: Path, empty: DockerRegistry) -> None:
    empty.stop()
    done = load(desk, bundle, empty.url, "--patience", 4)
    assert done.status == 1
    assert empty.host in done.error
    told = [x for x in done.err.splitlines() if x.startswith("asking again: ")]
    assert len(told) == 1
    assert empty.host in told[0]


# -- logging in


def test_a_password_and_a_private_authority(desk: Desk, bundle: Path, make_registry: MakeRegistry) -> None:
    with make_registry(login=Login("anne", PASSWORD), tls=True) as closed:
        refused = load(desk, bundle, closed.host, "--registry-ca", closed.ca_file)
        assert refused.status == 4
        assert f"docker login {closed.host}" in refused.error
        assert load(desk, bundle, closed.host).status == 2, "an authority that nobody trusts"
        known = {"COMPASS_REGISTRY_USERNAME": "anne", "COMPASS_REGISTRY_PASSWORD": PASSWORD}
        done = load(desk, bundle, closed.host, "--registry-ca", closed.ca_file, "--verbose", environ=known)
        assert done.status == 0, done.err
        assert "release/am_minion" in closed.repositories()
        assert PASSWORD not in done.out + done.err
        assert not [x for x in desk.state.rglob("*") if x.is_file() and PASSWORD.encode() in x.read_bytes()]


def test_a_token_server_and_dockers_own_file(desk: Desk, bundle: Path, tmp_path: Path) -> None:
    login = SimulatedLogin("anne", PASSWORD, tokens=True, token_seconds=60)
    with SimulatedRegistry(tmp_path / "registry", login=login) as registry:
        assert load(desk, bundle, registry.url).status == 4
        auth = base64.b64encode(f"anne:{PASSWORD}".encode()).decode()
        (desk.home / ".docker").mkdir()
        (desk.home / ".docker" / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        done = load(desk, bundle, registry.url)
        assert done.status == 0, done.err
        assert registry.tags("release/am_minion").keys() == {"v0.0.7"}


# -- side by side


def big_bundle(folder: Path, own: str) -> Path:
    name = "harbor.caicloud.xyz/release"
    images = [ImageSpec(f"{name}/{own}{n}:v1", [{"data": noise(8 << 20, f"{own}{n}")}]) for n in range(4)]
    return legacy_bundle(folder / own / "component", images, compression="none").folder


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_uploads_than_allowed_whoever_loads(limit: int, desk: Desk, tmp_path: Path) -> None:
    bundles = [big_bundle(tmp_path, own) for own in ("one", "two", "three")]
    with SimulatedRegistry(tmp_path / "registry") as registry:
        words = ("--registry", registry.url, "--registry-uploads", limit)
        running = [
            desk.start("load", bundle, *words, "--state-dir", desk.folder / f"state-{n}")
            for n, bundle in enumerate(bundles)
        ]
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(ended, running))
        assert [x.status for x in done] == [0, 0, 0], [x.err for x in done]
        assert len(registry.repositories()) == 12
        assert min(2, limit) <= registry.traffic.most_uploads <= limit
    slots = desk.home / ".cache" / "compass-upgrade" / "uploads" / registry.host
    assert stat.S_IMODE(slots.stat().st_mode) == 0o700


def test_two_loads_of_the_same_bundle_and_state_directory_both_end_well(
    desk: Desk, tmp_path: Path, empty: DockerRegistry
) -> None:
    bundle = big_bundle(tmp_path, "same")
    running = [desk.start("load", bundle, "--registry", empty.url, "--output", "json") for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        first, second = (images_in(x) for x in pool.map(ended, running))
    assert {x: y["digest"] for x, y in first.items()} == {x: y["digest"] for x, y in second.items()}
    left = [x for x in listing(desk.state) if ".writing-" in x or x.startswith("uploads/")]
    assert left == []
