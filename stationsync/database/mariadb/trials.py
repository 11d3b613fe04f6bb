"""What `check` asks a server: its version, and what our user may do there.

A right is tried, by a statement that has no effect, rather than read: so roles, wildcards and rights on single
columns all count. Only what cannot be tried is read from SHOW GRANTS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from stationsync.database.mariadb.errors import DENIED
from stationsync.database.mariadb.numbers import number_of
from stationsync.database.mariadb.server import is_mariadb
from stationsync.database.mariadb.settings import MYSQL_LEAST
from stationsync.database.references import granted, sees_references
from stationsync.model.changes import Level, Note

_LEAST = {"MariaDB": (10, 4), "MySQL": MYSQL_LEAST}
_ROWS = ("SELECT", "INSERT", "UPDATE", "DELETE")
_DEFINING = ("CREATE", "ALTER", "INDEX", "DROP")


def version(conn: sa.Connection, place: str) -> tuple[str, list[Note]]:
    """The server's name and version in words, and whether it is too old."""
    text = str(conn.scalar(sa.text("SELECT VERSION()")))
    number = tuple(map(int, re.findall(r"\d+", text)[:3]))
    product = "MariaDB" if is_mariadb(conn) else "MySQL"
    shown = f"{product} {'.'.join(map(str, number))}"
    if number >= _LEAST[product]:
        return shown, []
    least = ".".join(map(str, _LEAST[product]))
    return shown, [Note(Level.PROBLEM, place, f"{shown} is too old.", f"Needed: {product} {least} or later.")]


def _engine_forced(conn: sa.Connection, place: str) -> Iterator[Note]:
    """Whatever a session says, all tables that it makes, temporary ones too, would be of another engine."""
    if not is_mariadb(conn):
        return
    engine = conn.scalar(sa.text("SELECT @@enforce_storage_engine"))
    if engine and str(engine).lower() != "innodb":
        what = (
            f"enforce_storage_engine is {engine}: the temporary tables of a run cannot be made, and nothing is written."
        )
        step = "SET GLOBAL enforce_storage_engine = NULL; (or InnoDB) and the same in the server's configuration."
        yield Note(Level.PROBLEM, place, what, step)


def read_only(conn: sa.Connection, place: str) -> Iterator[Note]:
    if conn.scalar(sa.text("SELECT @@read_only")):
        what = "the server is read-only: only users with the right READ_ONLY ADMIN may write, and runs wait."
        yield Note(Level.WARNING, place, what, "SET GLOBAL read_only = 0; or name the server that can be written.")


def bulk_load(conn: sa.Connection, place: str) -> Iterator[Note]:
    if not conn.scalar(sa.text("SELECT @@local_infile")):
        what = "local_infile is off: rows are inserted by statements, and a first load takes longer."
        yield Note(Level.INFO, place, what, "SET GLOBAL local_infile = 1; and the same in the server's configuration.")


def no_sight_of_transactions(conn: sa.Connection, place: str) -> Note:
    what = "the user may not see open transactions: a row that is committed late may wait for reconcile."
    return Note(Level.WARNING, place, what, f"GRANT PROCESS ON *.* TO {_user(conn)};")


def may_read(conn: sa.Connection, table: str) -> bool:
    """Any right at all on a table; raises the driver's error where there is none of that name."""
    return _allowed(conn, sa.select(sa.literal(1)).select_from(sa.table(table)).where(sa.false()))


def station_rights(
    conn: sa.Connection, place: str, table: str, columns: list[str], editable: list[str], *, deletes: bool = False
) -> Iterator[Note]:
    """SELECT of the synchronised columns, UPDATE of those that control may edit; DELETE where control's deletes go
    down."""
    trials: dict[str, sa.Executable] = {"SELECT": _select(table, columns)}
    if editable:
        trials["UPDATE"] = _update(table, editable)
    if deletes:
        trials["DELETE"] = sa.delete(sa.table(table)).where(sa.false())
    yield from _missing(conn, place, table, trials)
    if deletes:
        yield from sight_of_references(conn, place.partition("/")[0])


def reseed_rights(conn: sa.Connection, place: str, table: str, columns: list[str], others: list[str]) -> Iterator[Note]:
    """Whole rows are written back: INSERT too, and UPDATE of every column but the key's (`others`)."""
    target = sa.table(table, *map(sa.column, columns))
    nothing = sa.select(*(sa.null() for _ in columns)).where(sa.false())
    trials: dict[str, sa.Executable] = {"SELECT": _select(table, columns)}
    trials["INSERT"] = sa.insert(target).from_select(columns, nothing)
    if others:
        trials["UPDATE"] = _update(table, others)
    yield from _missing(conn, place, table, trials)
    yield from temporary_tables(conn, place)


def control_rights(conn: sa.Connection, place: str, table: str, columns: list[str]) -> Iterator[Note]:
    """All that a merge, and later a delete, needs on one table."""
    target = sa.table(table, *map(sa.column, columns))
    nothing = sa.select(*(sa.null() for _ in columns)).where(sa.false())
    trials: dict[str, sa.Executable] = {
        "SELECT": _select(table, columns),
        "INSERT": sa.insert(target).from_select(columns, nothing),
        "UPDATE": _update(table, columns),
        "DELETE": sa.delete(target).where(sa.false()),
    }
    yield from _missing(conn, place, table, trials)


def temporary_tables(conn: sa.Connection, place: str) -> Iterator[Note]:
    if forced := list(_engine_forced(conn, place)):
        yield from forced
        return
    trial = sa.Table("stationsync_check", sa.MetaData(), sa.Column("a", sa.Integer), prefixes=["TEMPORARY"])
    right = "CREATE TEMPORARY TABLES"
    if _allowed(conn, sa.schema.CreateTable(trial)):
        conn.execute(sa.text("DROP TEMPORARY TABLE stationsync_check"))
        return
    yield Note(Level.PROBLEM, place, f"the user has no {right} right.", _statement(conn, right, None))


def defining_rights(conn: sa.Connection, place: str, tables: Sequence[str], *, initialised: bool) -> Iterator[Note]:
    """The rights for our own `tables`, as SHOW GRANTS tells them, on the whole database or on each of them; once they
    are made, only a later init needs more."""
    needed = _DEFINING if initialised else (*_ROWS, *_DEFINING)
    lacking = [needed_on for table in tables if (needed_on := _lacking(granted(conn, table), needed))]
    missing = ", ".join(right for right in needed if any(right in one for one in lacking))
    if missing:
        level = Level.WARNING if initialised else Level.PROBLEM
        what = f"the user has no {missing} right on the whole database; stationsync init needs it for our own tables."
        step = f"{_statement(conn, missing, None)} Or on these tables alone: stationsync grants control"
        yield Note(level, place, what, step)


def _lacking(rights: set[str], needed: Sequence[str]) -> set[str]:
    return set() if "ALL PRIVILEGES" in rights else set(needed) - rights


def sight_of_references(conn: sa.Connection, place: str) -> Iterator[Note]:
    """Where rows are deleted, foreign keys must be seen that would take rows of other tables along."""
    if not sees_references(conn):
        what = "the user may not see which tables refer to those whose rows it deletes; nothing is deleted so."
        yield Note(Level.PROBLEM, place, what, _statement(conn, "SELECT, REFERENCES", None))


def _select(table: str, columns: list[str]) -> sa.Select[tuple[object, ...]]:
    return sa.select(*map(sa.column, columns)).select_from(sa.table(table)).where(sa.false())


def _update(table: str, columns: list[str]) -> sa.Update:
    target = sa.table(table, *map(sa.column, columns))
    return sa.update(target).values(dict.fromkeys(columns, sa.null())).where(sa.false())


def _missing(conn: sa.Connection, place: str, table: str, trials: Mapping[str, sa.Executable]) -> Iterator[Note]:
    missing = ", ".join(right for right, trial in trials.items() if not _allowed(conn, trial))
    if missing:
        yield no_right(conn, place, table, missing)


def no_right(conn: sa.Connection, place: str, table: str, rights: str) -> Note:
    what = f"the user has no {rights} right on {table}."
    return Note(Level.PROBLEM, place, what, _statement(conn, rights, table))


def _allowed(conn: sa.Connection, trial: sa.Executable) -> bool:
    try:
        conn.execute(trial)
    except sa.exc.DBAPIError as error:
        if number_of(error) not in DENIED:
            raise
        return False
    return True


def _statement(conn: sa.Connection, rights: str, table: str | None) -> str:
    quote = conn.dialect.identifier_preparer.quote_identifier
    where = f"{quote(_database(conn))}.{quote(table) if table else '*'}"
    return f"GRANT {rights} ON {where} TO {_user(conn)};"


def _database(conn: sa.Connection) -> str:
    return str(conn.scalar(sa.text("SELECT DATABASE()")))


def _user(conn: sa.Connection) -> str:
    user, _, host = str(conn.scalar(sa.text("SELECT CURRENT_USER()"))).rpartition("@")
    return f"'{user}'@'{host}'"
