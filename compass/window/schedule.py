"""Windows as Prefect's schedules, which fire exactly when the windows open.

Prefect gives each local time of a rule the offset that dateutil finds.  On nights when the clock changes that is
another moment than ours: a time that the clock skips fires an hour early, and in zones whose winter is the exception
(Europe/Dublin, Africa/Casablanca) so does the hour after the clock was set back.  Those times are taken out of the
rule, and a second schedule, in UTC, has them at the right moments.  No schedule can say a freeze: the run looks at its
window.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

from dateutil import tz

from compass.documents import Document
from compass.errors import InvalidInput
from compass.window.model import Window

#: Prefect takes no longer one.
MAX_TEXT = 6500
#: dateutil reads changes of the clock up to 2037, and takes the last of them for none.
_HORIZON = datetime(2037, 1, 1)
_DAY = timedelta(days=1)
_FORM = "%Y%m%dT%H%M%S"


class Schedule(Document):
    """One schedule of a Prefect deployment: a recurrence with its own DTSTART, and the zone of its local times."""

    rrule: str
    timezone: str


def prefect_schedules(window: Window) -> tuple[Schedule, ...]:
    """Return the schedules that together fire whenever the window opens, each time once, through 2036.

    Raises:
        InvalidInput: so many times need an exception that Prefect would not take them, or it would not find the zone.
    """
    recurrence = window.recurrence
    if recurrence is None:
        return (_at(window, list(window.starts(datetime.min.replace(tzinfo=UTC)))),)
    wrong: list[datetime] = []
    missing: list[datetime] = []
    for low, high in _unsteady(window.timezone):
        if high <= recurrence.first:
            continue
        times = _until(high, recurrence.times(low))
        fired = {x: _as_prefect_reads(x, window.timezone) for x in times}
        wanted = {window.moment(x) for x in times}
        wrong += [x for x in times if fired[x] not in wanted]
        missing += sorted(wanted - set(fired.values()))
    lines = [f"DTSTART:{recurrence.first:{_FORM}}", f"RRULE:{recurrence.text}"]
    if wrong:
        lines.append(f"EXDATE:{_listed(wrong)}")
    rule = _schedule(window, "\n".join(lines), window.timezone)
    return (rule, _at(window, missing)) if missing else (rule,)


def _at(window: Window, moments: list[datetime]) -> Schedule:
    """Return a schedule of single moments, in UTC, where no clock changes."""
    return _schedule(window, f"DTSTART:{moments[0]:{_FORM}}\nRDATE:{_listed(moments)}", "UTC")


def _schedule(window: Window, text: str, timezone: str) -> Schedule:
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            "schedule window", f"{window.rrule} {window.timezone}", found=f"a rule of {len(text)} characters",
            expected=f"at most {MAX_TEXT}", do="let it open less often in the hours when the clock changes",
        )  # fmt: skip
    return Schedule(rrule=text, timezone=timezone)


def _until(high: datetime, times: Iterator[datetime]) -> list[datetime]:
    return list(takewhile(lambda x: x < high, times))


def _listed(times: list[datetime]) -> str:
    return ",".join(f"{x:{_FORM}}" for x in times)


def _as_prefect_reads(local: datetime, timezone: str) -> datetime:
    return local.replace(tzinfo=_zone_of_prefect(timezone)).astimezone(UTC)


def _zone_of_prefect(timezone: str) -> tzinfo:
    found = tz.gettz(timezone)
    if found is None:
        raise InvalidInput(
            "schedule window", timezone, found="Prefect would not find this zone",
            do="install the system's time zone data (tzdata)",
        )  # fmt: skip
    return found


@cache
def _unsteady(timezone: str) -> tuple[tuple[datetime, datetime], ...]:
    """Return the local times around which the clock changes, or is read in two ways, until the horizon."""
    return tuple(_merged(_unsteady_days(timezone)))


def _unsteady_days(timezone: str) -> Iterator[datetime]:
    """Yield the days on which the clock changes, or is read in two ways; only weeks with some are looked at closely."""
    week = datetime(2000, 1, 1)
    while week < _HORIZON:
        days = [week + n * _DAY for n in range(8)]
        if _is_unsteady(days[0], days[-1], timezone):
            yield from (one for one, other in pairwise(days) if _is_unsteady(one, other, timezone))
        week = days[-1]


def _is_unsteady(one: datetime, other: datetime, timezone: str) -> bool:
    readings = (ZoneInfo(timezone), _zone_of_prefect(timezone))
    return len({x.replace(tzinfo=reading).utcoffset() for x in (one, other) for reading in readings}) > 1


def _merged(days: Iterator[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Yield each day with the day before it and the two after, neighbours as one."""
    low = high = None
    for day in days:
        if high and low and day - _DAY <= high:
            high = day + 3 * _DAY
            continue
        if low and high:
            yield low, high
        low, high = day - _DAY, day + 3 * _DAY
    if low and high:
        yield low, high
