"""When a cluster may be changed: the expected moments are worked out by hand, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from compass.documents import parse_document
from compass.errors import InvalidInput
from compass.window.openings import Calendar, Opening, refuse_all_frozen

BERLIN, NEW_YORK, SHANGHAI, LORD_HOWE = "Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe"
DUBLIN, SANTIAGO, TROLL = "Europe/Dublin", "America/Santiago", "Antarctica/Troll"
WORKDAYS = "BYDAY=MO,TU,WE,TH,FR"

#: What it shows: zone, rule, start, duration; asked from, until; openings.  All but the start is UTC; an end without
#: date is on the day of its start.
RECURRING: dict[str, tuple[str, str, str, str, str, str, list[str]]] = {
    # where the clock never changes
    "every night": (
        SHANGHAI, "FREQ=DAILY", "02:00", "4h", "2026-03-28", "2026-03-30",
        ["2026-03-28T18:00/22:00", "2026-03-29T18:00/22:00"],
    ),
    "every saturday": (
        SHANGHAI, "FREQ=WEEKLY;BYDAY=SA", "02:00", "4h", "2026-01-01", "2026-01-20",
        ["2026-01-02T18:00/22:00", "2026-01-09T18:00/22:00", "2026-01-16T18:00/22:00"],
    ),
    "over midnight": (
        SHANGHAI, "FREQ=WEEKLY;BYDAY=SA,SU", "22:00", "4h", "2026-01-02", "2026-01-06",
        ["2026-01-03T14:00/18:00", "2026-01-04T14:00/18:00"],
    ),
    "from midnight, which is the day before in UTC": (
        SHANGHAI, "FREQ=WEEKLY;BYDAY=MO", "00:00", "4h", "2026-01-01", "2026-01-08", ["2026-01-04T16:00/20:00"],
    ),
    "into the new year": (
        SHANGHAI, "FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=31", "22:00", "4h", "2026-06-01", "2027-06-01",
        ["2026-12-31T14:00/18:00"],
    ),
    "a whole weekend": (
        SHANGHAI, "FREQ=WEEKLY;BYDAY=SA", "00:00", "48h", "2026-01-01", "2026-01-06",
        ["2026-01-02T16:00/2026-01-04T16:00"],
    ),
    "two whole days that touch are one opening": (
        SHANGHAI, "FREQ=WEEKLY;BYDAY=SA,SU", "00:00", "1d", "2026-01-01", "2026-01-06",
        ["2026-01-02T16:00/2026-01-04T16:00"],
    ),
    "twice a day": (
        SHANGHAI, "FREQ=DAILY;BYHOUR=1,13", "01:00", "2h", "2026-01-04T12:00", "2026-01-05T12:00",
        ["2026-01-04T17:00/19:00", "2026-01-05T05:00/07:00"],
    ),
    "every six hours": (
        SHANGHAI, "FREQ=HOURLY;INTERVAL=6", "02:00", "1h", "2026-01-04T16:00", "2026-01-05T16:00",
        ["2026-01-04T18:00/19:00", "2026-01-05T00:00/01:00", "2026-01-05T06:00/07:00", "2026-01-05T12:00/13:00"],
    ),
    "where clocks differ by quarters of an hour": (
        "Asia/Kathmandu", "FREQ=DAILY", "00:15", "1h", "2026-01-05", "2026-01-06", ["2026-01-05T18:30/19:30"],
    ),
    "where the day begins first": (
        "Pacific/Kiritimati", "FREQ=WEEKLY;BYDAY=MO", "06:00", "2h", "2026-01-01", "2026-01-08",
        ["2026-01-04T16:00/18:00"],
    ),
    "in UTC": ("UTC", "FREQ=WEEKLY;BYDAY=WE", "12:00", "90m", "2026-01-01", "2026-01-08", ["2026-01-07T12:00/13:30"]),
    # ends of months, leap days
    "the last day of each month": (
        SHANGHAI, "FREQ=MONTHLY;BYMONTHDAY=-1", "23:00", "2h", "2026-01-01", "2026-05-01",
        ["2026-01-31T15:00/17:00", "2026-02-28T15:00/17:00", "2026-03-31T15:00/17:00", "2026-04-30T15:00/17:00"],
    ),
    "the last day of a february of 29 days": (
        SHANGHAI, "FREQ=MONTHLY;BYMONTHDAY=-1", "02:00", "2h", "2028-02-01", "2028-03-01", ["2028-02-28T18:00/20:00"],
    ),
    "the 31st, which short months have not": (
        SHANGHAI, "FREQ=MONTHLY;BYMONTHDAY=31", "02:00", "2h", "2026-01-01", "2026-08-01",
        ["2026-01-30T18:00/20:00", "2026-03-30T18:00/20:00", "2026-05-30T18:00/20:00", "2026-07-30T18:00/20:00"],
    ),
    "the 31st, because it began on one": (
        SHANGHAI, "FREQ=MONTHLY", "2026-01-31T02:00", "4h", "2026-01-01", "2026-06-30",
        ["2026-01-30T18:00/22:00", "2026-03-30T18:00/22:00", "2026-05-30T18:00/22:00"],
    ),
    "the 30th and the last day, which may be one": (
        SHANGHAI, "FREQ=MONTHLY;BYMONTHDAY=30,-1", "02:00", "4h", "2026-03-02", "2026-05-01",
        ["2026-03-29T18:00/22:00", "2026-03-30T18:00/22:00", "2026-04-29T18:00/22:00"],
    ),
    "leap days": (
        SHANGHAI, "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "01:00", "3h", "2025-01-01", "2033-01-01",
        ["2028-02-28T17:00/20:00", "2032-02-28T17:00/20:00"],
    ),
    "leap days, because it began on one": (
        SHANGHAI, "FREQ=YEARLY", "2024-02-29T02:00", "4h", "2024-01-01", "2029-01-01",
        ["2024-02-28T18:00/22:00", "2028-02-28T18:00/22:00"],
    ),
    "the last day of february": (
        SHANGHAI, "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1", "01:00", "3h", "2027-01-01", "2029-03-01",
        ["2027-02-27T17:00/20:00", "2028-02-28T17:00/20:00", "2029-02-27T17:00/20:00"],
    ),
    "the 60th day, which is a leap day or the first of march": (
        SHANGHAI, "FREQ=YEARLY;BYYEARDAY=60", "12:00", "1h", "2027-01-01", "2029-01-01",
        ["2027-03-01T04:00/05:00", "2028-02-29T04:00/05:00"],
    ),
    "the 366th day": (
        SHANGHAI, "FREQ=YEARLY;BYYEARDAY=366", "12:00", "1h", "2026-01-01", "2033-01-01",
        ["2028-12-31T04:00/05:00", "2032-12-31T04:00/05:00"],
    ),
    "the last day of the year": (
        SHANGHAI, "FREQ=YEARLY;BYYEARDAY=-1", "12:00", "1h", "2026-01-01", "2028-01-01",
        ["2026-12-31T04:00/05:00", "2027-12-31T04:00/05:00"],
    ),
    "a leap day from midnight to midnight": (
        BERLIN, "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "00:00", "24h", "2028-01-01", "2029-01-01",
        ["2028-02-28T23:00/2028-02-29T23:00"],
    ),
    "the evening of a leap day, which is march in UTC": (
        NEW_YORK, "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "20:00", "6h", "2027-01-01", "2029-01-01",
        ["2028-03-01T01:00/07:00"],
    ),
    "the evening of the last day, which is the next month in UTC": (
        NEW_YORK, "FREQ=MONTHLY;BYMONTHDAY=-1", "20:00", "6h", "2026-01-15", "2026-04-15",
        ["2026-02-01T01:00/07:00", "2026-03-01T01:00/07:00", "2026-04-01T00:00/06:00"],
    ),
    # counted weekdays, places in a set
    "the second saturday": (
        SHANGHAI, "FREQ=MONTHLY;BYDAY=2SA", "02:00", "4h", "2026-01-01", "2026-04-01",
        ["2026-01-09T18:00/22:00", "2026-02-13T18:00/22:00", "2026-03-13T18:00/22:00"],
    ),
    "the last friday": (
        SHANGHAI, "FREQ=MONTHLY;BYDAY=-1FR", "22:00", "4h", "2026-01-01", "2026-04-01",
        ["2026-01-30T14:00/18:00", "2026-02-27T14:00/18:00", "2026-03-27T14:00/18:00"],
    ),
    "the last working day": (
        SHANGHAI, f"FREQ=MONTHLY;{WORKDAYS};BYSETPOS=-1", "22:00", "2h", "2026-01-01", "2026-05-01",
        ["2026-01-30T14:00/16:00", "2026-02-27T14:00/16:00", "2026-03-31T14:00/16:00", "2026-04-30T14:00/16:00"],
    ),
    "the first day of a weekend": (
        SHANGHAI, "FREQ=MONTHLY;BYDAY=SA,SU;BYSETPOS=1", "02:00", "4h", "2026-01-01", "2026-03-02",
        ["2026-01-02T18:00/22:00", "2026-01-31T18:00/22:00", "2026-02-28T18:00/22:00"],
    ),
    "the first and third saturday": (
        SHANGHAI, "FREQ=MONTHLY;BYDAY=SA;BYSETPOS=1,3", "02:00", "4h", "2026-01-01", "2026-03-01",
        ["2026-01-02T18:00/22:00", "2026-01-16T18:00/22:00", "2026-02-06T18:00/22:00", "2026-02-20T18:00/22:00"],
    ),
    "the fourth thursday of november": (
        NEW_YORK, "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", "00:00", "24h", "2026-01-01", "2027-01-01",
        ["2026-11-26T05:00/2026-11-27T05:00"],
    ),
    "two months of a year": (
        SHANGHAI, "FREQ=YEARLY;BYMONTH=5,10;BYMONTHDAY=1", "00:00", "24h", "2026-01-01", "2027-01-01",
        ["2026-04-30T16:00/2026-05-01T16:00", "2026-09-30T16:00/2026-10-01T16:00"],
    ),
    "week 1, which may begin in december": (
        SHANGHAI, "FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO", "02:00", "4h", "2025-12-01", "2027-02-01",
        ["2025-12-28T18:00/22:00", "2027-01-03T18:00/22:00"],
    ),
    "week 53, which few years have": (
        SHANGHAI, "FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO", "02:00", "4h", "2026-01-01", "2031-01-01",
        ["2026-12-27T18:00/22:00"],
    ),
    # every second, every third
    "every second saturday": (
        SHANGHAI, "FREQ=WEEKLY;INTERVAL=2;BYDAY=SA", "2026-01-03T02:00", "4h", "2026-01-01", "2026-02-15",
        ["2026-01-02T18:00/22:00", "2026-01-16T18:00/22:00", "2026-01-30T18:00/22:00", "2026-02-13T18:00/22:00"],
    ),
    "the saturdays between": (
        SHANGHAI, "FREQ=WEEKLY;INTERVAL=2;BYDAY=SA", "2026-01-10T02:00", "4h", "2026-01-01", "2026-02-15",
        ["2026-01-09T18:00/22:00", "2026-01-23T18:00/22:00", "2026-02-06T18:00/22:00"],
    ),
    "every second week from monday": (
        SHANGHAI, "FREQ=WEEKLY;INTERVAL=2;BYDAY=SA,SU", "2026-01-03T02:00", "4h", "2026-01-01", "2026-01-25",
        ["2026-01-02T18:00/22:00", "2026-01-03T18:00/22:00", "2026-01-16T18:00/22:00", "2026-01-17T18:00/22:00"],
    ),
    "every second week from sunday": (
        SHANGHAI, "FREQ=WEEKLY;INTERVAL=2;BYDAY=SA,SU;WKST=SU", "2026-01-03T02:00", "4h", "2026-01-01", "2026-01-24",
        ["2026-01-02T18:00/22:00", "2026-01-10T18:00/22:00", "2026-01-16T18:00/22:00"],
    ),
    "every second sunday evening, the clock changed between": (
        NEW_YORK, "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU", "2026-02-22T22:00", "2h", "2026-02-20", "2026-03-25",
        ["2026-02-23T03:00/05:00", "2026-03-09T02:00/04:00", "2026-03-23T02:00/04:00"],
    ),
    "every third day over the end of february": (
        SHANGHAI, "FREQ=DAILY;INTERVAL=3", "2026-02-27T02:00", "4h", "2026-02-26", "2026-03-06",
        ["2026-02-26T18:00/22:00", "2026-03-01T18:00/22:00", "2026-03-04T18:00/22:00"],
    ),
    "every quarter": (
        SHANGHAI, "FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=1", "2026-01-01T02:00", "4h", "2025-12-01", "2026-12-01",
        ["2025-12-31T18:00/22:00", "2026-03-31T18:00/22:00", "2026-06-30T18:00/22:00", "2026-09-30T18:00/22:00"],
    ),
    "not before it begins": (
        SHANGHAI, "FREQ=DAILY", "2026-01-05T02:00", "4h", "2026-01-01", "2026-01-06",
        ["2026-01-04T18:00/22:00", "2026-01-05T18:00/22:00"],
    ),
    "until a time, and at it": (
        SHANGHAI, "FREQ=DAILY;UNTIL=20260103T020000", "2026-01-01T02:00", "4h", "2025-12-30", "2026-01-10",
        ["2025-12-31T18:00/22:00", "2026-01-01T18:00/22:00", "2026-01-02T18:00/22:00"],
    ),
    "until a second too early": (
        SHANGHAI, "FREQ=DAILY;UNTIL=20260103T015959", "2026-01-01T02:00", "4h", "2025-12-30", "2026-01-10",
        ["2025-12-31T18:00/22:00", "2026-01-01T18:00/22:00"],
    ),
    # the night that lacks an hour
    "02:30 in Berlin, which one night has not": (
        BERLIN, "FREQ=DAILY", "02:30", "2h", "2026-03-28", "2026-03-31",
        ["2026-03-28T01:30/03:30", "2026-03-29T01:30/03:30", "2026-03-30T00:30/02:30"],
    ),
    "02:00 in Berlin, the first that is skipped": (
        BERLIN, "FREQ=DAILY", "02:00", "2h", "2026-03-29", "2026-03-30", ["2026-03-29T01:00/03:00"],
    ),
    "03:00 in Berlin, the first that is not skipped": (
        BERLIN, "FREQ=DAILY", "03:00", "2h", "2026-03-29", "2026-03-30", ["2026-03-29T01:00/03:00"],
    ),
    "a duration over the hour that is skipped": (
        BERLIN, "FREQ=DAILY", "01:30", "2h", "2026-03-29", "2026-03-29T12:00", ["2026-03-29T00:30/02:30"],
    ),
    "a night of eight hours, one of them skipped": (
        BERLIN, "FREQ=WEEKLY;BYDAY=SA", "22:00", "8h", "2026-03-28", "2026-03-30",
        ["2026-03-28T21:00/2026-03-29T05:00"],
    ),
    "02:30 in New York, which one night has not": (
        NEW_YORK, "FREQ=DAILY", "02:30", "2h", "2026-03-07", "2026-03-10",
        ["2026-03-07T07:30/09:30", "2026-03-08T07:30/09:30", "2026-03-09T06:30/08:30"],
    ),
    "02:00 in New York, the first that is skipped": (
        NEW_YORK, "FREQ=DAILY", "02:00", "2h", "2026-03-08", "2026-03-09", ["2026-03-08T07:00/09:00"],
    ),
    "only on nights that lack the hour": (
        NEW_YORK, "FREQ=YEARLY;BYMONTH=3;BYDAY=2SU", "02:30", "1h", "2026-01-01", "2029-01-01",
        ["2026-03-08T07:30/08:30", "2027-03-14T07:30/08:30", "2028-03-12T07:30/08:30"],
    ),
    "02:15 on Lord Howe, where half an hour is skipped": (
        LORD_HOWE, "FREQ=DAILY", "02:15", "1h", "2026-10-02T12:00", "2026-10-05T12:00",
        ["2026-10-02T15:45/16:45", "2026-10-03T15:45/16:45", "2026-10-04T15:15/16:15"],
    ),
    "02:00 on Lord Howe, the first that is skipped": (
        LORD_HOWE, "FREQ=DAILY", "02:00", "1h", "2026-10-03T12:00", "2026-10-04T12:00", ["2026-10-03T15:30/16:30"],
    ),
    "01:30 in Dublin, whose winter is the exception": (
        DUBLIN, "FREQ=DAILY", "01:30", "2h", "2026-03-29", "2026-03-30", ["2026-03-29T01:30/03:30"],
    ),
    "midnight in Santiago, which one day has not": (
        SANTIAGO, "FREQ=DAILY", "00:00", "1h", "2026-09-06", "2026-09-07", ["2026-09-06T04:00/05:00"],
    ),
    "01:30 at Troll, where two hours are skipped": (
        TROLL, "FREQ=DAILY", "01:30", "1h", "2026-03-29", "2026-03-29T12:00", ["2026-03-29T01:30/02:30"],
    ),
    "a skipped hour is that after it, once": (
        BERLIN, "FREQ=HOURLY;BYHOUR=1,2,3", "01:00", "30m", "2026-03-28T12:00", "2026-03-29T12:00",
        ["2026-03-29T00:00/00:30", "2026-03-29T01:00/01:30"],
    ),
    "skipped half hours come in order, once": (
        BERLIN, "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=0,30", "02:00", "15m", "2026-03-29", "2026-03-30",
        ["2026-03-29T01:00/01:15", "2026-03-29T01:30/01:45"],
    ),
    "a skipped time falls between later ones": (
        BERLIN, "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,30", "02:15", "5m", "2026-03-28T12:00", "2026-03-29T12:00",
        ["2026-03-29T01:15/01:20", "2026-03-29T01:30/01:35"],
    ),
    "a weekend that lacks an hour": (
        BERLIN, "FREQ=WEEKLY;BYDAY=SA,SU", "00:00", "24h", "2026-03-27", "2026-03-31",
        ["2026-03-27T23:00/2026-03-29T23:00"],
    ),
    "last sundays up to summer time": (
        BERLIN, "FREQ=MONTHLY;BYDAY=-1SU", "02:30", "1h", "2026-01-01", "2026-05-01",
        ["2026-01-25T01:30/02:30", "2026-02-22T01:30/02:30", "2026-03-29T01:30/02:30", "2026-04-26T00:30/01:30"],
    ),
    # the night that has an hour twice
    "02:30 in Berlin, which one night has twice": (
        BERLIN, "FREQ=DAILY", "02:30", "2h", "2026-10-24", "2026-10-27",
        ["2026-10-24T00:30/02:30", "2026-10-25T00:30/02:30", "2026-10-26T01:30/03:30"],
    ),
    "02:00 in Berlin, the first that comes twice": (
        BERLIN, "FREQ=DAILY", "02:00", "2h", "2026-10-25", "2026-10-26", ["2026-10-25T00:00/02:00"],
    ),
    "03:00 in Berlin, the first that comes once": (
        BERLIN, "FREQ=DAILY", "03:00", "2h", "2026-10-25", "2026-10-26", ["2026-10-25T02:00/04:00"],
    ),
    "a duration over the hour that comes twice": (
        BERLIN, "FREQ=DAILY", "01:30", "2h", "2026-10-24T22:00", "2026-10-25T12:00",
        ["2026-10-24T23:30/2026-10-25T01:30"],
    ),
    "a night of eight hours, one of them twice": (
        BERLIN, "FREQ=WEEKLY;BYDAY=SA", "22:00", "8h", "2026-10-24", "2026-10-26",
        ["2026-10-24T20:00/2026-10-25T04:00"],
    ),
    "01:30 in New York, which one night has twice": (
        NEW_YORK, "FREQ=DAILY", "01:30", "2h", "2026-10-31", "2026-11-03",
        ["2026-10-31T05:30/07:30", "2026-11-01T05:30/07:30", "2026-11-02T06:30/08:30"],
    ),
    "02:00 in New York, the first that comes once": (
        NEW_YORK, "FREQ=DAILY", "02:00", "2h", "2026-11-01", "2026-11-02", ["2026-11-01T07:00/09:00"],
    ),
    "saturday night in New York, one hour of it twice": (
        NEW_YORK, "FREQ=WEEKLY;BYDAY=SA", "23:00", "6h", "2026-10-31", "2026-11-02", ["2026-11-01T03:00/09:00"],
    ),
    "only on nights that have the hour twice": (
        NEW_YORK, "FREQ=YEARLY;BYMONTH=11;BYDAY=1SU", "01:30", "1h", "2026-01-01", "2029-01-01",
        ["2026-11-01T05:30/06:30", "2027-11-07T05:30/06:30", "2028-11-05T05:30/06:30"],
    ),
    "01:45 on Lord Howe, where half an hour comes twice": (
        LORD_HOWE, "FREQ=DAILY", "01:45", "1h", "2026-04-03T12:00", "2026-04-06T12:00",
        ["2026-04-03T14:45/15:45", "2026-04-04T14:45/15:45", "2026-04-05T15:15/16:15"],
    ),
    "02:00 on Lord Howe, the first that comes once": (
        LORD_HOWE, "FREQ=DAILY", "02:00", "1h", "2026-04-04T12:00", "2026-04-05T12:00", ["2026-04-04T15:30/16:30"],
    ),
    "01:30 in Dublin, which one night has twice": (
        DUBLIN, "FREQ=DAILY", "01:30", "2h", "2026-10-25", "2026-10-26", ["2026-10-25T00:30/02:30"],
    ),
    "02:30 in Dublin, after the clock was set back": (
        DUBLIN, "FREQ=DAILY", "02:30", "2h", "2026-10-25", "2026-10-26", ["2026-10-25T02:30/04:30"],
    ),
    "23:30 in Santiago, which one evening has twice": (
        SANTIAGO, "FREQ=DAILY", "23:30", "1h", "2026-04-05", "2026-04-05T12:00", ["2026-04-05T02:30/03:30"],
    ),
    "each hour once, the second 02:00 left out": (
        BERLIN, "FREQ=HOURLY;BYHOUR=1,2,3", "01:00", "30m", "2026-10-24T12:00", "2026-10-25T12:00",
        ["2026-10-24T23:00/23:30", "2026-10-25T00:00/00:30", "2026-10-25T02:00/02:30"],
    ),
    "each hour of New York once": (
        NEW_YORK, "FREQ=HOURLY;BYHOUR=0,1,2", "00:00", "30m", "2026-11-01", "2026-11-01T12:00",
        ["2026-11-01T04:00/04:30", "2026-11-01T05:00/05:30", "2026-11-01T07:00/07:30"],
    ),
    "a weekend of an hour more, closed in its last": (
        BERLIN, "FREQ=WEEKLY;BYDAY=SA,SU", "00:00", "24h", "2026-10-23", "2026-10-27",
        ["2026-10-23T22:00/2026-10-25T22:00"],
    ),
    "last sundays up to winter time": (
        BERLIN, "FREQ=MONTHLY;BYDAY=-1SU", "02:30", "1h", "2026-09-01", "2026-12-01",
        ["2026-09-27T00:30/01:30", "2026-10-25T00:30/01:30", "2026-11-29T01:30/02:30"],
    ),
    "the end of a month that ends on the night of the change": (
        BERLIN, "FREQ=MONTHLY;BYMONTHDAY=-1", "02:30", "1h", "2027-09-01", "2027-12-01",
        ["2027-09-30T00:30/01:30", "2027-10-31T00:30/01:30", "2027-11-30T01:30/02:30"],
    ),
    "midnight in summer": (
        BERLIN, "FREQ=WEEKLY;BYDAY=MO", "00:00", "2h", "2026-07-01", "2026-07-10",
        ["2026-07-05T22:00/2026-07-06T00:00"],
    ),
    # what is asked for
    "an opening that has begun is whole": (
        SHANGHAI, "FREQ=DAILY", "02:00", "4h", "2026-01-04T19:00", "2026-01-04T20:00", ["2026-01-04T18:00/22:00"],
    ),
    "an opening that just ended is none": (
        SHANGHAI, "FREQ=DAILY", "02:00", "4h", "2026-01-04T22:00", "2026-01-05T12:00", [],
    ),
    "an opening that starts at the end of what is asked for is none": (
        SHANGHAI, "FREQ=DAILY", "02:00", "4h", "2026-01-04T12:00", "2026-01-04T18:00", [],
    ),
}  # fmt: skip

ONCE: dict[str, tuple[str, str, str, str]] = {
    "a night": (SHANGHAI, "2026-05-01T22:00", "2026-05-02T06:00", "2026-05-01T14:00/22:00"),
    "a night that lacks an hour": (
        BERLIN, "2026-03-28T22:00", "2026-03-29T06:00", "2026-03-28T21:00/2026-03-29T04:00",
    ),
    "a night that has an hour twice": (
        BERLIN, "2026-10-24T22:00", "2026-10-25T06:00", "2026-10-24T20:00/2026-10-25T05:00",
    ),
    "from a time that is skipped": (NEW_YORK, "2026-03-08T02:30", "2026-03-08T05:00", "2026-03-08T07:30/09:00"),
    "to a time that comes twice": (NEW_YORK, "2026-11-01T00:00", "2026-11-01T01:30", "2026-11-01T04:00/05:30"),
    "over a leap day": (NEW_YORK, "2028-02-28 22:00", "2028-03-01 02:00", "2028-02-29T03:00/2028-03-01T07:00"),
    "for two years": (SHANGHAI, "2026-01-01T08:00", "2028-01-01T08:00", "2026-01-01T00:00/2028-01-01T00:00"),
}  # fmt: skip

SATURDAYS = (SHANGHAI, "FREQ=WEEKLY;BYDAY=SA", "02:00", "4h")
NIGHT = (BERLIN, "FREQ=WEEKLY;BYDAY=SA", "22:00", "8h")
#: What it shows: window; freezes; asked from, until; openings.
FROZEN: dict[str, tuple[tuple[str, str, str, str], list[tuple[str, str, str]], str, str, list[str]]] = {
    "an opening that is frozen is none": (
        SATURDAYS, [(SHANGHAI, "2026-01-09T00:00", "2026-01-12T00:00")], "2026-01-01", "2026-01-20",
        ["2026-01-02T18:00/22:00", "2026-01-16T18:00/22:00"],
    ),
    "frozen at first": (
        SATURDAYS, [(SHANGHAI, "2026-01-10T00:00", "2026-01-10T03:00")], "2026-01-08", "2026-01-12",
        ["2026-01-09T19:00/22:00"],
    ),
    "frozen at last": (
        SATURDAYS, [(SHANGHAI, "2026-01-10T04:00", "2026-01-10T12:00")], "2026-01-08", "2026-01-12",
        ["2026-01-09T18:00/20:00"],
    ),
    "frozen between": (
        SATURDAYS, [(SHANGHAI, "2026-01-10T03:00", "2026-01-10T04:00")], "2026-01-08", "2026-01-12",
        ["2026-01-09T18:00/19:00", "2026-01-09T20:00/22:00"],
    ),
    "frozen twice, overlapping": (
        SATURDAYS,
        [(SHANGHAI, "2026-01-10T03:00", "2026-01-10T05:00"), (SHANGHAI, "2026-01-10T02:30", "2026-01-10T03:30")],
        "2026-01-08", "2026-01-12", ["2026-01-09T18:00/18:30", "2026-01-09T21:00/22:00"],
    ),
    "frozen twice, one within the other": (
        SATURDAYS,
        [(SHANGHAI, "2026-01-10T03:00", "2026-01-10T03:30"), (SHANGHAI, "2026-01-10T02:30", "2026-01-10T05:00")],
        "2026-01-08", "2026-01-12", ["2026-01-09T18:00/18:30", "2026-01-09T21:00/22:00"],
    ),
    "frozen from the end on": (
        SATURDAYS, [(SHANGHAI, "2026-01-10T06:00", "2026-01-11T00:00")], "2026-01-08", "2026-01-12",
        ["2026-01-09T18:00/22:00"],
    ),
    "frozen up to the start": (
        SATURDAYS, [(SHANGHAI, "2026-01-09T00:00", "2026-01-10T02:00")], "2026-01-08", "2026-01-12",
        ["2026-01-09T18:00/22:00"],
    ),
    "frozen in another zone": (
        SATURDAYS, [("UTC", "2026-01-09T19:00", "2026-01-09T20:00")], "2026-01-08", "2026-01-12",
        ["2026-01-09T18:00/19:00", "2026-01-09T20:00/22:00"],
    ),
    "frozen over new year": (
        (SHANGHAI, "FREQ=WEEKLY;BYDAY=FR", "22:00", "4h"), [(SHANGHAI, "2025-12-24T00:00", "2026-01-05T00:00")],
        "2025-12-16", "2026-01-15", ["2025-12-19T14:00/18:00", "2026-01-09T14:00/18:00"],
    ),
    "frozen on a leap day": (
        (SHANGHAI, "FREQ=DAILY", "02:00", "4h"), [(SHANGHAI, "2028-02-29T00:00", "2028-03-01T00:00")],
        "2028-02-27", "2028-03-01", ["2028-02-27T18:00/22:00", "2028-02-29T18:00/22:00"],
    ),
    "frozen over the hour that is skipped": (
        NIGHT, [(BERLIN, "2026-03-29T01:30", "2026-03-29T03:30")], "2026-03-28", "2026-03-30",
        ["2026-03-28T21:00/2026-03-29T00:30", "2026-03-29T01:30/05:00"],
    ),
    "frozen until a time that is skipped": (
        NIGHT, [(BERLIN, "2026-03-29T00:00", "2026-03-29T02:30")], "2026-03-28", "2026-03-30",
        ["2026-03-28T21:00/23:00", "2026-03-29T01:30/05:00"],
    ),
    "frozen over the hour that comes twice": (
        NIGHT, [(BERLIN, "2026-10-25T02:00", "2026-10-25T03:00")], "2026-10-24", "2026-10-26",
        ["2026-10-24T20:00/2026-10-25T00:00", "2026-10-25T02:00/04:00"],
    ),
    "asked for after the freeze": (
        SATURDAYS, [(SHANGHAI, "2026-01-10T03:00", "2026-01-10T04:00")], "2026-01-09T20:30", "2026-01-12",
        ["2026-01-09T20:00/22:00"],
    ),
    "asked for in the freeze": (
        SATURDAYS, [(SHANGHAI, "2026-01-10T03:00", "2026-01-10T04:00")], "2026-01-09T19:30", "2026-01-12",
        ["2026-01-09T20:00/22:00"],
    ),
    "frozen for years": (
        SATURDAYS, [(SHANGHAI, "2026-01-01T00:00", "2099-01-01T00:00")], "2026-01-01", "2099-01-05",
        ["2099-01-02T18:00/22:00"],
    ),
}  # fmt: skip


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def expected(texts: list[str]) -> list[tuple[datetime, datetime]]:
    """Return the moments of ``2026-01-31T22:00/23:00``; the end may have a date of its own."""
    found = []
    for text in texts:
        start, end = text.split("/")
        found.append((utc(start), utc(end if "T" in end else f"{start[:11]}{end}")))
    return found


def recurring(zone: str, rule: str, start: str, duration: str) -> dict[str, Any]:
    return {"timezone": zone, "rrule": rule, "start": start, "duration": duration}


def calendar(*windows: dict[str, Any], freezes: list[tuple[str, str, str]] | None = None) -> Calendar:
    frozen = [{"timezone": z, "start": a, "end": b, "reason": "quiet days"} for z, a, b in freezes or []]
    return parse_document(Calendar, {"windows": list(windows), "freezes": frozen}, "windows.yaml")


def moments(openings: list[Opening]) -> list[tuple[datetime, datetime]]:
    return [(x.start, x.end) for x in openings]


@pytest.mark.parametrize("name", RECURRING)
def test_a_recurring_window_opens(name: str) -> None:
    zone, rule, start, duration, after, until, openings = RECURRING[name]
    found = calendar(recurring(zone, rule, start, duration)).openings(utc(after), utc(until))
    assert moments(found) == expected(openings)
    assert {x.timezone for x in found} <= {zone}


@pytest.mark.parametrize("name", ONCE)
def test_a_window_opens_once(name: str) -> None:
    zone, start, end, opening = ONCE[name]
    once = calendar({"timezone": zone, "start": start, "end": end})
    assert moments(once.openings(utc("2025-01-01"), utc("2030-01-01"))) == expected([opening])
    assert once.next_opening(utc("2029-01-01")) is None


@pytest.mark.parametrize("name", FROZEN)
def test_a_freeze_beats_a_window(name: str) -> None:
    window, freezes, after, until, openings = FROZEN[name]
    found = calendar(recurring(*window), freezes=freezes).openings(utc(after), utc(until))
    assert moments(found) == expected(openings)


def test_windows_that_overlap_or_touch_are_one_opening() -> None:
    windows = [
        recurring(SHANGHAI, "FREQ=WEEKLY;BYDAY=SA", "04:00", "4h"),
        recurring(SHANGHAI, "FREQ=WEEKLY;BYDAY=SA", "02:00", "4h"),
        recurring(SHANGHAI, "FREQ=WEEKLY;BYDAY=SA", "03:00", "30m"),
        recurring(BERLIN, "FREQ=WEEKLY;BYDAY=SA", "01:00", "1h"),  # 08:00 in Shanghai
    ]
    whole = expected(["2026-01-09T18:00/2026-01-10T01:00"])
    several = calendar(*windows)
    assert moments(several.openings(utc("2026-01-08"), utc("2026-01-12"))) == whole
    for moment in ("2026-01-09T18:00", "2026-01-09T23:59", "2026-01-10T00:30"):
        current = several.current(utc(moment))
        assert current
        assert moments([current]) == whole, "wherever in it one asks"


def test_windows_that_never_close_are_given_in_parts_of_a_year_at_most() -> None:
    halves = [recurring("UTC", "FREQ=DAILY", "00:00", "12h"), recurring("UTC", "FREQ=DAILY", "12:00", "12h")]
    openings = calendar(*halves).openings(utc("2026-06-01"), utc("2028-06-01"))
    assert openings[0].start <= utc("2026-06-01")
    assert openings[-1].end >= utc("2028-06-01")
    assert all(a.end == b.start for a, b in pairwise(openings))
    assert max(x.end - x.start for x in openings) <= timedelta(days=366)


def test_without_a_window_everything_that_is_not_frozen_is_open() -> None:
    always = calendar(freezes=[("UTC", "2026-01-02T00:00", "2026-01-03T00:00")])
    assert moments(always.openings(utc("2026-01-01"), utc("2026-01-05"))) == expected(
        ["2026-01-01T00:00/2026-01-02T00:00", "2026-01-03T00:00/2027-01-04T00:00"]
    )
    assert always.is_open(utc("2026-01-01T23:59"))
    assert not always.is_open(utc("2026-01-02T00:00"))
    assert always.is_open(utc("2026-01-03T00:00"))


def test_an_opening_begins_with_its_start_and_is_over_at_its_end() -> None:
    saturdays = calendar(recurring(*SATURDAYS))
    assert not saturdays.is_open(utc("2026-01-09T17:59:59"))
    assert saturdays.is_open(utc("2026-01-09T18:00"))
    assert saturdays.is_open(utc("2026-01-09T21:59:59"))
    assert not saturdays.is_open(utc("2026-01-09T22:00"))


def test_the_next_opening_is_one_that_has_not_begun() -> None:
    saturdays = calendar(recurring(*SATURDAYS))
    for moment in ("2026-01-09T18:00", "2026-01-09T20:00", "2026-01-09T22:00", "2026-01-16T17:59:59"):
        following = saturdays.next_opening(utc(moment))
        assert following
        assert moments([following]) == expected(["2026-01-16T18:00/22:00"])


def test_moments_may_be_asked_for_in_any_zone_but_not_in_none() -> None:
    saturdays = calendar(recurring(*SATURDAYS))
    assert saturdays.is_open(datetime(2026, 1, 10, 3, 0, tzinfo=ZoneInfo(SHANGHAI)))
    with pytest.raises(TypeError, match="offset-naive"):
        saturdays.is_open(datetime(2026, 1, 10, 3, 0))


def test_an_opening_says_what_the_clock_on_the_wall_shows() -> None:
    (opening,) = calendar(recurring(*NIGHT)).openings(utc("2026-10-24"), utc("2026-10-26"))
    start, end = opening.local
    assert (start.isoformat(), end.isoformat()) == ("2026-10-24T22:00:00+02:00", "2026-10-25T05:00:00+01:00")


def test_starts_are_when_windows_open_frozen_or_not_each_moment_once() -> None:
    twice = calendar(
        recurring(*SATURDAYS), recurring(SHANGHAI, "FREQ=DAILY", "02:00", "1h"),
        freezes=[(SHANGHAI, "2026-01-09T00:00", "2026-01-12T00:00")],
    )  # fmt: skip
    starts = twice.starts(utc("2026-01-08T18:00"))
    assert [next(starts) for _ in range(3)] == [utc(f"2026-01-{day:02}T18:00") for day in (8, 9, 10)]


def test_the_freeze_of_a_moment_is_the_one_that_ends_last() -> None:
    ends = ("2026-01-03T00:00", "2026-01-09T00:00", "2026-01-05T00:00")
    frozen = calendar(freezes=[("UTC", "2026-01-02T00:00", end) for end in ends])
    found = frozen.frozen(utc("2026-01-02T00:00"))
    assert found
    assert found.end == "2026-01-09T00:00"
    assert frozen.frozen(utc("2026-01-01T23:59")) is None
    assert frozen.frozen(utc("2026-01-09T00:00")) is None


def test_freezes_that_cover_every_window_of_the_next_year_are_refused() -> None:
    freezes = [(SHANGHAI, "2026-01-01T00:00", "2026-08-01T00:00"), (SHANGHAI, "2026-08-01T00:00", "2027-03-01T00:00")]
    frozen = calendar(recurring(*SATURDAYS), freezes=freezes)
    with pytest.raises(InvalidInput) as error:
        refuse_all_frozen(frozen, utc("2026-02-01"), "deployments/inventory.yaml")
    assert str(error.value).startswith(
        "read deployments/inventory.yaml: freezes: 'quiet days' (2026-01-01T00:00 to 2026-08-01T00:00), "
        "'quiet days' (2026-08-01T00:00 to 2027-03-01T00:00) cover every window until 2027-02-02"
    )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("windows", "freezes"),
    [
        ([recurring(*SATURDAYS)], [(SHANGHAI, "2026-01-01T00:00", "2027-01-30T03:00")]),
        ([recurring(*SATURDAYS)], []),
        ([], [("UTC", "2026-01-01T00:00", "2026-12-01T00:00")]),
        ([{"timezone": "UTC", "start": "2025-01-01T00:00", "end": "2025-01-02T00:00"}],
         [("UTC", "2026-01-01T00:00", "2027-12-01T00:00")]),
    ],
    ids=["something is left", "nothing is frozen", "there is no window", "no window would open anyhow"],
)  # fmt: skip
def test_other_freezes_are_not_refused(windows: list[dict[str, Any]], freezes: list[tuple[str, str, str]]) -> None:
    refuse_all_frozen(calendar(*windows, freezes=freezes), utc("2026-02-01"), "x")
