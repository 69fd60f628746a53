"""The coming weeks of many clusters as one SVG picture, whole in itself: no script, no font, no address to fetch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape, quoteattr
from zoneinfo import ZoneInfo

from compass.window.coming import Coming, Start
from compass.window.model import Freeze

_LEFT, _DAY, _ROW, _HEAD, _FOOT = 190, 36, 22, 64, 34
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.small{font-size:10px;fill:#555}.title{font-size:15px;font-weight:bold}"
    ".weekend{fill:#f1f3f6}.line{stroke:#d8dce2}.open{fill:#3b8f5a}.any{fill:#bcd9c6}.frozen{fill:#8fb3d9}"
    ".start{stroke:#b3261e;stroke-width:2}.scheduled{fill:#6b4fa0}"
)


@dataclass(frozen=True)
class Row:
    """One cluster of the picture."""

    name: str
    coming: Coming
    freezes: tuple[Freeze, ...] = ()


def draw(rows: Sequence[Row], now: datetime, days: int, timezone: str) -> str:
    """Return the picture of ``days`` days from the day of ``now`` on, as the clock of one time zone shows them."""
    return "\n".join([*_Picture(now, days, timezone).lines(rows), ""])


class _Picture:
    def __init__(self, now: datetime, days: int, timezone: str) -> None:
        self.zone, self.timezone, self.days, self.now = ZoneInfo(timezone), timezone, days, now
        self.first = now.astimezone(self.zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        self.right = _LEFT + days * _DAY

    def lines(self, rows: Sequence[Row]) -> Iterator[str]:
        height = _HEAD + len(rows) * _ROW + _FOOT
        width = self.right + 20
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'role="img">'
        )
        yield f"<title>Windows of {len(rows)} clusters, {self.days} days from {self.first:%Y-%m-%d}</title>"
        yield f"<style>{_STYLE}</style>"
        yield f'<rect width="{width}" height="{height}" fill="#fff"/>'
        yield f'<text class="title" x="10" y="22">Windows from {self.first:%Y-%m-%d}, {escape(self.timezone)}</text>'
        yield from self._days(_HEAD + len(rows) * _ROW)
        for number, row in enumerate(rows):
            yield from self._row(row, _HEAD + number * _ROW)
        yield self._bar(
            "now", self.x(self.now), self.x(self.now) + 1, 50, height - _FOOT - 50, f"now {self.said(self.now)}"
        )
        yield from self._legend(height - 12)
        yield "</svg>"

    def x(self, moment: datetime) -> float:
        """Return where a moment is, by the clock on the wall; what lies outside is at the edge."""
        local = moment.astimezone(self.zone).replace(tzinfo=None) if moment.year < 9999 else datetime.max
        days = (local - self.first) / timedelta(days=1)
        return round(_LEFT + min(max(days, 0.0), float(self.days)) * _DAY, 1)

    def said(self, moment: datetime) -> str:
        return f"{moment.astimezone(self.zone):%a %Y-%m-%d %H:%M}"

    def _days(self, bottom: int) -> Iterator[str]:
        for number in range(self.days):
            day, x = self.first + timedelta(days=number), _LEFT + number * _DAY
            if day.weekday() >= 5:
                yield f'<rect class="weekend" x="{x}" y="30" width="{_DAY}" height="{bottom - 30}"/>'
            yield f'<line class="line" x1="{x}" y1="30" x2="{x}" y2="{bottom}"/>'
            yield f'<text class="small" x="{x + 3}" y="44">{day:%a}</text>'
            yield f'<text class="small" x="{x + 3}" y="57">{day:%m-%d}</text>'

    def _row(self, row: Row, y: int) -> Iterator[str]:
        name = row.name if len(row.name) <= 26 else f"{row.name[:25]}…"
        yield f'<text x="10" y="{y + 15}">{escape(name)}<title>{escape(row.name)}</title></text>'
        yield f'<line class="line" x1="10" y1="{y + _ROW}" x2="{self.right}" y2="{y + _ROW}"/>'
        for opening in row.coming.openings:
            said = f"{row.name}: open {self.said(opening.start)} to {self.said(opening.end)}"
            if row.coming.always:
                said = f"{row.name}: at any time"
            kind = "any" if row.coming.always else "open"
            yield self._bar(kind, self.x(opening.start), self.x(opening.end), y + 5, _ROW - 9, said)
        for freeze in row.freezes:
            start, end = self.x(freeze.span.start), self.x(freeze.span.end)
            if start < end:
                said = f"{row.name}: frozen {freeze.start} to {freeze.end} {freeze.timezone}: {freeze.reason}"
                yield self._bar("frozen", start, end, y + _ROW - 6, 4, said)
        yield from (self._start(row.name, x, y) for x in row.coming.starts)
        for start_ in row.coming.scheduled:
            said = f"{row.name}: {', '.join(start_.verbs)} {self.said(start_.at)}"
            yield (
                f'<circle class="scheduled" cx="{self.x(start_.at)}" cy="{y + 10}" r="2.5">'
                f"<title>{escape(said)}</title></circle>"
            )

    def _start(self, name: str, start: Start, y: int) -> str:
        said = f"{name}: {', '.join(start.verbs)} {self.said(start.at)}"
        x, top, bottom = self.x(start.at), y + 2, y + _ROW - 2
        line = f'<line class="start" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}">'
        return f"{line}<title>{escape(said)}</title></line>"

    def _bar(self, kind: str, start: float, end: float, y: int, height: int, said: str) -> str:
        width = max(round(end - start, 1), 1.0)
        fill = ' fill="#b3261e" opacity="0.4"' if kind == "now" else ""
        return (
            f'<rect class={quoteattr(kind)}{fill} x="{start}" y="{y}" width="{width}" height="{height}">'
            f"<title>{escape(said)}</title></rect>"
        )

    def _legend(self, y: int) -> Iterator[str]:
        x = 10
        for kind, words in (("open", "open"), ("any", "at any time"), ("frozen", "frozen")):
            yield f'<rect class="{kind}" x="{x}" y="{y - 9}" width="16" height="9"/>'
            yield f'<text class="small" x="{x + 21}" y="{y}">{words}</text>'
            x += 100
        yield f'<line class="start" x1="{x}" y1="{y - 11}" x2="{x}" y2="{y + 1}"/>'
        yield f'<text class="small" x="{x + 6}" y="{y}">starts at an opening</text>'
        yield f'<circle class="scheduled" cx="{x + 143}" cy="{y - 4}" r="2.5"/>'
        yield f'<text class="small" x="{x + 150}" y="{y}">scheduled; changes nothing</text>'


def common_zone(rows: Sequence[Row]) -> str:
    """Return the time zone of most openings; UTC where there is none."""
    zones = [x.timezone for row in rows if not row.coming.always for x in row.coming.openings]
    return max(sorted(set(zones)), key=zones.count, default=str(UTC))
