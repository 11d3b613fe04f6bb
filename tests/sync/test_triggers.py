"""Databases that change a row while we write it: triggers that stamp, count or rewrite, and columns ON UPDATE.

Whatever they do at one side or both, the exchange comes to its end: both sides have the same values, or are told why
not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.databases import MariaDBDatabases
from support.journals import records
from support.mirror import Mirror
from support.sweeps import sweep

from stationsync.model.changes import Status

STAMP = "SET NEW.m = UTC_TIMESTAMP(6)"
COUNT = "SET NEW.version = OLD.version + 1"
SIDES = ("station", "control", "both")


def mirror_of(databases: MariaDBDatabases, **options: Any) -> Mirror:
    columns = {"id": "INT NOT NULL", "v": "VARCHAR(20)", "version": "INT NOT NULL DEFAULT 0"}
    mirror = Mirror(databases, columns, **options)
    mirror.fleet.init()
    return mirror


def trigger(mirror: Mirror, sides: str, body: str, event: str = "UPDATE") -> None:
    for where in ("station", "control"):
        if sides in (where, "both"):
            name = f"tr_{event}_{abs(hash((where, body, event)))}"
            side: Any = 1 if where == "station" else "control"
            mirror.databases.execute(side, f"CREATE TRIGGER {name} BEFORE {event} ON t FOR EACH ROW {body}")


def values(mirror: Mirror, where: Any) -> list[tuple[Any, ...]]:
    return mirror.databases.query(where, "SELECT id, v, version FROM t ORDER BY id")


def text(mirror: Mirror, where: Any, number: int) -> str:
    return str(mirror.databases.query(where, "SELECT v FROM t WHERE id = %s", [number])[0][0])


def stamps(mirror: Mirror) -> list[Any]:
    return [mirror.databases.query(where, "SELECT id, m FROM t ORDER BY id") for where in (1, "control")]  # type: ignore[list-item]


def require_settled(mirror: Mirror) -> None:
    """Nothing is left to do, for runs nor for a sweep; and nothing moves any more."""
    before = stamps(mirror)
    mirror.fleet.require_nothing_to_do()
    assert sweep(mirror.fleet).status is Status.NOTHING
    mirror.fleet.require_nothing_to_do()
    assert stamps(mirror) == before
    assert mirror.databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(0,)]


@pytest.mark.parametrize("sides", SIDES)
def test_stamping_triggers_settle(sides: str, mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    mirror = mirror_of(mariadb_databases, journal=tmp_path / "journal")
    trigger(mirror, sides, STAMP)
    trigger(mirror, sides, STAMP, "INSERT")
    mirror.insert(1, [(str(n), "'a'") for n in range(4)])
    for _ in range(2):
        mirror.sync()
    require_settled(mirror)
    for value in ("b", "c"):
        mirror.set(1, {1: f"'{value}'"})
        mirror.sync()
        assert text(mirror, "control", 1) == value
        require_settled(mirror)
        mirror.set("control", {2: f"'{value}'"})
        mirror.sync()
        assert text(mirror, 1, 2) == value
        require_settled(mirror)
    # Found by a sweep: edits that no stamp tells of.
    mirror.databases.execute(1, "UPDATE t SET v = 'sweep' WHERE id = 3")
    sweep(mirror.fleet)
    assert values(mirror, 1) == values(mirror, "control")
    for _ in range(2):
        mirror.sync()
    require_settled(mirror)
    # The journal tells what the base knows, whoever stamped it.
    told = {record["after"]["id"]: record["after"]["m"] for record in records(tmp_path / "journal")}
    base = mirror.databases.query("control", "SELECT CAST(id AS CHAR), CAST(m AS CHAR) FROM stationsync_base_t")
    assert told == dict(base)
    if sides != "both":
        mirror.require_equal()


def test_a_row_that_only_control_s_trigger_stamped_is_no_edit_in_a_conflict(
    mariadb_databases: MariaDBDatabases,
) -> None:
    """And a real edit of such a row is one, also of a row whose station deleted it."""
    mirror = mirror_of(mariadb_databases, deletes="archive")
    trigger(mirror, "both", STAMP)
    mirror.insert(1, [(str(n), "'a'") for n in range(40)])
    mirror.sync()
    mirror.set(1, dict.fromkeys(range(3), "'b'"))
    mirror.sync()
    mirror.set(1, {0: "'c'"})
    mirror.databases.execute(1, "DELETE FROM t WHERE id = 1")
    mirror.sync()
    sweep(mirror.fleet)
    require_settled(mirror)
    assert len(values(mirror, "control")) == 39
    # Both sides edit the row.
    mirror.set(1, {2: "'station'"})
    mirror.set("control", {2: "'control'"})
    mirror.sync()
    assert values(mirror, 1) == values(mirror, "control")
    assert mirror.databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(1,)]
    mirror.fleet.require_nothing_to_do()


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("stamped", ["", "station", "both"])
@pytest.mark.parametrize("sides", ["station", "control"])
def test_a_counting_trigger_at_one_side_converges(
    sides: str, stamped: str, mariadb_databases: MariaDBDatabases
) -> None:
    mirror = mirror_of(mariadb_databases)
    trigger(mirror, sides, COUNT)
    if stamped:
        trigger(mirror, stamped, STAMP)
    mirror.insert(1, [("1", "'a'"), ("2", "'a'")])
    mirror.sync()
    mirror.set(1, {1: "'b'"})
    mirror.sync()
    assert values(mirror, 1) == values(mirror, "control")
    require_settled(mirror)
    mirror.set("control", {2: "'b'"})
    mirror.sync()
    assert values(mirror, 1) == values(mirror, "control")
    require_settled(mirror)


@pytest.mark.parametrize("stamped", ["", "both"])
def test_triggers_that_never_agree_are_named_and_left(stamped: str, mariadb_databases: MariaDBDatabases) -> None:
    mirror = mirror_of(mariadb_databases)
    trigger(mirror, "station", "SET NEW.v = LOWER(NEW.v)")
    trigger(mirror, "control", "SET NEW.v = UPPER(NEW.v)")
    trigger(mirror, stamped, STAMP)
    mirror.insert(1, [("1", "'a'"), ("2", "'a'")])
    mirror.sync()
    mirror.set(1, {1: "'b'"})
    mirror.sync()
    assert (text(mirror, 1, 1), text(mirror, "control", 1)) == ("b", "B")
    ((direction, _, reasons),) = mirror.quarantined()
    assert direction == "down"
    assert "change v whenever" in reasons
    require_settled(mirror)


def test_a_flag_stamps_nothing_and_sends_nothing(mariadb_databases: MariaDBDatabases) -> None:
    """deletes: flag, at a control whose `modified` is ON UPDATE."""
    on_update = "DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"
    control = {"m": on_update, "gone": "DATETIME NULL"}
    mirror = mirror_of(
        mariadb_databases, control=control, deletes="flag", flag_column="gone", exclude=["gone"], conflicts="station"
    )
    mirror.insert(1, [(str(n), "'a'") for n in range(3)])
    mirror.sync()
    before = stamps(mirror)
    row = mirror.databases.query(1, "SELECT * FROM t WHERE id = 1")
    mirror.databases.execute(1, "DELETE FROM t WHERE id = 1")
    sweep(mirror.fleet)
    assert mirror.databases.query("control", "SELECT COUNT(*) FROM t WHERE gone IS NOT NULL") == [(1,)]
    assert stamps(mirror)[1] == before[1]
    # It comes back, as it was.
    mirror.databases.execute(1, "INSERT INTO t VALUES (%s, %s, %s, %s)", row[0])
    sweep(mirror.fleet)
    assert mirror.databases.query("control", "SELECT COUNT(*) FROM t WHERE gone IS NOT NULL") == [(0,)]
    assert stamps(mirror) == before
    mirror.fleet.require_nothing_to_do()
