"""What SHOW GRANTS says that our user may do on a MariaDB server; roles that are active are told there too."""

from __future__ import annotations

import re

import sqlalchemy as sa

_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?P<where>.+?) TO ")
# Any of these on a table, and information_schema shows its foreign keys; SELECT alone does not.
_SHOWING = frozenset(
    {"ALL PRIVILEGES", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES", "INDEX", "ALTER", "TRIGGER"}
)


def granted(conn: sa.Connection, table: str | None = None) -> set[str]:
    """The rights on our whole database and on everything; with `table`, also those on the whole of that table."""
    database = str(conn.scalar(sa.text("SELECT DATABASE()")))
    found: set[str] = set()
    for line in conn.scalars(sa.text("SHOW GRANTS")):
        match = _GRANT.match(str(line))
        if match and covers(match["where"], database, table):
            found |= {right.strip() for right in match["rights"].split(",")}
    return found


def covers(where: str, database: str, table: str | None = None) -> bool:
    """*.*, or a pattern of database names: % and _ are wild, but behind a backslash. Of a table, the name."""
    name, _, of = where.replace("`", "").rpartition(".")
    if of != "*":
        return table is not None and (name.lower(), of.lower()) == (database.lower(), table.lower())
    wild = {"%": ".*", "_": ".", "*": ".*"}
    parts = re.findall(r"\\.|.", name)
    pattern = "".join(wild.get(part) or re.escape(part.removeprefix("\\")) for part in parts)
    return re.fullmatch(pattern, database, re.IGNORECASE) is not None


def sees_references(conn: sa.Connection) -> bool:
    """Whether no foreign key of our database is hidden from us: a table without any right on it hides its own."""
    return not _SHOWING.isdisjoint(granted(conn))
