"""How many of control's edits have not gone down yet, of all stations of a table at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.store import bookkeeping, pending
from stationsync.store.bookkeeping import PENDING, STATION
from stationsync.topology.model import TableOptions

# Station -> what its last push had seen; None where there was none.
Seen = Mapping[str, datetime | None]
# Stations that are so far apart are counted apart, or one that is off-line would make the count of all read much.
_APART = timedelta(minutes=10)
_AT_ONCE = 500


def count(conn: sa.Connection, options: TableOptions, seen: Seen) -> dict[str, int]:
    """Rows marked `pending`, and those that were stamped anew since the last push looked."""
    found = _pending(conn, options, list(seen))
    for stations, since in _alike(seen):
        for station, number in _stamped(conn, options, stations, since):
            found[station] = found.get(station, 0) + number
    return found


def _alike(seen: Seen) -> Iterator[tuple[list[str], datetime | None]]:
    """Stations whose pushes looked about the same time, with the earliest of these moments."""
    never = [station for station, moment in seen.items() if moment is None]
    if never:
        yield never, None
    together: list[str] = []
    first: datetime | None = None
    for moment, station in sorted((moment, station) for station, moment in seen.items() if moment is not None):
        if first is None or moment - first > _APART or len(together) >= _AT_ONCE:
            if together:
                yield together, first
            together, first = [], moment
        together.append(station)
    if together:
        yield together, first


def _tables(options: TableOptions) -> tuple[sa.TableClause, sa.TableClause, sa.ColumnElement[bool]]:
    names = (*options.key, *options.stamps)
    name = str(options.control_table)
    control = sa.table(name, *map(sa.column, names))
    base = sa.table(bookkeeping.base_name(name), *map(sa.column, (*names, STATION, PENDING)))
    return control, base, sa.and_(*(base.c[one] == control.c[one] for one in options.key))


def _stamp(table: sa.TableClause, options: TableOptions) -> sa.ColumnElement[Any]:
    first, *others = (table.c[name] for name in options.stamps)
    return sa.func.coalesce(first, *others) if others else first


def _pending(conn: sa.Connection, options: TableOptions, stations: Sequence[str]) -> dict[str, int]:
    control, base, same = _tables(options)
    found: dict[str, int] = {}
    for start in range(0, len(stations), _AT_ONCE):
        some = stations[start : start + _AT_ONCE]
        query = (
            sa.select(base.c[STATION], sa.func.count())
            .select_from(base.join(control, same))
            .where(base.c[STATION].in_(some), base.c[PENDING] > 0)
            .group_by(base.c[STATION])
        )
        found |= {station: int(number) for station, number in conn.execute(query)}
    return found


def _stamped(
    conn: sa.Connection, options: TableOptions, stations: Sequence[str], since: datetime | None
) -> Iterable[tuple[str, int]]:
    control, base, same = _tables(options)
    own, known = (_stamp(table, options) for table in (control, base))
    where = [
        base.c[STATION].in_(stations),
        pending.says(base, 0),
        known.is_distinct_from(own),
    ]
    if since is not None:
        where.append(own >= since.isoformat(sep=" "))
    query = sa.select(base.c[STATION], sa.func.count()).select_from(base.join(control, same)).where(*where)
    return [(station, int(number)) for station, number in conn.execute(query.group_by(base.c[STATION]))]
