"""Tables of ours that a server cannot make: a key or a row beyond its limits, in words. No row's fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from pymysql.constants import ER

from stationsync.errors import SchemaRefused

# A key too long, or of a type that an index holds no whole value of; too many or too wide columns.
_KEY = frozenset({ER.TOO_LONG_KEY, ER.BLOB_KEY_WITHOUT_LENGTH})
_ROW = frozenset({ER.TOO_BIG_FIELDLENGTH, ER.TOO_MANY_FIELDS, ER.TOO_BIG_ROWSIZE, ER.TOO_BIG_DISPLAYWIDTH})
_TRIED = "stationsync_check"


@contextmanager
def explained(place: str, key: Sequence[str]) -> Iterator[None]:
    """What a server says to a CREATE or an ALTER of ours, in words. Raises SchemaRefused."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if (refused := _explained(error, place, key)) is None:
            raise
        raise refused from error


def tried(conn: sa.Connection, table: sa.Table, place: str, key: Sequence[str]) -> SchemaRefused | None:
    """Why the server would not make this table: tried with a temporary one, without its indexes but the key. None
    where it would, and where it cannot be tried."""
    columns = [sa.Column(c.name, c.type, primary_key=c.primary_key, nullable=c.nullable, quote=True) for c in table.c]
    options = {name: value for name, value in table.dialect_kwargs.items() if name.startswith("mysql_")}
    trial = sa.Table(_TRIED, sa.MetaData(), *columns, prefixes=["TEMPORARY"], **options)
    try:
        with explained(place, key):
            conn.execute(sa.schema.CreateTable(trial))
    except SchemaRefused as refused:
        return refused
    except sa.exc.DBAPIError:
        return None
    conn.execute(sa.text(f"DROP TEMPORARY TABLE {_TRIED}"))
    return None


def _explained(error: sa.exc.DBAPIError, place: str, key: Sequence[str]) -> SchemaRefused | None:
    code, message = (*getattr(error.orig, "args", ()), 0, "")[:2]
    if code in _KEY:
        what = f"the key ({', '.join(key)}) is too long for an index of our own tables: {message} ({code})."
        step = "Make its columns shorter at both sides (varchar, not text), or name another unique key under key:"
        return SchemaRefused(place, what, next_step=step)
    if code in _ROW:
        what = f"its columns are too many or too wide for a row of our own tables: {message} ({code})."
        step = "Leave the widest out (exclude: in the topology), or make text of varchar columns."
        return SchemaRefused(place, what, next_step=step)
    return None
