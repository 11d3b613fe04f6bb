"""What differs between databases, and nothing else: each dialect module implements `Dialect`."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.new_table import NewTable
from stationsync.database.table_facts import TableFacts
from stationsync.errors import StationSyncError
from stationsync.model.schema import ByName, Column, TableShape
from stationsync.model.wire import Family
from stationsync.topology.zones import SERVER, Forward

# Bytes, for `Dialect.read`: all rows.
NO_LIMIT = 1 << 40


@dataclass(frozen=True)
class Clock:
    """A database's clock: `now` as its application stamps rows (wall time of `modified_zone`, else of the server's
    zone, for DATETIME; UTC for TIMESTAMP) and in UTC, read together with the age of the oldest open writing transaction
    (None: there is none, or we may not see it). `forward`: summer time began lately. `server`: as NOW() of its server
    shows it."""

    now: datetime
    utc: datetime
    oldest_open: timedelta | None = None
    sees_transactions: bool = True
    forward: Forward | None = None
    server: datetime | None = None


class ComparedColumn(NamedTuple):
    """A column to be compared between two databases: `own` in the one that computes, `other` in the other."""

    expression: sa.ColumnElement[Any]
    own: Column
    other: Column


class ColumnTypes(ByName[str]):
    """The type of each column; `key` are the columns of the primary key, in the order of the table. `charsets` of those
    that have text."""

    key: tuple[str, ...] = ()
    charsets: Mapping[str, str] = {}


class MistypedValue(NamedTuple):
    """A value that is stored as another type than its column's, by row number; the wire row has it as text or bytes."""

    row: int
    column: str
    stored: str


class Sizes(NamedTuple):
    """Bytes: of the database, and of the disk that it is on, (free, total), where its server tells."""

    data: int
    disks: tuple[tuple[int, int], ...] = ()


class Dialect(Protocol):
    """One database kind. All methods work on an open SQLAlchemy connection and leave the transaction to the caller."""

    name: str
    # It has users with rights, variables, open transactions that others see; a file has none.
    is_server: bool

    def __hash__(self) -> int: ...

    def engine(
        self,
        url: sa.URL,
        password: str | None,
        *,
        bulk: bool,
        tls: ssl.SSLContext | None = None,
        brief: bool = False,
    ) -> sa.Engine:
        """An engine without pool. `bulk` allows LOAD DATA from our own buffer: control only. `brief`: an answer is
        waited for some seconds only."""

    def reflect(self, conn: sa.Connection, table: str) -> TableShape | None:
        """The table's shape, or None where there is no such table."""

    def without_transactions(self, conn: sa.Connection, prefix: str) -> Mapping[str, str]:
        """Tables whose names begin so, and whose engine has no transactions: with their engine."""

    def column_types(self, conn: sa.Connection, table: str) -> ColumnTypes:
        """The table's columns and their types (empty where a type says nothing), none where there is no such table.
        Cheaper than `reflect`."""

    def table_facts(self, conn: sa.Connection, table: str) -> TableFacts:
        """What the server says of a table beside its rows and its shape."""

    def uses_index(self, conn: sa.Connection, query: sa.Select[Any]) -> bool:
        """Whether an index may find the rows of this query; whether it does is the server's to decide, each time."""

    def json_columns(self, conn: sa.Connection, table: str) -> frozenset[str]:
        """Columns that hold JSON by their declaration, where their type does not say so."""

    def collations(self, conn: sa.Connection) -> frozenset[str]:
        """All collations that a column may have there; none where columns have none."""

    def create_statements(self, new: NewTable) -> tuple[str, ...]:
        """What makes the table."""

    def clock(self, conn: sa.Connection, family: Family, zone: str = SERVER, within: timedelta = timedelta(0)) -> Clock:
        """The clock that stamps a `modified` column of this family, of an application of this zone; `forward` where
        that was no longer ago than `within`."""

    def server_wall(self, conn: sa.Connection, utc: datetime) -> datetime:
        """What a wall clock in the server's zone shows at this moment."""

    def wait_briefly(self, conn: sa.Connection) -> None:
        """From here on, statements of this session wait two seconds at most for what somebody has locked."""

    def skips_locked(self, conn: sa.Connection) -> bool:
        """Whether a locking read can leave out what others have locked (SKIP LOCKED)."""

    def sizes(self, conn: sa.Connection) -> Sizes:
        """How large the database is, and how full its disk."""

    def table_sizes(self, conn: sa.Connection) -> Mapping[str, int]:
        """Bytes of each table with its indexes, where the server tells."""

    def recover(self, conn: sa.Connection, tables: Sequence[str]) -> list[str]:
        """Outside of a transaction: give the free space of these tables back to the disk, where it is much. Which."""

    def try_lease(self, conn: sa.Connection, name: str, unless: str = "") -> bool:
        """Take the advisory lock for the life of this session; False where another session holds it, or the one that
        is named `unless`."""

    def lease_held(self, conn: sa.Connection, name: str) -> bool:
        """Whether any session has it; takes nothing."""

    def lease_held_there(self, conn: sa.Connection, name: str) -> bool:
        """Whether this lease, which somebody holds at control, is held in this database: then it is control's."""

    def free_lease(self, conn: sa.Connection, name: str) -> None:
        """Give this session's lock back."""

    def exact(self, expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """`expression` made comparable byte by byte: case, accents and trailing spaces count."""

    def stage_type(self, column: Column) -> str:
        """DDL type that holds every value of `column` and compares it byte by byte."""

    def is_long(self, column: Column) -> bool:
        """Its values may be as long as a statement may be, and `content_digest` tells them apart."""

    def content_digest(self, expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """SHA-256, in hexadecimal digits, of the bytes of a long value, of text as UTF-8."""

    def roomy_type(self, column: Column) -> str:
        """As `stage_type`, but of next to no weight in the server's limits for a row."""

    def key_type(self, column: Column, identity: Column) -> str:
        """DDL type that holds `column`'s values with `identity`'s notion of sameness (its collation)."""

    def assigned(self, expression: sa.ColumnElement[Any], source: Column, target: Column) -> sa.ColumnElement[Any]:
        """`expression`, of `source`'s type, to be written into `target`: what does not fit is an error or a warning."""

    def read(
        self,
        conn: sa.Connection,
        query: sa.Select[Any],
        families: Mapping[str, Family],
        max_bytes: int,
        odd: list[MistypedValue] | None = None,
    ) -> tuple[pa.Table, bool]:
        """Run `query`: rows in wire form, and whether reading stopped early, past `max_bytes`. Values of a type that is
        not their column's are added to `odd`; without it, SchemaRefused."""

    def read_all(self, conn: sa.Connection, query: sa.Select[Any], families: Mapping[str, Family]) -> pa.Table:
        """Run `query`: all its rows in wire form, however large. Raises SchemaRefused as `read` does."""

    def readable(
        self, expression: sa.ColumnElement[Any], column: Column, other: Column | None = None
    ) -> sa.ColumnElement[Any]:
        """`expression` so that its printed text is exact; where text cannot be, or would not survive the way to the
        column `other` and back, the wire form of its bytes (`stored_text`). Nothing to do: the expression itself."""

    def digest(self, columns: Sequence[ComparedColumn]) -> sa.ColumnElement[int]:
        """64 bits that tell a row from every other, the same in both databases. Never linear in the values."""

    def bucket(self, columns: Sequence[ComparedColumn], number: int) -> sa.ColumnElement[int]:
        """One of `number` buckets by the columns' values, the same in both databases."""

    def combined(self, digests: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        """Aggregate: the digests of many rows in one, whatever their order."""

    def fill(
        self, conn: sa.Connection, table: sa.Table, rows: pa.Table, families: Mapping[str, Family], place: str
    ) -> None:
        """Insert wire rows into a temporary table. Raises RowRefused where a value would be changed."""

    def loads(self, conn: sa.Connection) -> bool:
        """Whether `load_new` can be used."""

    def load_new(
        self, conn: sa.Connection, rows: pa.Table, into: Sequence[tuple[sa.Table, Mapping[str, str | int]]]
    ) -> bool:
        """Insert wire rows into these tables, with values that all of them have. False where a table has one of them
        already, or does not take it just as it is: then something may be written, and the caller has to roll back."""

    def refuse_changed_values(self, conn: sa.Connection, place: str) -> None:
        """Raises RowRefused where the last write was taken, but not as it was given."""

    def generated_from(self, conn: sa.Connection, table: str) -> Mapping[str, str]:
        """The expressions of generated columns, as far as the database tells; names stand in backticks."""

    def unchecked(self, conn: sa.Connection) -> AbstractContextManager[None]:
        """While open, writes may refer to rows that are not there; whoever opens it sees to them."""

    def explain_error(self, error: BaseException, place: str, *, station: bool) -> StationSyncError | None:
        """Our error for a driver's; None where it is a fault of ours."""
