"""The seed's layout becomes a definition, and the adapter says what it concluded."""

import pytest

from compass.bundle.config import LegacyConfig
from compass.bundle.legacy import (
    component_name,
    conclusions,
    image_archives,
    legacy_definition,
    looks_legacy,
    versions_in,
)
from compass.errors import InvalidInput

NAMES = [
    "images/a.tar.gz", "run.sh", "scripts/config", "templates/am_minion_ks_dp.yaml.j2", "templates/kubeconfig.j2",
    "templates/release_controller.yaml.j2",
]  # fmt: skip
NOTHING = LegacyConfig({}, {})


def test_templates_become_components_for_user_clusters() -> None:
    found = legacy_definition(NAMES, NOTHING, ("2.7.0", "2.7.1"), "b")
    user = {x.name: x for x in found.for_role("user")}
    assert list(user) == ["am-minion", "release-controller"], "kubeconfig.j2 is applied nowhere"
    assert user["am-minion"].templates == ("templates/am_minion_ks_dp.yaml.j2",)
    assert user["am-minion"].drop_init_containers == ("check-master",)
    assert [str(x.ref) for x in user["am-minion"].delete] == ["Service/kube-system/am-minion"]
    assert user["release-controller"].drop_init_containers == ()
    assert found.metadata.to == "2.7.1"
    assert found.metadata.from_versions == ""
    assert found.variables["addon_master_port"].default == 6009
    assert found.source_registry == "harbor.caicloud.xyz"


def test_the_control_cluster_is_cleaned_of_what_later_versions_replace() -> None:
    (cleanup,) = legacy_definition(NAMES, NOTHING, None, "b").for_role("control")
    assert [str(x.ref) for x in cleanup.delete] == [
        "Service/default/am-minion",
        "Deployment/default/am-mysql",
        "PersistentVolumeClaim/default/am-mysql-data",
        "Service/kube-system/am-minion",
    ]
    assert cleanup.templates == ()


def test_the_lists_of_the_config_are_what_is_removed() -> None:
    config = LegacyConfig({"default": ("a", "b"), "kube-system": ()}, {"X": "1"})
    assert legacy_definition(NAMES, config, None, "b").remove == {"default": ("a", "b"), "kube-system": ()}


@pytest.mark.parametrize("name", ["#", '"a', "a/b", "A"])
def test_a_name_in_the_config_that_names_no_object_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"remove\.default\.0"):
        legacy_definition(NAMES, LegacyConfig({"default": (name,)}, {}), None, "b")


def test_what_is_no_bundle_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"open bundle b: neither bundle\.yaml nor images/ and templates/"):
        legacy_definition(["README", "deep/images/a.tar.gz", "templates/x.yaml"], NOTHING, None, "b")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("compass-upgrade-2.7.0-2.7.1", ("2.7.0", "2.7.1")),
        ("compass-upgrade-2.7.0-2.7.1.tar.gz", ("2.7.0", "2.7.1")),
        ("compass-upgrade-2.7.0-2.7.1.tgz", ("2.7.0", "2.7.1")),
        ("compass-upgrade-2.7.0-2.7.1.tar", ("2.7.0", "2.7.1")),
        ("compass-upgrade-2.7.0-2.7.1rc1", ("2.7.0", "2.7.1rc1")),
        ("compass-upgrade-2.7.1", None),
        ("compass-upgrade", None),
        ("upgrade-2.7.0-2.7.1", None),
    ],
)
def test_versions_are_in_the_outer_packages_name(name: str, found: tuple[str, str] | None) -> None:
    assert versions_in(name) == found


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("templates/am_minion_ks_dp.yaml.j2", "am-minion"),
        ("templates/am_minion_dp.yaml.j2", "am-minion"),
        ("templates/release_controller.yaml.j2", "release-controller"),
        ("templates/release_controller_dp.yaml.j2", "release-controller"),
        ("templates/Node Exporter_ds.yml.j2", "node-exporter"),
        ("templates/_dp.yaml.j2", "dp"),
        ("templates/说明.j2", "component"),
    ],
)
def test_a_component_is_called_by_its_template(template: str, name: str) -> None:
    assert component_name(template) == name


def test_two_templates_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInput, match="component 'a' given twice"):
        legacy_definition(["templates/a.yaml.j2", "templates/a_dp.yaml.j2"], NOTHING, None, "b")


def test_only_archives_below_images_are_images() -> None:
    names = [
        "images/b.tar",
        "images/a.tar.gz",
        "images/c.tgz",
        "images/d.tar.zst",
        "images/x/y.tar",
        "y.tar",
        "images/z.txt",
    ]
    assert image_archives(names) == ["images/a.tar.gz", "images/b.tar", "images/c.tgz", "images/d.tar.zst"]
    assert looks_legacy(["images/a.tar"])
    assert not looks_legacy(["images/z.txt", "y.tar", "run.sh"])


def test_the_adapter_says_what_it_concluded() -> None:
    definition = legacy_definition(NAMES, NOTHING, None, "b")
    said = "\n".join(conclusions(NAMES, definition, None))
    assert "version unknown" in said
    assert "1 image archives" in said
    assert "names no Release to remove" in said
    assert "made from templates/kubeconfig.j2" in said
    said = "\n".join(conclusions(["images/a.tar"], definition, ("1", "2")))
    assert "versions 1 to 2" in said
    assert "no scripts/config" in said
    assert "kubeconfig" not in said
