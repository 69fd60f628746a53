"""The faulty way to a server: all passes as it is, and each fault does what it says to both sides."""

from __future__ import annotations

import itertools
import json
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from compass.cluster.client import ClusterClient
from compass.documents import dump_yaml, load_yaml
from compass.errors import Transient
from compass.names import ObjectRef
from compass.site.access import parse_kubeconfig, read_access
from compass.site.clusters import API_VERSION, KIND, member_access
from rehearsal.clusters import SimulatedCluster, SimulatedClusters
from rehearsal.example.objects import cluster_object
from rehearsal.site import SimulatedSite
from tests.conftest import MakeFaultProxy, MakeRegistry
from tests.material.clusters import create, get
from tests.servers.control_plane import ControlPlane
from tests.servers.faults.plan import Action, Delay, Fault, FaultPlan, Hang, Leave, Reset, Say
from tests.servers.faults.proxy import FaultProxy
from tests.servers.faults.site import faulty_site
from tests.servers.process import wait_until
from tests.servers.registry import DockerRegistry, Login

MAPS = "/api/v1/namespaces/default/configmaps"
KUBECTL = Path(sys.executable).with_name("kubectl")
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedClusters(["one"]) as clusters:
        yield clusters["one"]


@pytest.fixture
def proxy(cluster: SimulatedCluster, make_fault_proxy: MakeFaultProxy) -> FaultProxy:
    return make_fault_proxy(cluster.url, cluster.ca_pem)


def http(proxy: FaultProxy, token: str = "", timeout_seconds: float = 10) -> httpx.Client:
    verify: Any = ssl.create_default_context(cadata=proxy.ca_pem.decode()) if proxy.scheme == "https" else False
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=proxy.url, verify=verify, headers=headers, timeout=timeout_seconds, trust_env=False)


@pytest.fixture
def api(proxy: FaultProxy, cluster: SimulatedCluster) -> Iterator[httpx.Client]:
    with http(proxy, cluster.token) as client:
        yield client


def config_map(name: str = "", size: int = 1) -> dict[str, Any]:
    metadata = {"name": name or f"map-{next(_numbers)}", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "x" * size}}


def is_there(cluster: SimulatedCluster, item: dict[str, Any]) -> bool:
    return cluster.get("v1", "ConfigMap", "default", item["metadata"]["name"]) is not None


# -- what passes


def test_without_faults_every_answer_is_the_servers_own(
    cluster: SimulatedCluster, proxy: FaultProxy, api: httpx.Client
) -> None:
    item = config_map(size=300_000)
    assert api.post(MAPS, json=item).status_code == 201
    direct = ssl.create_default_context(cadata=cluster.ca_pem)
    with httpx.Client(base_url=cluster.url, verify=direct, headers=api.headers, trust_env=False) as straight:
        for path in (
            MAPS,
            f"{MAPS}/{item['metadata']['name']}",
            f"{MAPS}/absent",
            "/version",
            "/nowhere",
            "/openapi/v2",
        ):
            ours, theirs = api.get(path), straight.get(path)
            assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)
            assert ours.headers["content-type"] == theirs.headers["content-type"]
    assert proxy.met == []


def test_many_connections_at_once_are_kept_apart(cluster: SimulatedCluster, proxy: FaultProxy) -> None:
    def work(number: int) -> None:
        with http(proxy, cluster.token) as own:
            for turn in range(5):
                name = f"many-{number}-{turn}"
                assert own.post(MAPS, json=config_map(name)).json()["metadata"]["name"] == name
                assert own.get(f"{MAPS}/{name}").json()["metadata"]["name"] == name

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(work, range(40)))
    assert proxy.count("GET", "/many-") == 200


def test_a_watch_tells_each_event_as_it_happens(
    cluster: SimulatedCluster, proxy: FaultProxy, api: httpx.Client
) -> None:
    with api.stream("GET", MAPS, params={"watch": "true", "timeoutSeconds": "30"}) as answer:
        lines = answer.iter_lines()
        for _ in range(3):
            item = config_map()
            cluster.create(item)
            began = time.monotonic()
            assert any(json.loads(x)["object"]["metadata"]["name"] == item["metadata"]["name"] for x in lines)
            assert time.monotonic() - began < 2


def test_who_asks_is_known_to_the_server_by_token_and_by_certificate(
    cluster: SimulatedCluster, proxy: FaultProxy
) -> None:
    with http(proxy, cluster.reader_token) as reader:
        assert reader.get(MAPS).status_code == 403
    with http(proxy) as nobody:
        assert nobody.get(MAPS).status_code in (401, 403)
    access = replace(parse_kubeconfig(cluster.kubeconfig(), "test"), token="")
    for pair, may in ((cluster.certificate(), True), (cluster.certificate("guest", ["nobodies"]), False)):
        shown = replace(access, client_cert_pem=pair.cert_pem.encode(), client_key_pem=pair.key_pem.encode())
        with ClusterClient(proxy.through(shown), patience_seconds=0) as door:
            assert door.allowed("get", "", "configmaps", "default") == may


def test_kubectl_goes_the_way_that_a_kubeconfig_of_the_proxy_names(
    cluster: SimulatedCluster, proxy: FaultProxy, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text(dump_yaml(cluster.kubeconfig()))
    written = proxy.kubeconfig(tmp_path / "own", tmp_path / "proxied")
    assert written.stat().st_mode & 0o777 == 0o600
    assert cluster.url not in written.read_text()
    words = [str(KUBECTL), "--kubeconfig", str(written), "get", "namespaces", "-o", "name"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "namespace/kube-system" in done.stdout
    assert proxy.count("GET", "/api/v1/namespaces") == 1


def test_a_kubeconfig_of_another_server_is_not_made_to_lead_here(proxy: FaultProxy, tmp_path: Path) -> None:
    config = {"clusters": [{"name": "x", "cluster": {"server": "https://elsewhere"}}], "users": [], "contexts": []}
    (tmp_path / "other").write_text(dump_yaml(config))
    with pytest.raises(LookupError, match="no cluster at"):
        proxy.kubeconfig(tmp_path / "other", tmp_path / "target")


def test_a_cluster_object_leads_through_the_proxy(cluster: SimulatedCluster, proxy: FaultProxy) -> None:
    item = cluster_object("user-1", cluster.kubeconfig(), cluster.endpoint, is_control=False)
    with ClusterClient(member_access(proxy.cluster_object(item), None, "test"), patience_seconds=0) as door:
        assert door.version().startswith("v1.")
    assert proxy.count("GET", "/version") == 1


def test_a_whole_site_is_reached_through_proxies_and_straight_again_afterwards(tmp_path: Path) -> None:
    def reach() -> set[str]:
        """Return the servers that somebody speaks to who starts from the site's kubeconfig."""
        with ClusterClient(read_access(kubeconfig), patience_seconds=0) as control:
            members = [x for x in control.list_all(API_VERSION, KIND) if not x["spec"]["isControlCluster"]]
        servers = {control.server}
        for member in members:
            with ClusterClient(member_access(member, None, "test"), patience_seconds=0) as user:
                assert user.version().startswith("v1.")
                servers.add(user.server)
        return servers

    with SimulatedSite(tmp_path / "site", ["user-1", "user-2"]) as site:
        kubeconfig = site.folder / ".kubectl.kubeconfig"
        straight = {x.url for x in site.clusters.values()}
        assert reach() == straight
        with faulty_site(kubeconfig, lambda name: FaultPlan(Fault(Delay(0.01)))) as proxies:
            assert proxies.keys() == {"control", "user-1", "user-2"}
            assert reach() == {x.url for x in proxies.values()}
            assert {x.upstream for x in proxies.values()} == straight
            assert all(x.met for x in proxies.values())
        assert reach() == straight


# -- each fault


LOST = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


@pytest.mark.parametrize(
    ("action", "done"),
    [
        (Reset("request"), False),
        (Reset("request body"), False),
        (Reset("answer"), True),
        (Reset("answer body"), True),
        (Hang(0.3), False),
        (Hang(0.3, done=True), True),
        (Leave(0.1), False),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [1, 500_000])
def test_a_connection_breaks_and_the_server_has_done_it_or_not(
    cluster: SimulatedCluster, proxy: FaultProxy, api: httpx.Client, action: Action, done: bool, size: int
) -> None:
    proxy.plan = FaultPlan(Fault(action, "POST"))
    item = config_map(size=size)
    began = time.monotonic()
    with pytest.raises(LOST):
        api.post(MAPS, json=item)
    assert isinstance(action, Hang) == (time.monotonic() - began > 0.25)
    wait_until("the server", lambda: is_there(cluster, item) == done, 5, 0.01)
    assert [(x.method, x.action) for x in proxy.met] == [("POST", action)]
    assert ("answered 201" in str(proxy.met[0])) == done
    wait_until("the proxy", lambda: answers(api), 5, 0.02)


def answers(api: httpx.Client) -> bool:
    try:
        return api.get("/version").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("path", [MAPS, "/openapi/v2"])
def test_half_of_an_answer_arrives(proxy: FaultProxy, api: httpx.Client, path: str) -> None:
    api.post(MAPS, json=config_map(size=200_000))
    whole = api.get(path).content
    proxy.plan = FaultPlan(Fault(Reset("answer body")))
    with api.stream("GET", path) as answer:
        assert until_broken(answer) == whole[: len(whole) // 2]


def test_half_of_the_first_piece_arrives_of_an_answer_without_end(
    cluster: SimulatedCluster, proxy: FaultProxy, api: httpx.Client
) -> None:
    cluster.create(config_map(size=1000))
    with api.stream("GET", MAPS, params={"watch": "true"}) as answer:
        first = next(answer.iter_lines())
    proxy.plan = FaultPlan(Fault(Reset("answer body")))
    with api.stream("GET", MAPS, params={"watch": "true"}) as answer:
        came = until_broken(answer).decode()
    assert came
    assert first.startswith(came)


def until_broken(answer: httpx.Response) -> bytes:
    came, pieces = bytearray(), answer.iter_bytes()
    while True:
        try:
            came += next(pieces)
        except LOST:
            return bytes(came)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    ("status", "reason"),
    [(409, "Conflict"), (410, "Expired"), (429, "TooManyRequests"), (500, "InternalError"),
     (503, "ServiceUnavailable"), (504, "Timeout")],
)  # fmt: skip
def test_an_error_is_said_in_the_servers_words(
    cluster: SimulatedCluster, proxy: FaultProxy, api: httpx.Client, status: int, reason: str, done: bool
) -> None:
    proxy.plan = FaultPlan(Fault(Say(status, retry_after_seconds=7, done=done), times=1))
    item = config_map(size=100_000)
    answer = api.post(MAPS, json=item)
    body = answer.json()
    assert (answer.status_code, body["kind"], body["code"], body["reason"]) == (status, "Status", status, reason)
    assert (answer.headers["retry-after"], body["details"]["retryAfterSeconds"]) == ("7", 7)
    assert is_there(cluster, item) == done
    assert api.get("/version").is_success, "the connection goes on"


def test_a_delay_only_delays(proxy: FaultProxy, api: httpx.Client) -> None:
    proxy.plan = FaultPlan(Fault(Delay(0.4), nth=2))
    for slow in (False, True, False):
        began = time.monotonic()
        assert api.get("/version").is_success
        assert (time.monotonic() - began > 0.35) == slow


def test_a_server_that_has_left_refuses_connections_until_it_is_back(
    cluster: SimulatedCluster, proxy: FaultProxy, api: httpx.Client
) -> None:
    assert answers(api)
    proxy.leave()
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            api.get("/version")
    with pytest.raises(httpx.ConnectError), http(proxy, cluster.token) as other:
        other.get("/version")
    proxy.come_back()
    assert answers(api)
    proxy.leave(0.3)
    assert not answers(api)
    wait_until("it is back", lambda: answers(api), 5, 0.02)


def test_a_silent_server_takes_connections_and_answers_later(
    cluster: SimulatedCluster, proxy: FaultProxy, api: httpx.Client
) -> None:
    assert answers(api)
    proxy.leave(silent=True)
    for hasty in (http(proxy, cluster.token, 0.2), http(proxy, cluster.token, 0.2)):
        with hasty, pytest.raises((httpx.ReadTimeout, httpx.ConnectTimeout)):
            hasty.get("/version")
    threading.Timer(0.3, proxy.come_back).start()
    began = time.monotonic()
    assert answers(api)
    assert time.monotonic() - began > 0.2


def test_a_silent_server_does_nothing_of_what_was_on_its_way(
    cluster: SimulatedCluster, proxy: FaultProxy, api: httpx.Client
) -> None:
    proxy.plan, item = FaultPlan(Fault(Delay(0.2), "POST")), config_map()
    with ThreadPoolExecutor(1) as pool:
        posting = pool.submit(api.post, MAPS, json=item)
        wait_until("the request", lambda: proxy.met, 5, 0.01)
        proxy.leave(silent=True)
        time.sleep(0.5)
        assert not is_there(cluster, item)
        proxy.come_back()
        assert posting.result().status_code == 201


def test_a_server_that_is_away_behind_the_proxy_is_a_broken_connection(make_fault_proxy: MakeFaultProxy) -> None:
    with SimulatedClusters(["gone"]) as clusters:
        gone = clusters["gone"]
        proxy = make_fault_proxy(gone.url, gone.ca_pem)
        with http(proxy, gone.token) as api:
            assert answers(api)
            gone.unavailable()
            assert not answers(api)
            assert "out of reach" in str(proxy.seen[-1])
            gone.available()
            assert answers(api)


# -- real servers


@pytest.mark.servers
def test_a_large_upload_streams_through_in_little_memory(
    registry: DockerRegistry, make_fault_proxy: MakeFaultProxy
) -> None:
    proxy, size = make_fault_proxy(registry.url), 96 << 20
    piece = b"x" * (1 << 20)
    with http(proxy, timeout_seconds=60) as api:
        location = api.post("/v2/faults/large/blobs/uploads/").headers["location"]
        assert location.startswith(proxy.url), "the registry names the host that it was asked by"
        tracemalloc.start()
        sent = api.patch(location, content=(piece for _ in range(size // len(piece))))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (sent.status_code, sent.headers["range"]) == (202, f"0-{size - 1}")
    assert peak < 16 << 20


@pytest.mark.servers
def test_half_of_an_upload_is_what_a_registry_keeps(registry: DockerRegistry, make_fault_proxy: MakeFaultProxy) -> None:
    proxy = make_fault_proxy(registry.url, plan=FaultPlan(Fault(Reset("request body"), "PATCH")))
    with http(proxy) as api:
        location = api.post("/v2/faults/half/blobs/uploads/").headers["location"]
        with pytest.raises(LOST):
            api.patch(location, content=b"x" * 1_000_000, headers={"Content-Range": "0-999999"})
    (kept,) = registry.data.glob("**/faults/half/_uploads/*/data")
    wait_until("half", lambda: kept.stat().st_size == 500_000, 5, 0.02)


@pytest.mark.servers
def test_a_registry_that_answers_before_the_body_is_over_is_heard(
    make_registry: MakeRegistry, make_fault_proxy: MakeFaultProxy
) -> None:
    registry = make_registry(login=Login("pusher", "secret"), tls=True)
    proxy = make_fault_proxy(registry.url, registry.ca_file.read_bytes())
    with http(proxy) as api:
        answer = api.put("/v2/faults/x/manifests/v1", content=(b"x" * (1 << 20) for _ in range(8)))
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, "UNAUTHORIZED")
        api.auth = ("pusher", "secret")
        assert api.get("/v2/").is_success


@pytest.mark.servers
def test_a_registrys_error_is_said_in_its_words(registry: DockerRegistry, make_fault_proxy: MakeFaultProxy) -> None:
    proxy = make_fault_proxy(registry.url, plan=FaultPlan(Fault(Say(429, retry_after_seconds=1), times=1)))
    with http(proxy) as api:
        answer = api.get("/v2/")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (429, "TOOMANYREQUESTS")
        assert api.get("/v2/").is_success


@pytest.mark.servers
def test_the_real_api_server_is_reached_with_every_credential_and_met_by_faults(
    control_plane: ControlPlane, make_fault_proxy: MakeFaultProxy, tmp_path: Path
) -> None:
    proxy = make_fault_proxy(control_plane.url, control_plane.ca_pem)
    for auth in ("token", "certificate"):
        written = proxy.kubeconfig(control_plane.kubeconfig(auth=auth), tmp_path / auth)
        words = [str(KUBECTL), "--kubeconfig", str(written), "get", "namespaces", "-o", "name"]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        assert "namespace/kube-system" in done.stdout
        assert ("token" in load_yaml(written.read_bytes(), "written")["users"][0]["user"]) == (auth == "token")
    create(control_plane, [config_map("faults-real")])
    ref = ObjectRef("v1", "ConfigMap", "default", "faults-real")
    with ClusterClient(proxy.through(read_access(control_plane.kubeconfig())), patience_seconds=0) as door:
        for action in (Reset("request"), Reset("answer"), Reset("answer body"), Say(503), Hang(0.2)):
            proxy.plan = FaultPlan(Fault(action, "GET", "faults-real"))
            with pytest.raises(Transient):
                door.get(ref)
        proxy.plan = FaultPlan(Fault(Reset("answer"), "DELETE"))
        with pytest.raises(Transient):
            door.delete(ref)
    assert get(control_plane, "v1", "ConfigMap", "default", "faults-real") is None, "the delete was done"
    assert len(proxy.met) == 6
