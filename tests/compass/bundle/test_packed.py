"""What a packed bundle consists of."""

from typing import Any

import pytest

from compass.bundle.config import parse_legacy_config
from compass.bundle.definition import BaseBundle, BundleImage, ReliedBlob, parse_definition
from compass.bundle.legacy import legacy_definition
from compass.bundle.packed import carried_files, completed, definition_text
from compass.documents import dump_yaml
from compass.errors import InvalidInput
from tests.material.bundles import definition
from tests.material.templates import CONFIG

NAMES = ["images/a.tar.gz", "run.sh", "scripts/config", "templates/am_minion_ks_dp.yaml.j2", "templates/kubeconfig.j2"]
IMAGE = BundleImage(name="h.io/release/am_minion:v1", digest="sha256:" + "1" * 64, size=12)
BASE = BaseBundle(
    name="compass-component", to="2.7.0", digest="sha256:" + "2" * 64,
    blobs=(ReliedBlob(digest="sha256:" + "3" * 64, size=5, repositories=("release/am_minion",)),),
)  # fmt: skip
LEGACY = legacy_definition(NAMES, parse_legacy_config(CONFIG, "config"), None, "here")


def declared(**changes: Any) -> Any:
    return parse_definition(dump_yaml(definition([], **changes)), "it")


def test_everything_is_carried_but_images_and_what_is_written_anew() -> None:
    assert carried_files([*NAMES, "bundle.yaml", "checksums.txt", "checksums.txt.sig"], LEGACY, "here") == NAMES[1:]
    layout = ["oci/index.json", "oci/oci-layout", "oci/blobs/sha256/1", "templates/a.j2", "SUMS", "SUMS.sig"]
    assert carried_files(layout, declared(checksums="SUMS"), "here") == ["templates/a.j2"]


@pytest.mark.parametrize(
    "name", ["images/a.tar.xz", "images/a.tbz", "images/more/a.tar.gz", "images/A.TAR", "images/a.tar.bz2"]
)
def test_an_archive_that_would_be_overlooked_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"pack here: {name}, expected images as .tar, .tar.gz"):
        carried_files([*NAMES, name], LEGACY, "here")
    assert "images/README" in carried_files([*NAMES, "images/README"], LEGACY, "here")


def test_images_in_two_forms_or_half_a_layout_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"both oci/index\.json and images/a\.tar\.gz"):
        carried_files([*NAMES, "oci/index.json"], LEGACY, "here")
    with pytest.raises(InvalidInput, match=r"oci/blobs/sha256/1, expected an oci/index\.json"):
        carried_files([*NAMES, "oci/blobs/sha256/1"], LEGACY, "here")


@pytest.mark.parametrize(
    "source", [LEGACY, declared(), declared(protect=[{"apiVersion": "v1", "kind": "A", "name": "b"}])]
)
def test_a_definition_is_read_back_as_it_was_written(source: Any) -> None:
    whole = completed(source, [IMAGE], BASE, "2.7.1")
    found = parse_definition(definition_text(whole), "it")
    assert found == whole
    assert found.model_dump(exclude={"images", "base", "checksums", "metadata"}) == source.model_dump(
        exclude={"images", "base", "checksums", "metadata"}
    )
    assert (found.metadata.to, found.checksums, found.images, found.base) == ("2.7.1", "checksums.txt", (IMAGE,), BASE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"blobs": []}, "at least 1 item"),
        ({"digest": "sha256:1"}, "digest"),
        ({"blobs": [{"digest": "sha256:" + "3" * 64, "size": -1, "repositories": ["a"]}]}, "size"),
        ({"blobs": [{"digest": "sha256:" + "3" * 64, "size": 1, "repositories": []}]}, "repositories"),
        ({"blobs": [{"digest": "sha256:" + "3" * 64, "size": 1, "repositories": ["a:v1"]}]}, "no repository"),
        ({"blobs": [{"digest": "sha256:" + "3" * 64, "size": 1, "repositories": ["../a"]}]}, "no repository"),
        ({"blobs": [{"digest": "sha256:" + "3" * 64, "size": 1, "repositories": ["a"]}] * 2}, "given twice"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(change: dict[str, Any], said: str) -> None:
    base = {**BASE.model_dump(mode="json"), **change}
    with pytest.raises(InvalidInput, match=said):
        declared(base=base)


def test_a_repository_may_look_like_a_host() -> None:
    blobs = [{"digest": "sha256:" + "3" * 64, "size": 1, "repositories": ["a.b/c"]}]
    assert declared(base={**BASE.model_dump(mode="json"), "blobs": blobs}).base.blobs[0].repositories == ("a.b/c",)
