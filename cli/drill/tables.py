"""The table of the drill at both sides, and the topology over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.drill.history import CONTROL, Setting

TABLE = "kafka_test"
TEXTS = ("text", "note")
EXTRA = "extra"
# What both sides have, in the order in which everything here reads it.
COLUMNS = ("id", "code", *TEXTS, "modify_date")
LONGEST = 40
STATIONS = 3
BASE = f"stationsync_base_{TABLE}"
MARK = "!"
SUITE = f"""
name: {TABLE}
expectations:
  - type: expect_column_values_to_match_regex
    kwargs: {{column: text, regex: '^[^{MARK}]*$'}}
"""


def ddl(kind: str, side: str, *, fraction: bool) -> list[str]:
    """Control's `text` is shorter than the stations', so that a row can be refused there."""
    stamp = "DATETIME(6)" if fraction and kind == "mariadb" else "DATETIME"
    shared = f"note VARCHAR(80), modify_date {stamp} NULL DEFAULT NULL"
    if side != CONTROL:
        body = f"id INTEGER NOT NULL, code VARCHAR(20) NOT NULL, text VARCHAR(120), {shared}, PRIMARY KEY (id, code)"
        index = "modify_date, id, code"
    else:
        number = "INTEGER PRIMARY KEY AUTOINCREMENT" if kind == "sqlite" else "BIGINT AUTO_INCREMENT PRIMARY KEY"
        check = f" CHECK (length(text) <= {LONGEST})" if kind == "sqlite" else ""
        body = (
            f"master_id {number}, id INTEGER NOT NULL, code VARCHAR(20) NOT NULL, text VARCHAR({LONGEST}){check},"
            f" {shared}, own VARCHAR(40), gone DATETIME NULL DEFAULT NULL, UNIQUE (id, code)"
        )
        index = "modify_date"
    return [f"CREATE TABLE {TABLE} ({body})", f"CREATE INDEX {TABLE}_modified ON {TABLE} ({index})"]


def alter() -> str:
    return f"ALTER TABLE {TABLE} ADD COLUMN {EXTRA} VARCHAR(80)"


def topology(setting: Setting, urls: Mapping[str, str]) -> dict[str, Any]:
    """As stations.yaml would say it."""
    options: dict[str, Any] = {
        "key": ["id", "code"],
        "modified": "modify_date",
        "exclude": ["master_id", "own", "gone"],
        "conflicts": setting.policy,
        "deletes": setting.deletes,
        "flag_column": "gone",
        "sweep_rows": str(setting.page_rows),
        "lookback": "5s",
        "page_rows": str(setting.page_rows),
    }
    if setting.suite:
        options["expectations"] = TABLE
    return {
        "control": {"url": urls[CONTROL]},
        "tables": {TABLE: options},
        "stations": {name: {"url": urls[name]} for name in setting.names},
    }
