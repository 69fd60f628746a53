"""The lock on a real API server and a simulated one: one holder at a time, whatever happens to it or to the server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from threading import Timer
from typing import Any

import pytest
import yaml

from compass import stopping
from compass.clock import Clock, iso, system_clock
from compass.cluster.client import ClusterClient
from compass.cluster.lease import HOLDER_KEY, REF, Holder, lease_over, read_lock
from compass.cluster.lock import ClusterLock, LockLost
from compass.errors import EXIT_REFUSED, InvalidInput, Refused, StepFailed, exit_status
from compass.site.access import Access, read_access
from rehearsal.clusters import Settings, SimulatedClusters
from tests.conftest import MakeFaultProxy
from tests.servers.control_plane import ControlPlane
from tests.servers.faults.plan import Fault, FaultPlan, Reset
from tests.servers.process import wait_until

ROOT = Path(__file__).parents[3]
SHORT = 3.0  # long enough for a slow machine, short enough to be waited for
REAL = pytest.param("real", marks=[pytest.mark.servers, pytest.mark.xdist_group("lock-real")])
SIMULATED = pytest.param("simulated", marks=pytest.mark.xdist_group("lock-simulated"))


waits = pytest.mark.parametrize("cluster", [REAL], indirect=True)


@dataclass(frozen=True)
class Cluster:
    """The way to a cluster, and the token of somebody who may do nothing there."""

    kubeconfig: Path
    reader_token: str


@pytest.fixture(scope="module", params=[SIMULATED, REAL])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of each kind; what takes long is tried on the real one alone (``waits``)."""
    if request.param == "real":
        plane: ControlPlane = request.getfixturevalue("plane")
        yield Cluster(plane.kubeconfig(), plane.reader_token)
        return
    with SimulatedClusters(["locked"], settings=Settings(node=False)) as clusters:
        file = tmp_path_factory.mktemp("lock") / "kubeconfig"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(clusters["locked"].kubeconfig()))
        yield Cluster(file, clusters["locked"].reader_token)


@pytest.fixture
def access(cluster: Cluster) -> Access:
    return read_access(cluster.kubeconfig)


@pytest.fixture
def client(access: Access) -> Iterator[ClusterClient]:
    """The door to a cluster that nobody has locked, ever."""
    with ClusterClient(access, patience_seconds=5) as door:
        door.delete(REF)
        yield door
        door.delete(REF)


def lock(
    client: ClusterClient, by: str = "me@here", *, duration_seconds: float = 60, clock: Clock | None = None
) -> ClusterLock:
    holder = Holder.here(by, f"upgrade of {by}", "upgrade compass-component 2.7.1")
    return ClusterLock(client, holder, clock or system_clock(), duration_seconds=duration_seconds)


def lease(client: ClusterClient) -> dict[str, Any]:
    found = client.get(REF)
    assert found
    return found


def elsewhere(by: str = "them@there") -> Holder:
    """Return a holder on another machine, or before this one was started anew."""
    here = Holder.here(by, "run", "upgrade")
    return here.model_copy(update={"token": "t", "process": here.process.model_copy(update={"machine": "another"})})


def leave_behind(
    client: ClusterClient, holder: Holder, *, ago_seconds: float = 0, duration_seconds: float = SHORT
) -> None:
    """Write the Lease as a holder would have some seconds ago, by the API server's clock as well as by its own."""
    if client.get(REF) is None:
        client.create({"apiVersion": REF.api_version, "kind": REF.kind,
                       "metadata": {"name": REF.name, "namespace": REF.namespace}})  # fmt: skip
    moment = datetime.now(UTC) - timedelta(seconds=ago_seconds)
    item = client.apply(lease_over(lease(client), holder, duration_seconds, moment), force=True)
    if ago_seconds:
        for entry in item["metadata"]["managedFields"]:
            entry["time"] = iso(moment)
        item["metadata"]["labels"]["dated"] = "back"  # what changes nothing but times is not kept
        client.replace(item)


def write_as_another_tool(client: ClusterClient, **spec: Any) -> None:
    client.delete(REF)
    client.create({"apiVersion": REF.api_version, "kind": REF.kind,
                   "metadata": {"name": REF.name, "namespace": REF.namespace}, "spec": spec})  # fmt: skip


class Contender:
    """Somebody who wants the lock, as a process of its own."""

    def __init__(self, kubeconfig: Path, by: str, duration_seconds: float = 60) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.compass.cluster.contender", str(kubeconfig), by, str(duration_seconds)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def hears(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def holds(self) -> None:
        assert self.hears() == "ready"
        self.go()
        assert self.hears() == "held"


@pytest.fixture
def contender(cluster: Cluster) -> Iterator[Callable[..., Contender]]:
    with ExitStack() as stack:

        def start(by: str, duration_seconds: float = 60) -> Contender:
            made = Contender(cluster.kubeconfig, by, duration_seconds)
            stack.enter_context(made.process)
            stack.callback(made.process.kill)
            return made

        yield start


# -- taken and released


def test_a_lock_says_whose_it_is_and_is_free_afterwards(client: ClusterClient) -> None:
    assert read_lock(client) is None
    with lock(client) as mine:
        assert mine.held()
        mine.refuse_if_lost()
        state = read_lock(client)
        assert state
        assert state.holder
        assert (state.holder.by, state.holder.run) == ("me@here", "upgrade of me@here")
        assert state.holder.doing == "upgrade compass-component 2.7.1"
        assert not state.has_ended
        assert state.since
        assert abs(state.since - datetime.now(UTC)) < timedelta(seconds=30)
    assert not mine.held()
    assert read_lock(client) is None
    assert lease(client)["spec"]["holderIdentity"] == ""
    assert HOLDER_KEY not in lease(client)["metadata"].get("annotations", {})
    with lock(client, "next@here"):
        assert lease(client)["spec"]["leaseTransitions"] == 2


def test_a_lock_is_released_when_the_work_fails(client: ClusterClient) -> None:
    with pytest.raises(ZeroDivisionError), lock(client):
        raise ZeroDivisionError
    assert read_lock(client) is None


def test_a_lock_that_was_never_taken_is_not_held(client: ClusterClient) -> None:
    mine = lock(client)
    assert not mine.held()
    with pytest.raises(LockLost, match="not held"):
        mine.refuse_if_lost()


@pytest.mark.parametrize("seconds", [0, 0.5, 3601])
def test_a_lock_lasts_between_a_second_and_an_hour(client: ClusterClient, seconds: float) -> None:
    with pytest.raises(InvalidInput, match="expected 1 to 3600 s"):
        lock(client, duration_seconds=seconds)


# -- one at a time


def test_whoever_comes_second_is_refused_at_once_and_told_who_holds_it(client: ClusterClient) -> None:
    with lock(client, "first@here") as first:
        before, began = lease(client), time.monotonic()
        with pytest.raises(Refused) as caught, lock(client, "second@here"):
            pass
        assert time.monotonic() - began < 5
        assert lease(client) == before
        assert first.held()
    state = (
        r"lock Lease/kube-system/compass-upgrade on kubeconfig \S+: held by first@here since \S+Z "
        r"\(upgrade compass-component 2.7.1, in run 'upgrade of first@here'\), renewed \S+Z, expected free; "
        r"wait until it ends, or until (\S+) if it is dead; see compass-upgrade status"
    )
    with pytest.raises(Refused, match=state):
        raise caught.value
    assert exit_status(caught.value) == EXIT_REFUSED
    until = datetime.fromisoformat(str(caught.value).partition("or until ")[2].partition(" ")[0])
    assert timedelta(seconds=30) < until - datetime.now(UTC) <= timedelta(seconds=61)


def test_whoever_holds_it_already_is_no_exception(client: ClusterClient) -> None:
    holder = Holder.here("me@here", "run", "upgrade")
    with ClusterLock(client, holder, system_clock()) as first:
        with pytest.raises(Refused), ClusterLock(client, holder, system_clock()):
            pass
        first.refuse_if_lost()


def test_of_many_one_holds_it_and_each_gets_it_in_the_end(access: Access, client: ClusterClient) -> None:
    many, inside, most, refused = 20, 0, 0, 0
    start, count = threading.Barrier(many), threading.Lock()

    def contend(number: int) -> None:
        nonlocal inside, most, refused
        with ClusterClient(access, patience_seconds=10) as door:
            start.wait()
            for _ in range(1000):
                try:
                    with lock(door, f"contender-{number}@here"):
                        with count:
                            inside += 1
                            most = max(most, inside)
                        time.sleep(0.02)
                        with count:
                            inside -= 1
                        return
                except Refused:
                    with count:
                        refused += 1
                    time.sleep(0.05)
        pytest.fail(f"contender {number} never got it")

    with ThreadPoolExecutor(many) as pool:
        list(pool.map(contend, range(many)))
    assert most == 1
    assert refused >= many - 1, "they did not meet"
    assert lease(client)["spec"]["leaseTransitions"] == many


def test_of_two_processes_that_begin_in_the_same_moment_one_holds_it(
    client: ClusterClient, contender: Callable[..., Contender]
) -> None:
    both = [contender("one@here"), contender("two@here")]
    for each in both:
        assert each.hears() == "ready"
    for each in both:
        each.go()
    said = sorted(each.hears() for each in both)
    state = read_lock(client)
    assert state
    assert state.holder
    assert said[0].startswith("Refused: lock Lease/kube-system/compass-upgrade")
    assert f"held by {state.holder.by} " in said[0]
    assert said[1] == "held"


# -- taken over


@pytest.mark.skipif(sys.platform != "linux", reason="processes are known by /proc")
def test_the_lock_of_a_process_that_was_killed_on_this_machine_is_taken_at_once(
    client: ClusterClient, contender: Callable[..., Contender]
) -> None:
    other = contender("killed@here")
    other.holds()
    with pytest.raises(Refused, match="held by killed@here"), lock(client):
        pass
    other.process.kill()
    other.process.wait()
    state = read_lock(client)
    assert state
    assert state.has_ended
    began = time.monotonic()
    with lock(client) as mine:
        assert time.monotonic() - began < 5
        assert mine.held()


@waits
def test_a_process_that_only_stopped_keeps_its_lock_until_it_expires_and_then_learns_that_it_lost_it(
    client: ClusterClient, contender: Callable[..., Contender]
) -> None:
    other = contender("stopped@here", SHORT)
    other.holds()
    other.process.send_signal(SIGSTOP)
    with pytest.raises(Refused, match="held by stopped@here"), lock(client):
        pass
    time.sleep(SHORT + 2)
    with lock(client):
        other.process.send_signal(SIGCONT)
        assert other.hears().startswith("LockLost: keep Lease/kube-system/compass-upgrade")


@waits
def test_the_lock_of_another_machine_is_honoured_until_it_expires(client: ClusterClient) -> None:
    leave_behind(client, elsewhere())
    with pytest.raises(Refused, match="held by them@there"), lock(client):
        pass
    time.sleep(SHORT + 2)
    began = time.monotonic()
    with lock(client) as mine:
        assert time.monotonic() - began > SHORT, "it was not watched"
        mine.refuse_if_lost()
    assert read_lock(client) is None


def test_a_lock_that_expired_long_ago_is_taken_at_once(client: ClusterClient) -> None:
    leave_behind(client, elsewhere(), ago_seconds=601, duration_seconds=60)
    began = time.monotonic()
    with lock(client):
        assert time.monotonic() - began < 5


def test_a_lock_that_looks_expired_is_not_taken_from_a_holder_that_renews_it(client: ClusterClient) -> None:
    holder = elsewhere()
    leave_behind(client, holder, ago_seconds=5 * SHORT)
    renewal = Timer(1, lambda: leave_behind(client, holder))
    renewal.start()
    with pytest.raises(Refused, match="held by them@there"), lock(client):
        pass
    renewal.join()


@pytest.mark.parametrize("days", [-1, 1])
def test_clocks_that_are_wrong_change_nothing(client: ClusterClient, days: int) -> None:
    wrong = replace(system_clock(), now=lambda: datetime.now(UTC) + timedelta(days=days))
    with lock(client, "wrong@here", clock=wrong), pytest.raises(Refused, match="wrong@here"), lock(client):
        pass
    with lock(client, "right@here"), pytest.raises(Refused, match="right@here"), lock(client, clock=wrong):
        pass
    leave_behind(client, elsewhere(), ago_seconds=601, duration_seconds=60)
    with lock(client, clock=wrong) as mine:
        assert mine.held()


# -- kept


@waits
def test_a_lock_is_kept_for_longer_than_its_duration(client: ClusterClient) -> None:
    with lock(client, duration_seconds=SHORT) as mine:
        began = time.monotonic()
        while time.monotonic() - began < 2.5 * SHORT:
            assert mine.held()
            with pytest.raises(Refused), lock(client):
                pass
            time.sleep(0.3)
        assert lease(client)["spec"]["leaseTransitions"] == 1


@waits
def test_what_others_write_beside_it_does_not_cost_the_lock(client: ClusterClient) -> None:
    with lock(client, duration_seconds=SHORT) as mine:
        client.patch_json(REF, [{"op": "add", "path": "/metadata/labels/somebody", "value": "was-here"}])
        time.sleep(SHORT + 0.5)
        assert mine.held()
        client.patch_json(REF, [{"op": "replace", "path": "/metadata/labels/somebody", "value": "again"}])
        before = lease(client)["spec"]["renewTime"]
        mine.refuse_if_lost()
        assert lease(client)["spec"]["renewTime"] > before
        client.patch_json(REF, [{"op": "replace", "path": "/metadata/labels/somebody", "value": "at-the-end"}])
    assert read_lock(client) is None
    assert lease(client)["metadata"]["labels"]["somebody"] == "at-the-end"


@waits
@pytest.mark.parametrize(("silent", "away_seconds"), [(False, 4.2), (True, 3)], ids=["refusing", "silent"])
def test_a_server_that_is_away_for_a_shorter_time_costs_nothing(
    access: Access, client: ClusterClient, make_fault_proxy: MakeFaultProxy, silent: bool, away_seconds: float
) -> None:
    proxy = make_fault_proxy(access.server, access.ca_pem)
    with ClusterClient(proxy.through(access), patience_seconds=5) as door, lock(door, duration_seconds=6) as mine:
        before = lease(client)
        proxy.leave(silent=silent)
        mine.refuse_if_lost()
        time.sleep(away_seconds)
        assert lease(client) == before
        proxy.come_back()
        wait_until("a renewal that comes sooner than usual", lambda: lease(client) != before, 1.5, 0.05)
        assert mine.held()
    assert read_lock(client) is None


@waits
@pytest.mark.parametrize("silent", [False, True], ids=["refusing", "silent"])
def test_a_server_that_is_away_for_longer_costs_the_lock_until_it_shows_that_nobody_took_it(
    access: Access, client: ClusterClient, make_fault_proxy: MakeFaultProxy, silent: bool
) -> None:
    proxy = make_fault_proxy(access.server, access.ca_pem)
    with ClusterClient(proxy.through(access), patience_seconds=5) as door, lock(door, duration_seconds=SHORT) as mine:
        proxy.leave(silent=silent)
        wait_until("the end of the lock", lambda: not mine.held(), 2 * SHORT)
        with pytest.raises(LockLost, match=r"not renewed for 3 s \(.*does not answer"):
            mine.refuse_if_lost()
        proxy.come_back()
        wait_until("the lock", mine.held, 2 * SHORT)
        mine.refuse_if_lost()
    assert read_lock(client) is None


def test_a_lock_that_was_taken_while_the_server_was_away_is_lost(
    access: Access, client: ClusterClient, make_fault_proxy: MakeFaultProxy
) -> None:
    proxy = make_fault_proxy(access.server, access.ca_pem)
    with ClusterClient(proxy.through(access), patience_seconds=5) as door, lock(door, duration_seconds=SHORT) as mine:
        proxy.leave()
        leave_behind(client, elsewhere(), duration_seconds=60)
        wait_until("the end of the lock", lambda: not mine.held(), 2 * SHORT)
        proxy.come_back()
        with pytest.raises(LockLost, match="held by them@there"):
            mine.refuse_if_lost()
    state = read_lock(client)
    assert state
    assert state.holder == elsewhere()


# -- lost


def test_whoever_lost_the_lock_learns_of_it_without_asking_and_leaves_it_alone(client: ClusterClient) -> None:
    with lock(client, duration_seconds=SHORT) as mine:
        leave_behind(client, elsewhere(), duration_seconds=60)
        taken = lease(client)
        wait_until("the loss", lambda: not mine.held(), SHORT)
    assert lease(client) == taken


def test_whoever_lost_the_lock_is_stopped_at_the_next_step(client: ClusterClient) -> None:
    with lock(client) as mine:
        leave_behind(client, elsewhere(), duration_seconds=60)
        expected = (
            r"keep Lease/kube-system/compass-upgrade on .*: held by them@there since .*, expected held by me@here; "
            r"see compass-upgrade status, then give the same command again"
        )
        for _ in range(2):
            with pytest.raises(LockLost, match=expected) as caught:
                mine.refuse_if_lost()
        assert isinstance(caught.value, StepFailed)
        assert not mine.held()


def test_whoever_deletes_the_lease_takes_the_lock_away(client: ClusterClient) -> None:
    with lock(client) as mine:
        client.delete(REF)
        with pytest.raises(LockLost, match="deleted"):
            mine.refuse_if_lost()
    assert client.get(REF) is None


def test_whoever_empties_the_lease_takes_the_lock_away(client: ClusterClient) -> None:
    with lock(client) as mine:
        client.patch_json(REF, [{"op": "replace", "path": "/spec/holderIdentity", "value": ""}])
        with pytest.raises(LockLost, match="freed by somebody else"):
            mine.refuse_if_lost()


# -- answers that are lost


@pytest.mark.parametrize(
    ("method", "nth"),
    [("POST", 1), ("PATCH", 1), ("PATCH", 2), ("PATCH", 3)],
    ids=["the Lease is made", "it is taken", "it is renewed", "it is released"],
)
def test_an_answer_that_is_lost_is_made_up_for(
    access: Access, client: ClusterClient, make_fault_proxy: MakeFaultProxy, method: str, nth: int
) -> None:
    plan = FaultPlan(Fault(Reset("answer"), method=method, path="/leases", nth=nth))
    proxy = make_fault_proxy(access.server, access.ca_pem, plan)
    with ClusterClient(proxy.through(access), patience_seconds=10) as door:
        with lock(door) as mine:
            mine.refuse_if_lost()
            mine.refuse_if_lost()
            assert mine.held()
            assert lease(client)["spec"]["leaseTransitions"] == 1
        if (method, nth) != ("PATCH", 3):
            assert proxy.met
    assert read_lock(client) is None


@waits
def test_a_server_that_is_away_at_the_end_hides_no_error_and_is_not_waited_for(
    access: Access, client: ClusterClient, make_fault_proxy: MakeFaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy, began = make_fault_proxy(access.server, access.ca_pem), time.monotonic()

    def work() -> None:
        proxy.leave()
        raise ZeroDivisionError

    with (
        ClusterClient(proxy.through(access), patience_seconds=90) as door,
        pytest.raises(ZeroDivisionError),
        lock(door),
    ):
        work()
    assert time.monotonic() - began < 20
    assert "the lock is not released and ends in 60 s: apply Lease/kube-system/compass-upgrade" in caplog.text
    assert read_lock(client)
    with lock(client) as again:  # the process that let go of it need not wait
        assert again.held()


# -- told to stop, told no


def test_a_run_that_is_told_to_stop_keeps_its_lock_until_it_has_stopped(client: ClusterClient) -> None:
    with lock(client) as mine:
        stopping.request()
        try:
            mine.refuse_if_lost()
            assert mine.held()
        finally:
            stopping.withdraw()
    assert read_lock(client) is None


def test_whoever_watches_a_holder_stops_when_told_to(client: ClusterClient) -> None:
    leave_behind(client, elsewhere(), ago_seconds=100, duration_seconds=60)
    stop, began = Timer(0.5, stopping.request), time.monotonic()
    stop.start()
    try:
        with pytest.raises(StepFailed, match="interrupted"), lock(client):
            pass
    finally:
        stop.join()
        stopping.withdraw()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("is_there", [False, True], ids=["a new Lease", "the Lease that is there"])
def test_a_cluster_that_refuses_the_lease_is_not_asked_again(is_there: bool) -> None:
    with SimulatedClusters(["refusing"], settings=Settings(node=False)) as clusters:
        ours = clusters["refusing"]
        way = Access(ours.url, "test", ca_pem=ours.ca_pem.encode(), token=ours.token)
        with ClusterClient(way, patience_seconds=60) as door:
            if is_there:
                write_as_another_tool(door)
            ours.reject("Lease", "closed for the night")
            began = time.monotonic()
            with pytest.raises(StepFailed, match="closed for the night"), lock(door):
                pass
            assert time.monotonic() - began < 5


# -- what others leave


@pytest.mark.parametrize(
    "spec", [{}, {"holderIdentity": ""}, {"leaseDurationSeconds": 60, "leaseTransitions": 7}], ids=str
)
def test_a_lease_that_names_nobody_is_taken_at_once(client: ClusterClient, spec: dict[str, Any]) -> None:
    write_as_another_tool(client, **spec)
    began = time.monotonic()
    with lock(client) as mine:
        assert time.monotonic() - began < 5
        assert mine.held()


@pytest.mark.parametrize("renewed", [None, "1970-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"], ids=str)
def test_a_lease_of_another_tool_is_watched_whatever_times_it_names(client: ClusterClient, renewed: str | None) -> None:
    write_as_another_tool(
        client, holderIdentity="another tool", leaseDurationSeconds=2, renewTime=renewed,
        leaseTransitions=(1 << 31) - 1,
    )  # fmt: skip
    began = time.monotonic()
    with lock(client) as mine:
        assert time.monotonic() - began > 2
        assert mine.held()
        mine.refuse_if_lost()


def test_another_tool_that_renews_its_lease_is_left_alone(client: ClusterClient) -> None:
    write_as_another_tool(client, holderIdentity="another tool", leaseDurationSeconds=10)
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    renewal = Timer(1, client.patch_json, (REF, [{"op": "add", "path": "/spec/renewTime", "value": stamp}]))
    renewal.start()
    with pytest.raises(Refused, match="held by another tool, renewed"), lock(client):
        pass
    renewal.join()


def test_without_the_right_to_it_the_lock_is_refused_in_the_servers_words(cluster: Cluster, access: Access) -> None:
    with (
        ClusterClient(replace(access, token=cluster.reader_token), patience_seconds=5) as reader,
        pytest.raises(Refused, match='User "reader" cannot get resource "leases"'),
        lock(reader),
    ):
        pass
