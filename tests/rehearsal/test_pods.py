"""What the pods of a simulated node go through, without any server."""

from __future__ import annotations

from typing import Any

from rehearsal.pods import Behaviour, Json, Pod
from rehearsal.pulling import PullFailed

HOW = Behaviour(start_seconds=1, back_off_seconds=5)
CLOCK = "2026-01-31T02:00:00Z"


def pod(init: list[str] | None = None, policy: str = "Always") -> Pod:
    spec: Json = {"restartPolicy": policy, "containers": [{"name": "main", "image": "site/thing:v1"}]}
    spec["initContainers"] = [{"name": name, "image": f"site/{name}:v1"} for name in init or []]
    return Pod.of({"metadata": {"uid": "u"}, "spec": spec}, CLOCK)


def present(container: Json) -> str:
    return f"{container['image']}@sha256:0"


def absent(container: Json) -> str:
    raise PullFailed(f"{container['image']}: not found")


def at(pod: Pod, now: float, pull: Any = present, how: Behaviour = HOW) -> Json:
    pod.advance(pull, how, now)
    return pod.status(how, now, CLOCK)


def waiting(status: Json) -> str:
    return str(status["containerStatuses"][0]["state"]["waiting"]["reason"])


def test_a_pod_runs_and_is_ready_after_its_delay() -> None:
    one = pod()
    assert (at(one, 0)["phase"], waiting(at(one, 0.5))) == ("Pending", "ContainerCreating")
    status = at(one, 1)
    assert status["phase"] == "Running"
    assert {x["type"]: x["status"] for x in status["conditions"]}["Ready"] == "True"


def test_init_containers_go_one_after_the_other() -> None:
    one = pod(["a", "b"])
    assert [next(iter(x["state"])) for x in at(one, 0)["initContainerStatuses"]] == ["running", "waiting"]
    assert [next(iter(x["state"])) for x in at(one, 1)["initContainerStatuses"]] == ["terminated", "running"]
    assert at(one, 2)["phase"] == "Pending"
    assert at(one, 3)["phase"] == "Running"


def test_an_init_container_without_end_keeps_the_pod_pending() -> None:
    one, how = pod(["check-master"]), Behaviour(endless_init=frozenset({"check-master"}))
    at(one, 0, how=how)
    status = at(one, 1000, how=how)
    assert status["phase"] == "Pending"
    assert "running" in status["initContainerStatuses"][0]["state"]


def test_a_failed_pull_is_tried_again_after_the_back_off() -> None:
    one = pod()
    assert waiting(at(one, 0, absent)) == "ErrImagePull"
    assert waiting(at(one, 1, present)) == "ImagePullBackOff"
    assert waiting(at(one, 5, absent)) == "ErrImagePull"
    assert waiting(at(one, 10, present)) == "ContainerCreating"
    assert at(one, 11)["phase"] == "Running"


def test_a_crashing_image_ends_in_crash_loop_back_off() -> None:
    one, how = pod(), Behaviour(crashing=frozenset({"thing:v1"}))
    at(one, 0, how=how)
    status = at(one, 1, how=how)
    assert (status["phase"], waiting(status)) == ("Running", "CrashLoopBackOff")
    assert status["containerStatuses"][0]["restartCount"] == 1


def test_an_unready_image_runs_and_never_gets_ready() -> None:
    one, how = pod(), Behaviour(unready=frozenset({"thing:v1"}))
    at(one, 0, how=how)
    status = at(one, 100, how=how)
    assert (status["phase"], status["containerStatuses"][0]["ready"]) == ("Running", False)


def test_a_pod_that_is_not_restarted_succeeds() -> None:
    one = pod(policy="Never")
    at(one, 0)
    assert at(one, 1)["phase"] == "Succeeded"
