"""What a MariaDB server says of itself: how large a database is, how full its disk, how long its oldest transaction
is open."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import sqlalchemy as sa
from pymysql.constants import ER

from stationsync.database.dialect import Sizes
from stationsync.database.mariadb.numbers import number_of

_SIZE = sa.text(
    "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = DATABASE()"
)
_HAS_DISKS = sa.text(
    "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'DISKS' AND plugin_status = 'ACTIVE'"
)
_DISKS = sa.text("SELECT path, total, available FROM information_schema.disks")
_DATADIR = sa.text("SELECT @@datadir")
_HOSTNAME = sa.text("SELECT @@hostname")
_TABLES = sa.text(
    "SELECT table_name, data_length + index_length FROM information_schema.tables"
    " WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"
)
_FREE = sa.text(
    "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND engine = 'InnoDB'"
    " AND data_free >= :much AND data_free * :share >= data_length + index_length"
)
# Less is not worth writing a table anew.
_MUCH, _SHARE = 16 * 1024 * 1024, 4
_BLOCK = 1024


def is_mariadb(conn: sa.Connection) -> bool:
    """Or MySQL, which has other names for a few things."""
    return bool(getattr(conn.dialect, "is_mariadb", False))


def sizes(conn: sa.Connection) -> Sizes:
    """The disk is told by servers with the plugin DISKS, to users who may read files (grant FILE). That of a server on
    this machine is looked at."""
    data = int(conn.scalar(_SIZE) or 0)
    here = PurePosixPath(str(conn.scalar(_DATADIR)))
    return Sizes(data, _told_disk(conn, here) or _own_disk(conn, here))


def _told_disk(conn: sa.Connection, here: PurePosixPath) -> tuple[tuple[int, int], ...]:
    if not conn.scalar(_HAS_DISKS):
        return ()
    try:
        rows = conn.execute(_DISKS).all()
    except sa.exc.DBAPIError:  # we may not see them
        return ()
    disks = [(PurePosixPath(path), total, free) for path, total, free in rows]
    holding = [disk for disk in disks if here.is_relative_to(disk[0])]
    nearest = max(holding, key=lambda disk: len(disk[0].parts), default=None)
    return ((nearest[2] * _BLOCK, nearest[1] * _BLOCK),) if nearest else ()


def _own_disk(conn: sa.Connection, here: PurePosixPath) -> tuple[tuple[int, int], ...]:
    if conn.scalar(_HOSTNAME) != socket.gethostname():
        return ()
    try:
        usage = shutil.disk_usage(here)
    except OSError:  # not ours to see, or a container of the same name
        return ()
    return ((usage.free, usage.total),)


def table_sizes(conn: sa.Connection) -> Mapping[str, int]:
    return {str(name): int(size) for name, size in conn.execute(_TABLES)}


def recover(conn: sa.Connection, tables: Sequence[str]) -> list[str]:
    """OPTIMIZE lets others read and write meanwhile; it only waits for a moment without them, and not for long."""
    with conn.begin():
        much = set(conn.scalars(_FREE, {"much": _MUCH, "share": _SHARE})) & set(tables)
    done = []
    quote = conn.dialect.identifier_preparer.quote
    for name in sorted(much):
        with conn.begin():
            conn.exec_driver_sql("SET SESSION lock_wait_timeout = 5")
            # It tells of faults in its rows, and is done where none says so.
            said = conn.exec_driver_sql(f"OPTIMIZE NO_WRITE_TO_BINLOG TABLE {quote(name)}").all()
            done += [name] if not any(str(row[2]).lower() == "error" for row in said) else []
    return done


# trx_started is in the operating system's zone, in whole seconds. A reader's transaction never matters.
_OLDEST = (
    "SELECT MAX(CASE WHEN (trx_rows_modified > 0 OR trx_lock_structs > 0) AND trx_mysql_thread_id <> CONNECTION_ID()"
    " THEN TIMESTAMPDIFF(MICROSECOND, trx_started, CONVERT_TZ(UTC_TIMESTAMP(6), '+00:00', 'SYSTEM')) END) / 1000000,"
    " SUM(trx_mysql_thread_id = CONNECTION_ID()) FROM information_schema.innodb_trx"
)
_ACTIVE = re.compile(r"[^\n]*, ACTIVE[^\n]*? (\d+) sec")
_WRITES = re.compile(r"\b[1-9]\d* lock struct\(s\)|undo log entries")


def oldest_open(conn: sa.Connection) -> tuple[float | None, bool]:
    """Seconds (None: there is none), and whether this user may see transactions at all."""
    # The server renews innodb_trx only after nobody has looked for 0.1 s, so that somebody who keeps looking, a monitor
    # or our own runs of other tables, keeps it old. A list that has our own transaction is new.
    conn.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    try:
        age, is_new = conn.exec_driver_sql(_OLDEST).one()
        if not is_new:
            age = _from_status(str(conn.exec_driver_sql("SHOW ENGINE INNODB STATUS").one()[2]))
    except sa.exc.DBAPIError as error:
        if number_of(error) == ER.SPECIFIC_ACCESS_DENIED_ERROR:
            return None, False
        raise
    return (None if age is None else float(age)), True


def _from_status(status: str) -> int | None:
    ages = []
    for transaction in status.split("---TRANSACTION ")[1:]:
        active = _ACTIVE.match(transaction)
        if active and _WRITES.search(transaction):
            ages.append(int(active[1]))
    return max(ages, default=None)
