"""What is taken out of a conflict arrives byte for byte, whatever its type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.mirror import Mirror
from support.type_cases import GROUPS, ID, WIDER_AT_CONTROL, table_of

from stationsync.health import conflict_list
from stationsync.health.conflict_list import ConflictFilter
from stationsync.model.details import TakeDetails
from stationsync.recovery import take
from stationsync.recovery.take_rule import TakeOrder


def taken(fleet: Fleet, values: Mapping[str, str | None] | None = None) -> int:
    """How many of all open conflicts were taken: all of them."""
    (pair,) = fleet.pairs()
    found, _ = conflict_list.find(pair.control, ConflictFilter(open_only=True))
    details = take.take(pair, found, TakeOrder(values or {})).details
    assert isinstance(details, TakeDetails)
    assert details.left == ()
    return len(details.taken)


def _against(loser: Any) -> str:
    """The policy by which this side loses."""
    return "control" if loser == 1 else "station"


def put(mirror: Mirror, where: Any, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for number, row in enumerate(rows):
        sets = ", ".join(f"`{name}` = {value}" for name, value in zip(names, row, strict=True))
        mirror.run(where, [f"UPDATE t SET {sets}, m = UTC_TIMESTAMP(6) WHERE id = {number}"])


def lost_and_taken(mirror: Mirror, loser: Any, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Both sides edit all rows; what the loser wrote is no more, and is taken out of the conflicts."""
    mirror.fleet.init()
    mirror.insert(1, [(str(number),) for number in range(len(rows))], ["id"])
    mirror.sync()
    put(mirror, loser, names, rows)
    expected = mirror.bytes(loser, names=names)
    put(mirror, "control" if loser == 1 else 1, ["other"], [[str(number + 1)] for number in range(len(rows))])
    mirror.sync()
    assert taken(mirror.fleet) == len(rows)
    mirror.sync()
    mirror.fleet.require_nothing_to_do()
    assert mirror.bytes(loser, names=names) == expected
    assert mirror.databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(len(rows),)]


@pytest.mark.some(0, 4)
@pytest.mark.parametrize("loser", [1, "control"])
@pytest.mark.parametrize("group", GROUPS)
def test_every_type(group: str, loser: Any, mariadb_databases: MariaDBDatabases) -> None:
    columns, rows = table_of(group)
    mirror = Mirror(mariadb_databases, {**columns, "other": "INT"}, conflicts=_against(loser))
    lost_and_taken(mirror, loser, list(GROUPS[group]), rows)


@pytest.mark.some(1, 2)
@pytest.mark.parametrize("loser", [1, "control"])
def test_types_that_are_wider_at_control(loser: Any, mariadb_databases: MariaDBDatabases) -> None:
    cases = {name: WIDER_AT_CONTROL[name] for name in ("text", "bits", "int", "unsigned", "enum", "set")}
    columns = {name: own for name, (own, _, _) in cases.items()}
    control = {name: theirs for name, (_, theirs, _) in cases.items()}
    mirror = Mirror(mariadb_databases, {**ID, **columns, "other": "INT"}, control=control, conflicts=_against(loser))
    rows = [[values[i] for _, _, values in cases.values()] for i in range(4)]
    lost_and_taken(mirror, loser, list(cases), rows)


@pytest.mark.parametrize("loser", [1, "control"])
@pytest.mark.parametrize("sides", [(1,), ("control",), (1, "control")])
def test_tables_that_stamp_their_rows_themselves(
    sides: tuple[Any, ...], loser: Any, mariadb_databases: MariaDBDatabases
) -> None:
    mirror = Mirror(mariadb_databases, {"id": "INT NOT NULL", "v": "INT", "other": "INT"}, conflicts=_against(loser))
    for n, where in enumerate(sides):
        body = "BEFORE UPDATE ON t FOR EACH ROW SET NEW.m = UTC_TIMESTAMP(6)"
        mariadb_databases.execute(where, f"CREATE TRIGGER stamps_{n} {body}")
    lost_and_taken(mirror, loser, ["v"], [["1"], ["2"]])


def test_numbers_and_bytes_of_an_embedded_database(databases: Databases) -> None:
    kind = {"mariadb": "VARBINARY(20)", "sqlite": "BLOB"}[databases.kind]
    for where in (1, "control"):
        columns = f"id INTEGER PRIMARY KEY, b {kind}, d DOUBLE, i BIGINT, other INTEGER, m DATETIME NOT NULL"
        databases.execute(where, f"CREATE TABLE t ({columns})")  # type: ignore[arg-type]
        databases.execute(where, "CREATE INDEX t_m ON t (m, id)")  # type: ignore[arg-type]
    fleet = Fleet(databases, tables={"t": {"key": ["id"], "modified": "m", "conflicts": "control"}})
    fleet.init()
    databases.put(1, [{"id": n, "m": "2026-01-01 00:00:00"} for n in (1, 2)], "t")
    fleet.sync()
    wanted: list[tuple[Any, ...]] = [(b"\x00\xff'\\", 0.1, 2**62), (b"", -1e22, None)]
    for n, values in enumerate(wanted, 1):
        databases.execute(
            1, "UPDATE t SET b = %s, d = %s, i = %s, m = '2026-02-01 00:00:00' WHERE id = %s", [*values, n]
        )
    databases.execute("control", "UPDATE t SET other = 1, m = '2026-02-02 00:00:00'")
    fleet.sync()
    assert taken(fleet) == 2
    fleet.sync()
    fleet.require_nothing_to_do()
    for where in (1, "control"):
        assert databases.query(where, "SELECT b, d, i FROM t ORDER BY id") == wanted  # type: ignore[arg-type]
