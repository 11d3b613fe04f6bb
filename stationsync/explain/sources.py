"""What is known of a row: how control, its base and its station have it, and what the journal says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.database.dialect import NO_LIMIT
from stationsync.errors import SchemaRefused, StationSyncError
from stationsync.explain.facts import Key, Passed, Row, fitted
from stationsync.explain.words import GIVE_BACK
from stationsync.journal import read
from stationsync.journal.format import Decided
from stationsync.journal.read import JournalChunk, JournalQuery
from stationsync.model.changes import Direction
from stationsync.model.schema import Column, TableShape
from stationsync.model.wire import Family, key_text, wire_row
from stationsync.pairing import row_filter
from stationsync.pairing.keys import among
from stationsync.pairing.pair import Pair
from stationsync.store import bookkeeping
from stationsync.store.bookkeeping import PENDING, STATION, backfill, proof

_SLACK = timedelta(seconds=1)
_BY_KEY = "its key: a reconcile, a backfill, a retry or init"


@dataclass(frozen=True)
class Chunks:
    """All of a pair, and when its last sweep and its backfills ran."""

    entries: Sequence[JournalChunk]
    sweeps: Sequence[tuple[datetime, datetime]]
    backfills: Sequence[tuple[datetime, datetime]]


def chunks(pair: Pair, conn: sa.Connection) -> Chunks:
    entries = read.chunks_in(conn, JournalQuery(pair.name, pair.table))
    sweeps = sa.select(proof.c.begun_at, proof.c.run_at).where(
        proof.c.station == pair.name, proof.c.table_name == pair.table
    )
    backfills = sa.select(backfill.c.begun_at, backfill.c.moved_at).where(
        backfill.c.station == pair.name, backfill.c.table_name == pair.table
    )
    swept, filled = ([(a, b) for a, b in conn.execute(query) if a and b] for query in (sweeps, backfills))
    return Chunks(entries, swept, filled)


def passed(entry: JournalChunk, record: Mapping[str, Any], of: Chunks) -> Passed:
    return Passed(
        entry.at,
        entry.run,
        entry.flow_run,
        Direction(record["direction"]),
        Decided(record["decision"]),
        record["before"],
        record["after"],
        record["came"],
        record["rule"],
        record["loser"],
        record["reason"],
        _by(entry, record, of),
    )


def _by(entry: JournalChunk, record: Mapping[str, Any], chunks: Chunks) -> str:
    """What read the row, where it was not a pull in its turn: told by the time, for the journal does not say."""
    adopted = record["decision"] == Decided.SETTLED and record["before"] is None
    if entry.direction != Direction.UP or entry.window_to is not None or record["rule"] in GIVE_BACK:
        return ""
    gone = record["after"] is None or record["decision"] in (Decided.FLAGGED, Decided.KEPT)
    if gone and record["came"] is None:
        return "a reconcile"  # which alone finds deletes
    if adopted:
        return ""
    if any(begun <= entry.at <= ended + _SLACK for begun, ended in chunks.backfills):
        return "a backfill"
    if any(begun <= entry.at <= ended + _SLACK for begun, ended in chunks.sweeps):
        return "a reconcile"
    if any(one.run == entry.run and one.window_to is not None for one in chunks.entries):
        return "its key: the run met it changed"
    return _BY_KEY


_Row = dict[str, Any]


@dataclass(frozen=True)
class AtControl:
    """What the snapshot has. `base` with its owner and mark."""

    shape: TableShape
    columns: Mapping[str, Column]
    key: Key
    row: _Row | None
    base: _Row | None
    ready: bool


def at_control(pair: Pair, conn: sa.Connection, key: Key) -> AtControl:
    dialect = pair.control.dialect
    shape = dialect.reflect(conn, pair.control_table)
    names = (pair if shape is None else pair.spelled(shape)).options.key
    if shape is None or (lacking := [name for name in names if name not in shape]):
        what = f"there is no table {pair.control_table}." if shape is None else f"no key column {', '.join(lacking)}."
        raise SchemaRefused("control", what, not_done="Nothing was looked up.", next_step="Run: stationsync check")
    pair = pair.spelled(shape)
    known = dialect.column_types(conn, bookkeeping.base_name(shape.name))
    ready = all(name in known for name in names)
    # The base has what was synchronised; without one, what would be.
    columns = {
        c.name: c
        for c in shape.columns
        if (c.name in known if ready else not c.generated and c.supported and c.name not in pair.options.exclude)
    }
    key = fitted(pair.place, key, {name: columns[name] for name in names})
    kinds = [(name, columns[name]) for name in names]
    row = _read(conn, pair.control, shape.table(), columns, kinds, key)
    base = None
    if ready:
        table = bookkeeping.base_table(dialect, shape, names, list(columns))
        own = {STATION: Column(STATION, "", Family.TEXT), PENDING: Column(PENDING, "", Family.INTEGER)}
        base = _read(conn, pair.control, table, {**columns, **own}, kinds, key)
    return AtControl(shape, columns, key, row, base, ready)


def at_station(pair: Pair, conn: sa.Connection, there: AtControl) -> tuple[_Row | None, str]:
    """The row under control's names; or why the station cannot be asked."""
    try:
        with pair.station.transaction(conn):
            shape = pair.station.dialect.reflect(conn, pair.station_table)
            if shape is None:
                return None, f"{pair.name}: there is no table {pair.station_table}."
            own = {control: station for station, control in pair.options.rename.items()}
            columns = {name: shape[own.get(name, name)] for name in there.columns if own.get(name, name) in shape}
            if lacking := [name for name in pair.options.key if name not in columns]:
                return None, f"{pair.name}: its table has no key column {', '.join(lacking)}."
            kinds = [(name, columns[name]) for name in pair.options.key]
            key = fitted(pair.place, there.key, dict(kinds))
            return _read(conn, pair.station, shape.table(), columns, kinds, key), ""
    except StationSyncError as error:
        return None, f"{error.place}: {error.what}"


def is_outside(pair: Pair, conn: sa.Connection, there: AtControl) -> bool:
    """Whether the station has the row, and its filter keeps it back; False where it cannot be asked."""
    if pair.options.where is None:
        return False
    try:
        with pair.station.transaction(conn):
            shape = pair.station.dialect.reflect(conn, pair.station_table)
            own = {control: station for station, control in pair.options.rename.items()}
            if shape is None or any(own.get(name, name) not in shape for name in pair.options.key):
                return False
            table, kinds = shape.table(), [(name, shape[own.get(name, name)]) for name in pair.options.key]
            key = fitted(pair.place, there.key, dict(kinds))
            same = among([key], [(table.c[column.name], column) for _, column in kinds])
            query = sa.select(sa.literal(1)).select_from(table).where(same, row_filter.outside(pair.options.where))
            return conn.execute(query.limit(1)).first() is not None
    except StationSyncError:
        return False


def _read(
    conn: sa.Connection,
    database: Database,
    table: sa.Table,
    columns: Mapping[str, Column],
    kinds: Sequence[tuple[str, Column]],
    key: Key,
) -> _Row | None:
    dialect = database.dialect
    selected = [dialect.readable(table.c[c.name], c).label(f"c{i}") for i, c in enumerate(columns.values())]
    where = among([key], [(table.c[column.name], column) for _, column in kinds])
    families = {f"c{i}": c.family for i, c in enumerate(columns.values())}
    rows, _ = dialect.read(conn, sa.select(*selected).where(where).limit(1), families, NO_LIMIT, [])
    if not rows.num_rows:
        return None
    found = wire_row(rows, 0)
    return {name: found[f"c{i}"] for i, name in enumerate(columns)}


def spellings(there: AtControl, station: Row | None, names: Sequence[str]) -> list[str]:
    """The key as it was given, and as each side prints it: case may not count in a key, leading zeros do not."""
    rows = [row for row in (there.row, there.base, station) if row is not None]
    return list(dict.fromkeys([*(key_text([row[name] for name in names]) for row in rows), key_text(there.key)]))
