"""Rows that control refused because they refer to a row that is not there yet, or because another row has their value
of a unique index: which of them may go in by now.

Told from control alone, by the kept rows and the table's foreign keys, so that rows which wait for long cost little."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.statements import TEMPORARY, once_more
from stationsync.errors import GrantMissing, RowRefused, SchemaRefused
from stationsync.keeping import books
from stationsync.model.reasons import Code
from stationsync.model.schema import RawType
from stationsync.model.wire import Family, parse_key_text
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store.kept import of_hex
from stationsync.writing import unique_order
from stationsync.writing.target import N, at_control
from stationsync.writing.unique_moves import Moves

# Rows that are tried again in one run.
AT_MOST = 5_000
_SEQ = "stationsync_seq"
_Row = dict[str, Any]


def ready(session: Session) -> tuple[tuple[str | bytes, ...], ...]:
    """Keys of waiting rows that refer to nothing that is missing, as far as one can tell, but for rows that wait as
    well. To be read and merged."""
    entries = for_rows(session)
    found = [*_with_free_values(session), *(key for key, _ in _entries(session, Code.KEY_CLASH))]
    if entries:
        rows = [json.loads(row) | dict(zip(session.fit.key, key, strict=True)) for key, row in entries]
        found += [entries[i][0] for i in _complete(session, references(session), rows)]
    return tuple(dict.fromkeys(found))


def for_rows(session: Session) -> list[tuple[tuple[str | bytes, ...], str]]:
    """(key, row_json) of rows that wait for one that they refer to, or that was locked, the oldest first."""
    codes = (Code.WAITS_FOR_ROW, Code.LOCKED)
    return [one for code in codes for one in _entries(session, code)][:AT_MOST]


def for_values(session: Session) -> list[tuple[tuple[str | bytes, ...], str]]:
    """(key, row_json) of rows that wait for a value of a unique index."""
    return _entries(session, Code.WAITS_FOR_VALUE)


def _entries(session: Session, code: Code) -> list[tuple[tuple[str | bytes, ...], str]]:
    found: list[tuple[tuple[str | bytes, ...], str]] = []
    for some in books.waiting(session, code):
        found += [(key, row) for text, row in some if len(key := parse_key_text(text)) == len(session.fit.key)]
        if len(found) >= AT_MOST:
            break
    return found[:AT_MOST]


def _with_free_values(session: Session) -> list[tuple[str | bytes, ...]]:
    """Those whose values no other row has but such as wait themselves."""
    entries = for_values(session)
    if not entries or not (target := at_control(session)).indexes:
        return [key for key, _ in entries]
    kept = [dict(zip(session.fit.key, key, strict=True)) for key, _ in entries]
    rows = [json.loads(row) | key for (_, row), key in zip(entries, kept, strict=True)]

    def staged(names: Sequence[str]) -> sa.Select[Any]:
        table = fill(session, names, rows)
        return sa.select(table.c[_SEQ].label(N), *(table.c[name] for name in names))

    try:
        with session.pair.control.errors():
            held = Moves(target, staged).held()
    except (RowRefused, SchemaRefused, GrantMissing):  # a column was changed since
        held = set()
    return [key for i, (key, _) in enumerate(entries) if i not in held]


class Reference:
    """A foreign key of control's table: its columns, and the rows that they must meet."""

    def __init__(self, described: Any, table: str) -> None:
        self.columns: list[str] = described["constrained_columns"]
        self.theirs: list[str] = described["referred_columns"]
        theirs: list[sa.Column[Any]] = [sa.Column(name, quote=True) for name in self.theirs]
        schema = described["referred_schema"]
        # The table that it refers to, in this database.
        self.parent: str | None = None if schema else described["referred_table"]
        self.own = self.parent == table
        self._parent = sa.Table(described["referred_table"], sa.MetaData(), *theirs, schema=schema, quote=True)

    def met(self, staged: sa.Table) -> sa.ColumnElement[bool]:
        """By a row of control's."""
        own = [staged.c[name] for name in self.columns]
        # In this order: SQLite compares by the collation of what stands first.
        same = (self._parent.c[name] == c for c, name in zip(own, self.theirs, strict=True))
        there = sa.select(sa.literal(1)).select_from(self._parent).where(*same).correlate(staged).exists()
        return sa.or_(*(c.is_(None) for c in own), there)

    def unmet(self, staged: sa.Table) -> sa.Select[Any]:
        """The rows that no row of control's meets."""
        return sa.select(staged.c[_SEQ]).where(sa.not_(self.met(staged)))

    def among(self, staged: sa.Table, other: sa.FromClause) -> sa.Select[Any]:
        """Those of them that a waiting row (of the table `other`) meets, with that one."""
        same = (other.c[name] == staged.c[own] for own, name in zip(self.columns, self.theirs, strict=True))
        query = sa.select(staged.c[_SEQ], other.c[_SEQ]).select_from(staged.join(other, sa.and_(*same)))
        return query.where(sa.not_(self.met(staged)))


def references(session: Session) -> list[Reference]:
    """Those whose columns are all synchronised: of others, a kept row says nothing."""
    name = session.fit.control.name
    found = sa.inspect(session.control).get_foreign_keys(name)
    return [Reference(one, name) for one in found if set(one["constrained_columns"]) <= set(session.fit.names)]


def _complete(session: Session, references: Sequence[Reference], rows: Sequence[_Row]) -> list[int]:
    """Indexes of the rows all of whose references are met; of all rows where that cannot be told."""
    try:
        with session.pair.control.errors():
            return _told(session, references, rows)
    except (RowRefused, SchemaRefused, GrantMissing):  # a column was changed since; a parent that we may not read
        return list(range(len(rows)))


def _told(session: Session, references: Sequence[Reference], rows: Sequence[_Row]) -> list[int]:
    names = {name for one in references for name in one.columns}
    if not names:
        return list(range(len(rows)))
    # A row that waits may be what another one refers to.
    within = [one for one in references if one.own and set(one.theirs) <= set(session.fit.names)]
    staged = fill(session, sorted(names.union(*(one.theirs for one in within))), rows)
    again = once_more(session.control, staged, "stationsync_waiting_too") if within else staged
    wants: dict[int, set[int]] = {}
    lacking: set[int] = set()
    for one in references:
        unmet = {int(number) for number in session.control.scalars(one.unmet(staged))}
        for row, other in session.control.execute(one.among(staged, again)) if one in within and unmet else ():
            unmet.discard(int(row))
            wants.setdefault(int(row), set()).add(int(other))
        lacking |= unmet
    held = lacking | unique_order.cannot(wants, lacking).keys()
    return [i for i in range(len(rows)) if i not in held]


def fill(
    session: Session, names: Sequence[str], rows: Sequence[dict[str, Any]], table: str = "stationsync_waiting"
) -> sa.Table:
    """A temporary table of these columns of kept rows, with their number."""
    staged = _staged(session, names, table)
    stage.recreate(session.control, staged)
    families = {_SEQ: Family.INTEGER, **{name: session.fit.families[name] for name in names}}
    session.dialect.fill(session.control, staged, _values(session, names, rows), families, session.pair.place)
    return staged


def _staged(session: Session, names: Sequence[str], table: str) -> sa.Table:
    by_name, key_type = session.fit.by_name, session.dialect.key_type
    kinds = {name: RawType(key_type(by_name[name].station, by_name[name].control)) for name in names}
    return sa.Table(
        table,
        sa.MetaData(),
        sa.Column(_SEQ, sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, kind, nullable=True, quote=True) for name, kind in kinds.items()),
        **TEMPORARY,
    )


def _values(session: Session, names: Sequence[str], rows: Sequence[_Row]) -> pa.Table:
    columns: dict[str, Any] = {_SEQ: pa.array([str(i) for i in range(len(rows))])}
    for name in names:
        binary = session.fit.families[name] in (Family.BINARY, Family.BIT)
        columns[name] = pa.array([_wire(row.get(name)) for row in rows], pa.binary() if binary else pa.string())
    return pa.table(columns)


def _wire(value: Any) -> str | bytes | None:
    if isinstance(value, dict):
        # A long one is kept apart: no index has it.
        value = of_hex(value) if "hex" in value else None
    return cast(str | bytes | None, value)
