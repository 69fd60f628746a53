"""Bundles whose content is wrong: templates, definitions, values; nothing is touched, and the place is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flows.running import Case
from tests.material.bundles import legacy_bundle, packed_folder, write_checksums

pytestmark = [pytest.mark.servers, pytest.mark.shared_prefect]
MINION = "templates/am_minion_ks_dp.yaml.j2"
CONTROLLER = "templates/release_controller.yaml.j2"
NOTE = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: note\n  namespace: kube-system\n"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """The files of a packed bundle, in a folder."""
    return packed_folder(tmp_path / "packed" / "bundle")


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def redefine(folder: Path, **changes: Any) -> None:
    """Change keys of a packed bundle's definition, checksums and all."""
    document = yaml.safe_load((folder / "bundle.yaml").read_text())
    document |= changes
    (folder / "bundle.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    write_checksums(folder)


def test_a_template_with_a_variable_that_nobody_gives_is_refused(case: Case, bundle: Path) -> None:
    rewrite(bundle / MINION, "addon_master_port", "nothing_such")
    error = case.refused(bundle)
    assert f"render template {MINION}: 'nothing_such' is undefined; pass --set nothing_such=VALUE" in error


def test_a_declared_variable_that_is_required_and_not_given_is_refused(case: Case, packed: Path) -> None:
    redefine(packed, variables={"zone": {"type": "string", "description": "where it stands"}})
    error = case.refused(packed)
    assert "zone: no value (where it stands); pass --set zone=VALUE" in error


def test_a_template_with_broken_template_syntax_is_refused_with_its_line(case: Case, bundle: Path) -> None:
    rewrite(bundle / MINION, "[[ addon_master_ip ]]", "[[ addon_master_ip ")
    assert f"render template {MINION}, line 2" in case.refused(bundle)


def test_a_template_that_is_no_yaml_is_refused_with_its_line(case: Case, bundle: Path) -> None:
    rewrite(bundle / MINION, "metadata:\n  name: am-minion\n", "metadata:\n  name: am-minion\n bad\n")
    error = case.refused(bundle)
    assert f"read template {MINION}: line 5, column 2: " in error
    assert "expected YAML" in error


def test_a_template_that_holds_no_object_is_refused(case: Case, bundle: Path) -> None:
    (bundle / MINION).write_text("just: words\n")
    assert f"read template {MINION}, document 1: apiVersion is None, expected a text" in case.refused(bundle)


def test_two_documents_of_one_name_in_one_template_are_refused(case: Case, bundle: Path) -> None:
    (bundle / MINION).write_text(f"{NOTE}---\n{NOTE}")
    error = case.refused(bundle)
    assert f"read template {MINION}: ConfigMap/kube-system/note, also in {MINION}, expected each object once" in error


def test_two_templates_with_documents_of_one_name_are_refused(case: Case, bundle: Path) -> None:
    with (bundle / CONTROLLER).open("a") as out:
        out.write(f"---\n{NOTE}")
    (bundle / "templates" / "another.yaml.j2").write_text(NOTE)
    error = case.refused(bundle)
    assert f"read template {CONTROLLER}: ConfigMap/kube-system/note, also in templates/another.yaml.j2" in error


def test_an_api_version_that_the_clusters_do_not_serve_is_refused(case: Case, bundle: Path) -> None:
    rewrite(bundle / MINION, "apiVersion: apps/v1\n", "apiVersion: apps/v1beta1\n")
    error = case.refused(bundle)
    assert f"read template {MINION}, Deployment/kube-system/am-minion: " in error
    assert "does not serve apps/v1beta1 Deployment" in error


def test_a_field_that_the_api_does_not_have_is_refused(case: Case, bundle: Path) -> None:
    rewrite(bundle / MINION, "  replicas: 1\n", "  replica: 1\n")
    error = case.refused(bundle)
    assert "Deployment/kube-system/am-minion: " in error
    assert ".spec.replica: field not declared in schema" in error


def test_a_value_that_the_server_would_not_take_is_refused(case: Case, bundle: Path) -> None:
    rewrite(bundle / MINION, "  replicas: 1\n", "  replicas: -1\n")
    error = case.refused(bundle, status=1)
    assert "dry-run Deployment/kube-system/am-minion: " in error
    assert "spec.replicas: Invalid value: -1" in error


def test_an_image_name_that_cannot_be_is_refused(case: Case, bundle: Path) -> None:
    rewrite(bundle / MINION, "/am_minion:v0.0.7", "/am_minion:v0 .0.7")
    error = case.refused(bundle)
    assert f"read template {MINION}, Deployment/kube-system/am-minion: read image name" in error
    assert "am_minion:v0 .0.7" in error


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"componentz": []}, "componentz: unknown key"),
        ({"metadata": {"name": "compass-component", "to": "2.7.1", "form": ">=2.7"}}, "metadata.form: unknown key"),
        (
            {"components": [{"name": "am-minion", "template": [MINION]}]},
            "components.0.template: unknown key",
        ),
    ],
    ids=["at the top", "in metadata", "in a component"],
)
def test_an_unknown_key_in_the_definition_is_refused(
    case: Case, packed: Path, change: dict[str, Any], place: str
) -> None:
    redefine(packed, **change)
    assert f"read {packed}: bundle.yaml: {place}" in case.refused(packed)


def test_a_definition_that_names_a_template_that_is_not_there_is_refused(case: Case, packed: Path) -> None:
    redefine(packed, components=[{"name": "am-minion", "templates": ["templates/nowhere.yaml.j2"]}])
    assert f"open bundle {packed}: no templates/nowhere.yaml.j2, which bundle.yaml names" in case.refused(packed)


def test_a_definition_that_names_other_images_than_the_bundle_holds_is_refused(case: Case, packed: Path) -> None:
    images = yaml.safe_load((packed / "bundle.yaml").read_text())["images"]
    images[0]["digest"] = images[1]["digest"]
    redefine(packed, images=images)
    error = case.refused(packed)
    assert f"{packed}: {images[0]['name']}: " in error


def test_a_value_of_the_wrong_type_is_refused(case: Case, bundle: Path) -> None:
    error = case.refused(bundle, *case.where(), "--set", "addon_master_port=many")
    assert error == "read --set addon_master_port: 'many', expected a integer"


def test_a_value_without_a_name_is_refused(case: Case, bundle: Path) -> None:
    error = case.refused(bundle, *case.where(), "--set", "no-name=secret")
    assert error == "read --set 'no-name': expected NAME=VALUE or NAME=@FILE"


def test_a_value_from_a_file_that_is_not_there_is_refused(case: Case, bundle: Path) -> None:
    error = case.refused(bundle, *case.where(), "--set", "addon_master_port=@nowhere")
    assert f"read --set addon_master_port {case.desk.folder / 'nowhere'}: No such file" in error


def test_a_config_with_a_line_that_is_no_assignment_is_refused(case: Case, bundle: Path) -> None:
    (bundle / "scripts" / "config").write_text("DEFAULT_REMOVE=a\nrm -rf /\n")
    error = case.refused(bundle)
    assert f"read {bundle}: scripts/config, line 2: 'rm -rf /', expected NAME=a,b" in error


def test_a_release_in_config_that_does_not_exist_is_reported_and_the_run_goes_on(case: Case, bundle: Path) -> None:
    with case.untouched(bundle):
        planned = case.desk.run("plan", bundle, "--allow-data-loss", *case.where())
        only = case.desk.run("remove", bundle, "--dry-run", *case.where())
    for done in (planned, only):
        assert done.status == 3, done.err
        assert "skip Release/default/old-gateway (not there)" in done.out
        assert "delete Release/default/old-console" in done.out


def test_a_config_of_which_no_release_exists_removes_nothing_and_is_no_error(case: Case, tmp_path: Path) -> None:
    bundle = legacy_bundle(tmp_path / "bundle" / "component", config="DEFAULT_REMOVE_COMPONENTS=ghost,shade\n").folder
    with case.untouched(bundle):
        done = case.desk.run("remove", bundle, "--yes", *case.where())
    assert done.status == 0, done.err
    assert "skip Release/default/ghost (not there)" in done.out
    assert "skip Release/default/shade (not there)" in done.out


def test_the_material_of_these_tests_is_a_good_bundle(case: Case, bundle: Path, packed: Path) -> None:
    for good in (bundle, packed):
        done = case.desk.run("plan", good, "--allow-data-loss", *case.where())
        assert done.status == 3, done.err
