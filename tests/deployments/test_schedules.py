"""The schedules of a window fire when it opens: what Prefect's own scheduler computes is compared with our openings."""

from __future__ import annotations

import asyncio
import os
import random
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import available_timezones

import pytest
from prefect.client.schemas.schedules import RRuleSchedule as ClientSchedule
from prefect.server.schemas.schedules import RRuleSchedule

from compass.documents import parse_document
from compass.errors import InvalidInput
from compass.window.model import Window
from compass.window.openings import Calendar
from compass.window.schedule import MAX_TEXT, Schedule, prefect_schedules
from tests.compass.window.rules import changes_of_the_clock, random_windows
from tests.servers.prefect import asked

LAST = datetime(2036, 12, 1, tzinfo=UTC)
#: How many random windows go through a real server's API; set COMPASS_WINDOWS for more.
RANDOM = int(os.environ.get("COMPASS_WINDOWS", "20"))


def window(timezone: str, rrule: str, start: str, duration: str = "15m") -> Window:
    return parse_document(
        Window, {"timezone": timezone, "rrule": rrule, "start": start, "duration": duration}, "windows.yaml"
    )


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fired(schedules: tuple[Schedule, ...], since: datetime, until: datetime) -> list[datetime]:
    """Return when Prefect's server would start runs, as its scheduler computes it."""

    async def dates(schedule: Schedule) -> list[datetime]:
        real = RRuleSchedule(rrule=schedule.rrule, timezone=schedule.timezone)
        return [datetime.fromtimestamp(x.timestamp(), UTC) for x in await real.get_dates(start=since, end=until)]

    return sorted(x for schedule in schedules for x in asyncio.run(dates(schedule)))


def test_prefect_starts_runs_exactly_when_a_thousand_random_windows_open() -> None:
    source = random.Random(1)
    corrected = 0
    for found in random_windows(2026, 1000):
        schedules = prefect_schedules(found)
        corrections = fired(schedules[1:], utc("2026-01-01"), LAST) or changes_of_the_clock(found.timezone)
        if corrections and source.random() < 0.8:
            since = source.choice(corrections) - timedelta(days=2)
        else:
            since = utc("2026-01-01") + timedelta(hours=source.randrange(3 * 8766))
        starts = list(islice(takewhile(lambda x: x < LAST, found.starts(since)), 30))
        until = starts[-1] if starts else LAST
        openings = Calendar(windows=(found,)).openings(since, until + timedelta(seconds=1))
        assert [x.start for x in openings if x.start >= since] == starts, (found, since)
        assert fired(schedules, since, until) == starts, (found, since)
        corrected += len(fired(schedules[1:], since, until))
    assert corrected > 50, "the hours when clocks change are among them"


@pytest.mark.parametrize(
    ("timezone", "start", "day", "starts", "alone"),
    [
        # Without the second schedule Prefect would start these an hour, half an hour, or two hours early.
        ("America/New_York", "02:30", "2026-03-08", "2026-03-08T07:30", "2026-03-08T06:30"),
        ("Europe/Berlin", "02:30", "2026-03-29", "2026-03-29T01:30", "2026-03-29T00:30"),
        ("Australia/Lord_Howe", "02:15", "2026-10-03", "2026-10-03T15:45", "2026-10-03T15:15"),
        ("Antarctica/Troll", "02:30", "2026-03-29", "2026-03-29T02:30", "2026-03-29T00:30"),
        ("America/Santiago", "00:30", "2026-09-06", "2026-09-06T04:30", "2026-09-06T03:30"),
        ("Europe/Dublin", "02:30", "2026-10-25", "2026-10-25T02:30", "2026-10-25T01:30"),
        ("Africa/Casablanca", "03:30", "2026-02-15", "2026-02-15T03:30", "2026-02-15T02:30"),
    ],
)
def test_where_prefect_is_early_the_window_is_written_in_another_way(
    timezone: str, start: str, day: str, starts: str, alone: str
) -> None:
    daily = window(timezone, "FREQ=DAILY", start)
    since, until = utc(day), utc(f"{day}T23:59:59")
    plain = Schedule(rrule=f"DTSTART:20240101T{start.replace(':', '')}00\nRRULE:FREQ=DAILY", timezone=timezone)
    assert fired((plain,), since, until) == [utc(alone)], "Prefect has learned it: the correction may go"
    assert fired(prefect_schedules(daily), since, until) == [utc(starts)]


@pytest.mark.parametrize("timezone", ["Asia/Shanghai", "UTC", "Asia/Kathmandu"])
def test_a_zone_without_changes_needs_one_schedule(timezone: str) -> None:
    (schedule,) = prefect_schedules(window(timezone, "freq=hourly", "02:00"))
    assert schedule == Schedule(rrule="DTSTART:20240101T020000\nRRULE:FREQ=HOURLY", timezone=timezone)


def test_a_window_away_from_the_changes_needs_one_schedule() -> None:
    (schedule,) = prefect_schedules(window("Europe/Berlin", "FREQ=WEEKLY;BYDAY=SA", "2026-01-03T22:00"))
    assert schedule.rrule == "DTSTART:20260103T220000\nRRULE:FREQ=WEEKLY;BYDAY=SA"


def test_a_window_that_opens_once_is_one_moment() -> None:
    once = parse_document(
        Window, {"timezone": "America/New_York", "start": "2026-03-08T02:30", "end": "2026-03-08T05:00"}, "x"
    )
    schedules = prefect_schedules(once)
    assert schedules == (Schedule(rrule="DTSTART:20260308T073000\nRDATE:20260308T073000", timezone="UTC"),)
    assert fired(schedules, utc("2026-01-01"), utc("2027-01-01")) == [utc("2026-03-08T07:30")]


def test_starts_that_coincide_after_the_change_are_one_run() -> None:
    """02:30 is 03:30 that night: the rule has it already, so the second schedule must not."""
    hourly = window("Europe/Berlin", "FREQ=HOURLY", "00:30")
    runs = fired(prefect_schedules(hourly), utc("2026-03-29"), utc("2026-03-29T03:00"))
    assert runs == [utc("2026-03-29T00:30"), utc("2026-03-29T01:30"), utc("2026-03-29T02:30")]


def test_so_many_exceptions_that_prefect_takes_no_rule_are_refused() -> None:
    minutes = ",".join(map(str, range(60)))
    often = window("Europe/Berlin", f"FREQ=DAILY;BYHOUR=2;BYMINUTE={minutes}", "02:00", "1m")
    with pytest.raises(InvalidInput, match=f"expected at most {MAX_TEXT}; let it open less often"):
        prefect_schedules(often)


def test_a_zone_that_prefect_would_not_find_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python finds zones in the package tzdata too; dateutil, which Prefect asks, does not."""
    monkeypatch.setattr("dateutil.tz.gettz", lambda name: None)
    with pytest.raises(InvalidInput, match="schedule window Asia/Tokyo: Prefect would not find this zone"):
        prefect_schedules(window("Asia/Tokyo", "FREQ=DAILY", "02:00"))


def test_prefect_takes_every_zone_that_a_window_may_have() -> None:
    accepted = 0
    for name in sorted(available_timezones()):
        try:
            zone = window(name, "FREQ=DAILY", "02:00").timezone
        except InvalidInput as error:
            if "unknown time zone" not in str(error):
                raise
            continue
        for kind in (ClientSchedule, RRuleSchedule):
            assert kind(rrule="DTSTART:20260101T020000\nRRULE:FREQ=DAILY", timezone=zone).timezone == name
        accepted += 1
    assert accepted > 300


@pytest.mark.prefect
@pytest.mark.xdist_group("prefect-deploy")
def test_a_real_server_schedules_the_runs_of_windows_at_their_openings(api: str) -> None:
    """Through its API, its database and its checks, over a year with every change of the clock."""
    since, until = utc("2027-01-01"), utc("2028-01-01")
    windows = [
        window("America/New_York", "FREQ=DAILY", "02:30"),
        window("Europe/Dublin", "FREQ=DAILY", "02:30"),
        window("Australia/Lord_Howe", "FREQ=WEEKLY;BYDAY=SU", "02:15"),
        parse_document(
            Window, {"timezone": "Europe/Berlin", "start": "2027-03-28T02:30", "end": "2027-03-28T05:00"}, "x"
        ),
        *random_windows(17, RANDOM),
    ]
    flow = asked(f"{api}/flows/", name="upgrade-cluster")["id"]
    for number, found in enumerate(windows):
        starts = list(islice(takewhile(lambda x: x <= until, found.starts(since)), 150))
        end = starts[-1] if starts else until
        schedules = [{"schedule": x.model_dump(), "active": True} for x in prefect_schedules(found)]
        made = asked(f"{api}/deployments/", name=f"cluster-{number}", flow_id=flow, schedules=schedules)
        sent = {x["schedule"]["rrule"] for x in made["schedules"]}
        assert sent == {x.rrule for x in prefect_schedules(found)}, "the server leaves the text as it is"
        times = {"start_time": since.isoformat(), "end_time": end.isoformat()}
        asked(f"{api}/deployments/{made['id']}/schedule", **times, min_runs=200, max_runs=200)
        runs = asked(f"{api}/flow_runs/filter", deployments={"id": {"any_": [made["id"]]}}, limit=200)
        assert sorted(datetime.fromisoformat(x["expected_start_time"]) for x in runs) == starts, found
