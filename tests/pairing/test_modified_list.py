"""`modified: [changed, made]`: the first of them that is not NULL stamps the row; and rows without a date are told."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.databases import Databases, Where
from support.fleet import Fleet
from support.sweeps import sweep

from stationsync.errors import UsageError
from stationsync.health.check import check
from stationsync.health.status import status
from stationsync.model.changes import Status
from stationsync.recovery.backfill_range import BackfillRange, begin, read
from stationsync.session.lease import lease
from stationsync.sync import runs

LIST = ["changed", "made"]


def fleet_of(databases: Databases, modified: Any = LIST, **options: Any) -> Fleet:
    for where in ("control", 1):
        columns = "id INTEGER NOT NULL PRIMARY KEY, v VARCHAR(20), changed DATETIME NULL, made DATETIME NULL"
        databases.execute(where, f"CREATE TABLE t ({columns})")  # type: ignore[arg-type]
        for name in LIST:
            databases.execute(where, f"CREATE INDEX i_{name} ON t ({name})")  # type: ignore[arg-type]
    fleet = Fleet(databases, tables={"t": {"key": ["id"], "modified": modified, **options}})
    fleet.init()
    return fleet


def ago(seconds: int) -> str:
    return str(datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(seconds=seconds))


def put(databases: Databases, *rows: tuple[int, str | None, str | None], where: Where = 1) -> None:
    for number, changed, made in rows:
        databases.execute(where, "INSERT INTO t VALUES (%s, %s, %s, %s)", [number, "a", changed, made])


def edit(databases: Databases, where: Where, number: int, value: str, changed: str | None) -> None:
    databases.execute(where, "UPDATE t SET v = %s, changed = %s WHERE id = %s", [value, changed, number])


def rows(databases: Databases, where: Where) -> list[tuple[str, ...]]:
    return [tuple(map(str, row)) for row in databases.query(where, "SELECT id, v, changed, made FROM t ORDER BY id")]


def require_equal(fleet: Fleet) -> None:
    assert rows(fleet.databases, "control") == rows(fleet.databases, 1)
    fleet.require_nothing_to_do()


@pytest.mark.parametrize("page_rows", [2, 50_000])
def test_rows_travel_by_the_first_date_that_they_have(page_rows: int, databases: Databases) -> None:
    fleet = fleet_of(databases, page_rows=page_rows)
    put(databases, *((n, None, ago(4000 - n)) for n in range(7)), *((n, ago(3000), ago(9000)) for n in range(7, 12)))
    put(databases, (12, ago(5000), ago(4)), (13, None, None))
    up, _ = fleet.sync()
    assert up.counts.applied == 13
    assert [warning for warning in up.warnings if "1 rows without a date" in warning]
    fleet.require_nothing_to_do()
    # New rows have no date of a change yet; an edit gives them one. So at control.
    put(databases, (20, None, ago(1)))
    edit(databases, 1, 3, "b", ago(1))
    edit(databases, "control", 4, "c", ago(1))
    up, down = fleet.sync()
    assert (up.counts.applied, down.counts.applied) == (2, 1)
    fleet.require_nothing_to_do()
    assert sweep(fleet).status is Status.DONE  # the row without a date
    require_equal(fleet)
    assert sweep(fleet).status is Status.NOTHING


def test_conflicts_go_to_the_newest_by_that_date(databases: Databases) -> None:
    fleet = fleet_of(databases)
    put(databases, *((n, None, ago(600)) for n in (1, 2, 3)))
    fleet.sync()
    edit(databases, 1, 1, "station", ago(10))
    edit(databases, "control", 1, "control", ago(20))
    edit(databases, 1, 2, "station", ago(20))
    edit(databases, "control", 2, "control", ago(10))
    # Its station edit is stamped; control's left the row's first date: it is the older one.
    edit(databases, 1, 3, "station", ago(10))
    edit(databases, "control", 3, "control", None)
    assert fleet.sync()[0].counts.conflicts == 3
    assert [row[1] for row in rows(databases, 1)] == ["station", "control", "station"]
    require_equal(fleet)


def test_a_backfill_of_a_range_reads_by_that_date(databases: Databases) -> None:
    fleet = fleet_of(databases, page_rows=2)
    put(databases, *((n, None, ago(1000 - n)) for n in range(5)), (9, ago(100), ago(999)))
    (pair,) = fleet.pairs()
    asked = BackfillRange(since=datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=1010), until=None)
    with lease(pair) as session:
        assert session
        session.open()
        limits, found = begin(session, asked)
        assert found == 6
        place, seen = None, 0
        while True:
            chunk, place = read(session, asked, limits, place, 2)
            seen += len(chunk)
            if not chunk.more:
                break
    assert seen == 6


def test_rows_without_any_date_are_told(databases: Databases) -> None:
    fleet = fleet_of(databases, modified="changed")
    put(databases, (1, None, ago(10)), (2, ago(20), ago(20)))
    fleet.sync()
    (pair,) = fleet.pairs()
    for _ in range(2):
        report = fleet.pull()
        assert report.as_dict()["without_date"] == 1
        assert "1 rows without a date in changed were not read; reconcile brings them" in report.warnings
        notes = [note.what for one in check(pair.control, [[pair]]) for note in one.notes]
        assert [what for what in notes if what.startswith("1 rows have no date in changed")]
    (one,) = status(pair.control, fleet.topology)
    assert asdict(one.up)["without_date"] == 1
    fleet.options(modified=LIST)
    assert runs.pull(fleet.pairs()[0], runs.plain_steps()).counts.applied == 1
    require_equal(fleet)
    (one,) = status(pair.control, fleet.topology)
    assert one.up.without_date == 0


@pytest.mark.parametrize("modified", [[], ["changed", "CHANGED"], [["made"]], {"a": 1}])
def test_a_list_that_is_none_is_refused(modified: Any, databases: Databases) -> None:
    with pytest.raises(UsageError):
        Fleet(databases, tables={"t": {"key": ["id"], "modified": modified}})
