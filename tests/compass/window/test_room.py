"""What takes longer than its window lasts is not begun in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from compass.window.model import Window
from compass.window.openings import Calendar
from compass.window.room import MARGIN, READY_SECONDS, Estimate, estimate, length_text, long_enough, room

NOW = datetime(2026, 1, 31, 2, 0, tzinfo=UTC)


def nightly(duration: str = "2h", start: str = "2026-01-01T01:00") -> Window:
    return Window.model_validate({"rrule": "FREQ=DAILY", "start": start, "duration": duration, "timezone": "UTC"})


def once(start: str, end: str) -> Window:
    return Window.model_validate({"start": start, "end": end, "timezone": "UTC"})


@pytest.mark.parametrize(
    ("own", "alike", "seconds", "source"),
    [
        ([("new", 100.0), ("new", 300.0), ("old", 900.0)], [("new", 500.0)], 300, "what this bundle took here"),
        ([("old", 900.0)], [("new", 500.0), ("old", 9.0), ("new", 200.0)], 500, "on 2 clusters like this"),
        ([("old", 900.0), ("older", 5.0)], [("old", 10.0)], 900, "what the last bundle took here"),
    ],
)
def test_what_this_bundle_took_counts_before_what_others_took(
    own: list[tuple[str, float]], alike: list[tuple[str, float]], seconds: float, source: str
) -> None:
    found = estimate(own, alike, "new")
    assert found
    assert found.seconds == pytest.approx(seconds * MARGIN)
    assert source in found.source


def test_where_nothing_is_known_nothing_is_estimated() -> None:
    assert estimate([], [("other", 5.0)], "new") is None


def test_a_run_that_fits_begins_and_one_that_ends_with_the_window_does_too() -> None:
    calendar = Calendar(windows=(nightly(),))
    for seconds in (1, 3600):
        assert room(NOW, NOW, calendar, Estimate(seconds, "x")).action == "run"


def test_one_that_does_not_fit_waits_for_the_next_opening_that_is_long_enough() -> None:
    calendar = Calendar(windows=(nightly(), once("2026-02-02T12:00", "2026-02-02T18:00")))
    short = room(NOW, NOW, calendar, Estimate(3601, "what this bundle took here"))
    assert (short.action, short.until) == ("wait", datetime(2026, 2, 1, 1, 0, tzinfo=UTC))
    assert short.reason == (
        "1 h 0 min left until 2026-01-31 03:00 UTC, and it takes about 1 h 0 min by what this bundle took here; "
        "waits until 2026-02-01 01:00 UTC"
    )
    long = room(NOW, NOW, calendar, Estimate(3 * 3600, "x"))
    assert (long.action, long.until) == ("wait", datetime(2026, 2, 2, 12, 0, tzinfo=UTC))


def test_the_window_that_is_waited_for_leaves_a_minute_to_make_ready() -> None:
    calendar = Calendar(windows=(nightly(), once("2026-02-02T12:00", "2026-02-02T18:00")))
    minute = READY_SECONDS
    found = long_enough(calendar, NOW, Estimate(2 * 3600 - minute, "x"))
    assert found
    assert found.start == datetime(2026, 2, 1, 1, 0, tzinfo=UTC)
    found = long_enough(calendar, NOW, Estimate(2 * 3600 - minute + 1, "x"))
    assert found
    assert found.start == datetime(2026, 2, 2, 12, 0, tzinfo=UTC)


def test_one_that_fits_no_window_of_the_coming_year_is_not_begun_at_all() -> None:
    decision = room(NOW, NOW, Calendar(windows=(nightly(),)), Estimate(3 * 3600, "x"))
    assert (decision.action, decision.until) == ("skip", None)
    assert "no window of the coming year is long enough" in decision.reason


def test_a_schedules_run_leaves_the_next_opening_to_the_schedules_next_run() -> None:
    fired = datetime(2026, 1, 31, 1, 0, tzinfo=UTC)
    decision = room(fired, NOW, Calendar(windows=(nightly(),)), Estimate(3601, "x"))
    assert decision.action == "skip"
    assert decision.reason.endswith("the run of 2026-02-01 01:00 UTC replaces it")


def test_without_windows_there_is_always_room() -> None:
    assert room(NOW, NOW, Calendar(), Estimate(10**6, "x")).action == "run"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (59, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (7300, "2 h 2 min")]
)
def test_a_length_is_said_as_people_do(seconds: float, text: str) -> None:
    assert length_text(seconds) == text


def test_the_margin_is_a_fifth() -> None:
    found = estimate([("b", timedelta(minutes=10).total_seconds())], [], "b")
    assert found
    assert str(found) == "about 12 min by what this bundle took here"
