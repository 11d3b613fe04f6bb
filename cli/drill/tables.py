"""The table of the drill at both sides, and the topology over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.drill.history import CONTROL, Setting

TABLE = "kafka_test"
TEXTS = ("text", "note")
EXTRA = "extra"
CREATED, SEAT, PARENT = "create_date", "seat", "parent"
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


def shape(setting: Setting) -> tuple[bool, ...]:
    """What the tables depend on."""
    return (setting.fraction, setting.created, setting.seats, setting.links, setting.excluded)


def more(setting: Setting) -> tuple[str, ...]:
    """The columns that only some histories have, at all sides."""
    every = ((CREATED, setting.created), (SEAT, setting.seats), (PARENT, setting.links))
    return tuple(name for name, there in every if there)


def ddl(kind: str, side: str, setting: Setting, *, extra: bool = False) -> list[str]:
    """Control's `text` is shorter than the stations', so that a row can be refused there."""
    stamp = "DATETIME(6)" if setting.fraction and kind == "mariadb" else "DATETIME"
    shared = ["note VARCHAR(80)", f"modify_date {stamp} NULL DEFAULT NULL"]
    shared += [f"{EXTRA} VARCHAR(80)"] if setting.excluded or extra else []
    shared += [f"{CREATED} DATETIME NULL DEFAULT NULL"] if setting.created else []
    shared += [f"{SEAT} VARCHAR(20)"] if setting.seats else []
    shared += [f"{PARENT} INTEGER"] if setting.links else []
    keys = [f"UNIQUE (code, {SEAT})"] if setting.seats else []
    keys += [f"FOREIGN KEY ({PARENT}, code) REFERENCES {TABLE} (id, code)"] if setting.links else []
    if side != CONTROL:
        numbered = " AUTO_INCREMENT" if kind == "mariadb" else ""
        columns = [f"id INTEGER NOT NULL{numbered}", "code VARCHAR(20) NOT NULL", "text VARCHAR(120)"]
        keys = ["PRIMARY KEY (id, code)", *keys]
        index = "modify_date, id, code"
    else:
        number = "INTEGER PRIMARY KEY AUTOINCREMENT" if kind == "sqlite" else "BIGINT AUTO_INCREMENT PRIMARY KEY"
        check = f" CHECK (length(text) <= {LONGEST})" if kind == "sqlite" else ""
        columns = [f"master_id {number}", "id INTEGER NOT NULL", "code VARCHAR(20) NOT NULL"]
        columns += [f"text VARCHAR({LONGEST}){check}"]
        shared += ["own VARCHAR(40)", "gone DATETIME NULL DEFAULT NULL"]
        keys = ["UNIQUE (id, code)", *keys]
        index = "modify_date"
    body = ", ".join([*columns, *shared, *keys])
    return [f"CREATE TABLE {TABLE} ({body})", f"CREATE INDEX {TABLE}_modified ON {TABLE} ({index})"]


def alter() -> str:
    return f"ALTER TABLE {TABLE} ADD COLUMN {EXTRA} VARCHAR(80)"


def topology(setting: Setting, urls: Mapping[str, str], *, included: bool) -> dict[str, Any]:
    """As stations.yaml would say it."""
    options: dict[str, Any] = {
        "key": ["id", "code"],
        "modified": "modify_date",
        "exclude": ["master_id", "own", "gone", *([EXTRA] if setting.excluded and not included else [])],
        "conflicts": setting.policy,
        "deletes": setting.deletes,
        "flag_column": "gone",
        "sweep_rows": str(setting.page_rows),
        "lookback": "5s",
        "page_rows": str(setting.page_rows),
    }
    if setting.suite:
        options["expectations"] = TABLE
    if setting.created:
        options["created"] = CREATED
    if setting.zone:
        options["modified_zone"] = setting.zone
    return {
        "control": {"url": urls[CONTROL]},
        "tables": {TABLE: options},
        "stations": {name: {"url": urls[name]} for name in setting.names},
    }
