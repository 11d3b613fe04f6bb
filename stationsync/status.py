"""How each station's tables stand, from control's books alone: stations may be off-line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from stationsync import bookkeeping, books, known_shapes
from stationsync.bookkeeping import PENDING, STATION, conflict, quarantine, state
from stationsync.changes import Direction
from stationsync.database import Database
from stationsync.pair import Pair
from stationsync.proof import Proof, read_proofs

_Key = tuple[str, str]


@dataclass(frozen=True)
class Way:
    """One direction of a table. `up_to`: everything stamped before it was seen, on the source's own clock.
    `message` is what the last run said when it did not come to its end."""

    status: str | None = None
    up_to: datetime | None = None
    run_at: datetime | None = None
    done_at: datetime | None = None
    message: str = ""


@dataclass(frozen=True)
class TableStatus:
    """`waiting`: edits of control's that have not gone down yet; None where the table was not initialised.
    `proof`: what the last reconcile found equal."""

    station: str
    table: str
    up: Way
    down: Way
    waiting: int | None
    quarantined: int
    conflicts: int
    proof: Proof | None = None
    # Fingerprints of both tables in the last good run, and since when; None before the first.
    schema: dict[str, Any] | None = None


def status(control: Database, pairs: Sequence[Pair]) -> list[TableStatus]:
    """One for each pair, in the given order. Raises NotInitialised, and where control does not answer."""
    with control.connect() as conn, control.errors(), conn.begin():
        bookkeeping.require_books(conn)
        ways = _ways(conn)
        in_quarantine = _counts(conn, quarantine, quarantine.c.state == books.OPEN)
        conflicts = _counts(conn, conflict, sa.true())
        proofs = read_proofs(conn)
        shapes = known_shapes.fingerprints(conn)
        present = set(sa.inspect(conn).get_table_names())
        found = []
        for pair in pairs:
            key = (pair.name, pair.table)
            up, down = (ways.get((*key, str(direction)), Way()) for direction in (Direction.UP, Direction.DOWN))
            initialised = {pair.control_table, bookkeeping.base_name(pair.control_table)} <= present
            waiting = _waiting(conn, pair, down.up_to) if initialised else None
            kept = (in_quarantine.get(key, 0), conflicts.get(key, 0))
            found.append(TableStatus(*key, up, down, waiting, *kept, proofs.get(key), shapes.get(key)))
        return found


def _ways(conn: sa.Connection) -> Mapping[tuple[str, str, str], Way]:
    return {
        (row["station"], row["table_name"], row["direction"]): Way(
            row["status"], row["watermark"], row["run_at"], row["done_at"], row["message"] or ""
        )
        for row in conn.execute(sa.select(state)).mappings()
    }


def _counts(conn: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> dict[_Key, int]:
    key = (table.c.station, table.c.table_name)
    rows: Iterable[Any] = conn.execute(sa.select(*key, sa.func.count()).where(where).group_by(*key))
    return {(station, name): int(number) for station, name, number in rows}


def _waiting(conn: sa.Connection, pair: Pair, seen: datetime | None) -> int:
    """Rows marked `pending`, and those that were stamped anew since the last push looked."""
    key, modified = pair.options.key, pair.options.modified
    names = (*key, modified)
    control = sa.table(pair.control_table, *map(sa.column, names))
    base = sa.table(bookkeeping.base_name(pair.control_table), *map(sa.column, (*names, STATION, PENDING)))
    joined = base.join(control, sa.and_(*(base.c[name] == control.c[name] for name in key)))
    stamped = base.c[modified].is_distinct_from(control.c[modified])
    if seen is not None:
        stamped = sa.and_(stamped, control.c[modified] >= seen.isoformat(sep=" "))
    query = (
        sa.select(sa.func.count())
        .select_from(joined)
        .where(base.c[STATION] == pair.name, sa.or_(base.c[PENDING] == 1, stamped))
    )
    return int(conn.scalar(query) or 0)
