"""Tables in an order in which the rows that others refer to come back first, by control's foreign keys. Of tables that
refer to each other in a circle nobody can be first: they stay in the order of the topology, and what control refuses
of them goes in with the next sync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import sqlalchemy as sa

from stationsync.errors import StationSyncError
from stationsync.pairing.pair import Pair


def parents_first(pairs: Sequence[Pair]) -> list[Pair]:
    """Each station's tables in that order. As given where control cannot be asked: whoever goes on is told why."""
    tables = list(dict.fromkeys(pair.control_table for pair in pairs))
    if len(tables) < 2:
        return list(pairs)
    control = pairs[0].control
    try:
        with control.connect() as conn, control.transaction(conn):
            parents = {table: _parents(conn, table) & set(tables) for table in tables}
    except (StationSyncError, sa.exc.NoSuchTableError):
        return list(pairs)
    rank = {table: n for n, table in enumerate(in_order(tables, parents))}
    stations = list(dict.fromkeys(pair.name for pair in pairs))
    return sorted(pairs, key=lambda pair: (stations.index(pair.name), rank[pair.control_table]))


def _parents(conn: sa.Connection, table: str) -> set[str]:
    keys = sa.inspect(conn).get_foreign_keys(table)
    return {one["referred_table"] for one in keys if one["referred_schema"] is None}


def in_order(tables: Sequence[str], parents: Mapping[str, Set[str]]) -> list[str]:
    """Pure: a table after those that it refers to, but for circles; else in the given order."""
    found: list[str] = []
    seen: set[str] = set()

    def add(table: str) -> None:
        if table not in seen:
            seen.add(table)
            for other in tables:
                if other in parents[table]:
                    add(other)
            found.append(table)

    for table in tables:
        add(table)
    return found
