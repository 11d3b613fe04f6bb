"""`status`: how every table stands, from control's books; and when it runs next, where a Prefect API is configured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

import typer

from cli.common import Json, MaybeStation, Settings, print_json, say, settings, shown, table_lines
from cli.prefect_api import api_is_configured, next_runs
from stationsync.errors import StationSyncError, UsageError
from stationsync.health.status import State, TableStatus, worst_first
from stationsync.health.status import status as read_status
from stationsync.model.amounts import format_age
from stationsync.model.printable import printable
from stationsync.reconcile.proof import proof_in_words

HEADERS = (
    "station", "table", "state", "equal up to", "lag", "waiting", "quarantine", "conflicts", "last run", "next run",
)  # fmt: skip
_NO_API = "next run: not known here, because no Prefect API is configured (PREFECT_API_URL)"
# So many tables are told with all details.
_FEW = 20
_Next = Mapping[str, datetime]


@dataclass(frozen=True)
class _Look:
    """What is to be shown: `note` says why no next run is known."""

    tables: Sequence[TableStatus]
    next_runs: _Next
    note: str
    fleet: int

    @property
    def totals(self) -> dict[str, int]:
        states = [str(one.state) for one in self.tables]
        return {str(state): states.count(str(state)) for state in State if str(state) in states}


def status(
    ctx: typer.Context,
    station: MaybeStation = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="STATES", help=f"Only these, such as stale,failed. Of: {', '.join(State)}."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")] = 5,
    json: Json = False,
) -> None:
    """How each table stands, the worst first: what is proved equal up to when, how old the data is, what waits, is in
    quarantine and in conflict, and what the last run said.

    Reads control's books only, so it works while stations are off-line."""
    given, states = settings(ctx), _states(only)
    given.require_names(station)
    if watch and json:
        raise UsageError("--watch", "goes without --json.", not_done="Nothing was done.", next_step="Leave one out.")
    if watch:
        _watch(lambda: _look(given, station, states), every)
        return
    found = _look(given, station, states)
    if json:
        tables = [_as_dict(one, found.next_runs) for one in found.tables]
        print_json({"ok": True, "states": found.totals, "tables": tables, "next_run_note": found.note or None})
        return
    for line in _lines(found, details=station is not None or len(found.tables) <= _FEW):
        say(line)


def _states(only: str | None) -> frozenset[State]:
    given = [word.strip() for word in (only or "").split(",") if word.strip()]
    if wrong := [word for word in given if word not in list(State)]:
        step = f"Write one or more of: {', '.join(State)}"
        raise UsageError("--only", f"no such state: {', '.join(wrong)}.", not_done="Nothing was done.", next_step=step)
    return frozenset(map(State, given))


def _look(given: Settings, station: str | None, states: frozenset[State]) -> _Look:
    found = read_status(given.control, given.topology, [station] if station else None)
    chosen = [one for one in worst_first(found) if not states or one.state in states or _too_old(one, states)]
    coming, note = _next_runs(given, station)
    return _Look(chosen, coming, note, len(found))


def _too_old(one: TableStatus, states: frozenset[State]) -> bool:
    """Who asks for what is stale wants it also where another word goes before."""
    return State.STALE in states and one.fresh.stale and one.pause is None


def _next_runs(given: Settings, station: str | None) -> tuple[_Next, str]:
    if not api_is_configured():
        return {}, _NO_API
    try:
        return next_runs(given.topology, station), ""
    except StationSyncError as error:
        return {}, f"next run: not known, because {error.place} {error.what}"


def _as_dict(one: TableStatus, coming: _Next) -> dict[str, Any]:
    pause = {"since": one.pause.since, "by": one.pause.who, "reason": one.pause.reason} if one.pause else None
    return {
        "station": one.station,
        "table": one.table,
        "state": str(one.state),
        "stale": one.fresh.stale,
        "equal_up_to": one.equal_up_to,
        "lag_seconds": one.lag.total_seconds() if one.lag is not None else None,
        "waiting": one.waiting,
        "locked": one.locked,
        "quarantined": one.quarantined,
        "conflicts": one.conflicts,
        "without_key": one.up.without_key,
        "without_date": one.up.without_date,
        "outside": one.up.outside,
        "last_error": one.last_error or None,
        "last_run": one.last_run,
        "next_run": coming.get(one.station),
        "paused": pause,
        "up": asdict(one.up),
        "down": asdict(one.down),
        "proof": asdict(one.proof) if one.proof else None,
        "schema": one.schema,
    }


def _row(one: TableStatus, coming: _Next) -> tuple[object, ...]:
    return (
        one.station, one.table, one.state, one.equal_up_to, format_age(one.lag) or "-", one.waiting, one.quarantined,
        one.conflicts, one.last_run, coming.get(one.station),
    )  # fmt: skip


def _lines(found: _Look, *, details: bool) -> list[str]:
    lines = [*table_lines(HEADERS, [_row(one, found.next_runs) for one in found.tables])] if found.tables else []
    each = ", ".join(f"{number:,} {state}" for state, number in found.totals.items())
    lines.append(f"{len(found.tables):,} of {found.fleet:,} tables{f': {each}' if each else ''}")
    for one in found.tables:
        lines += _told(one) if details or one.last_error else []
    return [*lines, found.note] if found.note else lines


def _told(one: TableStatus) -> list[str]:
    place = f"{one.station}/{one.table}"
    lines = [f"{place}: {one.last_error}"] if one.last_error else []
    if one.pause:
        lines.append(f"{place}: {one.pause}. To let it run again: stationsync resume {one.station}")
    if one.proof:
        proof = one.proof
        lines.append(f"{place}: {proof_in_words(shown(proof.up_to), proof.rows, proof.digest, proof.exceptions)}")
    if rows := one.up.without_key:
        what = f"{rows:,} rows of the station have NULL in the key and are not carried"
        lines.append(f"{place}: {what}. The ALTER that rules them out: stationsync check {one.station}")
    if rows := one.up.without_date:
        lines.append(f"{place}: {rows:,} rows of the station have no date in `modified`; only a reconcile brings them")
    if rows := one.up.outside:
        lines.append(f"{place}: {rows:,} rows left the filter (where); control has them as they were then, alone")
    if one.locked:
        lines.append(f"{place}: control's table is locked (LOCK TABLES, ALTER TABLE); edits that wait were not counted")
    elif one.waiting is None:
        lines.append(f"{place}: not initialised. Run: stationsync init")
    return lines


def _watch(look: Callable[[], _Look], every: float) -> None:
    """The terminal's own page, as long as it is high; control that does not answer now may do so at the next look."""
    import signal

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    signal.signal(signal.SIGINT, signal.default_int_handler)
    console = Console()
    try:
        if not console.is_terminal:  # into a file or a pipe: one look behind the other
            while True:
                say(*_page(look, every))
                time.sleep(every)
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                page = [printable(line, one_line=True) for line in _page(look, every)[: console.height - 1]]
                live.update(Text("\n".join(page), no_wrap=True, overflow="ellipsis"), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return


def _page(look: Callable[[], _Look], every: float) -> list[str]:
    head = f"stationsync status, {datetime.now():%H:%M:%S}, every {every:g} s; Ctrl-C ends"
    try:
        return [head, "", *_lines(look(), details=False)]
    except UsageError:
        raise
    except StationSyncError as error:
        return [head, "", str(error)]
