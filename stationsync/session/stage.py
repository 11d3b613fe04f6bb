"""Temporary tables of a merge: the chunk as it came (`stage`), and what was decided about its rows (`decided`).

They are made anew for each chunk: emptying a temporary table is slower than dropping it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Protocol

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database import statements
from stationsync.database.dialect import Dialect
from stationsync.database.mariadb import limits
from stationsync.database.statements import TEMPORARY, drop_temporary
from stationsync.model.schema import SHAPES, RawType
from stationsync.pairing.fit import Fit
from stationsync.session.session import Session
from stationsync.store import pending
from stationsync.store.bookkeeping import PENDING, RESTAMPED

ACTION = "stationsync_action"
HAS_BASE = "stationsync_has_base"


def stage_table(session: Session, name: str = "stationsync_stage") -> sa.Table:
    """The chunk's rows: the station's types, compared byte by byte; the key with control's notion of sameness."""
    return table_of(session.dialect, session.fit, name)


@lru_cache(SHAPES)
def table_of(dialect: Dialect, fit: Fit, name: str = "stationsync_stage") -> sa.Table:
    return sa.Table(
        name,
        sa.MetaData(),
        *_key_columns(dialect, fit),
        *(
            sa.Column(c.name, RawType(dialect.stage_type(c.staged)), nullable=True, quote=True)
            for c in fit.columns
            if c.name not in fit.key
        ),
        **TEMPORARY,
    )


def to_be_table(session: Session) -> sa.Table:
    """Rows as control is to have them: control's types, and its notion of sameness."""
    return _to_be_table(session.dialect, session.fit)


@lru_cache(SHAPES)
def _to_be_table(dialect: Dialect, fit: Fit) -> sa.Table:
    own = [(c.name, c.control) for c in fit.columns if c.name not in fit.key]
    kinds = {name: dialect.key_type(c, c) if c.is_text else dialect.stage_type(c) for name, c in own}
    return sa.Table(
        "stationsync_to_be",
        sa.MetaData(),
        *_key_columns(dialect, fit),
        *(sa.Column(name, RawType(kind), nullable=True, quote=True) for name, kind in kinds.items()),
        **TEMPORARY,
    )


def decided_table(session: Session) -> sa.Table:
    return _decided_table(session.dialect, session.fit)


@lru_cache(SHAPES)
def _decided_table(dialect: Dialect, fit: Fit) -> sa.Table:
    return sa.Table(
        "stationsync_decided",
        sa.MetaData(),
        *_key_columns(dialect, fit),
        sa.Column(ACTION, sa.String(10), nullable=False),
        sa.Column(HAS_BASE, sa.SmallInteger, nullable=False),
        sa.Column(PENDING, sa.SmallInteger, nullable=False),
        **TEMPORARY,
    )


def keys_table(session: Session) -> sa.Table:
    """Keys alone."""
    return _keys_table(session.dialect, session.fit)


@lru_cache(SHAPES)
def _keys_table(dialect: Dialect, fit: Fit) -> sa.Table:
    return sa.Table("stationsync_keys", sa.MetaData(), *_key_columns(dialect, fit), **TEMPORARY)


def marks_table(session: Session) -> sa.Table:
    """Keys, and whether their row has to go down (again)."""
    return _marks_table(session.dialect, session.fit)


@lru_cache(SHAPES)
def _marks_table(dialect: Dialect, fit: Fit) -> sa.Table:
    pending = sa.Column(PENDING, sa.SmallInteger, nullable=False)
    return sa.Table("stationsync_marks", sa.MetaData(), *_key_columns(dialect, fit), pending, **TEMPORARY)


def _key_columns(dialect: Dialect, fit: Fit) -> Iterable[sa.Column[Any]]:
    for name in fit.key:
        kind = dialect.key_type(fit.by_name[name].station, fit.by_name[name].control)
        yield sa.Column(name, RawType(kind), primary_key=True, quote=True)


def recreate(conn: sa.Connection, table: sa.Table) -> None:
    drop_temporary(conn, table)
    # No row's fault, though the same number may be one when rows are written.
    with limits.explained(table.name, list(table.primary_key.columns.keys())):
        conn.execute(sa.schema.CreateTable(table))


def update_joined(
    session: Session, target: sa.Table, staged: sa.Table, decided: sa.Table, chosen: sa.ColumnElement[bool]
) -> sa.Update:
    """UPDATE of the rows of `target` that meet a row of `staged` which is `chosen` by `decided`."""
    source = staged.join(decided, chosen)
    return statements.update_joined(session.control, target, source, same_key(session.fit, staged, target), chosen)


def same_key(fit: Fit, left: sa.FromClause, right: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(*(left.c[name] == right.c[name] for name in fit.key))


class Fitted(Protocol):
    """How two tables fit, and the dialect of control: an open session is one."""

    @property
    def fit(self) -> Fit: ...
    @property
    def dialect(self) -> Dialect: ...


class Comparing:
    """Whole rows compared byte by byte in the database, NULL equal to NULL."""

    def __init__(self, session: Fitted) -> None:
        self._fit = session.fit
        self._dialect = session.dialect

    def same(
        self, left: sa.FromClause, right: sa.FromClause, names: Iterable[str] | None = None
    ) -> sa.ColumnElement[bool]:
        pairs = []
        for name in self._fit.names if names is None else names:
            # Of UTF-8 in two widths both are converted: by the rules of the one that is not utf8mb4 already.
            kind = self._fit.by_name[name].compared
            a = self._dialect.exact(left.c[name], kind)
            b = self._dialect.exact(right.c[name], kind)
            pairs.append(a.is_not_distinct_from(b))
        return sa.and_(sa.true(), *pairs)

    def unedited(self, control: sa.FromClause, base: sa.FromClause) -> sa.ColumnElement[bool]:
        """Control has the base's version, but for a stamp that its own database gave it when we wrote the row."""
        stamp = self.same(control, base, self._fit.stamps)
        rest = self.same(control, base, [name for name in self._fit.names if name not in self._fit.stamps])
        return sa.and_(rest, sa.or_(stamp, pending.says(base, RESTAMPED)))


def fill(session: Session, table: sa.Table, rows: pa.Table) -> None:
    """Load a chunk into its stage. Raises RowRefused where a value would not arrive as it is."""
    families = session.fit.families
    session.dialect.fill(session.control, table, rows, families, session.pair.place)
