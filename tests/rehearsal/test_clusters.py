"""Many simulated clusters: how they are filled, and the trouble that can be made."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from rehearsal.api.reviews import reads
from rehearsal.api.status import ApiError
from rehearsal.clusters import Settings, SimulatedCluster, SimulatedClusters
from rehearsal.kubelet import ApiServer, SimulatedKubelet
from rehearsal.pods import Behaviour
from tests.rehearsal.contract.cluster import Images, Json, deployment, service
from tests.servers.process import wait_until

QUICK = Behaviour(start_seconds=0.02, back_off_seconds=0.1)


@pytest.fixture
def clusters() -> Iterator[SimulatedClusters]:
    with SimulatedClusters(["one", "two"], Images().pull, Settings(behaviour=QUICK)) as made:
        yield made


@pytest.fixture
def one(clusters: SimulatedClusters) -> SimulatedCluster:
    return clusters["one"]


def http(cluster: SimulatedCluster, token: str | None = None) -> httpx.Client:
    verify = ssl.create_default_context(cadata=cluster.ca_pem)
    headers = {"Authorization": f"Bearer {cluster.token if token is None else token}"}
    return httpx.Client(base_url=cluster.url, headers=headers, verify=verify, timeout=5, trust_env=False)


def web(cluster: SimulatedCluster) -> Json:
    return cluster.get("apps/v1", "Deployment", "default", "web") or {}


def available(cluster: SimulatedCluster) -> bool:
    return bool(web(cluster).get("status", {}).get("availableReplicas"))


def reason(cluster: SimulatedCluster) -> str:
    for pod in cluster.listed("v1", "Pod"):
        for status in pod["status"].get("containerStatuses", []):
            return str(status["state"].get("waiting", {}).get("reason", ""))
    return ""


def test_clusters_know_nothing_of_each_other(clusters: SimulatedClusters) -> None:
    clusters["one"].create(deployment("web"))
    wait_until("the pod", lambda: available(clusters["one"]))
    assert clusters["two"].listed("apps/v1", "Deployment") == []
    with http(clusters["two"], clusters["one"].token) as api:
        assert api.get("/api/v1/pods").status_code == 401


def test_two_hundred_clusters_fit_into_a_moment() -> None:
    began = time.monotonic()
    names = [f"c{n}" for n in range(200)]
    with SimulatedClusters(names, Images().pull, Settings(behaviour=QUICK)) as made:
        for cluster in made.values():
            cluster.create(*(deployment(f"d{n}") for n in range(3)))

        def ready(cluster: SimulatedCluster) -> bool:
            return all(x["status"].get("availableReplicas") for x in cluster.listed("apps/v1", "Deployment"))

        wait_until("600 deployments", lambda: all(map(ready, made.values())), timeout_seconds=60)
    assert time.monotonic() - began < 60


def test_an_object_that_is_refused_is_an_error(one: SimulatedCluster) -> None:
    with pytest.raises(ApiError, match=r"spec\.ports: Required value"):
        one.create(service("web", ports=[]))


def test_the_status_may_be_given(one: SimulatedCluster) -> None:
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "status": {"phase": "Bound"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }  # fmt: skip
    one.create(claim)
    found = one.get("v1", "PersistentVolumeClaim", "default", "data")
    assert found
    assert found["status"] == {"phase": "Bound"}


def test_a_cluster_that_is_away_comes_back_at_its_port(one: SimulatedCluster) -> None:
    with http(one) as api:
        assert api.get("/version").is_success
        one.unavailable(0.3)
        with pytest.raises(httpx.TransportError):
            api.get("/version")

        def back() -> bool:
            try:
                return api.get("/version").is_success
            except httpx.TransportError:
                return False

        wait_until("the cluster", back)
        one.unavailable()
        with pytest.raises(httpx.TransportError):
            api.get("/version")
        one.available()
        assert api.get("/version").is_success


def test_a_kind_may_be_refused_as_a_webhook_does(one: SimulatedCluster) -> None:
    one.reject("ConfigMap", "not today")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    with http(one) as api:
        answer = api.post("/api/v1/namespaces/default/configmaps", json=body)
        assert (answer.status_code, answer.json()["message"]) == (
            403, 'admission webhook "rehearsal.compass.upgrade" denied the request: not today',
        )  # fmt: skip
        one.accept("ConfigMap")
        assert api.post("/api/v1/namespaces/default/configmaps", json=body).is_success


def test_the_past_is_forgotten(one: SimulatedCluster) -> None:
    with http(one) as api:
        listed = api.get("/api/v1/namespaces", params={"limit": "1"}).json()["metadata"]
        one.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
        one.expire()
        again = api.get("/api/v1/namespaces", params={"limit": "1", "continue": listed["continue"]})
        assert (again.status_code, again.json()["reason"]) == (410, "Expired")
        watched = api.get("/api/v1/namespaces", params={"watch": "1", "resourceVersion": listed["resourceVersion"]})
        event = watched.json()
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


@pytest.mark.parametrize(
    ("image", "behaviour", "holds"),
    [
        ("site/absent:v1", QUICK, lambda x: reason(x) == "ImagePullBackOff"),
        ("site/bad:v1", Behaviour(0.02, 0.05, crashing=frozenset({"bad:v1"})), lambda x: restarts(x) >= 3),
        ("site/slow:v1", Behaviour(0.02, unready=frozenset({"slow:v1"})), lambda x: phase(x) == "Running"),
    ],
)
def test_pods_fare_as_they_are_told(
    one: SimulatedCluster, image: str, behaviour: Behaviour, holds: Callable[[SimulatedCluster], bool]
) -> None:
    one.behaviour = behaviour
    one.create(deployment("web", image))
    wait_until("it", lambda: holds(one), every_seconds=0.02)
    assert not available(one)


def restarts(cluster: SimulatedCluster) -> int:
    statuses = [y for x in cluster.listed("v1", "Pod") for y in x["status"].get("containerStatuses", [])]
    return max((x["restartCount"] for x in statuses), default=0)


def phase(cluster: SimulatedCluster) -> str:
    return next((str(x["status"]["phase"]) for x in cluster.listed("v1", "Pod")), "")


def test_a_changed_behaviour_counts_at_once(one: SimulatedCluster) -> None:
    one.behaviour = Behaviour(0.02, endless_init=frozenset({"wait"}))
    body = deployment("web")
    body["spec"]["template"]["spec"]["initContainers"] = [{"name": "wait", "image": "site/wait:v1"}]
    one.create(body)
    time.sleep(0.2)
    assert not available(one)
    one.behaviour = QUICK
    wait_until("the pod", lambda: available(one))


def test_users_may_do_what_their_rule_says(one: SimulatedCluster) -> None:
    token = one.user("auditor", reads)
    with http(one, token) as api:
        assert api.get("/api/v1/pods").is_success
        assert api.delete("/api/v1/namespaces/default/pods/x").status_code == 403


def test_certificates_name_their_user(one: SimulatedCluster, tmp_path) -> None:  # type: ignore[no-untyped-def]
    pair = one.certificate()
    file = tmp_path / "client.pem"
    file.write_text(pair.cert_pem + pair.key_pem)
    verify = ssl.create_default_context(cadata=one.ca_pem)
    verify.load_cert_chain(file)
    with httpx.Client(base_url=one.url, verify=verify, trust_env=False) as api:
        assert api.get("/api/v1/pods").is_success


def test_the_kubelet_of_real_clusters_serves_these_too() -> None:
    with SimulatedClusters(["bare"], settings=Settings(node=False)) as made:
        one = made["bare"]
        api = ApiServer(one.url, one.token, one.ca_pem)
        with SimulatedKubelet(api, Images(), behaviour=QUICK):  # type: ignore[arg-type]
            one.create(deployment("web"))
            wait_until("the pod", lambda: available(one))
