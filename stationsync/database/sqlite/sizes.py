"""How large an SQLite database is, and giving its free pages back."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from stationsync.database.dialect import Sizes

# Less is not worth writing the file anew.
_MUCH, _SHARE = 1024 * 1024, 4
_TABLES = sa.text("SELECT m.tbl_name, SUM(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name GROUP BY 1")


def sizes(conn: sa.Connection) -> Sizes:
    (_, _, path) = conn.exec_driver_sql("PRAGMA database_list").one()
    disk = shutil.disk_usage(Path(path).parent)
    return Sizes(_pragma(conn, "page_count") * _pragma(conn, "page_size"), ((disk.free, disk.total),))


def table_sizes(conn: sa.Connection) -> Mapping[str, int]:
    try:
        return {str(name): int(size) for name, size in conn.execute(_TABLES)}
    except sa.exc.OperationalError:  # built without dbstat
        return {}


def recover(conn: sa.Connection) -> list[str]:
    with conn.begin():
        free, pages, size = (_pragma(conn, name) for name in ("freelist_count", "page_count", "page_size"))
        incremental = _pragma(conn, "auto_vacuum") == 2
    if free * size < _MUCH or free * _SHARE < pages:
        return []
    driver: Any = conn.connection.dbapi_connection  # VACUUM is refused within a transaction
    driver.execute("PRAGMA incremental_vacuum" if incremental else "VACUUM").fetchall()
    return ["the file"]


def _pragma(conn: sa.Connection, name: str) -> int:
    return int(conn.exec_driver_sql(f"PRAGMA {name}").scalar_one())
