"""What the tables that we make have in common."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

metadata = sa.MetaData()
# Whatever the server's and the database's defaults are.
MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mysql_row_format": "DYNAMIC",
}
# Tables of one session, at either side.
TEMPORARY: dict[str, Any] = {"prefixes": ["TEMPORARY"], **MYSQL}
LongText = sa.Text().with_variant(mysql.LONGTEXT(), "mysql")
LongBytes = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")
Moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
