"""What a bundle wants on a cluster is known without asking the cluster."""

from pathlib import Path
from typing import Any

import pytest

from compass.change.manifests import Desired, container_images, pod_spec
from compass.errors import InvalidInput
from compass.steps.render import defined_kinds, render
from tests.compass.steps.places import CONTROL, USER, workplace
from tests.material import templates
from tests.material.bundles import legacy_bundle, packed_folder


def by_name(items: list[Desired]) -> dict[str, Desired]:
    return {str(x.ref): x for x in items}


def with_templates(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / "templates" / f"{name}.yaml.j2").write_text(text)
    return folder


def test_a_legacy_bundle_is_rendered_for_a_user_cluster(tmp_path: Path) -> None:
    place = workplace(legacy_bundle(tmp_path / "bundle", images=[]).folder, tmp_path)
    found = by_name(render(place, USER))
    assert list(found) == [
        "ServiceAccount/kube-system/release-controller",
        "ClusterRoleBinding/release-controller",
        "Deployment/kube-system/am-minion",
        "Deployment/kube-system/release-controller",
    ]
    minion = found["Deployment/kube-system/am-minion"].manifest
    assert container_images(minion, "w") == {"am-minion": "10.0.0.9:5000/release/am_minion:v0.0.7"}, "no check-master"
    spec = pod_spec(minion)
    assert spec
    assert spec["containers"][0]["env"] == [{"name": "MASTER_ADDRESS", "value": "10.0.0.1:6009"}]
    controller = found["Deployment/kube-system/release-controller"].manifest
    assert controller["spec"]["template"]["metadata"]["annotations"]["notice"] == "{{ .Release.Name }} {% raw %}"
    assert render(place, CONTROL) == []


def test_a_packed_bundle_is_rendered_as_the_legacy_one(tmp_path: Path) -> None:
    legacy = workplace(legacy_bundle(tmp_path / "legacy", images=[]).folder, tmp_path)
    packed = workplace(packed_folder(tmp_path / "packed", images=[]), tmp_path)
    assert [x.manifest for x in render(packed, USER)] == [x.manifest for x in render(legacy, USER)]


def test_a_given_value_wins_and_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("7000\n")
    folder = legacy_bundle(tmp_path / "bundle", images=[]).folder
    place = workplace(folder, tmp_path, values={"addon_master_port": f"@{tmp_path}/port", "addon_master_ip": "1.2.3.4"})
    spec = pod_spec(by_name(render(place, USER))["Deployment/kube-system/am-minion"].manifest)
    assert spec
    assert spec["containers"][0]["env"][0]["value"] == "1.2.3.4:7000"


def test_images_of_the_build_registry_are_taken_from_the_site(tmp_path: Path) -> None:
    folder = legacy_bundle(tmp_path / "bundle", images=[]).folder
    text = templates.MINION.replace("[[ registry_release ]]", "harbor.caicloud.xyz/release").replace(
        "am-minion", "other"
    )
    with_templates(folder, release_controller=text)
    found = by_name(render(workplace(folder, tmp_path), USER))
    assert container_images(found["Deployment/kube-system/other"].manifest, "w")["other"].startswith(
        "10.0.0.9:5000/release/"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a: [[ absent ]]",
            r"render template templates/release_controller\.yaml\.j2: 'absent' is undefined; pass --set absent=VALUE",
        ),
        ("a: [", r"read template templates/release_controller\.yaml\.j2"),
        ("a: b", r"templates/release_controller\.yaml\.j2, document 1: apiVersion is None"),
        ("[[ control.endpoint", r"templates/release_controller\.yaml\.j2, line 1"),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: 'A//b'}]}}",
            r"template templates/release_controller\.yaml\.j2, Pod/a: .*'A//b'",
        ),
    ],
)
def test_a_wrong_template_is_named(tmp_path: Path, text: str, said: str) -> None:
    folder = with_templates(legacy_bundle(tmp_path / "bundle", images=[]).folder, release_controller=text)
    with pytest.raises(InvalidInput, match=said):
        render(workplace(folder, tmp_path), USER)


def test_an_unknown_control_cluster_is_an_error_where_its_address_is_needed(tmp_path: Path) -> None:
    place = workplace(legacy_bundle(tmp_path / "bundle", images=[]).folder, tmp_path)
    lone = USER.model_copy(update={"control_endpoint": ""})
    with pytest.raises(InvalidInput, match="'addon_master_ip' is undefined; pass --set addon_master_ip=VALUE"):
        render(place, lone)


def test_kinds_that_the_bundle_defines_are_known_with_their_scope() -> None:
    def definition(scope: str, **spec: Any) -> Desired:
        names = {"kind": "Thing"}
        manifest = {
            "kind": "CustomResourceDefinition",
            "spec": {"group": "x.y", "scope": scope, "names": names, **spec},
        }
        return Desired("c", "t", manifest)

    one = definition("Namespaced", versions=[{"name": "v1"}, {"name": "v2"}])
    old = definition("Cluster", version="v0", names={"kind": "Old"})
    found = defined_kinds([one, old, Desired("c", "t", {"kind": "Service"})])
    assert found["x.y/v1", "Thing"] is True
    assert found["x.y/v2", "Thing"] is True
    assert found["x.y/v0", "Old"] is False
