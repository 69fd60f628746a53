"""Upgrades through a way that breaks at random: done, rolled back, or what is not as before is named."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.flows.nights import Name, Nights, differing
from tests.flows.running import Case, Desk, Ended
from tests.servers.faults.plan import FaultPlan
from tests.servers.faults.site import faulty_site

pytestmark = [pytest.mark.servers, pytest.mark.prefect, pytest.mark.shared_prefect, pytest.mark.xdist_group("nights")]
#: How many nights are tried; set COMPASS_FAULTS for more, COMPASS_SEED for others.
RUNS = int(os.environ.get("COMPASS_FAULTS", "1"))
#: Where three requests of ten fail, every step is tried again and again.
LONGEST_SECONDS = 900.0
SEED = int(os.environ.get("COMPASS_SEED", "1"))
Json = dict[str, Any]
State = Mapping[Name, Json]


def test_no_night_ends_between_the_old_and_the_new_without_saying_so(
    nights: Nights, desk: Desk, bundle: Path, record_property: Any
) -> None:
    case = Case.at(desk, nights.site)
    words = ("upgrade", bundle, "--yes", "--allow-data-loss", "--timeout", "20", *case.where())
    old = nights.states()
    done = desk.run(*words)
    assert done.status == 0, done.err
    new = nights.states()
    ended: dict[int, int] = {}
    for seed in range(SEED, SEED + RUNS):
        nights.reset()
        state = desk.folder / f"state-{seed}"
        random = Random(seed)
        rate, patience = random.choice((0.02, 0.1, 0.3)), random.choice((1, 3, 6))
        with faulty_site(case.files / ".kubectl.kubeconfig", plans(seed, rate)) as proxies:
            done = desk.run(*words, "--patience", patience, "--state-dir", state, longest_seconds=LONGEST_SECONDS)
        met = [f"{name}: {x}" for name, proxy in proxies.items() for x in proxy.met]
        about = f"seed {seed}, rate {rate}, patience {patience}: {done.status} {done.err[-900:]}\n" + "\n".join(
            met[-40:]
        )
        assert "Traceback" not in done.err, about
        judge(nights, done, state, old, new, about)
        ended[done.status] = ended.get(done.status, 0) + 1
        if done.status:
            again = desk.run(*words, "--state-dir", state)
            assert again.status == 0, f"{about}\nagain: {again.err}"
            for name, now in nights.states().items():
                assert differing(new[name], now) == set(), f"{about}\nagain, cluster {name}"
    record_property("ended", ended)
    print(f"exit statuses of {RUNS} nights: {ended}")


def plans(seed: int, rate: float) -> Any:
    return lambda name: FaultPlan.random(seed * 1000 + sum(map(ord, name)), rate)


def judge(nights: Nights, done: Ended, state: Path, old: dict[str, State], new: dict[str, State], about: str) -> None:
    """Check every cluster against what the run said of it."""
    report = last_report(state)
    assert done.status in (0, 1, 4, 5, 6), about
    for name, now in nights.states().items():
        said: Json = next((x for x in report.get("clusters", []) if x["cluster"] == name), {"state": "not started"})
        here = f"{about}\ncluster {name}: {said}"
        from_old = differing(old[name], now)
        from_new = {x for x in differing(new[name], now) if not x.startswith("Release/") or done.status == 0}
        named = {x.split(": ")[0] for x in said.get("not_as_before", ())}
        if said["state"] in ("upgraded", "unchanged"):
            assert from_new == set(), here
        elif said["state"] in ("rolled back", "not started"):
            assert from_old == set(), here
        else:
            assert from_old <= named, f"{here}\nnot named: {from_old - named}"
    assert (done.status == 6) == any(x.get("exit_status") == 6 for x in report.get("clusters", [])), about


def last_report(state: Path) -> Json:
    reports = sorted((state / "reports").glob("*.json")) if (state / "reports").is_dir() else []
    return dict(json.loads(reports[-1].read_text())) if reports else {}
