"""Killed at any moment, the same command ends in the same state: real servers, the whole process tree."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.flows.nights import Nights, differing, kill_tree, run_until
from tests.flows.running import Case, Desk
from tests.material.clusters import get

pytestmark = [pytest.mark.servers, pytest.mark.prefect, pytest.mark.xdist_group("nights")]
#: How many moments are tried; set COMPASS_KILLS for more.
KILLS = int(os.environ.get("COMPASS_KILLS", "1"))
SEED = int(os.environ.get("COMPASS_SEED", "2711"))


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(nights: Nights, desk: Desk, bundle: Path) -> None:
    case = Case.at(desk, nights.site)
    words = ("upgrade", bundle, "--yes", "--allow-data-loss", *case.where())
    began = time.monotonic()
    first = desk.run(*words)
    assert first.status == 0, first.err
    longest = time.monotonic() - began
    wanted = nights.states()
    moments = random.Random(SEED)
    for number in range(KILLS):
        nights.reset()
        state = desk.folder / f"state-{number}"
        moment = moments.uniform(0.3, longest)
        process = desk.start(*words, "--state-dir", state)
        alive = run_until(process, moment)
        kill_tree(process)
        kept = created(nights)
        done = desk.run(*words, "--state-dir", state)
        about = f"killed after {moment:.2f} s of {longest:.1f} s (seed {SEED}, number {number}, alive: {alive})"
        assert done.status == 0, f"{about}: {done.err}"
        for name, now in nights.states().items():
            assert differing(wanted[name], now) == set(), f"{about}: cluster {name}"
        assert [x for x in kept if x not in created(nights)] == [], f"{about}: created twice"
        assert set(nights.locks().values()) == {""}, about
        assert {nights.record(name)["state"] for name in nights.site.clusters} == {"done"}, about
        assert revisions(nights) <= {"2"}, f"{about}: rolled out more than once"


def created(nights: Nights) -> set[str]:
    """Return the uids of what an upgrade creates, where it is there."""
    plane = nights.site.users["user-1"]
    item = get(plane, "v1", "ServiceAccount", "kube-system", "release-controller")
    return {item["metadata"]["uid"]} if item else set()


def revisions(nights: Nights) -> set[str]:
    """Return how often each Deployment of the user cluster was rolled out: once as it was, once by the upgrade."""
    plane = nights.site.users["user-1"]
    found = set()
    for name in ("am-minion", "release-controller"):
        item = get(plane, "apps/v1", "Deployment", "kube-system", name)
        assert item
        found.add(item["metadata"]["annotations"]["deployment.kubernetes.io/revision"])
    return found
