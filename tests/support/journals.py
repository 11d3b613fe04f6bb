"""The journal as an outsider reads it: a folder of Parquet files, opened without the product; and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from stationsync.model.changes import Report
from support.databases import Databases
from support.fleet import Fleet

NOT_WRITTEN = ("kept", "quarantined")
COLUMNS = ("id", "text", "code", "create_date", "modify_date")


def files(folder: Path) -> list[Path]:
    """Those that a reader of datasets sees."""
    return sorted(path for path in folder.glob("table=*/**/*.parquet"))


def staged(folder: Path) -> list[Path]:
    return sorted(folder.glob("_staging/**/*.parquet"))


def records(folder: Path) -> list[dict[str, Any]]:
    """All records in their order."""
    if not files(folder):
        return []
    kind = pa.unify_schemas([pq.read_schema(path) for path in files(folder)], promote_options="permissive")
    for name in ("table", "station", "day"):
        kind = kind.append(pa.field(name, pa.string()))
    table = ds.dataset(folder, partitioning="hive", schema=kind).to_table()
    found: list[dict[str, Any]] = table.sort_by("written_at").to_pylist()
    return found


def told(folder: Path, *names: str) -> list[tuple[Any, ...]]:
    """Some fields of every record; `text` of a version as `before.text`."""
    return [tuple(_field(record, name) for name in names) for record in records(folder)]


def _field(record: dict[str, Any], name: str) -> Any:
    version, _, column = name.partition(".")
    value = record[version]
    return value[column] if column and value else value


def replayed(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the records come to, one after the other: the rows that are there by their keys."""
    now: dict[str, dict[str, Any]] = {}
    for record in found:
        if record["decision"] in NOT_WRITTEN:
            continue
        if record["after"] is None:
            now.pop(record["key"], None)
        else:
            now[record["key"]] = record["after"]
    return now


def require_told(fleet: Fleet, folder: Path, stations: Sequence[int] = (1,)) -> None:
    """The journal tells exactly what the databases hold: no more, no less, in either direction. Every file is named
    by a row, and every row's file is there."""
    databases = fleet.databases
    found = records(folder)
    rows = sorted(tuple(row[name] for name in COLUMNS) for row in replayed(found).values())
    columns = ", ".join(COLUMNS)
    assert rows == sorted(_texts(row) for row in databases.rows("control", columns=columns))
    for station in stations:
        at_station = {_texts(row) for row in databases.rows(station, columns=columns)}
        own = {r["key"]: r for r in found if r["station"] == f"station-{station}" and r["decision"] not in NOT_WRITTEN}
        sent = [r["after"] for r in own.values() if r["direction"] == "down" and r["after"]]
        assert {tuple(row[name] for name in COLUMNS) for row in sent} <= at_station
    require_named(databases, folder)


def require_named(databases: Databases, folder: Path) -> None:
    """No file without its commit, no commit without its file; nothing is left in between."""
    named = databases.query("control", "SELECT path, state, row_count FROM stationsync_journal_file ORDER BY path")
    assert {path for path, *_ in named} == {str(path.relative_to(folder)) for path in files(folder)}
    assert {state for _, state, _ in named} <= {"placed"}
    assert staged(folder) == []
    for path, _, rows in named:
        assert pq.ParquetFile(folder / path).metadata.num_rows == rows
    chunks = databases.query("control", "SELECT SUM(row_count) FROM stationsync_journal WHERE file IS NOT NULL")
    assert int(chunks[0][0] or 0) == sum(rows for *_, rows in named)


def _texts(row: Sequence[Any]) -> tuple[str | None, ...]:
    return tuple(None if value is None else str(value) for value in row)


def row(id: int, text: str | None = "first", code: str = "A", **more: Any) -> dict[str, Any]:
    stamps = {"create_date": "2024-01-01 00:00:00", "modify_date": "2024-01-01 00:00:00"}
    return {"id": id, "text": text, "code": code, **stamps, **more}


class Site:
    """One station and control, with a journal."""

    def __init__(self, databases: Databases, folder: Path, stations: int = 1, **options: Any) -> None:
        self.databases = databases
        self.folder = folder / "journal"
        for n in range(1, stations + 1):
            databases.create_kafka_test(n)
        databases.create_kafka_test("control", control=True)
        options.setdefault("journal", self.folder)
        self.fleet = Fleet(databases, stations=stations, **options)
        self.fleet.init()

    def told(self, *names: str) -> list[tuple[Any, ...]]:
        return told(self.folder, *names)

    def since(self, run: Report) -> list[dict[str, Any]]:
        """The records of a run."""
        return [record for record in records(self.folder) if record["run"] == run.run]

    def require_told(self) -> None:
        self.fleet.require_nothing_to_do()
        require_told(self.fleet, self.folder)
