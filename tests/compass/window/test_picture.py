"""The picture of the coming weeks is whole in itself and shows each opening where it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from compass.documents import parse_document
from compass.window.coming import coming
from compass.window.model import Window
from compass.window.openings import Calendar
from compass.window.picture import Row, common_zone, draw

NOW = datetime(2026, 1, 1, 10, tzinfo=UTC)
SATURDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=SA", "start": "12:00", "duration": "24h", "timezone": "UTC"}
REST = {"start": "2026-01-10T00:00", "end": "2026-01-11T00:00", "timezone": "UTC", "reason": "rest <&>"}
SVG = "{http://www.w3.org/2000/svg}"


def row(name: str = "one", *, windows: tuple[dict[str, str], ...] = (SATURDAYS,), days: int = 14) -> Row:
    calendar = parse_document(Calendar, {"windows": list(windows), "freezes": [REST]}, "windows.yaml")
    daily = parse_document(Window, {**SATURDAYS, "rrule": "FREQ=DAILY", "duration": "1s"}, "windows.yaml")
    verbs = ["upgrade"] if windows else []
    return Row(name, coming(calendar, verbs, [("check", daily)], NOW, NOW + timedelta(days=days)), calendar.freezes)


def shapes(text: str, tag: str, kind: str) -> list[ElementTree.Element]:
    """Return the shapes of a kind that say what they are: not those of the legend."""
    found = ElementTree.fromstring(text).iter(f"{SVG}{tag}")
    return [x for x in found if x.get("class") == kind and x.find(f"{SVG}title") is not None]


def test_an_opening_is_as_wide_as_it_is_long_and_where_its_day_is() -> None:
    text = draw([row()], NOW, 14, "UTC")
    first, second = shapes(text, "rect", "open")
    day = float(shapes(draw([row()], NOW, 14, "UTC"), "rect", "frozen")[0].attrib["width"])
    assert float(first.attrib["width"]) == day
    assert float(second.attrib["width"]) == day / 2, "the freeze has taken half of it"
    assert float(second.attrib["x"]) - float(first.attrib["x"]) == 7.5 * day
    assert float(first.attrib["x"]) == pytest.approx(190 + 2.5 * day)


def test_another_zone_moves_the_openings_by_its_hours() -> None:
    places = [
        float(shapes(draw([row()], NOW, 14, zone), "rect", "open")[0].attrib["x"]) for zone in ("UTC", "Asia/Shanghai")
    ]
    assert places[1] - places[0] == pytest.approx(8 / 24 * 36, abs=0.11)


def test_what_starts_and_what_is_scheduled_is_marked_with_its_words() -> None:
    text = draw([row()], NOW, 14, "UTC")
    (first, *_) = shapes(text, "line", "start")
    assert first.findtext(f"{SVG}title") == "one: upgrade Sat 2026-01-03 12:00"
    assert len(shapes(text, "circle", "scheduled")) == 14
    (freeze,) = shapes(text, "rect", "frozen")
    assert freeze.findtext(f"{SVG}title") == "one: frozen 2026-01-10T00:00 to 2026-01-11T00:00 UTC: rest <&>"


def test_a_cluster_without_windows_is_open_at_any_time() -> None:
    text = draw([row(windows=())], NOW, 14, "UTC")
    assert shapes(text, "rect", "open") == []
    assert [x.findtext(f"{SVG}title") for x in shapes(text, "rect", "any")] == ["one: at any time"] * 2


def test_names_are_words_and_never_markup() -> None:
    text = draw([row('<script>"&')], NOW, 7, "UTC")
    assert "<script" not in text
    assert ElementTree.fromstring(text).tag == f"{SVG}svg"


def test_the_picture_fetches_nothing() -> None:
    text = draw([row()], NOW, 7, "UTC")
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"href|@import|url\(|<script|<image|<foreignObject", text)


def test_nothing_is_drawn_outside_the_days_of_the_picture() -> None:
    text = draw([row(days=60)], NOW, 7, "UTC")
    for shape in ElementTree.fromstring(text).iter(f"{SVG}rect"):
        right = float(shape.attrib.get("x", 0)) + float(shape.attrib["width"])
        assert right <= 190 + 7 * 36 + 20


def test_the_zone_is_that_of_most_openings() -> None:
    shanghai = {**SATURDAYS, "timezone": "Asia/Shanghai"}
    assert common_zone([row(), row(windows=(shanghai,)), row(windows=(shanghai,)), row(windows=())]) == "Asia/Shanghai"
    assert common_zone([row(windows=())]) == "UTC"
