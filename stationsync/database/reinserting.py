"""Whether rows of a table may be deleted and inserted again within one transaction so that nobody could tell: with the
foreign keys off, since nothing that refers to them may go along, and with no trigger that would see it."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from stationsync.database import references
from stationsync.database.statements import referred_columns
from stationsync.model.schema import TableShape

_EVENTS = ("INSERT", "DELETE")


def why_not(conn: sa.Connection, table: TableShape, changing: Collection[str]) -> str | None:
    """None where they may. `changing`: columns that come back with other values; of the others nobody can tell."""
    if conn.dialect.name == "sqlite":
        return f"the table has the trigger {table.triggers[0]}" if table.triggers else None
    if not table.transactional:
        return f"the table has no transactions ({table.engine})"
    rights = references.granted(conn, table.name)
    lacking = [one for one in ("INSERT", "DELETE", "TRIGGER") if not rights & {one, "ALL PRIVILEGES"}]
    if not references.sees_references(conn):
        lacking.append("REFERENCES on the whole database")
    if lacking:
        return f"our user, who would take one out and put it back for a moment, has no right to {', '.join(lacking)}"
    if found := _trigger(conn, table.name):
        return f"the trigger {found} would see one taken out and put back for a moment"
    if referred := sorted(referred_columns(conn, table.name) & set(changing)):
        return f"rows of other tables refer to {', '.join(referred)}"
    return None


def _trigger(conn: sa.Connection, table: str) -> str | None:
    names = ("trigger_name", "event_object_schema", "event_object_table", "event_manipulation")
    triggers = sa.table("triggers", *map(sa.column, names), schema="information_schema")
    query = sa.select(triggers.c.trigger_name).where(
        triggers.c.event_object_schema == sa.func.database(),
        triggers.c.event_object_table == table,
        triggers.c.event_manipulation.in_(_EVENTS),
    )
    found = conn.scalar(query.order_by(triggers.c.trigger_name).limit(1))
    return None if found is None else str(found)
