"""What applying comes to on a real cluster: what cannot be changed is named, and created again only with leave."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from compass.change.manifests import Desired
from compass.change.plan import Change, Plan
from compass.cluster.apply import apply, preview
from compass.cluster.client import ClusterClient
from compass.documents import dump_yaml
from compass.errors import Refused, StepFailed
from compass.job import Choices, Job, Where
from compass.names import ObjectRef
from compass.steps.apply import apply_plan
from compass.steps.plan import make_plan
from compass.steps.prepare import prepare
from compass.steps.workplace import Target, Workplace
from tests.material import clusters
from tests.material.clusters import create, deployment, service
from tests.servers.control_plane import ControlPlane
from tests.servers.process import wait_until

pytestmark = pytest.mark.servers
TARGET = Target(name="here", role="user")
Json = dict[str, Any]
Make = Callable[[str], Json]
CONTAINERS = [{"name": "a", "image": "registry/a:v1", "env": [{"name": "PASSWORD", "value": "hunter2"}]}]
POD = {"restartPolicy": "Never", "containers": CONTAINERS}
SECRETLY = {"restartPolicy": "Never", "containers": [{**CONTAINERS[0], "image": "registry/a:v2"}]}
ROLE = "rbac.authorization.k8s.io"


def thing(api_version: str, kind: str, **content: Any) -> Make:
    return lambda namespace: {
        "apiVersion": api_version, "kind": kind, "metadata": {"name": "thing", "namespace": namespace},
        **copy.deepcopy(content),
    }  # fmt: skip


def wide(api_version: str, kind: str, **content: Any) -> Make:
    """Return a maker of an object that lies in no namespace; it is called as the namespace."""
    return lambda namespace: {
        "apiVersion": api_version, "kind": kind, "metadata": {"name": namespace}, **copy.deepcopy(content),
    }  # fmt: skip


def selecting(label: str) -> Make:
    def make(namespace: str) -> Json:
        made = deployment(namespace, "thing", "registry/a:v1", replicas=0)
        made["spec"]["selector"] = {"matchLabels": {"is": label}}
        made["spec"]["template"]["metadata"]["labels"] = {"is": label}
        return made

    return make


def stateful(service_name: str = "a", size: str = "1Gi") -> Make:
    labels = {"app": "thing"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return thing("apps/v1", "StatefulSet", spec={
        "replicas": 0, "serviceName": service_name, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": CONTAINERS}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    })  # fmt: skip


def claim(size: str = "2Gi", storage_class: str = "one") -> Make:
    requests = {"requests": {"storage": size}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": storage_class, "resources": requests}
    return thing("v1", "PersistentVolumeClaim", spec=spec)


def volume(path: str) -> Make:
    # The class keeps it from the claims of other tests.
    known = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "of-nobody"}
    return wide("v1", "PersistentVolume", spec={**known, "hostPath": {"path": path}})


def address(text: str) -> Make:
    return thing("v1", "Service", spec={"clusterIP": text, "ports": [{"port": 80}]})


def binding(role: str) -> Make:
    return thing(f"{ROLE}/v1", "RoleBinding", roleRef={"apiGroup": ROLE, "kind": "Role", "name": role})


#: What was, what shall be, and what the server says to it.
REFUSED: dict[str, tuple[Make, Make, str]] = {
    "selector": (selecting("a"), selecting("b"), "spec.selector: field is immutable"),
    "address": (thing("v1", "Service", spec={"ports": [{"port": 80}]}), address("None"), "may not change once set"),
    "job": (
        thing("batch/v1", "Job", spec={"template": {"spec": POD}}),
        thing("batch/v1", "Job", spec={"template": {"spec": SECRETLY}}), "spec.template: field is immutable",
    ),
    "service name": (stateful("a"), stateful("b"), "updates to statefulset spec"),
    "claim template": (stateful(size="1Gi"), stateful(size="2Gi"), "updates to statefulset spec"),
    "smaller claim": (claim("2Gi"), claim("1Gi"), "field can not be less than previous value"),
    "class of a claim": (claim(storage_class="one"), claim(storage_class="two"), "spec is immutable after creation"),
    "volume": (volume("/a"), volume("/b"), "is immutable after creation"),
    "role": (binding("a"), binding("b"), "roleRef: cannot change roleRef"),
    "secret": (
        thing("v1", "Secret", immutable=True, stringData={"a": "1"}),
        thing("v1", "Secret", immutable=True, stringData={"a": "hunter2"}), "data: Forbidden: field is immutable",
    ),
    "type of a secret": (
        thing("v1", "Secret", data={"a": "MQ=="}), thing("v1", "Secret", data={"a": "MQ=="}, type="other.example/x"),
        "field is immutable",
    ),
    "config": (
        thing("v1", "ConfigMap", immutable=True, data={"a": "1"}),
        thing("v1", "ConfigMap", immutable=True, data={"a": "2"}), "data: Forbidden: field is immutable",
    ),
    "storage class": (
        wide("storage.k8s.io/v1", "StorageClass", provisioner="a.example/a", parameters={"x": "1"}),
        wide("storage.k8s.io/v1", "StorageClass", provisioner="a.example/a", parameters={"x": "2"}),
        "updates to parameters are forbidden",
    ),
    "priority": (
        wide("scheduling.k8s.io/v1", "PriorityClass", value=5),
        wide("scheduling.k8s.io/v1", "PriorityClass", value=6), "may not be changed in an update",
    ),
}  # fmt: skip
CONTENT = ("spec", "data", "roleRef", "type", "parameters", "value")
LOSING = {"smaller claim", "class of a claim", "volume"}


class Bundle:
    """A bundle of the given objects, and a cluster to plan for."""

    def __init__(self, folder: Path, stack: ExitStack, kubeconfig: Path) -> None:
        self._folder, self._stack, self._kubeconfig = folder, stack, kubeconfig

    def place(
        self, *manifests: Json, protect: Json | None = None, kubeconfig: Path | None = None, **choices: Any
    ) -> Workplace:
        folder = self._folder / "bundle"
        (folder / "templates").mkdir(parents=True, exist_ok=True)
        (folder / "templates" / "all.yaml").write_text("---\n".join(map(dump_yaml, manifests)))
        definition = {
            "apiVersion": "compass.upgrade/v1", "kind": "UpgradeBundle", "metadata": {"name": "things", "to": "2.0.0"},
            "components": [{"name": "things", "templates": ["templates/all.yaml"]}],
            "protect": [protect] if protect else [],
        }  # fmt: skip
        (folder / "bundle.yaml").write_text(dump_yaml(definition))
        where = Where(
            kubeconfig=str(kubeconfig or self._kubeconfig), role="user", clusters=("here",), registry="127.0.0.1:5000",
            state_dir=str(self._folder / "state"),
        )  # fmt: skip
        given = Choices(timeout_seconds=20, patience_seconds=5, **choices)
        return self._stack.enter_context(Workplace(Job(bundle=str(folder), where=where, choices=given), {}))

    def plan(self, *manifests: Json, **how: Any) -> Plan:
        place = self.place(*manifests, **how)
        return make_plan(place, TARGET, prepare(place))

    def refusal(self, *manifests: Json, **how: Any) -> str:
        with pytest.raises(Refused) as caught:
            self.plan(*manifests, **how)
        return str(caught.value)

    def upgrade(self, *manifests: Json, **how: Any) -> Plan:
        place = self.place(*manifests, **how)
        plan = make_plan(place, TARGET, prepare(place))
        apply_plan(place, TARGET, plan)
        return plan


@pytest.fixture
def bundle(plane: ControlPlane, tmp_path: Path) -> Iterator[Bundle]:
    with ExitStack() as stack:
        yield Bundle(tmp_path, stack, plane.kubeconfig())


@pytest.fixture
def there(client: ClusterClient) -> Iterator[Callable[[Json], Json]]:
    """Put an object on the cluster as this tool does; it is removed at the end."""
    made = []

    def put(manifest: Json) -> Json:
        made.append(ObjectRef.of(manifest))
        return apply(client, Desired("things", "t", copy.deepcopy(manifest)))

    yield put
    for ref in made:
        client.delete(ref)


def uid(client: ClusterClient, manifest: Json) -> str:
    live = client.get(ObjectRef.of(manifest))
    return str(live["metadata"]["uid"]) if live else ""


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_changed_is_refused_in_the_servers_words_and_created_again_with_leave(
    client: ClusterClient, namespace: str, there: Callable[[Json], Json], bundle: Bundle, what: str
) -> None:
    old, new, reason = REFUSED[what]
    made = there(old(namespace))
    before = made["metadata"]
    wanted, ref = new(namespace), ObjectRef.of(new(namespace))

    error = bundle.refusal(wanted)
    assert error.startswith(f"plan cluster here: {ref}: ")
    assert reason in error
    assert "pass --recreate to" in error
    assert ("--allow-data-loss" in error) is (what in LOSING)
    assert "hunter2" not in error

    if what in LOSING:
        assert "its data would be lost" in bundle.refusal(wanted, recreate=True)
    (change,) = bundle.plan(wanted, recreate=True, allow_data_loss=True).changes
    assert (change.action, change.recreate, change.uid) == ("configured", True, before["uid"])
    assert change.reason.startswith("deleted and created again: ")
    assert reason in change.reason
    assert change.differences
    assert "hunter2" not in "".join([change.reason, *change.differences])
    live = client.get(ref)
    assert live
    assert live["metadata"]["uid"] == before["uid"]
    assert [live.get(x) for x in CONTENT] == [made.get(x) for x in CONTENT], "nothing is changed by planning"

    bundle.upgrade(wanted, recreate=True, allow_data_loss=True)
    assert uid(client, wanted) not in ("", before["uid"])
    assert bundle.plan(wanted).acting == ()


def test_a_service_that_is_created_again_keeps_the_port_of_the_nodes_that_it_asks_for(
    client: ClusterClient, namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    made = there(thing("v1", "Service", spec={"type": "NodePort", "ports": [{"port": 80}]})(namespace))
    spare = client.create(service(namespace, "spare"))
    client.delete(ObjectRef.of(spare))
    wanted = thing("v1", "Service", spec={
        "type": "NodePort", "clusterIP": spare["spec"]["clusterIP"],
        "ports": [{"port": 80, "nodePort": made["spec"]["ports"][0]["nodePort"]}],
    })(namespace)  # fmt: skip
    assert "may not change once set; pass --recreate" in bundle.refusal(wanted)
    bundle.upgrade(wanted, recreate=True)
    live = client.get(ObjectRef.of(wanted))
    assert live
    assert live["spec"]["clusterIP"] == spare["spec"]["clusterIP"] != made["spec"]["clusterIP"]
    assert live["spec"]["ports"][0]["nodePort"] == made["spec"]["ports"][0]["nodePort"]


def test_all_that_cannot_be_changed_is_named_beside_the_fields_of_others(
    plane: ControlPlane, client: ClusterClient, namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    names = ("selector", "job", "config")
    for name in names:
        there(REFUSED[name][0](namespace))
    create(plane, [service(namespace, "other", 80)], field_manager="gitops")
    changed = service(namespace, "other", 80)
    changed["spec"] |= {"selector": {"app": "more"}, "sessionAffinity": "ClientIP"}
    wanted = [changed, *(REFUSED[x][1](namespace) for x in names)]

    error = bundle.refusal(*wanted)
    assert f"Service/{namespace}/other: field .spec.selector.app is owned by 'gitops'" in error
    assert f"Service/{namespace}/other: field .spec.sessionAffinity is owned by 'gitops'" in error
    for kind in ("Deployment", "Job", "ConfigMap"):
        assert f"{kind}/{namespace}/thing: " in error
    assert "--force-conflicts" in error
    assert "--recreate" in error
    alone = bundle.refusal(*wanted, force_conflicts=True)
    assert "gitops" not in alone
    assert "--force-conflicts" not in alone
    assert "--recreate" not in bundle.refusal(*wanted, recreate=True)
    plan = bundle.plan(*wanted, recreate=True, force_conflicts=True)
    assert {x.kind: x.recreate for x in plan.acting} == {
        "Service": False, "Deployment": True, "Job": True, "ConfigMap": True,
    }  # fmt: skip


def test_what_stands_in_the_way_is_counted_where_it_is_too_much(
    plane: ControlPlane, namespace: str, bundle: Bundle
) -> None:
    data = {f"key-{n}": "1" for n in range(4)}
    maps = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m-{n}", "namespace": namespace}, "data": data}
        for n in range(2)
    ]
    create(plane, maps, field_manager="gitops")
    error = bundle.refusal(*({**x, "data": dict.fromkeys(data, "2")} for x in maps))
    assert error.count("is owned by 'gitops'") == 5
    assert f"ConfigMap/{namespace}/m-1: field .data.key-0 is owned" in error
    assert "(and 3 more); release the fields or pass --force-conflicts" in error


def test_an_object_with_fields_of_others_that_cannot_be_changed_either_is_named_for_both(
    plane: ControlPlane, namespace: str, bundle: Bundle
) -> None:
    old, new, reason = REFUSED["selector"]
    create(plane, [old(namespace)], field_manager="gitops")
    error = bundle.refusal(new(namespace))
    assert "is owned by 'gitops'" in error
    assert reason in error


def test_what_is_protected_is_never_created_again(
    namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    old, new, reason = REFUSED["config"]
    there(old(namespace))
    protect = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": namespace, "name": "thing"}
    error = bundle.refusal(new(namespace), recreate=True, protect=protect)
    assert reason in error
    assert "it is protected; change it by hand" in error


def test_a_definition_is_never_created_again_since_all_its_objects_would_go(
    client: ClusterClient, namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    live = client.get(
        ObjectRef("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "releases.release.caicloud.io")
    )
    assert live
    group = f"{namespace}.example"
    spec = {**live["spec"], "group": group, "names": {"kind": "Thing", "plural": "things"}}
    spec.pop("conversion")
    manifest = {
        "apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": {"name": f"things.{group}"}, "spec": spec,
    }  # fmt: skip
    there(manifest)
    changed = {**manifest, "spec": {**spec, "scope": "Cluster"}}

    def refused() -> str:
        try:
            return bundle.refusal(changed, recreate=True, allow_data_loss=True)
        except StepFailed:  # not served yet
            return ""

    error = wait_until("the definition is established", refused)
    assert "spec.scope" in error
    assert "all that is in it would go with it; change it by hand" in error


def test_a_claim_that_a_pod_holds_is_not_deleted(
    plane: ControlPlane, client: ClusterClient, namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    old, new, _ = REFUSED["smaller claim"]
    there(old(namespace))
    spec = {**POD, "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "thing"}}]}
    create(plane, [{**thing("v1", "Pod", spec=spec)(namespace)}])
    error = bundle.refusal(new(namespace), recreate=True, allow_data_loss=True)
    assert f"Pod/{namespace}/thing holds on to it; stop Pod/{namespace}/thing first" in error
    client.delete(ObjectRef("v1", "Pod", namespace, "thing"))
    wait_until("no pod", lambda: client.get(ObjectRef("v1", "Pod", namespace, "thing")) is None)
    assert bundle.plan(new(namespace), recreate=True, allow_data_loss=True).changes[0].recreate


def test_a_volume_that_a_claim_holds_is_not_deleted(
    plane: ControlPlane, client: ClusterClient, namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    old, new, _ = REFUSED["volume"]
    there({**old(namespace), "spec": {**old(namespace)["spec"], "storageClassName": namespace}})
    request = claim("1Gi", namespace)(namespace)
    there({**request, "spec": {**request["spec"], "volumeName": namespace}})
    ref = ObjectRef("v1", "PersistentVolume", "", namespace)
    wait_until("bound", lambda: (client.get(ref) or {})["status"]["phase"] == "Bound")
    changed = {**new(namespace), "spec": {**new(namespace)["spec"], "storageClassName": namespace}}
    error = bundle.refusal(changed, recreate=True, allow_data_loss=True)
    assert f"PersistentVolumeClaim/{namespace}/thing holds on to it" in error


def test_what_the_server_would_not_take_as_a_new_object_either_is_not_offered(
    namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    old, new, _ = REFUSED["selector"]
    there(old(namespace))
    wrong = new(namespace)
    wrong["spec"]["template"]["metadata"]["labels"] = {"is": "else"}
    with pytest.raises(StepFailed, match="does not match template"):
        bundle.plan(wrong, recreate=True)


def test_the_right_to_delete_is_asked_for_where_it_is_needed(
    plane: ControlPlane, client: ClusterClient, namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    old, new, _ = REFUSED["config"]
    there(old(namespace))
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch"]}
    client.create(wide(f"{ROLE}/v1", "ClusterRole", rules=[rule])(namespace))
    person = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    refers = {"apiGroup": ROLE, "kind": "ClusterRole", "name": namespace}
    client.create(wide(f"{ROLE}/v1", "ClusterRoleBinding", roleRef=refers, subjects=[person])(namespace))
    token = wait_until("a token", lambda: _token(plane, namespace))
    error = bundle.refusal(new(namespace), recreate=True, kubeconfig=plane.kubeconfig(token=token))
    assert f"may not delete configmaps in {namespace}" in error


def _token(plane: ControlPlane, namespace: str) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    with plane.client() as api:
        answer = api.post(f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token", json=body)
    return str(answer.json()["status"]["token"]) if answer.is_success else ""


def test_a_step_that_is_taken_again_deletes_nothing_that_it_made(
    client: ClusterClient, namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    old, new, _ = REFUSED["config"]
    there(old(namespace))
    place = bundle.place(new(namespace), recreate=True)
    plan = make_plan(place, TARGET, prepare(place))
    assert apply_plan(place, TARGET, plan).lines == (
        f"deleted ConfigMap/{namespace}/thing", f"created ConfigMap/{namespace}/thing",
    )  # fmt: skip
    made = uid(client, new(namespace))
    apply_plan(place, TARGET, plan)
    assert uid(client, new(namespace)) == made


def test_a_step_that_ended_between_deleting_and_creating_creates(
    client: ClusterClient, namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    old, new, _ = REFUSED["config"]
    there(old(namespace))
    place = bundle.place(new(namespace), recreate=True)
    plan = make_plan(place, TARGET, prepare(place))
    client.delete(ObjectRef.of(old(namespace)), uid=plan.changes[0].uid)
    apply_plan(place, TARGET, plan)
    live = client.get(ObjectRef.of(old(namespace)))
    assert live
    assert live["data"] == {"a": "2"}


def test_what_kubectl_applied_is_created_again_as_well(
    plane: ControlPlane, client: ClusterClient, namespace: str, bundle: Bundle
) -> None:
    old, new, reason = REFUSED["selector"]
    clusters.apply(plane, [old(namespace)])
    assert reason in bundle.refusal(new(namespace))
    bundle.upgrade(new(namespace), recreate=True)
    assert preview(client, Desired("things", "t", new(namespace))).action == "unchanged"


def test_leave_that_is_not_needed_changes_nothing_of_a_plan(
    namespace: str, there: Callable[[Json], Json], bundle: Bundle
) -> None:
    there(deployment(namespace, "thing", "registry/a:v1", replicas=0))
    wanted = deployment(namespace, "thing", "registry/a:v2", replicas=0)
    plans = [bundle.plan(wanted, recreate=x) for x in (False, True)]
    assert plans[0] == plans[1]
    change: Change = plans[0].changes[0]
    assert (change.action, change.recreate) == ("configured", False)
