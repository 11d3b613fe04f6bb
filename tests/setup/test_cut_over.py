"""The cut-over of docs/MIGRATION.md: beside a Kafka Connect that goes on writing, a station switched, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from support.command import Command, snapshot
from support.databases import Databases
from support.sample import row


def connect(databases: Databases, number: int, code: str, *, late: int = 0) -> None:
    """What its JDBC sink does: upsert every row of a station on (id, code); `late` rows have not arrived yet."""
    rows = databases.rows(number)
    for id, text, _, created, modified in rows[: len(rows) - late]:
        databases.execute("control", "DELETE FROM kafka_test WHERE id = %s AND code = %s", [id, code])
        new = {"id": id, "text": text, "code": code, "create_date": created, "modify_date": modified}
        databases.put("control", [new])


def edit(databases: Databases, where: int | str, id: int, text: str, code: str) -> None:
    now = str(datetime.now(UTC).replace(tzinfo=None, microsecond=0))
    sql = "UPDATE kafka_test SET text = %s, modify_date = %s WHERE id = %s AND code = %s"
    databases.execute(where, sql, [text, now, id, code])  # type: ignore[arg-type]


def test_a_station_is_switched_without_a_lost_row_and_back(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test("control", control=True)
    for number, code in ((1, "A"), (2, "B")):
        databases.create_kafka_test(number)
        databases.put(number, [row(n, code) for n in range(1, 21)])
        connect(databases, number, code, late=2)
    databases.put("control", [row(99, "C")])
    command = Command(databases, tmp_path, stations=2)
    edit(databases, 1, 1, "edited, Connect is late", "A")

    # 2. What adopting would do; nothing is touched.
    before = snapshot(databases, "control", 1, 2)
    told = command.well("init", "--dry-run").out
    assert "station-1/kafka_test: 17 equal rows would be adopted; 1 differ" in told
    assert "1 rows that no station has" in told
    assert snapshot(databases, "control", 1, 2) == before
    command.well("init")
    after = snapshot(databases, 1, 2)
    assert after == {name: before[name] for name in after}

    # 3. In parallel, looking only, while Connect goes on.
    connect(databases, 1, "A", late=1)
    edit(databases, 2, 3, "edited later", "B")
    before = snapshot(databases, "control", 1, 2)
    for args in (("reconcile", "--dry-run"), ("sync", "--dry-run")):
        assert "Nothing was changed." in command.well(args[0], "station-1", args[1]).out
    assert snapshot(databases, "control", 1, 2) == before

    # 4. Station 1 is switched; station 2 is Connect's still, and both arrive.
    command.well("init")
    command.well("sync", "station-1")
    assert "equal up to" in command.well("reconcile", "station-1").out
    connect(databases, 2, "B")
    edit(databases, "control", 5, "edited at control", "A")
    command.well("sync", "station-1")
    own = [one for one in databases.rows("control") if one[2] == "A"]
    assert own == databases.rows(1)
    assert (own[0][1], own[4][1]) == ("edited, Connect is late", "edited at control")
    assert [one for one in databases.rows("control") if one[2] == "B"] == databases.rows(2)
    assert (99, "row 99") in [one[:2] for one in databases.rows("control")]

    # 5. And back: Connect writes what is there already, and goes on; then forward once more.
    command.well("pause", "station-1")
    assert "paused" in command("sync", "station-1").err
    connect(databases, 1, "A")
    edit(databases, 1, 7, "while we were away", "A")
    connect(databases, 1, "A")
    command.well("resume", "station-1")
    command.well("init")
    for name in ("station-1", "station-2"):
        command.well("sync", name)
        assert "equal up to" in command.well("reconcile", name).out
    assert [one for one in databases.rows("control") if one[2] == "A"] == databases.rows(1)
    assert databases.rows(1)[6][1] == "while we were away"
    assert databases.count("control") == 41
