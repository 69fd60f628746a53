"""How fast it goes and how long it will take: told by the last half minute, never guessed."""

from __future__ import annotations

import pytest

from compass.progress import PACE_SECONDS, Pace


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_and_the_time_left_follow_from_what_was_done() -> None:
    time = Time()
    pace = Pace(time)
    pace.reach(0)
    assert (pace.rate, pace.seconds_left(1000)) == (0.0, None), "nothing can be told yet"
    time.now += 10
    pace.reach(200)
    assert pace.rate == 20
    assert pace.seconds_left(1000) == 40
    assert pace.seconds_left(100) == 0


def test_only_the_last_half_minute_counts() -> None:
    time = Time()
    pace = Pace(time)
    pace.reach(0)
    pace.reach(10_000)  # was there already
    for _ in range(40):
        time.now += 2
        pace.reach(10_000)
    assert pace.rate == 0
    assert pace.seconds_left(20_000) is None, "it stands still"
    for n in range(1, 21):
        time.now += 2
        pace.reach(10_000 + 10 * n)
    assert pace.rate == pytest.approx(5)
    assert PACE_SECONDS < 20 * 2
