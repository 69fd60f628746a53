"""The proof: what pods run against what the bundle holds."""

from typing import Any

import pytest

from compass.change.proof import OTHER_IMAGE, RunningImage, digest_in, judge_workload, running_images
from compass.digests import digest_of

GOOD, CONFIG, OTHER = digest_of(b"good"), digest_of(b"config"), digest_of(b"other")
IMAGE = "10.0.0.1:5000/release/a:1"
EXPECTED = {"release/a:1": frozenset({GOOD, CONFIG})}


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        (f"10.0.0.1:5000/release/a@{GOOD}", GOOD),
        (f"docker-pullable://10.0.0.1:5000/release/a@{GOOD}", GOOD),
        (f"docker://{GOOD}", GOOD),
        (GOOD, GOOD),
        ("", ""),
        ("10.0.0.1:5000/release/a:1", ""),
        (GOOD[:-1], ""),
        (GOOD + "0", ""),
    ],
)
def test_a_digest_is_found_however_the_runtime_writes_it(image_id: str, digest: str) -> None:
    assert digest_in(image_id) == digest


def pod(image: str = IMAGE, image_id: str = f"r/a@{GOOD}", name: str = "p", **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "n", "name": name},
        "spec": {"containers": [{"name": "app", "image": image}, *more.pop("also", [])], **more},
        "status": {"containerStatuses": [{"name": "app", "image": "whatever", "imageID": image_id}]},
    }


def judge(*pods: dict[str, Any], image: str = IMAGE) -> list[tuple[str, str, str]]:
    found = judge_workload("Deployment/n/a", {"app": image}, running_images(pods), EXPECTED)
    return [(x.verdict, x.pod, x.reason) for x in found]


def test_every_container_is_seen_init_containers_too() -> None:
    one = pod(initContainers=[{"name": "init", "image": "i:1"}])
    one["status"]["initContainerStatuses"] = [{"name": "init", "imageID": f"docker-pullable://i@{OTHER}"}]
    assert running_images([one]) == [
        RunningImage(pod="n/p", container="init", image="i:1", digest=OTHER),
        RunningImage(pod="n/p", container="app", image=IMAGE, digest=GOOD),
    ]
    assert [x.digest for x in running_images([{"metadata": {"name": "p"}, "spec": one["spec"]}])] == ["", ""]


@pytest.mark.parametrize("image_id", [f"docker-pullable://r/a@{GOOD}", GOOD, f"docker://{CONFIG}"])
def test_any_digest_of_the_image_proves_it(image_id: str) -> None:
    assert judge(pod(image_id=image_id)) == [("equal", "n/p", "")]


def test_what_is_not_the_bundles_is_told_apart() -> None:
    assert judge(pod(image_id=OTHER)) == [("different", "n/p", OTHER_IMAGE)]
    assert judge(pod(image_id="")) == [("different", "n/p", "the node has not said what it runs")]
    assert judge(pod(image="r/release/a:0")) == [("different", "n/p", "runs r/release/a:0")]
    assert judge() == [("not running", "", "no pod")]
    assert judge(pod(), image="r.x/other:1") == [("unknown image", "", "the bundle does not hold it")]


def test_every_pod_has_its_verdict() -> None:
    assert judge(pod(name="p1"), pod(name="p2", image_id=OTHER)) == [
        ("equal", "n/p1", ""),
        ("different", "n/p2", OTHER_IMAGE),
    ]


def test_an_injected_container_is_not_judged() -> None:
    sidecar = pod(
        also=[{"name": "proxy", "image": "istio:1"}], initContainers=[{"name": "istio-init", "image": "istio:1"}]
    )
    assert judge(sidecar) == [("equal", "n/p", "")]


def test_evidence_says_what_runs_and_what_should() -> None:
    (found,) = judge_workload("Deployment/n/a", {"app": IMAGE}, running_images([pod(image_id=OTHER)]), EXPECTED)
    assert (found.workload, found.container, found.image) == ("Deployment/n/a", "app", IMAGE)
    assert found.running == OTHER
    assert found.expected in (GOOD, CONFIG)
