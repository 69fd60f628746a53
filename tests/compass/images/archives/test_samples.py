"""Archives that docker, podman, skopeo and containerd wrote are read as those tools meant them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from compass.digests import digest_of
from compass.images.archives.normalise import survey
from compass.images.layout import Layout
from compass.images.load import load
from compass.images.manifests import Tree, read_tree
from compass.images.registry.client import Registry
from compass.progress import Silent
from tests.compass.images.saved import read
from tests.servers.registry import DockerRegistry

SAMPLES = Path(__file__).with_name("samples")
EXPECTED: dict[str, dict[str, dict[str, Any]]] = json.loads((SAMPLES / "expected.json").read_text())


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state")


def test_every_sample_is_described() -> None:
    described = (SAMPLES / "README.md").read_text()
    assert sorted(x.name for x in SAMPLES.glob("*.tar.gz")) == sorted(EXPECTED)
    assert [x for x in EXPECTED if f"`{x}`" not in described] == []


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("sample", EXPECTED)
def test_a_tools_archive_gives_its_images_as_the_tool_names_them(
    sample: str, compression: str, tmp_path: Path, layout: Layout
) -> None:
    data = (SAMPLES / sample).read_bytes()
    path = tmp_path / (sample if compression == "gzip" else sample.removesuffix(".gz"))
    path.write_bytes(data if compression == "gzip" else gzip.decompress(data))
    images = {str(x.name): x for x in read(path, layout)}
    assert images.keys() == EXPECTED[sample].keys()
    for name, said in EXPECTED[sample].items():
        image = images[name]
        tree = read_tree(layout, image.digest, name)
        assert image.config_digests == (said["config"],)
        assert diff_ids(layout, tree) == said["layers"]
        assert image.digest == said.get("manifest", image.digest)


@pytest.mark.parametrize("sample", EXPECTED)
def test_a_survey_of_a_tools_archive_names_the_same_configs(sample: str) -> None:
    found = survey(lambda: (SAMPLES / sample).open("rb"), sample)
    assert {str(name): config for name, config in found} == {k: v["config"] for k, v in EXPECTED[sample].items()}


@pytest.mark.servers
@pytest.mark.parametrize("sample", EXPECTED)
def test_a_tools_archive_is_in_the_registry_as_the_tool_meant_it(
    sample: str, layout: Layout, registry: DockerRegistry
) -> None:
    with Registry(registry.host, scheme="http") as door:
        done = load(read(SAMPLES / sample, layout), layout, door, Silent())
    assert {str(x.source) for x in done} == EXPECTED[sample].keys()
    for image in done:
        said = EXPECTED[sample][str(image.source)]
        repository = image.target.repository
        data, digest, _ = registry.manifest(repository, image.target.tag)
        manifest = json.loads(data)
        layers = [gzip.decompress(registry.blob(repository, x["digest"])) for x in manifest["layers"]]
        assert digest == image.digest == said.get("manifest", digest)
        assert manifest["config"]["digest"] == said["config"]
        assert digest_of(registry.blob(repository, said["config"])) == said["config"]
        assert [digest_of(x) for x in layers] == said["layers"]


def diff_ids(layout: Layout, tree: Tree) -> list[str]:
    """Return the digest of what each layer of an image expands to."""
    found = []
    for blob in tree.blobs[1:]:
        with layout.open(blob.digest) as stream:
            found.append(str(digest_of(gzip.decompress(stream.read()))))
    return found
