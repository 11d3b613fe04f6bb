"""The table that is written, at either side: what statements about its rows have to know."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stationsync.database.dialect import Dialect
from stationsync.model.schema import TableShape, UniqueIndex
from stationsync.session.session import Session

# The number of a row that is to be written, in temporary tables.
N = "stationsync_n"


@dataclass(frozen=True)
class Target:
    """The table that is written. `key` are its own names of the key, of the types `key_types`; `written` the columns
    that the write gives their values; `synced` those that the rows have. `base` has the owners of control's rows."""

    conn: sa.Connection
    dialect: Dialect
    place: str
    table: sa.Table
    shape: TableShape
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    synced: frozenset[str]
    written: frozenset[str]
    base: sa.Table | None = None
    owner: str = ""
    # Columns that would stamp themselves whenever a row is written, and that the write has no value for.
    pinned: tuple[str, ...] = ()

    @property
    def indexes(self) -> tuple[UniqueIndex, ...]:
        """Unique indexes beside the key that a row of ours may break."""
        return tuple(i for i in self.shape.unique_indexes if self._may_break(i))

    def _may_break(self, index: UniqueIndex) -> bool:
        ours = any(name in self.synced or self.shape[name].generated for name in index.columns)
        return ours and not set(self.key) <= set(index.columns)


def at_control(session: Session) -> Target:
    fit, dialect = session.fit, session.dialect
    names = frozenset(fit.names)
    return Target(
        session.control,
        dialect,
        session.pair.place,
        session.control_table,
        fit.control,
        fit.key,
        tuple(dialect.key_type(fit.by_name[name].station, fit.by_name[name].control) for name in fit.key),
        names,
        names,
        session.base,
        session.pair.name,
        tuple(c.name for c in fit.control.columns if c.on_update and not c.generated and c.name not in names),
    )


def at_station(session: Session, conn: sa.Connection, written: Collection[str]) -> Target:
    """`written`: names at the station."""
    fit, dialect = session.fit, session.pair.station.dialect
    kinds = {c.name: c.station for c in fit.columns}
    stamps = (c.station.name for c in fit.columns if c.editable and c.station.on_update)
    return Target(
        conn,
        dialect,
        session.pair.place,
        session.station_table,
        fit.station,
        tuple(kinds[name].name for name in fit.key),
        tuple(dialect.key_type(kinds[name], kinds[name]) for name in fit.key),
        frozenset(c.name for c in kinds.values()),
        frozenset(written),
        pinned=tuple(name for name in stamps if name not in written),
    )


def keeping(target: Target, *others: str) -> dict[Any, Any]:
    """Values of an UPDATE by which those columns stay as they are."""
    return {target.table.c[name]: target.table.c[name] for name in target.pinned if name not in others}
