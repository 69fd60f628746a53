"""Verb ``windows``: when each cluster of an inventory opens next, and what is planned then."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from compass.clock import iso, system_clock
from compass.errors import EXIT_DONE, InvalidInput
from compass.site.inventory import Inventory, InventoryCluster, InventorySite, refuse_never_open
from compass.steps.discover import read_whole
from compass.store import write_file
from compass.window.coming import Coming, Start, coming
from compass.window.openings import Opening
from compass.window.picture import Row, common_zone, draw
from flows.screen import Screen

SHOWN = 3
MOST_WEEKS = 53
Cell = tuple[InventorySite, InventoryCluster, Coming]


def windows(path: Path, screen: Screen, *, weeks: int, svg: Path | None) -> int:
    """Show the next openings of every cluster and what starts in each; ``svg`` draws the coming weeks into a file.

    Raises:
        InvalidInput: something in the inventory is wrong, or ``weeks`` has no sense.
    """
    if not 1 <= weeks <= MOST_WEEKS:
        raise InvalidInput("read option", "--weeks", found=str(weeks), expected=f"1 to {MOST_WEEKS}")
    inventory = read_whole(path)
    now = system_clock().now()
    refuse_never_open(inventory, now, str(path))
    cells = [
        (site, cluster, look_ahead(inventory, site, cluster, now, now + timedelta(weeks=weeks)))
        for site, cluster in inventory.each()
    ]
    if svg is not None:
        if not svg.expanduser().parent.is_dir():
            raise InvalidInput("write picture", svg, found="no such folder", expected="a folder that is there")
        rows = [Row(cluster.name, found, inventory.calendar(site, cluster).freezes) for site, cluster, found in cells]
        write_file(svg, draw(rows, now, weeks * 7, common_zone(rows)).encode())
        screen.tell(f"written: {svg}")
    screen.result([_json(*x) for x in cells], lambda: _show(screen, cells, weeks, now))
    return EXIT_DONE


def look_ahead(
    inventory: Inventory, site: InventorySite, cluster: InventoryCluster, now: datetime, until: datetime
) -> Coming:
    """Return the coming weeks of one cluster of an inventory."""
    calendar, verbs = inventory.calendar(site, cluster), inventory.at_opening_of(site, cluster)
    return coming(calendar, verbs, list(cluster.schedules.items()), now, until)


def _show(screen: Screen, cells: list[Cell], weeks: int, now: datetime) -> None:
    rows: list[tuple[str, ...]] = []
    for site, cluster, found in cells:
        lines: list[tuple[datetime, tuple[str, ...]]] = []
        if found.always and found.openings:
            lines.append((found.openings[0].start, ("at any time", *_frozen_between(found), "", "")))
        for opening in found.openings[:SHOWN] if not found.always else ():
            start, end = (f"{x:%a %Y-%m-%d %H:%M}" for x in opening.local)
            start = "open now" if opening.start <= now else start
            lines.append((opening.start, (start, end, opening.timezone, _planned(found, opening))))
        if not found.always and (rest := found.openings[SHOWN:]):
            lines.append((rest[0].start, (f"and {len(rest)} more in {weeks} weeks", "", "", "")))
        for verb in cluster.schedules:
            first = next((x for x in found.scheduled if verb in x.verbs), None)
            if first:
                at = first.at.astimezone(ZoneInfo(first.timezone))
                lines.append((first.at, (f"{at:%a %Y-%m-%d %H:%M}", "", first.timezone, f"{verb}, whatever is open")))
        if not found.openings:
            rows.append((cluster.name, site.name, f"none in {weeks} weeks", "", "", ""))
        rows += [(cluster.name, site.name, *words) for _, words in sorted(lines)]
    screen.table(("cluster", "site", "opens", "closes", "zone", "planned"), rows)


def _frozen_between(found: Coming) -> tuple[str]:
    breaks = len(found.openings) - 1
    return (f"but for {breaks} freezes" if breaks else "",)


def _planned(found: Coming, opening: Opening) -> str:
    zone = ZoneInfo(opening.timezone)
    return "; ".join(f"{', '.join(x.verbs)} {x.at.astimezone(zone):%H:%M}" for x in found.within(opening))


def _json(site: InventorySite, cluster: InventoryCluster, found: Coming) -> dict[str, Any]:
    return {
        "cluster": cluster.name,
        "site": site.name,
        "anyTime": found.always,
        "openings": [
            {
                "start": iso(x.start), "end": iso(x.end), "timezone": x.timezone,
                "planned": [_start_json(y) for y in found.within(x)],
            }
            for x in found.openings
        ],
        "scheduled": [_start_json(x) for x in found.scheduled],
    }  # fmt: skip


def _start_json(start: Start) -> dict[str, Any]:
    return {"at": iso(start.at), "verbs": list(start.verbs)}
