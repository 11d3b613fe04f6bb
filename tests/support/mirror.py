"""One table `t` at a station and at control, with columns of any type: written in plain SQL, compared byte by byte."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stationsync.model.changes import Report, Status
from support.databases import MariaDBDatabases, Where
from support.fleet import Fleet

SESSION = (
    "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION', time_zone='+00:00',"
    " character_set_connection='utf8mb4'"
)


class Mirror:
    """`columns` are name -> DDL; `control` says where control's differ. `options` are the table's."""

    def __init__(
        self,
        databases: MariaDBDatabases,
        columns: Mapping[str, str],
        *,
        key: Sequence[str] = ("id",),
        control: Mapping[str, str] | None = None,
        urls: Mapping[str, str] | None = None,
        modified: str = "DATETIME(6) NOT NULL",
        journal: Any = "off",
        **options: Any,
    ) -> None:
        self.databases = databases
        self.key = list(key)
        self._create(1, {**columns, "m": modified})
        self._create("control", {**columns, "m": modified, **(control or {})})
        self.names = [*columns, "m"]
        self.fleet = Fleet(
            databases, tables={"t": {"key": self.key, "modified": "m", **options}}, urls=urls, journal=journal
        )

    def _create(self, where: Where, columns: Mapping[str, str]) -> None:
        parts = [f"`{name}` {ddl}" for name, ddl in columns.items()]
        key = ", ".join(f"`{name}`" for name in self.key)
        ddl = f"{', '.join(parts)}, PRIMARY KEY ({key}), KEY (`m`, {key})"
        self.run(where, [f"CREATE TABLE `t` ({ddl}) CHARACTER SET utf8mb4"])

    def run(self, where: Where, statements: Iterable[str]) -> None:
        """Plain SQL in one transaction, as an application of UTC writes it, with nothing converted on the way."""
        server = self.databases.server(where)
        name = self.databases.name(where)
        with contextlib.closing(server.connect(name, autocommit=False)) as connection, connection.cursor() as cursor:
            cursor.execute(SESSION)
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def insert(self, where: Where, rows: Iterable[Sequence[str]], columns: Sequence[str] = ("id", "v")) -> None:
        """Rows of SQL literals."""
        names = ", ".join(f"`{name}`" for name in (*columns, "m"))
        self.run(where, (f"INSERT INTO t ({names}) VALUES ({', '.join(row)}, UTC_TIMESTAMP(6))" for row in rows))

    def set(self, where: Where, values: Mapping[int, str], column: str = "v") -> None:
        """Edit rows by their id, each stamped with the present moment."""
        update = f"UPDATE t SET `{column}` = {{}}, m = UTC_TIMESTAMP(6) WHERE id = {{}}"
        self.run(where, (update.format(value, number) for number, value in values.items()))

    def bytes(self, where: Where, table: str = "t", names: Sequence[str] = ()) -> list[tuple[str | None, ...]]:
        """Every value as the hex of its bytes (numbers: of all their digits), ordered by key."""
        types = dict(self._types(where))
        asked = ", ".join(_hex(name, types[name]) for name in names or self.names)
        order = ", ".join(_hex(name, types[name]) for name in self.key)
        connection = self.databases.server(where).connect(self.databases.name(where))
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(SESSION)
            cursor.execute(f"SELECT {asked} FROM `{table}` ORDER BY {order}")
            return list(cursor.fetchall())

    def _types(self, where: Where) -> list[tuple[str, str]]:
        where_clause = "table_schema = DATABASE() AND table_name = 't'"
        found = self.databases.query(
            where, f"SELECT column_name, column_type FROM information_schema.columns WHERE {where_clause}"
        )
        return [(str(name), str(kind)) for name, kind in found]

    def sync(self) -> tuple[Report, Report]:
        up, down = self.fleet.sync()
        assert {up.status, down.status} <= {Status.DONE, Status.NOTHING}
        return up, down

    def require_equal(self, names: Sequence[str] = ()) -> None:
        """The station, control and the base have the same bytes, and nothing is left to do."""
        ours = self.bytes(1, names=names)
        assert self.bytes("control", names=names) == ours
        assert self.bytes("control", "stationsync_base_t", names=names) == ours
        self.fleet.require_nothing_to_do()

    def quarantined(self) -> list[tuple[str, str, str]]:
        """(direction, key, reasons) of what is in quarantine."""
        sql = "SELECT direction, key_text, reasons FROM stationsync_quarantine WHERE state = 'open' ORDER BY id"
        return [(str(d), str(k), str(r)) for d, k, r in self.databases.query("control", sql)]


def _hex(name: str, kind: str) -> str:
    column = f"`{name}`"
    # FLOAT prints six digits only; as DOUBLE it prints all.
    return f"HEX(CAST({f'CAST({column} AS DOUBLE)' if re.match('float', kind) else column} AS BINARY))"


SECOND, LATER = "'2024-05-05 05:05:05'", "'2030-05-05 05:05:05'"


def mirror_of(databases: MariaDBDatabases, columns: Mapping[str, str], **options: Any) -> Mirror:
    options = {"key": list(columns), "page_rows": 60, **options}
    mirror = Mirror(databases, {**columns, "v": "INT"}, **options)
    mirror.fleet.init()
    return mirror


def fill(mirror: Mirror, columns: Mapping[str, str], rows: list[list[str]]) -> None:
    """All rows stamped with one second, so that only the key tells them apart."""
    mirror.insert(1, [[*row, str(n)] for n, row in enumerate(rows)], [*columns, "v"])
    mirror.run(1, [f"UPDATE t SET m = {SECOND}"])
