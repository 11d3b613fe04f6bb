"""`stationsync check` shows which stations are on which schema, also of those that are off-line; it writes nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases

from stationsync.health.check_matrix import MatrixSide, Shape, matrices
from stationsync.pairing.drift import Description
from stationsync.store.known_shapes import KnownShape

OFF_LINE = {"mariadb": "mysql+pymysql://root@127.0.0.1:1/x", "sqlite": "sqlite:////nowhere/x.db"}


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    databases.create_kafka_test("control", control=True)
    for number in (1, 2, 3):
        databases.create_kafka_test(number)
    command = Command(databases, tmp_path, stations=3)
    command.well("init")
    for number in (1, 2, 3):
        command.well("sync", f"station-{number}")
    return command


def matrix(command: Command, code: int = 0) -> dict[str, Any]:
    done = command("check", "--json")
    assert done.code == code, done
    (found,) = done.json["schemas"]
    assert isinstance(found, dict)
    return found


def infos(command: Command) -> list[str]:
    found = (note for one in command("check", "--json").json["databases"] for note in one["notes"])
    return [f"{note['place']}: {note['what']}" for note in found if note["level"] == "info"]


def test_a_fleet_of_one_mind_has_one_line(command: Command) -> None:
    found = matrix(command)
    (group,) = found["stations"]
    assert (found["table"], group["names"]) == ("kafka_test", ["station-1", "station-2", "station-3"])
    assert (group["difference"], group["changed"], group["last_seen"]) == ([], [], [])
    assert len(found["control"]["fingerprint"]) == 12
    assert f"  {group['fingerprint']}: 3 stations: station-1, station-2, station-3\n" in command.well("check").out


def test_one_station_that_went_its_own_way_is_shown_with_its_difference(command: Command) -> None:
    databases = command.databases
    databases.execute(2, "ALTER TABLE kafka_test ADD COLUMN note varchar(20)")
    databases.execute(2, "CREATE INDEX by_text ON kafka_test (text)")
    before = snapshot(databases, "control", 1, 2, 3)
    most, other = matrix(command)["stations"]
    assert (most["names"], other["names"]) == (["station-1", "station-3"], ["station-2"])
    column, index = other["difference"]
    assert column.startswith("+ column note varchar(20) NULL")
    assert index == "+ index (text)"
    assert any(i.startswith("station-2/kafka_test: changed since the last good run: + column") for i in infos(command))
    assert snapshot(databases, "control", 1, 2, 3) == before, "check wrote something"

    # The run tells it once; check goes on to show it.
    assert "the station's table changed: + column note" in command.well("sync", "station-2").out
    assert not any("changed since" in info for info in infos(command))
    told = command.well("check").out
    assert f"  {other['fingerprint']}: 1 station: station-2\n    differs from most: + column note" in told
    assert matrix(command)["stations"][1]["changed"] == [column, index]


def test_a_change_at_control_is_told_once_for_all(command: Command) -> None:
    command.databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN note varchar(20)")
    (info,) = (info for info in infos(command) if "changed since" in info)
    assert info.startswith("control/kafka_test: changed since the last good run: + column note varchar(20) NULL")
    command.well("sync", "station-1")
    assert matrix(command)["control"]["changed"][0].startswith("+ column note")


def test_an_off_line_station_is_shown_as_it_was_last_seen(command: Command) -> None:
    command.topology["stations"]["station-2"]["url"] = OFF_LINE[command.databases.kind]
    (group,) = matrix(command)["stations"]
    assert (group["names"], group["last_seen"]) == (["station-1", "station-2", "station-3"], ["station-2"])
    assert "station-1, station-2 (last seen), station-3" in command.well("check").out


def test_an_off_line_station_that_never_ran_is_not_known(command: Command) -> None:
    command.topology["stations"]["station-4"] = {"url": OFF_LINE[command.databases.kind]}
    _, unknown = matrix(command)["stations"]
    assert (unknown["fingerprint"], unknown["names"], unknown["last_seen"]) == ("not known", ["station-4"], [])


@pytest.mark.parametrize("where", [2, "control"])
def test_a_table_that_is_gone_is_no_fingerprint(command: Command, where: Any) -> None:
    command.databases.execute(where, "DROP TABLE kafka_test")
    found = matrix(command, code=1)
    assert (found["control"]["fingerprint"] == "no table") == (where == "control")
    assert [group["fingerprint"] for group in found["stations"]][1:] == (["no table"] if where == 2 else [])


def test_without_control_the_stations_are_compared_all_the_same(command: Command) -> None:
    command.topology["control"]["url"] = OFF_LINE[command.databases.kind]
    found = matrix(command, code=1)
    assert (found["control"]["fingerprint"], len(found["stations"])) == ("not known", 1)


def test_a_thousand_stations_are_a_short_story() -> None:
    common, odd = Description(("column a int NULL",)), Description(("column a bigint NULL",))
    at = datetime(2026, 1, 1)
    control = MatrixSide(common)
    shapes = [Shape(f"station-{n}", "t", MatrixSide(common, KnownShape(common, at)), control) for n in range(1, 1000)]
    shapes.insert(0, Shape("station-0", "t", MatrixSide(odd, KnownShape(odd, at, common)), control))

    (found,) = matrices(shapes)
    most, other = found.stations
    assert most.shown_names == "station-1, station-2, station-3, ... and 996 more"
    assert (other.shown_names, other.difference) == ("station-0", ("~ column a int -> bigint",))
    assert (other.since, other.changed) == (at, ("~ column a int -> bigint",))
