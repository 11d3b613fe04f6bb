"""What a backfill that crashed has left undone, by control's own books: whoever does it later, as a run of Prefect's
or by the command, ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from prefect.client.schemas.objects import FlowRun

from stationsync.database.connection import Database
from stationsync.errors import UsageError
from stationsync.recovery import backfill_books
from stationsync.recovery.backfill_books import DONE, DROPPED, Entry
from stationsync.recovery.backfill_range import Asked, asked, typed_key
from stationsync.topology.model import Topology


@dataclass(frozen=True)
class Unfinished:
    """A table's part of a run that crashed. `entry`: how far it came, where it began at all."""

    run: FlowRun
    station: str
    table: str
    asked: Asked
    entry: Entry | None

    def told(self) -> str:
        place = f"{self.station}/{self.table}, {self.asked}"
        return f"{place}: {self.entry.rows:,} rows were done" if self.entry else f"{place}: not begun"

    def next_step(self) -> str:
        rate = self.run.parameters.get("rate")
        options = f"{self.asked.options()}{f' --rate {rate:g}' if rate else ''}"
        command = f"stationsync backfill {self.station} --table {self.table} {options}"
        if self.entry is None:
            return f"Begin it again: {command}, or forget it: prefect flow-run delete {self.run.id}"
        drop = f"stationsync backfill --drop {self.entry.id}"
        return f"It goes on where it stopped with: {command}, or is given up with: {drop}"


def unfinished(topology: Topology, control: Database, station: str, runs: Sequence[FlowRun]) -> list[Unfinished]:
    """One for each range and table. Raises StationSyncError where control cannot be asked."""
    found: dict[tuple[str, str], Unfinished] = {}
    tables = topology.stations[station].tables
    for run in runs:
        if (range_ := asked_of(run)) is None:
            continue
        named = run.parameters.get("table")
        entries = backfill_books.newest(control, station, range_)
        for table in tables if named is None else [named] if named in tables else []:
            entry = entries.get(table)
            if not _over(entry, run):
                began = entry if entry is not None and entry.state not in (DONE, DROPPED) else None
                found.setdefault((table, range_.digest), Unfinished(run, station, table, range_, began))
    return list(found.values())


def _over(entry: Entry | None, run: FlowRun) -> bool:
    """It was done, or given up, since the run was asked for."""
    if entry is None or entry.state not in (DONE, DROPPED):
        return False
    return run.created is None or (entry.given_up_at or entry.moved_at) >= _naive(run.created)


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None, microsecond=0)


def asked_of(run: FlowRun) -> Asked | None:
    """What its parameters ask for, as the flow reads them; None of a plan, and where they ask for nothing."""
    given = run.parameters
    if given.get("dry_run"):
        return None
    try:
        since, until = (_moment(given.get(name)) for name in ("since", "until"))
        first, last = (typed_key(given.get(name)) for name in ("from_key", "to_key"))
        return asked(since=since, until=until, from_key=first, to_key=last, everything=bool(given.get("all")))
    except (UsageError, ValueError, TypeError):
        return None


def _moment(value: object) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(str(value))
