"""How the tables stand, as text that Prometheus reads. The text is pure; `write` puts it where node_exporter looks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stationsync.errors import SetUpError
from stationsync.health.status import TableStatus
from stationsync.health.status_rule import State

Value = float | None


@dataclass(frozen=True)
class _Gauge:
    """`value` is None where there is none to tell."""

    name: str
    help: str
    value: Callable[[TableStatus], Value]


def _seconds(moment: datetime | None) -> Value:
    return moment.replace(tzinfo=UTC).timestamp() if moment else None


_GAUGES = (
    _Gauge(
        "up",
        "1 where the last runs of the table came to their end, 0 where one failed or found no station.",
        lambda one: float(one.state not in (State.FAILED, State.OFFLINE, State.NEVER, State.NEW)),
    ),
    _Gauge(
        "lag_seconds",
        "How old is what control has of the table, or the station of control's edits. Absent before the first run.",
        lambda one: one.lag.total_seconds() if one.lag is not None else None,
    ),
    _Gauge(
        "stale",
        "1 where that is older than stale_after allows; a paused station is told by its state.",
        lambda one: float(one.fresh.stale),
    ),
    _Gauge("paused", "1 where somebody paused the station.", lambda one: float(one.pause is not None)),
    _Gauge(
        "waiting_edits",
        "Edits of control's that have not gone down yet.",
        lambda one: None if one.waiting is None else float(one.waiting),
    ),
    _Gauge("quarantined_rows", "Rows in quarantine that are open.", lambda one: float(one.quarantined)),
    _Gauge("conflicts", "Conflicts that are kept.", lambda one: float(one.conflicts)),
    _Gauge(
        "last_run_timestamp_seconds",
        "When the last run wrote down how it went, on control's clock.",
        lambda one: _seconds(one.last_run),
    ),
    _Gauge(
        "equal_up_to_timestamp_seconds",
        "Up to when the last reconcile proved both sides equal, on the station's clock.",
        lambda one: _seconds(one.equal_up_to),
    ),
)


def prometheus(tables: Sequence[TableStatus], now: datetime) -> str:
    """The text exposition format, 0.0.4. `now` is when it was looked."""
    return "".join(f"{line}\n" for line in _lines(tables, now))


def _lines(tables: Sequence[TableStatus], now: datetime) -> Iterator[str]:
    for gauge in _GAUGES:
        samples = ((_labels(one), gauge.value(one)) for one in tables)
        yield from _family(gauge.name, gauge.help, samples)
    of_state = ((f"{_labels(one)},state={_quoted(one.state)}", 1.0) for one in tables)
    yield from _family("state", "The word that `stationsync status` has for the table, as a label.", of_state)
    yield from _family("report_timestamp_seconds", "When these numbers were read.", [("", _seconds(now))])


def _family(name: str, text: str, samples: Iterable[tuple[str, Value]]) -> Iterator[str]:
    yield f"# HELP stationsync_{name} {text}"
    yield f"# TYPE stationsync_{name} gauge"
    for labels, value in samples:
        if value is not None:
            yield f"stationsync_{name}{f'{{{labels}}}' if labels else ''} {_number(value)}"


def _labels(one: TableStatus) -> str:
    return f"station={_quoted(one.station)},table={_quoted(one.table)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(round(value, 6))


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
