"""How long the oldest open transaction has been open, among those that have written or hold locks."""

from __future__ import annotations

import re

import sqlalchemy as sa
from pymysql.constants import ER

from stationsync.database.mariadb.numbers import number_of

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
