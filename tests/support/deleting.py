"""Rows that go at one side."""

from __future__ import annotations

from typing import Any

import pytest

from stationsync.keeping import trash
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row
from support.sweeps import ROWS


def delete(fleet: Fleet, where: Any, condition: str) -> None:
    fleet.databases.execute(where, f"DELETE FROM kafka_test WHERE {condition}")


def ids(fleet: Fleet, where: Any) -> set[int]:
    return {id for (id,) in fleet.databases.query(where, "SELECT id FROM kafka_test")}


def items(fleet: Fleet) -> list[trash.Item]:
    (pair,) = fleet.pairs()
    return trash.find(pair.control, closed=True)[0]


@pytest.fixture
def flagging(databases: Databases) -> Fleet:
    databases.create_kafka_test("control", control=True)
    databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN deleted_at DATETIME NULL")
    databases.create_kafka_test(1)
    databases.put(1, [row(i, code="S1", at=ago(7200)) for i in range(1, ROWS + 1)])
    exclude = ["master_id", "deleted_at"]
    fleet = Fleet(databases, sweep_rows=50, deletes="flag", exclude=exclude, flag_column="deleted_at")
    fleet.init()
    fleet.sync()
    return fleet


def flagged(fleet: Fleet) -> set[int]:
    query = "SELECT id FROM kafka_test WHERE deleted_at IS NOT NULL"
    return {id for (id,) in fleet.databases.query("control", query)}


def small(databases: Databases, rows: int) -> Fleet:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(i, at=ago(7200)) for i in range(1, rows + 1)])
    fleet = Fleet(databases, deletes="archive")
    fleet.init()
    fleet.sync()
    return fleet
