"""The door over a faulty line: every call comes out as if nothing had happened, or says that it cannot know."""

from __future__ import annotations

import itertools
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from compass.cluster.client import ClusterClient
from compass.cluster.transport import Exists, Moved
from compass.errors import Refused
from compass.names import ObjectRef
from compass.site.access import Access, parse_kubeconfig, read_access
from rehearsal.clusters import SimulatedClusters
from tests.conftest import MakeControlPlane, MakeFaultProxy
from tests.material.clusters import RELEASE_API, create, install_definitions, release
from tests.servers.control_plane import ControlPlane
from tests.servers.faults.plan import Action, Delay, Fault, FaultPlan, Hang, Leave, Reset, Say
from tests.servers.faults.proxy import FaultProxy
from tests.servers.process import wait_until

SIMULATED = pytest.param("simulated", marks=pytest.mark.xdist_group("client-faults"))
REAL = pytest.param("real", marks=[pytest.mark.servers, pytest.mark.xdist_group("client-faults-real")])
_numbers = itertools.count()
Json = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """A cluster, straight and by the faulty way; names are the test's own."""

    proxy: FaultProxy
    straight: ClusterClient
    door: ClusterClient
    access: Access
    reader_token: str
    tag: str

    def api(self) -> httpx.Client:
        """Return a plain client, straight to the cluster."""
        verify = ssl.create_default_context(cadata=self.access.ca_pem.decode())
        headers = {"Authorization": f"Bearer {self.access.token}"}
        return httpx.Client(base_url=self.access.server, verify=verify, headers=headers, trust_env=False)

    def map(self, name: str, **data: str) -> Json:
        metadata = {"name": f"{name}-{self.tag}", "namespace": "default", "labels": {"test": self.tag}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    def live(self, item: Json) -> Json | None:
        return self.straight.get(ObjectRef.of(item))


@pytest.fixture(scope="module", params=[SIMULATED, REAL])
def cluster(request: pytest.FixtureRequest) -> Iterator[tuple[Access, str]]:
    """An administrator's access to a cluster of each kind, and the token of somebody who may do nothing."""
    if request.param == "simulated":
        with SimulatedClusters(["faulty"]) as clusters:
            ours = clusters["faulty"]
            yield parse_kubeconfig(ours.kubeconfig(), "simulated"), ours.reader_token
    else:
        plane: ControlPlane = request.getfixturevalue("plane")
        yield read_access(plane.kubeconfig()), plane.reader_token


@pytest.fixture
def make_way(cluster: tuple[Access, str], make_fault_proxy: MakeFaultProxy) -> Iterator[Callable[[], Way]]:
    """Make one more faulty way to the cluster."""
    access, reader_token = cluster
    with ExitStack() as stack:

        def make() -> Way:
            proxy = make_fault_proxy(access.server, access.ca_pem)
            straight = stack.enter_context(ClusterClient(access, patience_seconds=5))
            door = stack.enter_context(ClusterClient(proxy.through(access), patience_seconds=30))
            return Way(proxy, straight, door, access, reader_token, f"faults-{next(_numbers)}")

        yield make


@pytest.fixture
def way(make_way: Callable[[], Way]) -> Way:
    return make_way()


# -- one fault, whatever it is, at the first request of every kind


def read(way: Way) -> None:
    item = way.straight.create(way.map("read", a="1"))
    assert way.door.get(ObjectRef.of(item)) == item
    assert way.door.get(ObjectRef.of(way.map("absent"))) is None


def list_by_pages(way: Way) -> None:
    for n in range(5):
        way.straight.create(way.map(f"listed-{n}", n=str(n)))
    found = way.door.list_all("v1", "ConfigMap", "default", labels=f"test={way.tag}", page=2)
    assert sorted(x["data"]["n"] for x in found if "n" in x.get("data", {})) == ["0", "1", "2", "3", "4"]


def create_new(way: Way) -> None:
    item = way.map("created", a="1")
    made = way.door.create(item)
    assert made == way.live(item)
    assert made["data"] == {"a": "1"}


def create_what_the_server_fills_in(way: Way) -> None:
    """The server gives a Service addresses and writes quantities its own way."""
    metadata = {"name": f"filled-{way.tag}", "namespace": "default"}
    spec = {"ports": [{"port": 80}], "selector": {"a": "b"}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    assert way.door.create(service)["spec"]["ports"][0]["protocol"] == "TCP"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"a": "b"}}
    assert way.door.create(secret)["data"] == {"a": "Yg=="}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
    assert way.door.create(claim)["metadata"]["name"] == metadata["name"]


def apply_new_and_changed(way: Way) -> None:
    first = way.door.apply(way.map("applied", a="1"))
    assert first == way.live(first)
    second = way.door.apply(way.map("applied", a="2"))
    assert second["data"] == {"a": "2"}
    assert second == way.live(first)


def patch_by_version(way: Way) -> None:
    item = way.straight.create(way.map("patched", a="1"))
    ref = ObjectRef.of(item)

    def operations(live: Json) -> list[Json]:
        version = {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}
        return [version, {"op": "replace", "path": "/data/a", "value": "2"}]

    assert patched(way, ref, operations) == {"a": "2"}


def patch_by_content(way: Way) -> None:
    item = way.straight.create(way.map("content", a="1", b="1"))
    operations = [{"op": "test", "path": "/data/b", "value": "1"}, {"op": "remove", "path": "/data/b"}]
    assert patched(way, ObjectRef.of(item), lambda live: operations if "b" in live["data"] else []) == {"a": "1"}


def patched(way: Way, ref: ObjectRef, operations: Callable[[Json], list[Json]]) -> Any:
    """Patch as all do who patch: what has moved is read again."""
    for _ in range(10):
        live = way.door.get(ref) or {}
        try:
            answer = way.door.patch_json(ref, operations(live))
        except Moved:
            assert may_be_done(way) or any(x.action == Say(409) for x in way.proxy.met)
            continue
        assert answer == way.straight.get(ref)
        return answer["data"]
    raise AssertionError("it moved again and again")


def replace_whole(way: Way) -> None:
    item = way.straight.create(way.map("replaced", a="1"))
    done = replaced(way, {**item, "data": {"a": "2"}})
    assert done["data"] == {"a": "2"}
    assert done == way.live(item)
    with pytest.raises(Moved):
        way.door.replace({**item, "data": {"a": "3"}})


def replaced(way: Way, item: Json) -> Json:
    """Replace as all do who replace: what is said to have moved is tried again."""
    for _ in range(10):
        try:
            return way.door.replace(item)
        except Moved:
            assert any(x.action == Say(409) for x in way.proxy.met)
    raise AssertionError("it moved again and again")


def delete_by_name_and_uid(way: Way) -> None:
    for name, by_uid in (("deleted", False), ("deleted-by-uid", True)):
        item = way.straight.create(way.map(name))
        uid = item["metadata"]["uid"] if by_uid else ""
        assert way.door.delete(ObjectRef.of(item), uid=uid)
        assert way.live(item) is None


def ask_questions(way: Way) -> None:
    assert way.door.allowed("get", "", "configmaps", "default")
    assert way.door.version().startswith("v1.")
    assert way.door.serves("batch/v1", "Job")
    assert not way.door.serves("nowhere.example/v1", "Thing")


CALLS: dict[Callable[[Way], None], tuple[tuple[str, str], ...]] = {
    read: (("GET", "/read-"), ("GET", "/absent-")),
    list_by_pages: (("GET", "configmaps.labelSelector="), ("GET", "continue=")),
    create_new: (("POST", "/configmaps"),),
    create_what_the_server_fills_in: (("POST", "/services"), ("POST", "/secrets"), ("POST", "/persistentvolumeclaims")),
    apply_new_and_changed: (("PATCH", "/applied-"),),
    patch_by_version: (("PATCH", "/patched-"),),
    patch_by_content: (("PATCH", "/content-"),),
    replace_whole: (("PUT", "/replaced-"),),
    delete_by_name_and_uid: (("DELETE", "/deleted-faults"), ("DELETE", "/deleted-by-uid-")),
    ask_questions: (("POST", "/selfsubjectaccessreviews"), ("GET", "/version"), ("GET", "/apis/batch/v1")),
}
ACTIONS: tuple[Action, ...] = (
    Delay(0.2), Reset("request"), Reset("request body"), Reset("answer"), Reset("answer body"),
    Say(429, retry_after_seconds=1), Say(500), Say(503, retry_after_seconds=1),
    Say(500, done=True), Say(503, done=True), Say(504, done=True),
    Hang(0.2), Hang(0.2, done=True), Leave(0.5), Leave(0.5, silent=True),
)  # fmt: skip
AT_ONCE = 24


def may_be_done(way: Way) -> bool:
    """Tell whether an answer was lost; when a server leaves, that of any request may be."""
    lost = (Reset("answer"), Reset("answer body"))
    actions = [x.action for x in way.proxy.met]
    return any(x in lost or isinstance(x, Leave) or getattr(x, "done", False) for x in actions)


def made_through(ways: list[Way]) -> dict[str, str]:
    """Make every call over every way, several at a time; return what went wrong, with the faults that were met."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [(way, call, pool.submit(call, way)) for way in ways for call in CALLS]
    return {
        f"{call.__name__} {way.tag}": "\n".join([repr(done.exception()), *map(str, way.proxy.met)])
        for way, call, done in running
        if done.exception()
    }


def test_each_fault_at_the_first_request_of_each_kind_is_survived(make_way: Callable[[], Way]) -> None:
    ways = []
    for action in ACTIONS:
        rules = [Fault(action, method, path, nth=1) for calls in CALLS.values() for method, path in calls]
        if isinstance(action, Leave):  # once for all, in the middle
            rules = [Fault(action, "POST|PATCH|PUT|DELETE", nth=3)]
        ways.append(make_way())
        ways[-1].proxy.plan = FaultPlan(*rules)
    assert not made_through(ways)
    for way, action in zip(ways, ACTIONS, strict=True):
        assert len(way.proxy.met) == (1 if isinstance(action, Leave) else sum(map(len, CALLS.values())))


def test_mixtures_of_faults_are_survived(make_way: Callable[[], Way]) -> None:
    ways = [make_way() for _ in range(6)]
    for seed, way in enumerate(ways):
        way.proxy.plan = FaultPlan.random(seed, 0.25, most=15)
    assert not made_through(ways)
    assert min(len(x.proxy.met) for x in ways) >= 1  # how many depends on the time


# -- what must not be taken for our own doing


def test_what_somebody_else_has_created_is_not_ours_though_an_answer_was_lost(way: Way) -> None:
    for name, manager, data in (("by-other", "somebody", {"a": "1"}), ("of-other", "compass-upgrade", {"a": "2"})):
        body = way.map(name, **data)
        path = "/api/v1/namespaces/default/configmaps"
        with way.api() as api:
            api.post(path, params={"fieldManager": manager}, json=body).raise_for_status()
        for action in (Reset("request"), Say(503)):
            way.proxy.plan = FaultPlan(Fault(action, "POST", times=1))
            with pytest.raises(Exists):
                way.door.create(way.map(name, a="1"))
        assert (way.live(body) or {})["data"] == data


def test_what_was_there_before_is_not_ours_when_the_server_was_only_busy(way: Way) -> None:
    item = way.door.create(way.map("before", a="1"))
    way.proxy.plan = FaultPlan(Fault(Say(429), "POST", nth=1))
    with pytest.raises(Exists):
        way.door.create(way.map("before", a="1"))
    way.proxy.plan = FaultPlan(Fault(Say(429), "DELETE", nth=1))
    assert not way.door.delete(ObjectRef.of(way.map("never-there")))
    assert way.door.delete(ObjectRef.of(item))


def test_another_object_of_the_name_is_not_deleted_when_an_answer_was_lost(way: Way) -> None:
    old = way.straight.create(way.map("renewed", a="1"))
    way.proxy.plan = FaultPlan(Fault(Hang(0.3, done=True), "DELETE", nth=1))
    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(way.door.delete, ObjectRef.of(old), uid=old["metadata"]["uid"])
        wait_until("the deletion", lambda: way.live(old) is None, every_seconds=0.01)
        new = way.straight.create(way.map("renewed", a="2"))
        assert deleting.result()
    assert way.live(old) == new


def test_a_replacement_that_came_too_late_is_not_taken_for_done(way: Way) -> None:
    item = way.straight.create(way.map("late", a="1"))
    way.proxy.plan = FaultPlan(Fault(Hang(0.5), "PUT", nth=1))
    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(way.door.replace, {**item, "data": {"a": "mine"}})
        wait_until("the request", lambda: way.proxy.count("PUT"), every_seconds=0.01)
        other = way.straight.replace({**item, "data": {"a": "theirs"}})
        with pytest.raises(Moved):
            replacing.result()
    assert way.live(item) == other


# -- answers of a server in trouble


def test_others_who_write_at_the_same_moment_only_delay_an_apply(way: Way) -> None:
    way.proxy.plan = FaultPlan(Fault(Say(409), "PATCH", times=2))
    assert way.door.apply(way.map("busy", a="1"))["data"] == {"a": "1"}
    item = way.live(way.map("busy")) or {}
    bound = way.map("busy", a="2")
    bound["metadata"]["resourceVersion"] = item["metadata"]["resourceVersion"]
    way.proxy.plan = FaultPlan(Fault(Say(409), "PATCH", times=1))
    with pytest.raises(Moved):
        way.door.apply(bound)


@pytest.mark.parametrize("times", [1, 2])
def test_a_list_that_expires_on_the_way_is_whole_all_the_same(way: Way, times: int) -> None:
    way.proxy.plan = FaultPlan(Fault(Say(410), "GET", "continue=", times=times))
    list_by_pages(way)
    assert len(way.proxy.met) == times


def test_a_list_that_always_expires_is_read_all_at_once(way: Way) -> None:
    way.proxy.plan = FaultPlan(Fault(Say(410), "GET", "continue="))
    list_by_pages(way)
    assert "limit=" not in way.proxy.seen[-1].target


@pytest.mark.parametrize("ready", [Say(500), Say(503), Say(403), Reset("request")], ids=str)
def test_a_server_that_is_not_ready_is_not_believed_that_something_is_absent_or_forbidden(
    way: Way, ready: Action
) -> None:
    item = way.straight.create(way.map("starting", a="1"))
    unready = (Fault(ready, "GET", "^/readyz$", times=1), Fault(ready, "GET", "^/api$", times=1))
    way.proxy.plan = FaultPlan(Fault(Say(404), "GET", "^/apis/apps/v1$", times=1), *unready)
    assert way.door.serves("apps/v1", "Deployment")
    for status in (403, 404):
        way.proxy.plan = FaultPlan(Fault(Say(status), "GET", "/starting-", times=1), *unready)
        assert way.door.get(ObjectRef.of(item)) == item
    way.proxy.plan = FaultPlan(Fault(Say(403), "PATCH", "/starting-", times=1), *unready)
    assert way.door.apply(way.map("starting", b="2"))["data"] == {"a": "1", "b": "2"}


def test_a_server_that_is_ready_is_believed_at_once(way: Way) -> None:
    began = time.monotonic()
    access = replace(way.access, token=way.reader_token, client_cert_pem=b"", client_key_pem=b"")
    with ClusterClient(way.proxy.through(access), patience_seconds=30) as reader:
        for plan in (FaultPlan(), FaultPlan(Fault(Say(403), "GET", "^/readyz$"))):
            way.proxy.plan = plan
            with pytest.raises(Refused, match="cannot list resource"):
                reader.list_all("v1", "ConfigMap", "default")
    way.proxy.plan = FaultPlan(Fault(Say(404), "GET", "^/apis/batch/v1$"))
    assert not way.door.serves("batch/v1", "Job")
    assert time.monotonic() - began < 5


# -- a real server that comes back


@pytest.mark.servers
def test_while_a_server_starts_nothing_is_forbidden_that_is_allowed(
    make_control_plane: MakeControlPlane,
) -> None:
    with make_control_plane(controllers=False) as plane:
        install_definitions(plane)
        create(plane, [release("default", "kept", 100), ADMIN_BY_ROLE])
        access = read_access(plane.kubeconfig(token=plane.user("guest", "token-of-the-guest")))
        wanted = ObjectRef(RELEASE_API, "Release", "default", "kept")

        def look() -> bool:
            with ClusterClient(access, patience_seconds=60) as door:  # one that knows nothing yet
                return door.serves(RELEASE_API, "Release") and door.get(wanted) is not None

        for _ in range(2):
            plane.stop_api()
            with ThreadPoolExecutor(9) as pool:
                starting = pool.submit(plane.start_api)
                looks = []
                while not starting.done():
                    looks += [pool.submit(look) for _ in range(2)]
                    time.sleep(0.06)
                starting.result()
                for each in looks:
                    each.result()  # a definition's kind may be absent for a moment, but nobody is turned away
            wait_until("the definition's kind is served", look, 10)


ADMIN_BY_ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "guest"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"kind": "User", "name": "guest", "apiGroup": "rbac.authorization.k8s.io"}],
}  # fmt: skip
