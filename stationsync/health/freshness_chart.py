"""How old each station's data is, as Markdown with a picture in it. Pure."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from stationsync.health.status import TableStatus
from stationsync.health.status_rule import State

# Of a large fleet the worst; the table beside it has more.
_BARS = 40
_LEFT, _WIDTH, _RIGHT, _HEIGHT, _TOP = 250, 470, 180, 22, 34
# The scale is logarithmic: a minute and a month are both to be seen.
_MARKS = (
    (1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3_600, "1 h"), (21_600, "6 h"), (86_400, "1 d"),
    (604_800, "1 week"), (2_592_000, "30 d"), (31_536_000, "1 year"),
)  # fmt: skip
_COLOURS = {
    State.OK: "#2e9e5b", State.BEHIND: "#7cb342", State.PAUSED: "#8a94a6", State.OFFLINE: "#5c7cfa",
    State.STALE: "#f08c00", State.NEVER: "#c2255c", State.NEW: "#c2255c", State.FAILED: "#d9363e",
}  # fmt: skip


def short(lag: timedelta | None) -> str:
    """Its two largest units: "3d 4h", "12m 5s"; nothing where there is none."""
    if lag is None:
        return ""
    rest, parts = max(0, int(lag.total_seconds())), []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, rest = divmod(rest, seconds)
        parts += [f"{number}{unit}"] if number else []
    return " ".join(parts[:2]) or "0s"


def chart(tables: Sequence[TableStatus], now: datetime) -> str:
    """The picture travels inside the text, so a browser that sees the page needs nothing else."""
    shown = tables[:_BARS]
    more = f" The worst {len(shown):,} of {len(tables):,} tables." if len(tables) > len(shown) else ""
    picture = base64.b64encode(svg(shown).encode()).decode()
    head = f"# How old the data is\n\nAs of {now:%Y-%m-%d %H:%M:%S} UTC.{more}\n\n"
    return f"{head}![how old the data of each table is](data:image/svg+xml;base64,{picture})\n"


def svg(tables: Sequence[TableStatus]) -> str:
    """A bar a table, as long as its data is old; a tick where stale_after allows no more."""
    longest = max([60.0, *(_seconds(one.lag) for one in tables), *(_seconds(one.fresh.stale_after) for one in tables)])
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT * len(tables) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for seconds, text in _MARKS:
        if seconds <= longest:
            x = _x(seconds, longest)
            parts.append(f'<line x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height}" stroke="#e3e6eb"/>')
            parts.append(f'<text x="{x}" y="{_TOP - 14}" fill="#5f6b7a" text-anchor="middle">{text}</text>')
    for place, one in enumerate(tables):
        parts += _bar(one, _TOP + _HEIGHT * place, longest)
    return "".join([*parts, "</svg>"])


def _bar(one: TableStatus, top: int, longest: float) -> list[str]:
    colour, middle, said = _COLOURS[one.state], top + 14, f"{short(one.lag)} {one.state}".strip()
    # Of data that never came, the bar is as long as there is room.
    end = _x(_seconds(one.lag) if one.lag is not None else longest, longest)
    limit = _x(_seconds(one.fresh.stale_after), longest)
    name = html.escape(_cut(f"{one.station}/{one.table}"))
    return [
        f'<text x="{_LEFT - 8}" y="{middle}" fill="#1f2733" text-anchor="end">{name}</text>',
        f'<rect x="{_LEFT}" y="{top + 3}" width="{max(2, end - _LEFT)}" height="{_HEIGHT - 8}" fill="{colour}"'
        f"{'' if one.lag is not None else ' fill-opacity=' + chr(34) + '0.25' + chr(34)}/>",
        f'<line x1="{limit}" y1="{top + 1}" x2="{limit}" y2="{top + _HEIGHT - 3}" stroke="#1f2733"/>',
        f'<text x="{max(end, _LEFT) + 6}" y="{middle}" fill="#1f2733">{html.escape(said)}</text>',
    ]


def _cut(name: str) -> str:
    return name if len(name) <= 36 else f"{name[:35]}…"


def _seconds(age: timedelta | None) -> float:
    return 0.0 if age is None else max(0.0, age.total_seconds())


def _x(seconds: float, longest: float) -> int:
    return _LEFT + round(_WIDTH * math.log1p(seconds) / math.log1p(longest))
