"""Long values of kept rows that no row refers to any more (`kept`).

A transaction that writes a row and meets its value there touches the value, which locks it and makes it young. So a
value that is old, and that no row referred to when we looked, has no owner on its way: we lock it, see that it is
still old, and delete it. Whoever wanted it just then waits, finds it gone, and writes it anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from stationsync.store.bookkeeping import conflict, quarantine, trash, value

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
