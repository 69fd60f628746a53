"""Workloads: from the object to running pods."""

from __future__ import annotations

from tests.rehearsal.contract.cluster import DIGEST, Json, Space, deployment, template
from tests.servers.process import wait_until

REVISION = "deployment.kubernetes.io/revision"


def conditions(item: Json) -> dict[str, tuple[str, str]]:
    found = (item.get("status") or {}).get("conditions") or []
    return {x["type"]: (x["status"], x.get("reason", "")) for x in found}


def rolled_out(item: Json) -> bool:
    status, wanted = item.get("status") or {}, item["spec"]["replicas"]
    return bool(
        status.get("observedGeneration", 0) >= item["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


def test_a_deployment_runs_its_pods(space: Space) -> None:
    space.post("deployments", deployment("web", replicas=2))
    done = space.ready("deployments", "web", lambda x: rolled_out(x) and x)
    assert conditions(done) == {
        "Available": ("True", "MinimumReplicasAvailable"), "Progressing": ("True", "NewReplicaSetAvailable"),
    }  # fmt: skip
    assert done["metadata"]["annotations"] == {REVISION: "1"}
    (replica_set,) = space.items("replicasets")
    digest = replica_set["metadata"]["labels"]["pod-template-hash"]
    assert replica_set["metadata"]["name"] == f"web-{digest}"
    assert replica_set["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert replica_set["metadata"]["annotations"][REVISION] == "1"
    pods = space.items("pods")
    assert len(pods) == 2
    for pod in pods:
        assert pod["metadata"]["name"].startswith(f"web-{digest}-")
        assert pod["metadata"]["ownerReferences"][0]["uid"] == replica_set["metadata"]["uid"]
        assert pod["metadata"]["labels"] == {"app": "web", "pod-template-hash": digest}
        assert pod["status"]["phase"] == "Running"
        assert pod["status"]["containerStatuses"][0]["imageID"] == f"site/thing@{DIGEST}"
        assert pod["spec"]["nodeName"]


def test_a_new_template_is_rolled_out(space: Space) -> None:
    space.post("deployments", deployment("web", replicas=2))
    space.ready("deployments", "web", rolled_out)
    space.apply("deployments", deployment("web", "site/thing:v2", replicas=2), "one", force="true")
    done = space.ready("deployments", "web", lambda x: rolled_out(x) and x)
    assert done["metadata"]["annotations"][REVISION] == "2"
    wait_until("old pods gone", lambda: len(space.items("pods")) == 2)
    assert {x["spec"]["containers"][0]["image"] for x in space.items("pods")} == {"site/thing:v2"}
    sizes = {x["metadata"]["annotations"][REVISION]: x["spec"]["replicas"] for x in space.items("replicasets")}
    assert sizes == {"1": 0, "2": 2}


def test_a_template_that_comes_back_is_the_newest_revision(space: Space) -> None:
    space.post("deployments", deployment("web"))
    space.ready("deployments", "web", rolled_out)
    for image in ("site/thing:v2", "site/thing:v1"):
        space.patch("deployments", "web", deployment("web", image))
        space.ready("deployments", "web", lambda x, i=image: rolled_out(x) and x["metadata"]["annotations"][REVISION])
    revisions = sorted(x["metadata"]["annotations"][REVISION] for x in space.items("replicasets"))
    assert revisions == ["2", "3"]


def test_scaling(space: Space) -> None:
    space.post("deployments", deployment("web", replicas=1))
    space.ready("deployments", "web", rolled_out)
    for size in (3, 0):
        space.patch("deployments", "web", {"spec": {"replicas": size}})
        space.ready("deployments", "web", rolled_out)
        wait_until("the pods", lambda s=size: len(space.items("pods")) == s)
    assert len(space.items("replicasets")) == 1


def test_a_missing_image_is_named(space: Space) -> None:
    space.post("deployments", deployment("web", "site/absent:v1", progressDeadlineSeconds=2))

    def waiting() -> str:
        statuses = [y for x in space.items("pods") for y in x["status"].get("containerStatuses") or []]
        return str(statuses[0]["state"].get("waiting", {}).get("reason", "")) if statuses else ""

    wait_until("the failure", lambda: waiting() in ("ErrImagePull", "ImagePullBackOff"))
    (pod,) = space.items("pods")
    assert pod["status"]["phase"] == "Pending"
    select = f"involvedObject.uid={pod['metadata']['uid']},type=Warning"
    (event, *_) = wait_until("an event", lambda: space.items("events", fieldSelector=select))
    assert event["reason"] == "Failed"
    assert event["message"].startswith('Failed to pull image "site/absent:v1": rpc error: code = NotFound desc = ')
    late = space.ready(
        "deployments", "web", lambda x: conditions(x).get("Progressing") == ("False", "ProgressDeadlineExceeded") and x
    )
    assert conditions(late)["Available"] == ("False", "MinimumReplicasUnavailable")
    message = next(x["message"] for x in late["status"]["conditions"] if x["type"] == "Progressing")
    assert message.endswith('" has timed out progressing.')


def test_a_daemon_set_runs_on_every_node(space: Space) -> None:
    labels = {"app": "agent"}
    body = {
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": labels}, "template": template(labels)},
    }  # fmt: skip
    made = space.post("daemonsets", body).json()
    assert made["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    nodes = len(space.api.get("/api/v1/nodes").json()["items"])

    def ready(item: Json) -> bool:
        status = item["status"]
        return bool(
            status.get("observedGeneration") == item["metadata"]["generation"]
            and status["desiredNumberScheduled"] == nodes
            and status.get("updatedNumberScheduled") == status.get("numberAvailable") == nodes
        )

    space.ready("daemonsets", "agent", ready)
    pod = space.items("pods")[0]
    first = pod["metadata"]["labels"]["controller-revision-hash"]
    assert pod["metadata"]["labels"]["pod-template-generation"] == "1"
    space.patch("daemonsets", "agent", {"spec": {"template": template(labels, "site/thing:v2")}})
    space.ready("daemonsets", "agent", ready)
    wait_until("one pod a node", lambda: len(space.items("pods")) == nodes)
    pod = space.items("pods")[0]
    assert pod["metadata"]["labels"]["pod-template-generation"] == "2"
    assert pod["metadata"]["labels"]["controller-revision-hash"] != first
    assert len(space.items("controllerrevisions")) == 2


def test_a_stateful_set_runs_in_order(space: Space) -> None:
    labels = {"app": "db"}
    spec = {"serviceName": "db", "replicas": 2, "selector": {"matchLabels": labels}, "template": template(labels)}
    space.post(
        "statefulsets", {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}
    )

    def ready(item: Json) -> bool:
        status = item["status"]
        return bool(
            status.get("observedGeneration") == item["metadata"]["generation"]
            and status.get("readyReplicas") == 2
            and status["currentRevision"] == status["updateRevision"]
        )

    space.ready("statefulsets", "db", ready)
    pods = {x["metadata"]["name"]: x for x in space.items("pods")}
    assert set(pods) == {"db-0", "db-1"}
    assert pods["db-1"]["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "db-1"
    space.patch("statefulsets", "db", {"spec": {"template": template(labels, "site/thing:v2")}})
    done = space.ready("statefulsets", "db", lambda x: ready(x) and x)
    assert {x["spec"]["containers"][0]["image"] for x in space.items("pods")} == {"site/thing:v2"}
    label = space.items("pods")[0]["metadata"]["labels"]["controller-revision-hash"]
    assert label == done["status"]["updateRevision"]


def test_a_job_runs_to_its_end(space: Space) -> None:
    spec = {"template": template({}, restartPolicy="Never")}
    space.post("jobs", {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": spec})
    done = space.ready("jobs", "once", lambda x: conditions(x).get("Complete") and x)
    assert (done["status"]["succeeded"], conditions(done)["Complete"][0]) == (1, "True")
    assert {"startTime", "completionTime"} <= set(done["status"])
    (pod,) = space.items("pods")
    assert pod["status"]["phase"] == "Succeeded"
    assert pod["metadata"]["labels"]["job-name"] == "once"


def test_a_pod_that_is_deleted_is_replaced(space: Space) -> None:
    space.post("deployments", deployment("web"))
    space.ready("deployments", "web", rolled_out)
    (first,) = space.items("pods")
    answer = space.delete("pods", first["metadata"]["name"]).json()
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 1
    wait_until("another one", lambda: [x["metadata"]["uid"] for x in space.items("pods")] not in
               ([first["metadata"]["uid"]], []) and len(space.items("pods")) == 1)  # fmt: skip
    space.ready("deployments", "web", rolled_out)
