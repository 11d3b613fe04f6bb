"""A table's filter of rows (`where`) in SQL: the station's rows that are synchronised, and those that are not."""

from __future__ import annotations

import sqlalchemy as sa

from stationsync.errors import SchemaRefused
from stationsync.pairing.pair import Pair


def let_through(where: str | None) -> sa.ColumnElement[bool]:
    """In a condition of a query over the station's table alone, so that an index serves it."""
    # Not as a Boolean: SQLAlchemy would compare it with 1, which hides it from an index, and 4 is true as well.
    return sa.true() if where is None else sa.literal_column(f"({where})")


def outside(where: str | None) -> sa.ColumnElement[bool]:
    """Rows of which the filter is false, or says nothing (NULL)."""
    return sa.false() if where is None else sa.case((let_through(where), 0), else_=1) == 1


def require(conn: sa.Connection, pair: Pair, table: sa.Table) -> None:
    """Raises SchemaRefused where the station's database does not take the filter; no row is read."""
    where = pair.options.where
    if where is None:
        return
    query = sa.select(sa.literal(1)).select_from(table).where(let_through(where)).limit(0)
    try:
        conn.execute(query).all()
    except sa.exc.DBAPIError as error:
        known = pair.station.dialect.explain_error(error, pair.place, station=True)
        if known is not None and not isinstance(known, SchemaRefused):
            raise
        said = known.what if known else " ".join(str(error.orig).split())
        raise SchemaRefused(
            pair.place,
            f"its database does not take the filter of its rows (where: {where}): {said}.",
            next_step=f"Mend it in the topology (tables.{pair.table}.where), then: stationsync check {pair.name}",
        ) from error
