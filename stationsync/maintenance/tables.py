"""What of each bookkeeping table is over, as conditions, and deleting it in short transactions; long values of kept
rows that no row refers to any more.

A transaction that writes a row and meets its value there touches the value, which locks it and makes it young. So a
value that is old, and that no row referred to when we looked, has no owner on its way: we lock it, see that it is
still old, and delete it. Whoever wanted it just then waits, finds it gone, and writes it anew."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.keeping.books import OPEN, RELEASED
from stationsync.maintenance.rule import Ages
from stationsync.recovery.backfill_books import OPEN as BACKFILL_OPEN
from stationsync.store.bookkeeping import backfill, conflict, incident, planned_delete, proof, quarantine, trash, value
from stationsync.topology.options import Maintenance

# Rows of one transaction.
BATCH = 500
Pairs = Collection[tuple[str, str]]


@dataclass(frozen=True)
class Over:
    """A table with `id`, what of it is over, and since when: all but the age."""

    what: str
    table: sa.Table
    moment: sa.Column[Any]
    settled: sa.ColumnElement[bool]
    retention: timedelta
    note: str = ""

    def where(self, ages: Ages) -> sa.ColumnElement[bool]:
        general = ages.before(self.retention)
        own = [(name, floor) for name, floor in ages.floors.items() if floor < general]
        stale = (sa.or_(self.table.c.station != name, self.moment < floor) for name, floor in own)
        return sa.and_(self.settled, self.moment < general, *stale)


def over(options: Maintenance, waiting: Pairs) -> tuple[Over, ...]:
    """`waiting`: pairs with edits that did not go down yet. Discarded quarantine entries stay: they remember which
    version was given up; without them it would be reported anew."""
    told = sa.or_(incident.c.told.is_(None), incident.c.told_over.is_not(None))
    return (
        Over("conflicts", conflict, conflict.c.at, _carried(waiting), options.conflicts),
        Over(
            "quarantine", quarantine, quarantine.c.last_at, quarantine.c.state == RELEASED, options.quarantine,
            "open and discarded entries stay",
        ),
        Over("trash", trash, trash.c.at, sa.true(), options.trash),
        Over("backfills", backfill, backfill.c.moved_at, backfill.c.state != BACKFILL_OPEN, options.backfills),
        Over("incidents", incident, incident.c.closed, told, options.incidents),
    )  # fmt: skip


def _carried(waiting: Pairs) -> sa.ColumnElement[bool]:
    """The winner of a conflict is at both sides, as far as one can tell: no edit of the pair waits, and the row is not
    in quarantine."""
    same = [conflict.c[name] == quarantine.c[name] for name in ("station", "table_name", "key_hash")]
    held = sa.select(sa.literal(1)).select_from(quarantine).where(*same, quarantine.c.state == OPEN)
    still = (sa.and_(conflict.c.station == station, conflict.c.table_name == table) for station, table in waiting)
    return sa.and_(~held.correlate(conflict).exists(), *(sa.not_(one) for one in still))


def delete_over(conn: sa.Connection, kind: Over, ages: Ages) -> int:
    """Batch after batch by id, each in a transaction of its own."""
    where, c, gone, after = kind.where(ages), kind.table.c, 0, 0
    while True:
        with conn.begin():
            query = sa.select(c.id).where(where, c.id > after).order_by(c.id).limit(BATCH)
            ids = list(conn.scalars(query))
            if not ids:
                return gone
            # Once more with the condition: an entry may have been opened again meanwhile.
            gone += conn.execute(sa.delete(kind.table).where(c.id.in_(ids), where)).rowcount
        after = ids[-1]


def forgotten_plans(known: Pairs, ages: Ages, retention: timedelta) -> sa.ColumnElement[bool]:
    """Deletes that sweeps planned for pairs which the topology no longer has."""
    same = [planned_delete.c[name] == proof.c[name] for name in ("station", "table_name")]
    young = sa.select(sa.literal(1)).select_from(proof).where(*same, proof.c.run_at >= ages.before(retention))
    ours = [
        sa.and_(planned_delete.c.station == station, planned_delete.c.table_name == table) for station, table in known
    ]
    return sa.and_(~young.correlate(planned_delete).exists(), *(sa.not_(one) for one in ours))


# Longer than any transaction: younger values may have an owner that is not committed yet.
YOUNG = timedelta(days=1)
_ROWS, _VALUES = 200, 50
_REFERENCE = re.compile(r'"sha256": "([0-9a-f]{64})"')
_REFER = (
    (quarantine, ("row_json",)),
    (trash, ("row_json",)),
    (conflict, ("station_row", "control_row", "base_row", "result_row")),
)


def ownerless(conn: sa.Connection, now: datetime) -> list[str]:
    with conn.begin():
        old = set(conn.scalars(sa.select(value.c.sha256).where(value.c.part == 0, value.c.at < now - YOUNG)))
    if old:
        for text in _texts(conn):
            old.difference_update(_REFERENCE.findall(text))
    return sorted(old)


def _texts(conn: sa.Connection) -> Iterator[str]:
    """Of all rows that refer to any value. In short transactions: rows that come meanwhile touch what they refer to."""
    for table, names in _REFER:
        columns, after = [table.c[name] for name in names], 0
        refers = sa.or_(*(column.like('%"sha256"%') for column in columns))
        while True:
            query = sa.select(table.c.id, *columns).where(refers, table.c.id > after)
            with conn.begin():
                rows = conn.execute(query.order_by(table.c.id).limit(_ROWS)).all()
            if not rows:
                break
            yield from (text for row in rows for text in row[1:] if text)
            after = rows[-1].id


def delete_values(conn: sa.Connection, digests: list[str], now: datetime) -> int:
    gone = 0
    for start in range(0, len(digests), _VALUES):
        some = digests[start : start + _VALUES]
        old = (value.c.sha256.in_(some), value.c.part == 0, value.c.at < now - YOUNG)
        with conn.begin():
            still = list(conn.scalars(sa.select(value.c.sha256).where(*old).with_for_update()))
            conn.execute(sa.delete(value).where(value.c.sha256.in_(still)))
        gone += len(still)
    return gone
