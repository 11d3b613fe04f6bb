"""The facts that incidents are judged by, from control's books: of one station, which is cheap, or of the fleet."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.health.freshness import freshness
from stationsync.health.incidents import Disk, FleetFacts, TableHealth
from stationsync.keeping import books
from stationsync.model.changes import Direction, Status
from stationsync.rollback.brake import RESTORED
from stationsync.store.bookkeeping import conflict, of_this_version, planned_delete, proof, quarantine, state
from stationsync.store.pauses import not_stale
from stationsync.topology.model import Topology

_Key = tuple[str, str]
_MICROSECOND = timedelta(microseconds=1)
# Conflicts are counted among the newest ones: they are never deleted by a run, and have no index by time.
_NEWEST = 1_000


def table_facts(
    conn: sa.Connection, topology: Topology, now: datetime, stations: Sequence[str] | None = None
) -> list[TableHealth]:
    """Of these stations' tables, or of all; without how fresh they are."""
    chosen = list(topology.stations) if stations is None else list(stations)
    ways = _rows(conn, state, stations)
    sweeps = _rows(conn, proof, stations)
    kept = _counts(conn, quarantine, stations, quarantine.c.state == books.OPEN)
    refused = _counts(conn, planned_delete, stations)
    tell = topology.alerts.tell
    conflicts = _conflicts(conn, now - tell.conflicts.within) if tell.conflicts else {}
    return [
        _facts(
            (station, table),
            ways.get((station, table), ()),
            next(iter(sweeps.get((station, table), ())), {}),
            refused=(station, table) in refused,
            max_skew=options.max_skew,
            quarantined=kept.get((station, table), 0),
            conflicts=conflicts.get((station, table), 0),
        )
        for station in chosen
        for table, options in topology.station(station).tables.items()
    ]


def _facts(
    key: _Key, ways: Iterable[Mapping[str, Any]], sweep: Mapping[str, Any], *, refused: bool, **more: Any
) -> TableHealth:
    each = sorted(ways, key=lambda way: way["run_at"] or datetime.min, reverse=True)
    # Each way has its last run's result: an older one that did not answer says nothing beside a newer that did.
    newest = each[0] if each else {}
    offline = (newest["message"] or "") if newest.get("status") == Status.OFFLINE else None
    skews = [way["skew"] for way in each if way["direction"] == Direction.UP and way["skew"] is not None]
    said = (sweep.get("message") or "") if sweep.get("status") == Status.FAILED else None
    return TableHealth(
        *key,
        offline=offline,
        failed=tuple(way["message"] or "" for way in each if way["status"] == Status.FAILED),
        sweep=said,
        braked=said is not None and (refused or RESTORED in said),
        sweeping=sweep.get("status") in (Status.UNDER_WAY, Status.OFFLINE),
        skew=skews[0] * _MICROSECOND if skews else None,
        **more,
    )


def _of(table: sa.Table, stations: Sequence[str] | None) -> sa.ColumnElement[bool]:
    return sa.true() if stations is None else table.c.station.in_(stations)


def _rows(conn: sa.Connection, table: sa.Table, stations: Sequence[str] | None) -> dict[_Key, list[Mapping[str, Any]]]:
    names = ("direction", "status", "message", "run_at", "skew")
    columns = [table.c[name] for name in ("station", "table_name", *names) if name in table.c]
    found: dict[_Key, list[Mapping[str, Any]]] = {}
    for row in conn.execute(sa.select(*columns).where(_of(table, stations))).mappings():
        found.setdefault((row["station"], row["table_name"]), []).append({str(name): row[name] for name in row})
    return found


def _counts(
    conn: sa.Connection, table: sa.Table, stations: Sequence[str] | None, *where: sa.ColumnElement[bool]
) -> dict[_Key, int]:
    key = (table.c.station, table.c.table_name)
    query = sa.select(*key, sa.func.count()).where(_of(table, stations), *where).group_by(*key)
    return {(station, name): int(number) for station, name, number in conn.execute(query)}


def _conflicts(conn: sa.Connection, since: datetime) -> dict[_Key, int]:
    """Those that nobody has answered."""
    columns = (conflict.c.station, conflict.c.table_name, conflict.c.at, conflict.c.answer)
    newest = sa.select(*columns).order_by(conflict.c.id.desc()).limit(_NEWEST).subquery()
    query = sa.select(newest.c.station, newest.c.table_name, sa.func.count()).where(
        newest.c.at >= since, newest.c.answer.is_(None)
    )
    with of_this_version():
        found = conn.execute(query.group_by(newest.c.station, newest.c.table_name))
        return {(station, name): int(number) for station, name, number in found}


def fresh_facts(control: Database, topology: Topology) -> list[TableHealth]:
    """How fresh each table is, and nothing else; of stations that are to be heard of."""
    quiet = not_stale(control, topology)
    fresh = (one for one in freshness(control, topology) if one.station not in quiet)
    return [TableHealth(one.station, one.table, fresh=one) for one in fresh]


def fleet_facts(conn: sa.Connection, control: Database, topology: Topology) -> FleetFacts:
    """The size of control's database, and the disks that runs write to and that can be looked at from here."""
    sizes = control.dialect.sizes(conn)
    disks = [Disk("control's disk", free, total) for free, total in sizes.disks]
    return FleetFacts(sizes.data, (*disks, *_journal_disk(topology.journal.url)))


def _journal_disk(url: str | None) -> Iterator[Disk]:
    """Of a folder that this machine has; of a part of it that is there already, before the first file is written."""
    if url is None or not url.startswith("/"):
        return
    there = next(folder for folder in (Path(url), *Path(url).parents) if folder.exists())
    usage = shutil.disk_usage(there)
    yield Disk("the journal's disk, as seen by the worker that looked", usage.free, usage.total)
