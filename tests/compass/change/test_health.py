# ruff: noqa: E501  (tables of statuses: a row is read as one line)
"""Health is read from statuses as clusters really give them, the terminal ones with the cluster's own words."""

from typing import Any

import pytest

from compass.change.health import Health, assess, waiting_reasons

IMAGE = "10.0.0.1:5000/release/am_minion:v0.0.7"


def thing(kind: str, status: dict[str, Any] | None = None, *, generation: int = 2, **spec: Any) -> dict[str, Any]:
    item: dict[str, Any] = {"kind": kind, "metadata": {"name": "a", "generation": generation}, "spec": spec}
    return item if status is None else {**item, "status": status}


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def deployment(*, replicas: int = 3, observed: int = 2, conditions: Any = (), **status: int) -> dict[str, Any]:
    return thing(
        "Deployment", {"observedGeneration": observed, "conditions": list(conditions), **status}, replicas=replicas
    )


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    waits = {"waiting": {"reason": reason, "message": message}}
    return {"name": "app", "image": IMAGE, "ready": False, "state": waits, **more}


def pod(*statuses: dict[str, Any], name: str = "p-1", key: str = "containerStatuses", **status: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": name}, "status": {"phase": "Pending", key: list(statuses), **status}}


QUOTA = 'pods "a-1" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2'
STATUSES: list[tuple[str, dict[str, Any] | None, str, str]] = [
    ("absent", None, "progressing", "not there yet"),
    ("being deleted", {"kind": "Service", "metadata": {"deletionTimestamp": "x"}}, "progressing", "being deleted"),
    ("of no rollout", thing("ConfigMap"), "ready", "applied"),
    ("custom", thing("Release", {"conditions": [condition("Failed")]}), "ready", "applied"),
    ("deployment, new", thing("Deployment", replicas=3), "progressing", "not seen by its controller yet"),
    ("deployment, old status", deployment(observed=1, updatedReplicas=3, replicas=3, availableReplicas=3), "progressing",
     "not seen by its controller yet"),
    ("deployment, begun", thing("Deployment", {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1}, replicas=3),
     "progressing", "1 of 3 replicas updated"),
    ("deployment, old pods", thing("Deployment", {"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3}, replicas=3),
     "progressing", "1 old replicas still there"),
    ("deployment, starting", thing("Deployment", {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3,
     "availableReplicas": 2}, replicas=3), "progressing", "2 of 3 replicas available"),
    ("deployment, done", thing("Deployment", {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3,
     "availableReplicas": 3}, replicas=3), "ready", "3 of 3 replicas available"),
    ("deployment of none", thing("Deployment", {"observedGeneration": 2}, replicas=0), "ready", "0 of 0"),
    ("deployment of one by default", thing("Deployment", {"observedGeneration": 2}), "progressing", "0 of 1 replicas updated"),
    ("deployment, too late", deployment(conditions=[condition("Progressing", "False", "ProgressDeadlineExceeded",
     'ReplicaSet "a-1" has timed out progressing.')]), "failed", 'exceeded: ReplicaSet "a-1" has timed out'),
    ("deployment, late for the version before", deployment(observed=1, conditions=[condition("Progressing", "False",
     "ProgressDeadlineExceeded")]), "progressing", "not seen"),
    ("deployment, moving", deployment(conditions=[condition("Progressing", "True", "ReplicaSetUpdated"),
     condition("Available", "False", "MinimumReplicasUnavailable")]), "progressing", "0 of 3"),
    ("deployment over quota", deployment(conditions=[condition("ReplicaFailure", "True", "FailedCreate", QUOTA)]), "failed",
     f"FailedCreate: {QUOTA}"),
    ("deployment once over quota", deployment(conditions=[condition("ReplicaFailure", "False", "FailedCreate", QUOTA)]),
     "progressing", "0 of 3"),
    ("daemon set, begun", thing("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 3,
     "updatedNumberScheduled": 2, "numberAvailable": 3}), "progressing", "2 of 3 nodes updated and available"),
    ("daemon set, starting", thing("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 3,
     "updatedNumberScheduled": 3, "numberAvailable": 1}), "progressing", "1 of 3 nodes"),
    ("daemon set, done", thing("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 3,
     "updatedNumberScheduled": 3, "numberAvailable": 3}), "ready", "3 of 3 nodes"),
    ("daemon set, unseen", thing("DaemonSet", {"observedGeneration": 1}), "progressing", "not seen"),
    ("daemon set on deletion", thing("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 3},
     updateStrategy={"type": "OnDelete"}), "ready", "OnDelete"),
    ("daemon set of no node", thing("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 0}), "ready", "0 of 0"),
    ("stateful set, begun", thing("StatefulSet", {"observedGeneration": 2, "readyReplicas": 3, "updatedReplicas": 1,
     "currentRevision": "a-1", "updateRevision": "a-2"}, replicas=3), "progressing", "3 of 3 replicas ready, 1 updated"),
    ("stateful set, starting", thing("StatefulSet", {"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 3,
     "currentRevision": "a-1", "updateRevision": "a-2"}, replicas=3), "progressing", "2 of 3 replicas ready"),
    ("stateful set, done", thing("StatefulSet", {"observedGeneration": 2, "readyReplicas": 3,
     "currentRevision": "a-2", "updateRevision": "a-2"}, replicas=3), "ready", "3 of 3 replicas ready, 3 updated"),
    ("stateful set by parts", thing("StatefulSet", {"observedGeneration": 2, "readyReplicas": 3, "updatedReplicas": 1,
     "currentRevision": "a-1", "updateRevision": "a-2"}, replicas=3, updateStrategy={"type": "RollingUpdate",
     "rollingUpdate": {"partition": 2}}), "ready", "1 updated"),
    ("stateful set on deletion", thing("StatefulSet", {"observedGeneration": 2}, replicas=3,
     updateStrategy={"type": "OnDelete"}), "ready", "OnDelete"),
    ("stateful set, unseen", thing("StatefulSet", {"observedGeneration": 1}), "progressing", "not seen"),
    ("job, running", thing("Job", {"active": 1}), "progressing", "running"),
    ("job, done", thing("Job", {"conditions": [condition("Complete")]}), "ready", "completed"),
    ("job, failed", thing("Job", {"conditions": [condition("Failed", "True", "BackoffLimitExceeded", "Job has reached")]}),
     "failed", "BackoffLimitExceeded: Job has reached"),
    ("job, not failed", thing("Job", {"conditions": [condition("Failed", "False")]}), "progressing", "running"),
    ("pod, new", thing("Pod"), "progressing", "pending"),
    ("pod, not ready", thing("Pod", {"phase": "Running", "conditions": [condition("Ready", "False")]}), "progressing", "running"),
    ("pod, ready", thing("Pod", {"phase": "Running", "conditions": [condition("Ready")]}), "ready", "running"),
    ("pod, done", thing("Pod", {"phase": "Succeeded"}), "ready", "succeeded"),
    ("pod, evicted", thing("Pod", {"phase": "Failed", "message": "The node was low on resource: memory."}), "failed",
     "The node was low on resource"),
    ("pod, failed", thing("Pod", {"phase": "Failed"}), "failed", "its containers ended"),
    ("definition, new", thing("CustomResourceDefinition"), "progressing", "not established yet"),
    ("definition", thing("CustomResourceDefinition", {"conditions": [condition("NamesAccepted"), condition("Established")]}),
     "ready", "established"),
    ("definition, names taken", thing("CustomResourceDefinition", {"conditions": [condition("NamesAccepted", "False",
     "PluralConflict", '"releases" is already in use')]}), "failed", "already in use"),
    ("namespace", thing("Namespace", {"phase": "Active"}), "ready", "active"),
    ("namespace, ending", thing("Namespace", {"phase": "Terminating"}), "progressing", "terminating"),
    ("claim, waiting for its consumer", thing("PersistentVolumeClaim", {"phase": "Pending"}), "ready", "pending"),
    ("claim, lost", thing("PersistentVolumeClaim", {"phase": "Lost"}), "failed", "lost"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "state", "text"), [x[1:] for x in STATUSES], ids=[x[0] for x in STATUSES])
def test_an_objects_status_tells_how_far_it_is(item: dict[str, Any] | None, state: str, text: str) -> None:
    health = assess(item)
    assert health.state == state, health
    assert text in health.text


NOT_FOUND = f'rpc error: code = NotFound desc = failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": {IMAGE}: not found'
REFUSED = f'failed to pull image "{IMAGE}": failed to do request: Head "http://10.0.0.1:5000/v2/": dial tcp 10.0.0.1:5000: connect: connection refused'
BACK_OFF = f'Back-off pulling image "{IMAGE}"'
PODS: list[tuple[str, list[dict[str, Any]], list[str], str]] = [
    ("creating", [pod(waiting("ContainerCreating"))], [], ""),
    ("initialising", [pod(waiting("PodInitializing"))], [], ""),
    ("not found", [pod(waiting("ErrImagePull", NOT_FOUND))], [], f"ErrImagePull: {NOT_FOUND}"),
    ("not found, as an event says", [pod(waiting("ImagePullBackOff", BACK_OFF))], ["Pulling", f"Failed to pull image: {NOT_FOUND}"],
     f"ImagePullBackOff: Failed to pull image: {NOT_FOUND}"),
    ("another image not found", [pod(waiting("ImagePullBackOff", BACK_OFF))], ['image "other:1": not found'], ""),
    ("unknown why", [pod(waiting("ImagePullBackOff", BACK_OFF))], [], ""),
    ("refused connection", [pod(waiting("ErrImagePull", REFUSED))], [f"Failed to pull image: {REFUSED}"], ""),
    ("no such host", [pod(waiting("ErrImagePull", f'"{IMAGE}": dial tcp: lookup cargo.local: no such host'))], [], ""),
    ("time-out", [pod(waiting("ErrImagePull", f'"{IMAGE}": net/http: TLS handshake timeout'))], [], ""),
    ("registry down", [pod(waiting("RegistryUnavailable", "502 Bad Gateway"))], [], ""),
    ("no password", [pod(waiting("ErrImagePull", "unexpected status: 401 Unauthorized"))], [], "401 Unauthorized"),
    ("denied", [pod(waiting("ErrImagePull", "pull access denied for x, repository does not exist"))], [], "access denied"),
    ("manifest unknown", [pod(waiting("ErrImagePull", "manifest unknown: manifest unknown"))], [], "manifest unknown"),
    ("wrong platform", [pod(waiting("ErrImagePull", "no match for platform in manifest"))], [], "no match for platform"),
    ("an image called denied", [pod({**waiting("ImagePullBackOff", 'Back-off pulling image "r/access-denied:1"'),
     "image": "r/access-denied:1"})], [], ""),
    ("wrong name", [pod(waiting("InvalidImageName", 'couldn\'t parse image "A//b"'))], [], "InvalidImageName: couldn't parse"),
    ("never pulled", [pod(waiting("ErrImageNeverPull", "is not present"))], [], "ErrImageNeverPull: is not present"),
    ("no config map", [pod(waiting("CreateContainerConfigError", 'configmap "x" not found'))], [],
     'CreateContainerConfigError: configmap "x" not found'),
    ("no such program", [pod(waiting("RunContainerError", 'exec: "x": executable file not found'))], [], "RunContainerError"),
    ("crashed twice", [pod(waiting("CrashLoopBackOff", "back-off 20s", restartCount=2))], [], ""),
    ("crashed three times", [pod(waiting("CrashLoopBackOff", "back-off 40s", restartCount=3,
     lastState={"terminated": {"exitCode": 1, "message": "no database"}}))], [],
     "CrashLoopBackOff after 3 restarts, last exit code 1: no database"),
    ("crashed without words", [pod(waiting("CrashLoopBackOff", "back-off 40s", restartCount=5))], [],
     "CrashLoopBackOff after 5 restarts: back-off 40s"),
    ("init container", [pod(waiting("ErrImagePull", NOT_FOUND), key="initContainerStatuses")], [], "not found"),
    ("second pod", [pod(waiting("ContainerCreating")), pod(waiting("InvalidImageName", "x"), name="p-2")], [], "pod p-2, container app"),
    ("no status", [{"metadata": {"name": "p-1"}}], [], ""),
]  # fmt: skip


@pytest.mark.parametrize(("pods", "events", "text"), [x[1:] for x in PODS], ids=[x[0] for x in PODS])
@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet", "StatefulSet", "Job"])
def test_a_pod_that_cannot_start_ends_the_wait_with_the_kubelets_words(
    kind: str, pods: list[dict[str, Any]], events: list[str], text: str
) -> None:
    status = {"observedGeneration": 2, "desiredNumberScheduled": 1, "currentRevision": "a", "updateRevision": "b"}
    health = assess(thing(kind, status), pods, events)
    assert health.state == ("failed" if text else "progressing"), health
    assert text in health.text
    if text:
        assert health.text.startswith("pod p-")


def test_a_rollout_that_is_done_is_not_judged_by_its_pods() -> None:
    done = thing("Deployment", {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1})
    assert assess(done, [pod(waiting("InvalidImageName"))]) == Health("ready", "1 of 1 replicas available")


def test_what_pods_wait_for_is_told_when_the_time_is_over() -> None:
    unscheduled = pod(conditions=[condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available")])
    ready = pod(waiting("x"), name="p-9", conditions=[condition("Ready")])
    running = pod({"name": "app", "ready": False, "state": {"running": {}}}, name="p-2")
    pods = [ready, unscheduled, pod(waiting("ErrImagePull", REFUSED), name="p-3"), running]
    assert waiting_reasons(pods, ["event"]) == [
        "pod p-1: Unschedulable: 0/3 nodes are available",
        f"pod p-3, container app: ErrImagePull {REFUSED}",
        "pod p-2, container app: runs, but is not ready",
    ]
    assert waiting_reasons([ready], ["old", "new"]) == ["new"]
    assert waiting_reasons([], []) == []
