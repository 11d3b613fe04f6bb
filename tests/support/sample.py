"""The sample table: what a station has, and what control has of all stations."""

from __future__ import annotations

COLUMNS = "id, text, code, create_date, modify_date"

_SHARED = """
    `text` varchar(100),
    `code` varchar(100) NOT NULL,
    `create_date` datetime NOT NULL,
    `modify_date` datetime NOT NULL,
    UNIQUE (`id`, `code`)"""


def ddl(kind: str, table: str = "kafka_test", *, control: bool = False) -> list[str]:
    """The statements that create the table in a dialect."""
    auto = {
        "mariadb": "bigint NOT NULL AUTO_INCREMENT PRIMARY KEY",
        "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
    }[kind]
    keys = f"`master_id` {auto}, `id` bigint NOT NULL," if control else f"`id` {auto},"
    ending = " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4" if kind == "mariadb" else ""
    order = "`modify_date`" if control else "`modify_date`, `id`, `code`"
    return [
        f"CREATE TABLE `{table}` ({keys}{_SHARED}){ending}",
        f"CREATE INDEX `{table}_modified` ON `{table}` ({order})",
    ]


def row(number: int, code: str = "A", text: str | None = None, at: str = "2024-01-01 00:00:00") -> dict[str, object]:
    """One station row."""
    return {
        "id": number,
        "text": f"row {number}" if text is None else text,
        "code": code,
        "create_date": at,
        "modify_date": at,
    }
