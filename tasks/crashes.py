"""Runs that crashed: no code of ours ran any more, so only Prefect knows of them.

A run that comes again makes up for the last one by itself. A backfill that somebody started does not: it is wanted
until its range was read, by a run of Prefect's or by the command, or until somebody gives it up. That is what control's
own books know."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from stationsync.database.connection import Database
from stationsync.errors import UsageError
from stationsync.health.incidents import Incident
from stationsync.recovery import backfill_books
from stationsync.recovery.backfill_books import DONE, DROPPED, BackfillEntry
from stationsync.recovery.backfill_range import BackfillRange, asked, typed_key
from stationsync.topology.alerting import IncidentKind
from stationsync.topology.fleet import fleet_tag, tagged
from stationsync.topology.model import Topology

# Within so much time every crash is seen by somebody who looks; of stations that crashed, older ones count too.
_RECENT = timedelta(minutes=15)
_KEPT = timedelta(days=7)
_BACKFILL = "backfill"


@dataclass(frozen=True)
class Unfinished:
    """A table's part of a backfill that crashed. `entry`: how far it came, where it began at all."""

    run: FlowRun
    station: str
    table: str
    asked: BackfillRange
    entry: BackfillEntry | None

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


def crashes(topology: Topology, control: Database, known: Collection[str]) -> list[Incident]:
    """One for each station with a flow whose last run that ended has crashed, or with a backfill that crashed and was
    not made up for. `known`: stations that had one before. Raises httpx.HTTPError, and StationSyncError where control
    cannot be asked."""
    tag = fleet_tag(topology)
    with get_client(sync_client=True) as client:
        stations = {tagged(run.tags, "station") or "" for run in _crashed(client, [tag], _RECENT)} | set(known)
        found = []
        for station in sorted(stations & topology.stations.keys()):
            tags = [tag, f"station:{station}"]
            backfills = _crashed(client, tags, _KEPT, flow=_BACKFILL)
            others = {run.id for run in backfills}
            last = _last_of_each(run for run in _crashed(client, tags, _KEPT) if run.id not in others)
            runs = [run for run in last if not _followed(client, run)]
            parts = _unfinished(topology, control, station, backfills)
            if runs or parts:
                found.append(_incident(station, runs, parts))
        return found


def _crashed(client: SyncPrefectClient, tags: list[str], within: timedelta, flow: str | None = None) -> list[FlowRun]:
    wanted = {
        "tags": {"all_": tags},
        "state": {"type": {"any_": ["CRASHED"]}},
        "end_time": {"after_": datetime.now(UTC) - within},
    }
    return _runs(client, wanted, 200, flow)


def _last_of_each(runs: Iterable[FlowRun]) -> list[FlowRun]:
    """The last crashed run of each deployment."""
    found: dict[UUID | None, FlowRun] = {}
    for run in runs:
        found.setdefault(run.deployment_id, run)
    return list(found.values())


def _followed(client: SyncPrefectClient, run: FlowRun) -> bool:
    """A later run of the same deployment came to an end, good or bad."""
    wanted = {
        "deployment_id": {"any_": [run.deployment_id]},
        "state": {"type": {"any_": ["COMPLETED", "FAILED"]}},
        "end_time": {"after_": run.end_time},
    }
    return bool(_runs(client, wanted, 1))


def _runs(client: SyncPrefectClient, wanted: dict[str, Any], limit: int, flow: str | None = None) -> list[FlowRun]:
    ours = FlowRunFilter.model_validate(wanted)
    of = FlowFilter.model_validate({"name": {"any_": [flow]}}) if flow else None
    return client.read_flow_runs(flow_run_filter=ours, flow_filter=of, sort=FlowRunSort.END_TIME_DESC, limit=limit)


def _incident(station: str, runs: list[FlowRun], backfills: list[Unfinished]) -> Incident:
    crashed = [*runs, *(one.run for one in backfills)]
    names = ", ".join(sorted({run.name for run in crashed}))
    said = crashed[0].state.message if crashed[0].state and crashed[0].state.message else "its process ended"
    what = f"{names} crashed: {said}"
    steps = []
    if runs:
        steps.append(
            "Nothing is lost: the next run goes on from the watermark, or at once: "
            f"stationsync sync {station}. If it crashes again, see its log, and the memory of the machine"
        )
    if backfills:
        what = "; ".join(dict.fromkeys([what, *(one.told() for one in backfills)]))
        steps += dict.fromkeys(one.next_step() for one in backfills)
    return Incident(IncidentKind.CRASHED, station, "", what, ". ".join(steps), run=str(crashed[0].id))


def _unfinished(topology: Topology, control: Database, station: str, runs: Sequence[FlowRun]) -> list[Unfinished]:
    """One for each range and table."""
    found: dict[tuple[str, str], Unfinished] = {}
    tables = topology.stations[station].tables
    for run in runs:
        if (range_ := _asked_of(run)) is None:
            continue
        named = run.parameters.get("table")
        entries = backfill_books.newest(control, station, range_)
        for table in tables if named is None else [named] if named in tables else []:
            entry = entries.get(table)
            if entry is not None and entry.state in (DONE, DROPPED):
                if _since(entry, run):
                    continue
                entry = None
            found.setdefault((table, range_.digest), Unfinished(run, station, table, range_, entry))
    return list(found.values())


def _since(entry: BackfillEntry, run: FlowRun) -> bool:
    """It was done, or given up, after the run was asked for."""
    asked_for = run.created and run.created.astimezone(UTC).replace(tzinfo=None, microsecond=0)
    return asked_for is None or (entry.given_up_at or entry.moved_at) >= asked_for


def _asked_of(run: FlowRun) -> BackfillRange | None:
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
