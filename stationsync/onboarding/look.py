"""What a proposal is made from, read from the real databases: a table's shape, some of its rows, its newest stamps, and
what our users lack. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.database.dialect import Clock
from stationsync.database.mariadb import trials
from stationsync.errors import GrantMissing, SchemaRefused, did_you_mean, guarded
from stationsync.health.check_notes import of_finding
from stationsync.model.changes import Note
from stationsync.model.schema import TableShape
from stationsync.model.wire import Family, key_texts
from stationsync.onboarding import stamp_choice
from stationsync.pairing.decide import moment
from stationsync.pairing.fit import Fit
from stationsync.topology.model import ControlDeletes, TableOptions

# From either end of the key.
_ROWS = 5_000
_BYTES = 16 << 20
_NEWEST = 32
# No zone is farther ahead.
_FARTHEST = timedelta(hours=15)


@dataclass(frozen=True)
class SeenTable:
    """A station's table. `rows`: some of it, in wire form; `stamps`: the newest of each column that may stamp a row,
    with the clock that it is compared with; `json`: columns that hold JSON by their declaration."""

    place: str
    shape: TableShape
    rows: pa.Table
    json: frozenset[str] = frozenset()
    stamps: Mapping[str, tuple[Sequence[datetime], Clock]] = field(default_factory=dict)


@dataclass(frozen=True)
class SeenControl:
    """Control's table of that name, where there is one; the collations that its server knows. `hidden`: there may be
    one that our user may not see."""

    shape: TableShape | None = None
    collations: frozenset[str] = frozenset()
    hidden: Note | None = None


def station_table(station: Database, table: str, stamps: Sequence[str] = ()) -> SeenTable:
    """`stamps`: columns that a person names. Raises SchemaRefused where there is no such table, GrantMissing where our
    user may not read it."""
    place = f"{station.place}/{table}"
    dialect = station.dialect
    with guarded(place), station.begin() as conn:
        shape = dialect.reflect(conn, table)
        if shape is None:
            raise _missing(conn, station, table, "SELECT, UPDATE")
        if shape.kind != "table":
            what = f"{shape.name} is a {shape.kind}, not a table."
            raise SchemaRefused(place, what, next_step="Name the table that the rows come from.")
        rows = _some_rows(conn, station, shape)
        likely = [column.name for column in stamp_choice.stamps(shape)][:3]
        wanted = dict.fromkeys([*(shape.spelled(name) for name in stamps if name in shape), *likely])
        newest = {name: _newest(conn, station, shape, name) for name in wanted}
        return SeenTable(place, shape, rows, dialect.json_columns(conn, table), newest)


def control_table(control: Database, table: str) -> SeenControl:
    with guarded(f"control/{table}"), control.begin() as conn:
        shape = control.dialect.reflect(conn, table)
        hidden = None
        if shape is None and control.dialect.is_server:
            hidden = _denied(conn, f"control/{table}", table, "SELECT, INSERT, UPDATE, DELETE")
        return SeenControl(shape, control.dialect.collations(conn), hidden)


def table_names(conn: sa.Connection) -> list[str]:
    return sorted(str(name) for name in sa.inspect(conn).get_table_names())


def lacking_at_station(station: Database, fit: Fit, options: TableOptions) -> list[Note]:
    """What runs would miss at the station, with the statement for whoever runs that database."""
    notes = [of_finding(finding) for finding in fit.findings]
    if station.dialect.is_server:
        with station.begin() as conn:
            notes += _station_rights(conn, fit, options)
            if not station.dialect.clock(conn, Family.DATETIME).sees_transactions:
                notes.append(trials.no_sight_of_transactions(conn, station.place))
    return notes


def lacking_at_control(control: Database, table: str) -> list[Note]:
    """The same of control's table, if it is there and our user sees it."""
    if not control.dialect.is_server:
        return []
    place = f"control/{table}"
    with control.begin() as conn:
        shape = control.dialect.reflect(conn, table)
        if shape is None:
            return [trials.no_right(conn, place, table, "SELECT, INSERT, UPDATE, DELETE")]
        columns = [column.name for column in shape.columns if not column.generated]
        return [*trials.control_rights(conn, place, table, columns), *trials.temporary_tables(conn, "control")]


def _station_rights(conn: sa.Connection, fit: Fit, options: TableOptions) -> Iterator[Note]:
    columns = [one.station.name for one in fit.columns]
    editable = [one.station.name for one in fit.columns if one.editable]
    sends = options.control_deletes is ControlDeletes.SEND
    place = fit.place.partition("/")[0]
    yield from trials.station_rights(conn, fit.place, fit.station.name, columns, editable, deletes=sends)
    if editable:
        yield from trials.temporary_tables(conn, place)


def _missing(conn: sa.Connection, database: Database, table: str, rights: str) -> SchemaRefused | GrantMissing:
    place = f"{database.place}/{table}"
    if database.dialect.is_server and (denied := _denied(conn, place, table, rights)):
        what = f"there is no table {table} that the user may see; {denied.what}"
        step = f"If the name is right, let whoever runs that database type: {denied.next_step}"
        return GrantMissing(place, what, next_step=step)
    there = table_names(conn)
    shown = f" It has: {', '.join(there[:20])}{' …' if len(there) > 20 else ''}." if there else " It shows us none."
    hint = did_you_mean(table, there) or "."
    return SchemaRefused(place, f"there is no table {table}{hint}", next_step=f"Name one of its tables.{shown}")


def _denied(conn: sa.Connection, place: str, table: str, rights: str) -> Note | None:
    """Without any right on it, a table is not even shown."""
    try:
        return None if trials.may_read(conn, table) else trials.no_right(conn, place, table, rights)
    except sa.exc.DBAPIError:
        return None  # there is none


def _some_rows(conn: sa.Connection, station: Database, shape: TableShape) -> pa.Table:
    """From both ends of the first unique index, which serves that order."""
    table = shape.table()
    columns = [column for column in shape.columns if column.supported]
    families = {column.name: column.family for column in columns}
    order: tuple[str, ...] = next(iter(shape.unique), ())
    own = [station.dialect.readable(table.c[column.name], column).label(column.name) for column in columns]
    first = [table.c[name] for name in order]
    ends: list[list[sa.ColumnElement[Any]]] = [[*first], [column.desc() for column in first]]
    found: list[pa.Table] = []
    for by in ends:
        query = sa.select(*own).order_by(*by).limit(_ROWS)
        rows, stopped = station.dialect.read(conn, query, families, _BYTES, [])
        found.append(rows)
        if rows.num_rows < _ROWS and not stopped:
            break
    return _each_once(pa.concat_tables(found).combine_chunks(), order)


def _each_once(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    if not key or not all(name in rows.column_names for name in key):
        return rows
    first = {text: index for index, text in reversed(list(enumerate(key_texts(rows, key))))}
    return rows if len(first) == rows.num_rows else rows.take(sorted(first.values()))


def _newest(conn: sa.Connection, station: Database, shape: TableShape, name: str) -> tuple[list[datetime], Clock]:
    family = shape[name].family
    clock = station.dialect.clock(conn, family if family is Family.TIMESTAMP else Family.DATETIME)
    own = shape.table().c[name]
    until = (clock.now + _FARTHEST).isoformat(sep=" ")
    query = sa.select(own.label("m")).where(own <= until).order_by(own.desc()).limit(_NEWEST)
    rows, _ = station.dialect.read(conn, query, {"m": family}, _BYTES, [])
    return [at for at in map(moment, rows["m"].to_pylist()) if at is not None], clock
