"""A plan of faults: which request meets which, and the same again with the same seed."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.servers.faults.plan import Action, Delay, Fault, FaultPlan, Hang, Leave, Reset, Say, draw

MAPS = "/api/v1/namespaces/default/configmaps"
UPLOAD = "/v2/release/app/blobs/uploads/{}?_state=abc"
REQUESTS = [("GET", MAPS), ("POST", MAPS), ("PATCH", f"{MAPS}/x?dryRun=All"), ("PATCH", f"{MAPS}/x")]


def met(plan: FaultPlan, requests: list[tuple[str, str]]) -> list[Action | None]:
    return [plan.meet(*x) for x in requests]


def test_a_rule_is_about_its_method_and_path_alone() -> None:
    plan = FaultPlan(Fault(Say(500), "PUT|PATCH", r"/x\?dryRun="))
    assert met(plan, REQUESTS) == [None, None, Say(500), None]


def test_of_the_requests_that_match_the_nth_is_met() -> None:
    plan = FaultPlan(Fault(Reset(), "PATCH", nth=3))
    assert met(plan, REQUESTS * 3) == [None] * 6 + [Reset()] + [None] * 5


def test_a_rule_holds_so_many_times() -> None:
    plan = FaultPlan(Fault(Say(503), "PATCH", times=3))
    assert [x for x in met(plan, REQUESTS * 3) if x] == [Say(503)] * 3


def test_the_first_rule_that_holds_counts() -> None:
    plan = FaultPlan(Fault(Say(429), times=1), Fault(Say(503), "GET"))
    assert met(plan, [REQUESTS[0]] * 3) == [Say(429), Say(503), Say(503)]


def test_a_rule_may_hold_by_chance_and_the_same_again_with_its_seed() -> None:
    def holds(seed: int) -> list[Action | None]:
        return met(FaultPlan(Fault(Reset(), probability=0.25), seed=seed), REQUESTS * 100)

    assert holds(1) == holds(1) != holds(2)
    assert 60 < sum(x is not None for x in holds(1)) < 140


def test_the_same_seed_draws_the_same_faults_and_another_seed_others() -> None:
    one, two, other = (met(FaultPlan.random(seed, 0.2), REQUESTS * 50) for seed in (7, 7, 8))
    assert one == two != other
    assert 15 < sum(x is not None for x in one) < 70


def test_what_a_request_meets_does_not_depend_on_the_requests_beside_it() -> None:
    mixed = met(FaultPlan.random(7, 0.3), REQUESTS * 50)
    alone = met(FaultPlan.random(7, 0.3), [REQUESTS[3]] * 50)
    assert mixed[3::4] == alone


def test_what_an_upload_is_called_does_not_matter() -> None:
    names = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(40)]
    one = met(FaultPlan.random(3, 0.5), [("PATCH", UPLOAD.format(x)) for x in names])
    two = met(FaultPlan.random(3, 0.5), [("PATCH", UPLOAD.format(names[0]))] * 40)
    assert one == two


def test_there_are_no_more_faults_than_allowed() -> None:
    assert sum(x is not None for x in met(FaultPlan.random(1, 0.5, most=3), REQUESTS * 50)) == 3


@pytest.mark.parametrize(
    ("method", "target", "never"),
    [
        ("GET", MAPS, {409, 410}),
        ("GET", f"{MAPS}?limit=2&continue=abc", {409}),
        ("POST", MAPS, {409, 410}),
        ("PATCH", f"{MAPS}/x", {410}),
        ("PUT", "/v2/release/app/manifests/v1", {409, 410}),
    ],
)
def test_a_request_meets_only_what_its_server_may_say(method: str, target: str, never: set[int]) -> None:
    drawn = [draw(Random(n), method, target) for n in range(500)]
    kinds = Counter(type(x) for x in drawn)
    assert kinds.keys() == {Delay, Reset, Say, Hang, Leave}
    said = {x.status for x in drawn if isinstance(x, Say)}
    assert not said & never
    assert said >= {409, 410, 429, 500, 503} - never
    done = {x.status for x in drawn if isinstance(x, Say) and x.done}
    assert done == (set() if method == "GET" else {500, 503, 504})
    assert all(x.seconds is not None and x.seconds < 3 for x in drawn if isinstance(x, Delay | Hang | Leave))
