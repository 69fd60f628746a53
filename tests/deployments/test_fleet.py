"""A fleet on a Prefect server with PostgreSQL and two workers: by hand, by schedule, late, and workers that die."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import MakeSite
from tests.deployments.fleet import Answer, Fleet, fleet_of, window
from tests.servers.prefect import prefect_worker
from tests.servers.process import Server, descendants, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.prefect, pytest.mark.xdist_group("fleet")]
#: How many simulated user clusters; set COMPASS_FLEET for more.
CLUSTERS = int(os.environ.get("COMPASS_FLEET", "6"))
AT_ONCE = 1 + CLUSTERS // 10
NEW, OLD = "v0.0.7", "v0.0.6"


@pytest.fixture(scope="module")
def fleet(make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    site = make_site(users=("user-1",), releases=5)
    try:
        with fleet_of(CLUSTERS, site, tmp_path_factory.mktemp("fleet")) as found:
            yield found
    finally:
        site.close()


def shared_out(count: int) -> dict[str, list[str]]:
    """Return the simulated clusters by what happens to them; most have their upgrade cut off."""
    names = [f"sim-user-{number}" for number in range(1, count + 1)]
    some = max(1, count // 5)
    return {
        "hand": names[:some], "moved": names[some : 2 * some], "scheduled": names[2 * some : 3 * some],
        "missed": names[3 * some : 4 * some], "killed": names[4 * some :],
    }  # fmt: skip


class Workers:
    """Two workers, which come and go."""

    def __init__(self, fleet: Fleet, stack: ExitStack) -> None:
        self._fleet, self._stack, self._count = fleet, stack, 0

    def begin(self) -> list[Server]:
        """Start two new ones."""
        self._count += 1
        names = (f"one-{self._count}", f"two-{self._count}")
        return [
            self._stack.enter_context(prefect_worker(self._fleet.folder, self._fleet.api, x, limit=AT_ONCE))
            for x in names
        ]


def step_by_hand_and_by_schedule(fleet: Fleet, parts: dict[str, list[str]]) -> None:
    opens = window(100 + 6 * CLUSTERS)
    fleet.deploy(parts["moved"], windows=[opens])
    for name in parts["moved"]:
        fleet.start(name)
    fleet.deploy([*parts["scheduled"], "real-user-1"], windows=[opens], atOpening=["upgrade"])
    fleet.deploy([*parts["hand"], "real-control"])

    def moved() -> bool:
        runs = fleet.runs(*parts["moved"])
        return len(runs) == len(parts["moved"]) and all(x["state_name"] == "Scheduled" and x["run_count"] for x in runs)

    wait_until("the early ones to be moved", moved, 100 + 6 * CLUSTERS, 0.5)
    for run in fleet.runs(*parts["moved"]):
        assert run["next_scheduled_start_time"].startswith(opens["start"]), run["state"]
        assert "outside its windows until" in run["state"]["message"]
    for name in [*parts["hand"], "real-control"]:
        fleet.start(name)
    by_hand = fleet.ended([*parts["hand"], "real-control"], 240)
    assert {x["state_type"] for x in by_hand} == {"COMPLETED"}, [x["state"] for x in by_hand]
    in_window = [*parts["moved"], *parts["scheduled"], "real-user-1"]
    wait_until("the opening", lambda: datetime.now(UTC).isoformat() > opens["start"], 240)
    for run in fleet.ended(in_window, 300):
        assert run["state_type"] == "COMPLETED", run["state"]
        assert run["end_time"] > opens["start"]
    for name in in_window:
        (record,) = fleet.records(name)
        assert record.started >= opens["start"], f"{name} was changed before its window"


def step_all_workers_down_over_two_windows(fleet: Fleet, workers: Workers, names: list[str]) -> list[Server]:
    short = timedelta(seconds=12)
    windows = [window(30, short), window(50, short), window(95 + CLUSTERS)]
    fleet.deploy(names, windows=windows, atOpening=["upgrade"])
    assert datetime.now(UTC).isoformat() < windows[0]["start"], "the first window is not missed"
    wait_until("two windows to pass", lambda: datetime.now(UTC).isoformat() > windows[1]["end"], 120)
    up = workers.begin()
    for name in names:
        done = wait_until(f"the run of {name}", lambda name=name: completed(fleet, name), 240, 1)  # type: ignore[misc]
        runs = fleet.ended([name], 60)
        assert len(done) == 1
        assert done[0]["expected_start_time"].startswith(windows[2]["start"])
        assert {x["state_name"] for x in runs} <= {"Completed", "Skipped"}, [x["state"] for x in runs]
        (record,) = fleet.records(name)
        assert record.started >= windows[2]["start"]
    return up


def completed(fleet: Fleet, name: str) -> list[Answer]:
    return [x for x in fleet.runs(name) if x["state_type"] == "COMPLETED"]


def step_workers_that_die(fleet: Fleet, workers: Workers, up: list[Server], names: list[str]) -> None:
    fleet.deploy(names)
    fleet.hurry_automations(75)
    fleet.let_pods_take(30, names)
    fleet.start_together(names)

    def in_the_middle() -> bool:
        running = [x for x in names if any(y.state == "running" for y in fleet.records(x))]
        busy = [x for x in up if len(descendants(x.pid)) > 0]
        return len(running) >= min(2, len(names)) and len(busy) == 2

    wait_until("upgrades on both workers to be in the middle", in_the_middle, 120, 0.05)
    machine_dies(up[0])
    os.kill(up[1].pid, signal.SIGTERM)
    fleet.let_pods_take(0.2, names)
    workers.begin()
    first = fleet.ended(names, 420)
    cut_off = {x["deployment_id"] for x in first if x["state_type"] != "COMPLETED"}
    print(f"cut off: {len(cut_off)} of {len(names)}: {[(x['state_name'], x['state']['message']) for x in first]}")
    assert cut_off, "nobody was in the middle"
    for name in names:  # a run that did not end well is named by its state; the same deployment goes on
        if fleet.runs(name)[-1]["state_type"] != "COMPLETED":
            fleet.start(name)
    for name in names:
        runs = fleet.ended([name], 300)
        assert runs[-1]["state_type"] == "COMPLETED", [x["state"] for x in runs]


def stop_idle(worker: Server) -> None:
    """Stop a worker that has no run under way; Prefect's does not always come to its end, and is killed then."""
    worker.signal(signal.SIGINT)
    try:
        wait_until("a worker to stop", lambda: not worker.running, 30)
    except TimeoutError:
        machine_dies(worker)


def machine_dies(worker: Server) -> None:
    """End a worker with all that it has started, as when its machine loses power."""
    for pid in [worker.pid, *descendants(worker.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def step_everything_is_upgraded_once_and_nothing_is_left(fleet: Fleet, names: list[str]) -> None:
    for name in names:
        assert fleet.image(name) == NEW, name
        assert [x.state for x in fleet.records(name)].count("done") == 1, f"{name} was upgraded twice"
        assert not fleet.is_locked(name), name
    left = [x for x in fleet.runs() if x["state_type"] in ("RUNNING", "PENDING", "CANCELLING")]
    assert not left, [x["state"] for x in left]


def test_a_fleet_is_upgraded_whatever_becomes_of_its_workers(fleet: Fleet) -> None:
    """Each step stands on those before it, so they are one test: its trace names the step that failed."""
    parts = shared_out(CLUSTERS)
    names = [x for part in parts.values() for x in part] + ["real-user-1"]
    assert {fleet.image(x) for x in names} == {OLD}
    began = time.monotonic()

    def told(what: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s: {what}")

    with ExitStack() as stack:
        workers = Workers(fleet, stack)
        up = workers.begin()
        step_by_hand_and_by_schedule(fleet, parts)
        told("by hand, by schedule, and moved into the window")
        for worker in up:
            worker.signal(signal.SIGINT)
            wait_until("a worker to stop", lambda worker=worker: not worker.running, 60)  # type: ignore[misc]
        up = step_all_workers_down_over_two_windows(fleet, workers, parts["missed"])
        told("all workers down over two windows")
        step_workers_that_die(fleet, workers, up, parts["killed"])
        told("one machine dead, one worker stopped in the middle")
        step_everything_is_upgraded_once_and_nothing_is_left(fleet, names)
