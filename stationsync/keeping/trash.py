"""The trash: rows that were deleted, or flagged, because the other side deleted them; and bringing them back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import LockWait, Refused, RowRefused, SchemaRefused, StationSyncError, UsageError, guarded
from stationsync.model.schema import Column, TableShape
from stationsync.model.wire import Family, key_texts, parse_key_text, table_of, wire_row
from stationsync.pairing.fitting import transactions_finding
from stationsync.pairing.keys import among
from stationsync.pairing.pair import Pair
from stationsync.session.session import Session
from stationsync.store import bookkeeping, kept
from stationsync.store.bookkeeping import (
    STATION,
    key_hash,
    of_this_version,
    require_books,
    require_transactions,
    station_of,
)
from stationsync.store.bookkeeping import trash as table

KEPT, FLAGGED, RESTORED = "kept", "flagged", "restored"
# What is shown of one that a person has looked at.
DONE = "done"
_AT_ONCE = 1_000
# The reason of a row whose key another row of its station has by now.
GIVEN_AGAIN = "its key was given again"
_NOTHING = "Nothing was changed."


@dataclass(frozen=True)
class Item:
    """`side` is where the row was deleted or flagged; `row` has all its columns there, as it is kept (`kept`).
    `answered_at`: when a person has looked at it."""

    id: int
    at: datetime
    station: str
    table: str
    key_text: str
    side: str
    reason: str
    state: str
    row: dict[str, Any]
    answered_at: datetime | None = None

    @property
    def shown_state(self) -> str:
        return DONE if self.answered_at is not None and self.state != RESTORED else self.state


def keep(session: Session, side: str, rows: pa.Table, reason: str, state: str) -> None:
    """Put rows (wire form) into the trash, in the caller's transaction."""
    whole = [kept.keep(wire_row(rows, i)) for i in range(rows.num_rows)]
    texts = [(key, row.text) for key, row in zip(key_texts(rows, session.fit.key), whole, strict=True)]
    kept.store(session.control, whole, session.now)
    keep_texts(session, side, texts, reason, state)


def keep_texts(session: Session, side: str, rows: Sequence[tuple[str, str]], reason: str, state: str) -> None:
    """The same of rows that are kept already: their keys' texts, and what stands of them (`kept`)."""
    common = {
        "at": session.now,
        "station": session.pair.name,
        "table_name": session.pair.table,
        "side": side,
        "reason": reason,
        "state": state,
    }
    entries = [{**common, "key_hash": key_hash(text), "key_text": text, "row_json": row} for text, row in rows]
    if entries:
        session.control.execute(sa.insert(table), entries)


def find(
    control: Database,
    station: str | None = None,
    of: str | None = None,
    *,
    closed: bool = False,
    since: datetime | None = None,
    limit: int | None = None,
) -> tuple[list[Item], int]:
    """Open ones first, the newest first, and how many there are; where asked for, those too that were restored, or that
    somebody has looked at. `since`: deleted at that moment (UTC) or later. Raises NotInitialised."""
    where = _where(station, of, since)
    where += [] if closed else [_is_open()]
    with _books(control) as conn:
        total = conn.scalar(sa.select(sa.func.count()).select_from(table).where(*where))
        query = sa.select(table).where(*where).order_by(sa.case((_is_open(), 0), else_=1), table.c.id.desc())
        query = query.limit(limit)
        return [item_of(row) for row in conn.execute(query).mappings()], int(total or 0)


def _where(station: str | None, of: str | None, since: datetime | None) -> list[sa.ColumnElement[bool]]:
    named = ((table.c.station, station), (table.c.table_name, of))
    found: list[sa.ColumnElement[bool]] = [column == name for column, name in named if name is not None]
    return [*found, *([table.c.at >= since] if since is not None else [])]


def _is_open() -> sa.ColumnElement[bool]:
    return sa.and_(table.c.state != RESTORED, table.c.answered_at.is_(None))


def answer(control: Database, ids: Sequence[int]) -> int:
    """Say that these were looked at; how many were open. Raises UsageError, and nothing is answered, where one is not
    there."""
    wanted = list(dict.fromkeys(ids))
    by_ids(control, wanted)
    with _books(control) as conn:
        parts = (wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE))
        return sum(_answer(control, conn, [table.c.id.in_(some)]) for some in parts)


def answer_all(
    control: Database, station: str | None = None, of: str | None = None, since: datetime | None = None
) -> int:
    """The same of all open ones that are so; how many."""
    with _books(control) as conn:
        return _answer(control, conn, _where(station, of, since))


def _answer(control: Database, conn: sa.Connection, where: Sequence[sa.ColumnElement[bool]]) -> int:
    now = control.dialect.clock(conn, Family.DATETIME).utc
    return int(conn.execute(sa.update(table).where(*where, _is_open()).values(answered_at=now)).rowcount)


def by_ids(control: Database, ids: Sequence[int]) -> list[Item]:
    """In the given order. Raises UsageError for a number that is not there."""
    with _books(control) as conn:
        found = {
            row["id"]: item_of(row) for row in conn.execute(sa.select(table).where(table.c.id.in_(ids))).mappings()
        }
    if missing := [str(number) for number in ids if number not in found]:
        what = f"no entry {', '.join(missing)}."
        raise UsageError("trash", what, not_done="Nothing was done.", next_step="See: stationsync trash list")
    return [found[number] for number in ids]


def restore(control: Database, pair: Pair, item: Item, *, briefly: bool = False) -> None:
    """Put a row back into control's table, or take its flag off. The station does not get it: it deleted the row.
    `briefly`: wait for a lock only a moment, since another row was waited for in vain.

    Raises Refused where a row of this key lives again, at control or at a station, or control would not take this one:
    nothing that lives is replaced by a row out of the trash. LockWait where an application keeps the row locked."""
    with _books(control, briefly=briefly) as conn:
        shape = pair.control.dialect.reflect(conn, pair.control_table)
        if shape is None:
            raise SchemaRefused("control", f"there is no table {pair.control_table}.")
        pair = pair.spelled(shape)
        require_transactions(conn, control.dialect)
        if not shape.transactional:
            found = transactions_finding(_place(item), shape)
            raise SchemaRefused(_place(item), found.what, not_done="Nothing was changed.", next_step=found.next_step)
        if item.state != FLAGGED or not _unflag(conn, pair, shape, item):
            _insert(conn, pair, shape, item)
        restored = sa.update(table).where(table.c.id == item.id, table.c.state == item.state).values(state=RESTORED)
        if not conn.execute(restored).rowcount:
            raise Refused(_place(item), "it was restored already.", not_done=_NOTHING)


def restore_all(
    control: Database, items: Sequence[Item], pair_of: Callable[[Item], Pair]
) -> tuple[list[int], dict[int, StationSyncError]]:
    """The numbers of rows that are back, and of the others why they are not. Goes on as long as something more goes in:
    a row may refer to one that comes after it."""
    restored: list[int] = []
    waited = False
    while True:
        left: list[Item] = []
        failed: dict[int, StationSyncError] = {}
        for item in items:
            try:
                with guarded(f"{item.station}/{item.table}"):
                    restore(control, pair_of(item), item, briefly=waited)
                restored.append(item.id)
            except StationSyncError as error:
                left.append(item)
                failed[item.id] = error
                waited = waited or isinstance(error, LockWait)
        if not left or len(left) == len(items):
            return restored, failed
        items = left


def _insert(conn: sa.Connection, pair: Pair, shape: TableShape, item: Item) -> None:
    target = shape.table()
    if conn.execute(sa.select(sa.literal(1)).select_from(target).where(_key(pair, shape, item))).first():
        before = " (this one was restored already)" if item.state == RESTORED else ""
        what = f"control has a row {item.key_text} again{before}."
        raise Refused(_place(item), what, not_done=_NOTHING, next_step=_look(item))
    if owner := _owner(conn, pair, shape, item):
        what = f"its key lives again: station {owner} has a row {item.key_text}, which control lacks."
        back = f"Bring that one back: stationsync reconcile {owner} --table {item.table}"
        raise Refused(_place(item), what, not_done=_NOTHING, next_step=f"{back}. {_look(item)}")
    row = kept.load(conn, item.row)
    known = {name: value for name, value in row.items() if name in shape and not shape[name].generated}
    families = {name: family(shape[name]) for name in known}
    rows = table_of([known], families)
    try:
        with pair.control.errors():
            pair.control.dialect.fill(conn, target, rows, families, pair.place)
    except RowRefused as error:
        raise Refused(_place(item), f"control refuses the row: {error.what}", not_done=_NOTHING) from error


def _owner(conn: sa.Connection, pair: Pair, shape: TableShape, item: Item) -> str | None:
    """The station that is known to have a row of this key. Put beside it, the old row would be taken for an edit of
    control's, and sent over the station's."""
    base = bookkeeping.base_table(pair.control.dialect, shape, pair.options.key, [])
    if not pair.control.dialect.column_types(conn, base.name):
        return None
    own = [(base.c[name], shape[name]) for name in pair.options.key]
    query = sa.select(base.c[STATION]).where(among([parse_key_text(item.key_text)], own))
    owner = conn.scalar(query.with_for_update())
    return None if owner is None else station_of(owner)


def _look(item: Item) -> str:
    return f"Look at this one: stationsync trash show {item.id}"


def _unflag(conn: sa.Connection, pair: Pair, shape: TableShape, item: Item) -> bool:
    """Whether control still has the row."""
    name = pair.options.flag_column or ""
    if name not in shape:
        raise SchemaRefused(_place(item), f"the table has no flag column {name}.", not_done=_NOTHING)
    target = shape.table()
    synced = [one for one in shape.names if one not in pair.options.exclude]
    values: dict[Any, Any] = {target.c[name]: unset(shape, name), **shape.own_stamps(target, synced)}
    update = sa.update(target).where(_key(pair, shape, item)).values(values)
    return bool(conn.execute(update).rowcount)


def unset(shape: TableShape, name: str) -> int | None:
    """What a flag column says of a row that is not deleted."""
    return None if shape[name].nullable else 0


def _key(pair: Pair, shape: TableShape, item: Item) -> sa.ColumnElement[bool]:
    target = shape.table()
    return among([parse_key_text(item.key_text)], [(target.c[name], shape[name]) for name in pair.options.key])


def family(column: Column) -> Family:
    """As a column is kept: one of a type that we do not know by the bytes that the server has of it."""
    return column.family if column.supported else Family.BINARY


def _place(item: Item) -> str:
    return f"trash entry {item.id} ({item.station}/{item.table})"


@contextmanager
def _books(control: Database, *, briefly: bool = False) -> Iterator[sa.Connection]:
    with control.connect() as conn:
        if briefly:
            with conn.begin():
                control.dialect.wait_briefly(conn)
        with conn.begin(), of_this_version():
            require_books(conn)
            yield conn


def item_of(row: Any) -> Item:
    return Item(
        row["id"],
        row["at"],
        row["station"],
        row["table_name"],
        row["key_text"],
        row["side"],
        row["reason"],
        row["state"],
        json.loads(row["row_json"]),
        row["answered_at"],
    )
