"""How the tables stand: as text that Prometheus reads, and as a picture of how old each station's data is. Pure, but
for `write`, which puts the text where node_exporter looks."""

from __future__ import annotations

import base64
import html
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stationsync.errors import SetUpError
from stationsync.health.status import State, TableStatus
from stationsync.model.amounts import format_age

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


def chart(tables: Sequence[TableStatus], now: datetime) -> str:
    """The picture travels inside the text, so a browser that sees the page needs nothing else."""
    shown = tables[:_BARS]
    more = f" The worst {len(shown):,} of {len(tables):,} tables." if len(tables) > len(shown) else ""
    picture = base64.b64encode(svg(shown).encode()).decode()
    head = f"# How old the data is\n\nAs of {now:%Y-%m-%d %H:%M:%S} UTC.{more}\n\n"
    return f"{head}![how old the data of each table is](data:image/svg+xml;base64,{picture})\n"


def svg(tables: Sequence[TableStatus]) -> str:
    """A bar a table, as long as its data is old; a tick where stale_after allows no more."""
    longest = max([60.0, *(_age(one.lag) for one in tables), *(_age(one.fresh.stale_after) for one in tables)])
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
    colour, middle, said = _COLOURS[one.state], top + 14, f"{format_age(one.lag)} {one.state}".strip()
    # Of data that never came, the bar is as long as there is room.
    end = _x(_age(one.lag) if one.lag is not None else longest, longest)
    limit = _x(_age(one.fresh.stale_after), longest)
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


def _age(age: timedelta | None) -> float:
    return 0.0 if age is None else max(0.0, age.total_seconds())


def _x(seconds: float, longest: float) -> int:
    return _LEFT + round(_WIDTH * math.log1p(seconds) / math.log1p(longest))


Value = float | None
_LABELS = ("station", "table")


def _seconds(moment: datetime | None) -> Value:
    return moment.replace(tzinfo=UTC).timestamp() if moment else None


# Name, help, value; None where there is none to tell.
_GAUGES: tuple[tuple[str, str, Callable[[TableStatus], Value]], ...] = (
    (
        "up",
        "1 where the last runs of the table came to their end, 0 where one failed or found no station.",
        lambda one: one.state not in (State.FAILED, State.OFFLINE, State.NEVER, State.NEW),
    ),
    (
        "lag_seconds",
        "How old is what control has of the table, or the station of control's edits. Absent before the first run.",
        lambda one: one.lag.total_seconds() if one.lag is not None else None,
    ),
    (
        "stale",
        "1 where that is older than stale_after allows; a paused station is told by its state.",
        lambda one: one.fresh.stale,
    ),
    ("paused", "1 where somebody paused the station.", lambda one: one.pause is not None),
    ("waiting_edits", "Edits of control's that have not gone down yet.", lambda one: one.waiting),
    ("quarantined_rows", "Rows in quarantine that are open.", lambda one: one.quarantined),
    ("conflicts", "Conflicts that are kept.", lambda one: one.conflicts),
    (
        "last_run_timestamp_seconds",
        "When the last run wrote down how it went, on control's clock.",
        lambda one: _seconds(one.last_run),
    ),
    (
        "equal_up_to_timestamp_seconds",
        "Up to when the last reconcile proved both sides equal, on the station's clock.",
        lambda one: _seconds(one.equal_up_to),
    ),
)


def prometheus(tables: Sequence[TableStatus], now: datetime) -> str:
    """The text exposition format, 0.0.4. `now` is when it was looked."""
    # Here, because it takes longer to import than all else that `stationsync status` does.
    from prometheus_client.exposition import generate_latest
    from prometheus_client.metrics_core import GaugeMetricFamily
    from prometheus_client.registry import Collector

    class Collected(Collector):
        def collect(self) -> Iterator[GaugeMetricFamily]:
            for name, text, value_of in _GAUGES:
                family = GaugeMetricFamily(f"stationsync_{name}", text, labels=_LABELS)
                for one in tables:
                    if (value := value_of(one)) is not None:
                        family.add_metric((one.station, one.table), value)
                yield family
            text = "The word that `stationsync status` has for the table, as a label."
            family = GaugeMetricFamily("stationsync_state", text, labels=(*_LABELS, "state"))
            for one in tables:
                family.add_metric((one.station, one.table, one.state), 1)
            yield family
            text = "When these numbers were read."
            yield GaugeMetricFamily("stationsync_report_timestamp_seconds", text, value=_seconds(now))

    return generate_latest(Collected()).decode()


def write(path: Path, text: str) -> None:
    """Whole or not at all: who reads it meanwhile has the old file or the new one. Raises SetUpError."""
    part = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
        ) as file:
            part = file.name
            file.write(text)
        # Another user, such as node_exporter's, reads it.
        os.chmod(part, 0o644)
        os.replace(part, path)
    except OSError as error:
        if part:
            Path(part).unlink(missing_ok=True)
        what = f"cannot be written: {error.strerror or type(error).__name__}"
        step = "Make its folder one that this user may write to, or name another under defaults.metrics_file."
        raise SetUpError(str(path), what, not_done="The metrics were not written.", next_step=step) from error
