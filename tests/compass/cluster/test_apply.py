"""Applying to what is there already: kubectl's fields become ours, and the preview says what will be."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from compass.change.manifests import Desired
from compass.change.ownership import EARLIER_MANAGERS, LAST_APPLIED
from compass.cluster.apply import apply, preview
from compass.cluster.client import FIELD_MANAGER, ClusterClient, Conflict
from compass.names import ObjectRef
from tests.material.clusters import RELEASE_API, create, deployment, get, path_of, release, service
from tests.servers.control_plane import ControlPlane
from tests.servers.process import wait_until

pytestmark = pytest.mark.servers
KUBECTL = Path(sys.executable).with_name("kubectl")
CHECK_MASTER = {"name": "check-master", "image": "registry/am_minion:v0.0.6", "command": ["/bin/sh"]}


def minion(namespace: str, tag: str = "v0.0.6", **pod_spec: Any) -> dict[str, Any]:
    return deployment(namespace, "am-minion", f"registry/am_minion:{tag}", replicas=0, **pod_spec)


def desired(manifest: dict[str, Any]) -> Desired:
    return Desired("am-minion", "templates/am_minion.yaml.j2", copy.deepcopy(manifest))


def kubectl(plane: ControlPlane, *words: str, manifest: dict[str, Any] | None = None) -> None:
    """Run kubectl as the old scripts and people did."""
    given = [str(KUBECTL), "--kubeconfig", str(plane.kubeconfig()), *words]
    text = yaml.safe_dump(manifest) if manifest else None
    subprocess.run([*given, *(["-f", "-"] if manifest else [])], input=text, text=True, check=True, capture_output=True)


def live(plane: ControlPlane, manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = manifest["metadata"]
    found = get(plane, manifest["apiVersion"], manifest["kind"], metadata["namespace"], metadata["name"])
    assert found
    return found


def earlier_managers(item: dict[str, Any]) -> set[str]:
    """Return the earlier tools that own anything but a status."""
    entries = [x for x in item["metadata"].get("managedFields") or [] if set(x["fieldsV1"]) != {"f:status"}]
    return {x["manager"] for x in entries} & EARLIER_MANAGERS


def test_a_manifest_whose_ports_name_no_protocol_is_applied_as_tcp(client: ClusterClient, namespace: str) -> None:
    ports = service(namespace, "am-minion")
    made = apply(client, desired(ports))
    assert [x["protocol"] for x in made["spec"]["ports"]] == ["TCP"]
    ports["spec"]["ports"] = [{"name": "a", "port": 53, "protocol": "UDP"}, {"name": "b", "port": 53}]
    assert [x["protocol"] for x in apply(client, desired(ports))["spec"]["ports"]] == ["UDP", "TCP"]
    assert preview(client, desired(ports)).action == "unchanged"


def test_what_is_not_there_is_created(client: ClusterClient, plane: ControlPlane, namespace: str) -> None:
    item = desired(service(namespace, "am-minion"))
    assert preview(client, item).action == "created"
    assert get(plane, "v1", "Service", namespace, "am-minion") is None
    apply(client, item)
    assert preview(client, item).action == "unchanged"


def test_an_init_container_that_the_new_manifest_lacks_is_taken_from_what_kubectl_applied(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    kubectl(plane, "apply", manifest=minion(namespace, initContainers=[CHECK_MASTER]))
    before = live(plane, minion(namespace))
    item = desired(minion(namespace))

    change = preview(client, item)
    assert change.action == "configured"
    (line,) = change.differences
    assert line.startswith("spec.template.spec.initContainers: [{")
    assert line.endswith(" -> (none)")
    assert live(plane, minion(namespace))["metadata"]["generation"] == before["metadata"]["generation"]

    apply(client, item)
    after = live(plane, minion(namespace))
    assert "initContainers" not in after["spec"]["template"]["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert preview(client, item).action == "unchanged"
    assert earlier_managers(after) == set()


def test_everything_that_the_new_manifest_changes_is_in_the_preview_and_nothing_else(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    old = minion(namespace, nodeSelector={"zone": "a"})
    old["spec"]["template"]["spec"]["containers"][0] |= {
        "env": [{"name": "KEPT", "value": "1"}, {"name": "DROPPED", "value": "1"}],
        "ports": [{"containerPort": 6010}, {"containerPort": 6011}],
    }
    kubectl(plane, "apply", manifest=old)
    new = minion(namespace, "v0.0.7")
    new["spec"]["template"]["spec"]["containers"][0] |= {
        "env": [{"name": "KEPT", "value": "2"}],
        "ports": [{"containerPort": 6010}],
    }
    item = desired(new)
    lines = set(preview(client, item).differences)
    assert {x.partition(": ")[0] for x in lines} == {
        "spec.template.spec.containers[am-minion].image",
        "spec.template.spec.containers[am-minion].env[KEPT].value",
        "spec.template.spec.containers[am-minion].env[DROPPED]",
        "spec.template.spec.containers[am-minion].ports[1]",
        "spec.template.spec.nodeSelector",
    }
    apply(client, item)
    after = live(plane, new)["spec"]["template"]["spec"]
    assert [x["value"] for x in after["containers"][0]["env"]] == ["2"]
    assert [x["containerPort"] for x in after["containers"][0]["ports"]] == [6010]
    assert "nodeSelector" not in after
    assert preview(client, item).action == "unchanged"


@pytest.mark.parametrize(
    "words",
    [
        ["set", "image", "deployment/am-minion", "am-minion=registry/am_minion:by-hand"],
        ["scale", "deployment/am-minion", "--replicas=0"],
        ["patch", "deployment/am-minion", "-p", '{"spec":{"template":{"spec":{"priority":null,"hostIPC":true}}}}'],
    ],
    ids=["kubectl set", "kubectl scale", "kubectl patch"],
)
def test_what_people_did_by_hand_is_no_conflict(
    client: ClusterClient, plane: ControlPlane, namespace: str, words: list[str]
) -> None:
    kubectl(plane, "apply", manifest=minion(namespace))
    kubectl(plane, "-n", namespace, *words)
    item = desired(minion(namespace, "v0.0.7"))
    assert preview(client, item).action == "configured"
    after = apply(client, item)
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/am_minion:v0.0.7"
    assert preview(client, item).action == "unchanged"


def test_a_field_of_another_tool_is_a_conflict_and_nothing_is_changed(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    create(plane, [minion(namespace)], field_manager="gitops")
    before = live(plane, minion(namespace))["spec"]
    item = desired(minion(namespace, "v0.0.7"))
    for call in (preview, apply):
        with pytest.raises(Conflict, match="is owned by 'gitops'"):
            call(client, item)
    assert preview(client, item, force_conflicts=True).action == "configured"
    assert live(plane, minion(namespace))["spec"] == before
    apply(client, item, force_conflicts=True)
    assert preview(client, item).action == "unchanged"


def test_secrets_that_the_token_controller_gave_a_service_account_stay(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "minion", "namespace": namespace}}
    kubectl(plane, "apply", manifest=account)
    given = wait_until("a token", lambda: live(plane, account).get("secrets"))
    item = desired(account)
    assert preview(client, item).action == "unchanged"
    apply(client, item)
    assert live(plane, account)["secrets"] == given
    assert preview(client, item).action == "unchanged"


def test_the_address_of_a_service_stays(client: ClusterClient, plane: ControlPlane, namespace: str) -> None:
    kubectl(plane, "apply", manifest=service(namespace, "am-minion"))
    before = live(plane, service(namespace, "am-minion"))
    new = service(namespace, "am-minion")
    new["spec"]["selector"] = {"app": "another"}
    assert preview(client, desired(new)).differences == ("spec.selector.app: am-minion -> another",)
    apply(client, desired(new))
    after = live(plane, new)
    assert after["spec"] == {**before["spec"], "selector": {"app": "another"}}
    assert preview(client, desired(new)).action == "unchanged"


def with_volume(namespace: str, **kind: Any) -> dict[str, Any]:
    return minion(namespace, volumes=[{"name": "data", **kind}])


def with_probe(namespace: str, **probe: Any) -> dict[str, Any]:
    made = minion(namespace)
    made["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = probe
    return made


def with_strategy(namespace: str, **strategy: Any) -> dict[str, Any]:
    made = minion(namespace)
    made["spec"]["strategy"] = strategy
    return made


@pytest.mark.parametrize(
    ("make", "old", "new"),
    [
        (lambda space, port: service(space, "am-minion", port), {"port": 6010}, {"port": 6011}),
        (with_volume, {"hostPath": {"path": "/data"}}, {"emptyDir": {}}),
        (with_probe, {"httpGet": {"path": "/", "port": 6010}}, {"exec": {"command": ["/bin/check"]}}),
        (with_strategy, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, {"type": "Recreate"}),
    ],
    ids=["the port of a Service", "the kind of a volume", "the handler of a probe", "the strategy"],
)
def test_one_of_several_choices_may_become_another(
    client: ClusterClient,
    plane: ControlPlane,
    namespace: str,
    make: Callable[..., dict[str, Any]],
    old: dict[str, Any],
    new: dict[str, Any],
) -> None:
    kubectl(plane, "apply", manifest=make(namespace, **old))
    item = desired(make(namespace, **new))
    assert preview(client, item).action == "configured"
    apply(client, item)
    assert preview(client, item).action == "unchanged"


@pytest.mark.parametrize("by_kubectl", [True, False], ids=["kubectl's", "ours"])
def test_init_containers_run_in_the_order_of_the_manifest(
    client: ClusterClient, plane: ControlPlane, namespace: str, by_kubectl: bool
) -> None:
    first, last = {**CHECK_MASTER, "name": "first"}, {**CHECK_MASTER, "name": "last"}
    old = minion(namespace, initContainers=[CHECK_MASTER])
    if by_kubectl:
        kubectl(plane, "apply", manifest=old)
    else:
        apply(client, desired(old))
    item = desired(minion(namespace, initContainers=[first, CHECK_MASTER, last]))
    assert preview(client, item).action == "configured"
    apply(client, item)
    spec = live(plane, old)["spec"]["template"]["spec"]
    assert [x["name"] for x in spec["initContainers"]] == ["first", "check-master", "last"]
    turned = desired(minion(namespace, initContainers=[last, CHECK_MASTER, first]))
    assert preview(client, turned).differences == (
        "order of spec.template.spec.initContainers: "
        '["first", "check-master", "last"] -> ["last", "check-master", "first"]',
    )
    apply(client, turned)
    assert preview(client, turned).action == "unchanged"


def test_a_variable_that_was_given_twice_is_given_once(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    old, new = minion(namespace), minion(namespace)
    for manifest, values in ((old, ["1", "2"]), (new, ["3"])):
        env = [{"name": "A", "value": x} for x in values]
        manifest["spec"]["template"]["spec"]["containers"][0]["env"] = env
    kubectl(plane, "apply", manifest=old)
    assert preview(client, desired(new)).action == "configured"
    apply(client, desired(new))
    found = live(plane, new)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert found == [{"name": "A", "value": "3"}]
    assert preview(client, desired(new)).action == "unchanged"


def test_what_an_upgrade_wrote_that_was_cut_off_before_it_applied_is_taken_up(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    ref = ObjectRef("apps/v1", "Deployment", namespace, "am-minion")
    old = with_volume(namespace, hostPath={"path": "/data"})
    apply(client, desired(old))
    spec = copy.deepcopy(live(plane, old)["spec"])
    spec["template"]["spec"] |= {"volumes": [{"name": "data", "emptyDir": {}}], "initContainers": [CHECK_MASTER]}
    client.patch_json(ref, [{"op": "replace", "path": "/spec", "value": spec}])

    item = desired(with_volume(namespace, secret={"secretName": "a"}))
    lines = {x.partition(": ")[0].removeprefix("spec.template.spec.") for x in preview(client, item).differences}
    assert lines == {"initContainers", "volumes[data].secret", "volumes[data].emptyDir"}
    apply(client, item)
    after = live(plane, old)
    assert "initContainers" not in after["spec"]["template"]["spec"]
    owners = {x["operation"] for x in after["metadata"]["managedFields"] if x["manager"] == FIELD_MANAGER}
    assert owners == {"Apply"}
    assert preview(client, item).action == "unchanged"


def test_what_another_tool_put_beside_a_choice_is_not_taken_away(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    kubectl(plane, "apply", manifest=with_volume(namespace, hostPath={"path": "/data"}))
    beside = {
        **{x: minion(namespace)[x] for x in ("apiVersion", "kind")},
        "metadata": {"name": "am-minion", "namespace": namespace, "annotations": {"by": "gitops"}},
        "spec": {"template": {"spec": {"volumes": [{"name": "more", "emptyDir": {}}]}}},
    }
    with plane.client() as api:
        path = f"{path_of('apps/v1', 'Deployment', namespace)}/am-minion"
        kind = {"Content-Type": "application/apply-patch+yaml"}
        api.patch(path, params={"fieldManager": "gitops"}, json=beside, headers=kind).raise_for_status()
    item = desired(with_volume(namespace, emptyDir={}))
    apply(client, item)
    after = live(plane, minion(namespace))
    assert after["spec"]["template"]["spec"]["volumes"] == [
        {"name": "data", "emptyDir": {}}, {"name": "more", "emptyDir": {}},
    ]  # fmt: skip
    assert after["metadata"]["annotations"]["by"] == "gitops"
    assert preview(client, item).action == "unchanged"


def test_of_a_custom_object_only_what_was_applied_goes(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    old = release(namespace, "app") | {"spec": {"template": "t", "config": {"a": "1", "b": "1"}}}
    kubectl(plane, "apply", manifest=old)
    before = live(plane, old)
    with plane.client() as api:
        patch = {"metadata": {"annotations": {"by": "hand"}}, "spec": {"config": {"by": "hand"}}}
        kind = {"Content-Type": "application/merge-patch+json"}
        api.patch(f"{path_of(RELEASE_API, 'Release', namespace)}/app", json=patch, headers=kind).raise_for_status()
    new = copy.deepcopy(old) | {"spec": {"template": "t", "config": {"a": "2"}}}
    assert preview(client, desired(new)).differences == ("spec.config.a: 1 -> 2", "spec.config.b: 1 -> (none)")
    apply(client, desired(new))
    after = live(plane, new)
    assert after["spec"] == {"template": "t", "config": {"a": "2", "by": "hand"}}
    assert after["metadata"]["annotations"]["by"] == "hand"
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_choice_takes_effect_in_one_rollout(client: ClusterClient, plane: ControlPlane, namespace: str) -> None:
    kubectl(plane, "apply", manifest=with_volume(namespace, hostPath={"path": "/data"}))
    before = live(plane, minion(namespace))["metadata"]["generation"]
    for number, choice in enumerate(({"emptyDir": {}}, {"secret": {"secretName": "a"}}), 1):
        apply(client, desired(with_volume(namespace, **choice)))
        assert live(plane, minion(namespace))["metadata"]["generation"] == before + number


def test_an_object_of_a_server_that_did_not_keep_track_is_taken_over_by_its_note(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    kubectl(plane, "apply", manifest=minion(namespace, initContainers=[CHECK_MASTER]))
    with plane.client() as api:
        path = f"{path_of('apps/v1', 'Deployment', namespace)}/am-minion"
        kind = {"Content-Type": "application/merge-patch+json"}
        api.patch(path, json={"metadata": {"managedFields": [{}]}}, headers=kind).raise_for_status()
    before = live(plane, minion(namespace))
    assert not before["metadata"].get("managedFields")
    assert LAST_APPLIED in before["metadata"]["annotations"]
    item = desired(minion(namespace))

    (line,) = preview(client, item).differences
    assert line.startswith("spec.template.spec.initContainers: ")
    apply(client, item)
    after = live(plane, minion(namespace))
    assert "initContainers" not in after["spec"]["template"]["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert preview(client, item).action == "unchanged"


def test_a_note_that_todays_server_would_refuse_does_not_stop_the_upgrade(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    old = minion(namespace)
    note = copy.deepcopy(old)
    note["spec"]["template"]["spec"]["oldField"] = True
    old["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(note)}
    create(plane, [old], field_manager="kubectl-client-side-apply")
    item = desired(minion(namespace, "v0.0.7"))
    assert preview(client, item).action == "configured"
    apply(client, item)
    assert preview(client, item).action == "unchanged"


def test_what_the_bundle_no_longer_names_of_its_own_fields_goes(
    client: ClusterClient, plane: ControlPlane, namespace: str
) -> None:
    apply(client, desired(minion(namespace, nodeSelector={"zone": "a"})))
    item = desired(minion(namespace))
    (line,) = preview(client, item).differences
    assert line.startswith("spec.template.spec.nodeSelector: ")
    apply(client, item)
    assert "nodeSelector" not in live(plane, minion(namespace))["spec"]["template"]["spec"]


def test_an_object_of_a_cluster_scope_is_applied_too(client: ClusterClient, namespace: str) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }  # fmt: skip
    apply(client, desired(role))
    assert preview(client, desired(role)).action == "unchanged"
    client.delete(ObjectRef("rbac.authorization.k8s.io/v1", "ClusterRole", "", namespace))
