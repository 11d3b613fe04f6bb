"""SQLite: the embedded default, for the demo and quick tests. Applications stamp `modified` in UTC, as text."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import sqlite3
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from stationsync.database.dialect import NO_LIMIT, Clock, ColumnTypes, ComparedColumn, MistypedValue, Sizes
from stationsync.database.new_table import KEY_INDEX, MODIFIED_INDEX, NewTable
from stationsync.database.sqlite import digest as sqlite_digest
from stationsync.database.table_facts import TableFacts
from stationsync.errors import (
    DatabaseBusy,
    DuplicateKey,
    LeaseLost,
    ParentMissing,
    RowRefused,
    SchemaRefused,
    StationOffline,
    StationSyncError,
)
from stationsync.model import stored_text
from stationsync.model.schema import Column, TableShape, UniqueIndex
from stationsync.model.wire import Family
from stationsync.topology import zones
from stationsync.topology.zones import SERVER

_BATCH = 5_000
# A declared type goes into statements of ours at control: words that begin no constraint, and one or two numbers.
_CONSTRAINTS = "CONSTRAINT|PRIMARY|NOT|NULL|UNIQUE|CHECK|DEFAULT|COLLATE|REFERENCES|GENERATED|AS|ON"
_WORD = rf"(?!(?:{_CONSTRAINTS})\b)[^\W\d]\w*"
_NUMBER = r"\s*[+-]?\d+(?:\.\d+)?\s*"
_TYPE = re.compile(rf"{_WORD}(?:\s+{_WORD})*\s*(?:\({_NUMBER}(?:,{_NUMBER})?\))?", re.IGNORECASE)
# A column of NUMERIC affinity compares the text as the number it is.
sqlite3.register_adapter(Decimal, str)
_STORED = {bytes: "blob", str: "text", int: "integer", float: "real"}
_BUSY = ("locked", "busy", "disk", "full", "readonly", "i/o")


class SQLite:
    name = "sqlite"
    is_server = False

    def engine(
        self,
        url: sa.URL,
        password: str | None,
        *,
        bulk: bool,
        tls: ssl.SSLContext | None = None,
        brief: bool = False,
    ) -> sa.Engine:
        path = url.database or ""

        def connect() -> sqlite3.Connection:
            # mode=rw: a missing file is a station that is not there, not a new empty database.
            uri = f"file:{Path(path).as_posix()}?mode=rw"
            connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
            connection.text_factory = stored_text.from_sent
            sqlite_digest.register(connection)
            return connection

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
        # Control writes in every transaction; a station is only locked while a push writes.
        begin = "BEGIN IMMEDIATE" if bulk else "BEGIN"
        sa.event.listen(engine, "begin", lambda conn: conn.exec_driver_sql(_begin(conn, begin)))
        sa.event.listen(engine, "close", _release_lease)
        return engine

    def reflect(self, conn: sa.Connection, table: str) -> TableShape | None:
        columns = tuple(
            _column(*row)
            for row in conn.execute(
                sa.text('SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(:t)'),
                {"t": table},
            )
        )
        if not columns:
            return None
        unique, indexes = _keys(conn, table)
        primary = conn.scalars(
            sa.text("SELECT name FROM pragma_table_info(:t) WHERE pk > 0 ORDER BY pk"), {"t": table}
        ).all()
        triggers = conn.scalars(
            sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :t"), {"t": table}
        ).all()
        unique = (tuple(primary), *unique) if primary else unique
        shape = TableShape(table, columns, unique, (*unique, *indexes), tuple(triggers))
        return replace(shape, unique_indexes=_unique_indexes(conn, table, primary))

    def without_transactions(self, conn: sa.Connection, prefix: str) -> Mapping[str, str]:
        return {}

    def column_types(self, conn: sa.Connection, table: str) -> ColumnTypes:
        rows = conn.execute(sa.text("SELECT name, pk FROM pragma_table_xinfo(:t)"), {"t": table}).all()
        # A declared type limits nothing here.
        found = ColumnTypes((name, "") for name, _ in rows)
        found.key = tuple(name for name, pk in rows if pk)
        return found

    def table_facts(self, conn: sa.Connection, table: str) -> TableFacts:
        """Only AUTOINCREMENT counts; otherwise the number of a deleted last row is given again."""
        file = str(Path(_file_of(conn)).resolve())
        if not conn.scalar(sa.text("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'")):
            return TableFacts(server=file)
        last = conn.scalar(sa.text("SELECT seq FROM sqlite_sequence WHERE name = :t"), {"t": table})
        return TableFacts(None if last is None else int(last) + 1, server=file)

    def uses_index(self, conn: sa.Connection, query: sa.Select[Any]) -> bool:
        words = query.compile(conn, compile_kwargs={"literal_binds": True})
        steps = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}").mappings()
        return any(step["detail"].startswith("SEARCH") for step in steps)

    def json_columns(self, conn: sa.Connection, table: str) -> frozenset[str]:
        return frozenset()

    def collations(self, conn: sa.Connection) -> frozenset[str]:
        return frozenset()

    def create_statements(self, new: NewTable) -> tuple[str, ...]:
        return create_statements(new)

    def clock(self, conn: sa.Connection, family: Family, zone: str = SERVER, within: timedelta = timedelta(0)) -> Clock:
        text = conn.exec_driver_sql("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')").scalar_one()
        utc = datetime.fromisoformat(text)
        if zone == SERVER:
            return Clock(utc, utc, server=utc)
        wall = zones.wall_of(zone)
        return Clock(wall(utc), utc, forward=zones.last_forward(wall, utc, within), server=utc)

    def server_wall(self, conn: sa.Connection, utc: datetime) -> datetime:
        return utc

    def wait_briefly(self, conn: sa.Connection) -> None:
        """Only whole databases are locked, and the driver waits for them."""

    def skips_locked(self, conn: sa.Connection) -> bool:
        return False

    def sizes(self, conn: sa.Connection) -> Sizes:
        return sizes(conn)

    def table_sizes(self, conn: sa.Connection) -> Mapping[str, int]:
        return table_sizes(conn)

    def recover(self, conn: sa.Connection, tables: Sequence[str]) -> list[str]:
        return recover(conn)

    def try_lease(self, conn: sa.Connection, name: str, unless: str = "") -> bool:
        # A file lock: the operating system frees it with the process, as MariaDB frees its own with the session.
        file = open(_lease_file(conn, name), "w")  # noqa: SIM115 - lives as long as the session
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        conn.info.setdefault("leases", {})[name] = file
        return True

    def lease_held(self, conn: sa.Connection, name: str) -> bool:
        # There is no way to ask. A shared lock for a moment: whoever takes the lease just then is told "under way".
        with open(_lease_file(conn, name), "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def lease_held_there(self, conn: sa.Connection, name: str) -> bool:
        # Looked for first: nothing is to be written beside a station's file.
        return Path(_lease_file(conn, name)).exists() and self.lease_held(conn, name)

    def free_lease(self, conn: sa.Connection, name: str) -> None:
        if lease := conn.info.get("leases", {}).pop(name, None):
            lease.close()

    def exact(self, expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        return sa.collate(expression, "BINARY") if column.family is Family.TEXT else expression

    def stage_type(self, column: Column) -> str:
        return _plain_type(column)

    def is_long(self, column: Column) -> bool:
        return False  # statements have no limit that matters

    def content_digest(self, expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        raise NotImplementedError

    def roomy_type(self, column: Column) -> str:
        return _plain_type(column)

    def key_type(self, column: Column, identity: Column) -> str:
        return _plain_type(column)

    def readable(
        self, expression: sa.ColumnElement[Any], column: Column, other: Column | None = None
    ) -> sa.ColumnElement[Any]:
        return expression

    def assigned(self, expression: sa.ColumnElement[Any], source: Column, target: Column) -> sa.ColumnElement[Any]:
        return expression

    def read_all(self, conn: sa.Connection, query: sa.Select[Any], families: Mapping[str, Family]) -> pa.Table:
        return self.read(conn, query, families, NO_LIMIT)[0]

    def read(
        self,
        conn: sa.Connection,
        query: sa.Select[Any],
        families: Mapping[str, Family],
        max_bytes: int,
        odd: list[MistypedValue] | None = None,
    ) -> tuple[pa.Table, bool]:
        names = [column.name for column in query.selected_columns]
        kinds = [pa.binary() if families[name] is Family.BINARY else pa.string() for name in names]
        schema = pa.schema(list(zip(names, kinds, strict=True)))
        batches: list[pa.RecordBatch] = []
        result = conn.execute(query)
        while rows := result.fetchmany(_BATCH):
            first = sum(batch.num_rows for batch in batches)
            columns = [
                _wire_column([row[i] for row in rows], kind, name, first, odd)
                for i, (kind, name) in enumerate(zip(kinds, names, strict=True))
            ]
            batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
            if sum(batch.nbytes for batch in batches) > max_bytes:
                stopped = result.fetchone() is not None
                result.close()
                return pa.Table.from_batches(batches, schema), stopped
        return pa.Table.from_batches(batches, schema), False

    def digest(self, columns: Sequence[ComparedColumn]) -> sa.ColumnElement[int]:
        return sqlite_digest.digest(columns)

    def bucket(self, columns: Sequence[ComparedColumn], number: int) -> sa.ColumnElement[int]:
        return sqlite_digest.bucket(columns, number)

    def combined(self, digests: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return sqlite_digest.combined(digests)

    def fill(
        self, conn: sa.Connection, table: sa.Table, rows: pa.Table, families: Mapping[str, Family], place: str
    ) -> None:
        if rows.num_rows == 0:
            return
        columns = [
            [_from_wire(value, families[name]) for value in rows[name].to_pylist()] for name in rows.column_names
        ]
        names = ", ".join(_quoted(name) for name in rows.column_names)
        marks = ", ".join("?" * len(columns))
        driver: Any = conn.connection.dbapi_connection
        driver.executemany(
            f"INSERT INTO {_quoted(table.name)} ({names}) VALUES ({marks})",
            list(zip(*columns, strict=True)),
        )

    def loads(self, conn: sa.Connection) -> bool:
        return False

    def load_new(
        self, conn: sa.Connection, rows: pa.Table, into: Sequence[tuple[sa.Table, Mapping[str, str | int]]]
    ) -> bool:
        return False

    def refuse_changed_values(self, conn: sa.Connection, place: str) -> None:
        """SQLite stores what it is given."""

    def generated_from(self, conn: sa.Connection, table: str) -> Mapping[str, str]:
        return {}

    def unchecked(self, conn: sa.Connection) -> AbstractContextManager[None]:
        # It enforces no references on our connections.
        return nullcontext()

    def explain_error(self, error: BaseException, place: str, *, station: bool) -> StationSyncError | None:
        driver = getattr(error, "orig", None) or error
        if not isinstance(driver, sqlite3.Error):
            return None
        message = str(driver)
        if message == "FOREIGN KEY constraint failed":
            return ParentMissing(place, message)
        if message.startswith("UNIQUE constraint failed"):
            return DuplicateKey(place, message)
        if isinstance(driver, sqlite3.IntegrityError | sqlite3.DataError):
            return RowRefused(place, message)
        if "unable to open" in message:
            what = "does not answer: there is no such database file, or it cannot be opened."
            return StationOffline(place, what) if station else LeaseLost(place, what)
        if message.startswith(("no such table", "no such column")):
            return SchemaRefused(place, message, next_step="Compare both tables: stationsync check")
        return DatabaseBusy(place, message) if any(word in message.lower() for word in _BUSY) else None


def _begin(conn: sa.Connection, default: str) -> str:
    options = conn.get_execution_options()
    if options.get("stationsync_read"):
        return "BEGIN"
    return "BEGIN IMMEDIATE" if options.get("stationsync_write") else default


def _file_of(conn: sa.Connection) -> str:
    return str(conn.exec_driver_sql("PRAGMA database_list").all()[0][2])


def _lease_file(conn: sa.Connection, name: str) -> str:
    return f"{_file_of(conn)}.lease-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _release_lease(_: Any, record: Any) -> None:
    for lease in record.info.pop("leases", {}).values():
        lease.close()


def _column(name: str, type_: str, notnull: int, default: str | None, pk: int, hidden: int) -> Column:
    family = _family(type_.upper())
    auto = bool(pk) and type_.upper() == "INTEGER"
    return Column(
        name=name,
        type=type_,
        family=family,
        nullable=not notnull and not pk,
        generated=hidden in (2, 3),
        auto_increment=auto,
        required=bool(notnull) and default is None and not auto,
        supported=is_type(type_),
    )


def is_type(text: str) -> bool:
    """Whether a column's declared type is one (it may be none at all). In quotes, a schema can have any text there."""
    return not text or _TYPE.fullmatch(text) is not None


def _plain_type(column: Column) -> str:
    """Columns of others are refused by name (`supported`) before a statement is made."""
    if not is_type(column.type):
        raise SchemaRefused(f"column {column.name}", "its declared type is none that is known")
    return column.type


def _family(type_: str) -> Family:
    """After SQLite's affinity rules, dates first (https://sqlite.org/datatype3.html, section 3.1)."""
    for words, family in (
        (("DATETIME", "TIMESTAMP"), Family.DATETIME),
        (("DATE",), Family.DATE),
        (("INT", "BOOL"), Family.INTEGER),
        (("TIME",), Family.TIME),
        (("CHAR", "CLOB", "TEXT", "JSON"), Family.TEXT),
        (("BLOB",), Family.BINARY),
        (("REAL", "FLOA", "DOUB"), Family.FLOAT),
    ):
        if any(word in type_ for word in words):
            return family
    return Family.DECIMAL if type_ else Family.BINARY


def _keys(conn: sa.Connection, table: str) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
    unique: list[tuple[str, ...]] = []
    plain: list[tuple[str, ...]] = []
    indexes = conn.execute(sa.text('SELECT name, "unique", partial FROM pragma_index_list(:t)'), {"t": table})
    for name, is_unique, partial in indexes.all():
        columns = conn.scalars(sa.text("SELECT name FROM pragma_index_info(:i) ORDER BY seqno"), {"i": name}).all()
        if not partial and all(columns):
            (unique if is_unique else plain).append(tuple(columns))
    return tuple(unique), tuple(plain)


def _unique_indexes(conn: sa.Connection, table: str, primary: Sequence[str]) -> tuple[UniqueIndex, ...]:
    found = [UniqueIndex("PRIMARY KEY", tuple((name, None) for name in primary))] if primary else []
    indexes = conn.execute(
        sa.text('SELECT name FROM pragma_index_list(:t) WHERE "unique" AND NOT partial'), {"t": table}
    )
    for (name,) in indexes.all():
        columns = conn.scalars(sa.text("SELECT name FROM pragma_index_info(:i) ORDER BY seqno"), {"i": name}).all()
        if all(columns):
            found.append(UniqueIndex(name, tuple((column, None) for column in columns)))
    return tuple(found)


def _wire_column(
    values: list[Any], kind: pa.DataType, name: str, first: int, odd: list[MistypedValue] | None
) -> pa.Array:
    """The values of rows number `first` and on."""
    binary = pa.types.is_binary(kind)
    for i, value in enumerate(values):
        if value is None or isinstance(value, bytes) == binary:
            continue
        stored = _STORED[type(value)]
        if odd is None:
            raise SchemaRefused(
                f"column {name}",
                f"a value is stored as {stored}, the column is declared otherwise",
                next_step="Mend the value at its source (typeof() shows it), then run again.",
            )
        odd.append(MistypedValue(first + i, name, stored))
        values[i] = str(value).encode() if binary else f"x'{value.hex()}'"
    return pa.array([_to_wire(value) for value in values], kind)


def _to_wire(value: Any) -> str | bytes | None:
    if value is None or isinstance(value, str | bytes):
        return value
    return repr(value) if isinstance(value, float) else str(value)


def _from_wire(value: Any, family: Family) -> Any:
    if value is None:
        return None
    try:
        if family is Family.INTEGER:
            return int(value)
        if family is Family.FLOAT:
            return float(value)
    except ValueError:
        return value
    return value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def create_statements(new: NewTable) -> tuple[str, ...]:
    """An index's name is the whole file's."""
    lines = [f"{_quoted(new.surrogate)} INTEGER PRIMARY KEY AUTOINCREMENT"]
    lines += [
        f"{_quoted(one.like.name)} {one.like.type}{' NOT NULL' if one.required else ''}".rstrip() for one in new.columns
    ]
    key, modified = (", ".join(map(_quoted, names)) for names in (new.key, (new.modified, *new.key)))
    unique, index = (_quoted(f"{name}_{new.name}") for name in (KEY_INDEX, MODIFIED_INDEX))
    body = ",\n".join(f"  {line}" for line in lines)
    return (
        f"CREATE TABLE {_quoted(new.name)} (\n{body}\n)",
        f"CREATE UNIQUE INDEX {unique} ON {_quoted(new.name)} ({key})",
        f"CREATE INDEX {index} ON {_quoted(new.name)} ({modified})",
    )


# Less is not worth writing the file anew.
_MUCH, _SHARE = 1024 * 1024, 4
_TABLES = sa.text("SELECT m.tbl_name, SUM(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name GROUP BY 1")


def sizes(conn: sa.Connection) -> Sizes:
    (_, _, path) = conn.exec_driver_sql("PRAGMA database_list").one()
    disk = shutil.disk_usage(Path(path).parent)
    return Sizes(_pragma(conn, "page_count") * _pragma(conn, "page_size"), ((disk.free, disk.total),))


def table_sizes(conn: sa.Connection) -> Mapping[str, int]:
    try:
        return {str(name): int(size) for name, size in conn.execute(_TABLES)}
    except sa.exc.OperationalError:  # built without dbstat
        return {}


def recover(conn: sa.Connection) -> list[str]:
    with conn.begin():
        free, pages, size = (_pragma(conn, name) for name in ("freelist_count", "page_count", "page_size"))
        incremental = _pragma(conn, "auto_vacuum") == 2
    if free * size < _MUCH or free * _SHARE < pages:
        return []
    driver: Any = conn.connection.dbapi_connection  # VACUUM is refused within a transaction
    driver.execute("PRAGMA incremental_vacuum" if incremental else "VACUUM").fetchall()
    return ["the file"]


def _pragma(conn: sa.Connection, name: str) -> int:
    return int(conn.exec_driver_sql(f"PRAGMA {name}").scalar_one())
