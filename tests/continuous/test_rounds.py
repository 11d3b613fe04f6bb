"""Stations that are looked at again and again: what changes is found and carried, and what does not costs no run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.databases import Databases, MariaDBDatabases
from support.fleet import KAFKA_TEST, Fleet
from support.flow_runs import write
from support.sample import row
from support.waiting import wait_until

from cli.sandbox.servers import MariaDBServer
from stationsync.continuous.child import TopologyWatch
from stationsync.continuous.rounds import Round, Rounds
from stationsync.continuous.rule import Due
from stationsync.continuous.station import Visit
from stationsync.model.changes import Status
from stationsync.store import pauses
from stationsync.topology.model import Topology

EVERY = 0.1


class Heard:
    """What the rounds told, newest last."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.rounds: list[Round] = []

    def visited(self, visit: Visit) -> None:
        self.visits.append(visit)

    def done(self, round_: Round) -> None:
        self.rounds.append(round_)

    def rest(self, rounds: int = 5) -> None:
        """Until so many rounds in a row, all begun from now on, visited stations and ran nothing."""
        # One may be under way.
        first = len(self.rounds) + 1

        def resting() -> bool:
            last = [one for one in self.rounds[first:] if one.visited][-rounds:]
            return len(last) == rounds and not any(one.ran or one.running for one in last)

        wait_until(resting, "rounds in which nothing runs")

    def of(self, station: int) -> list[Visit]:
        return [one for one in self.visits if one.station == f"station-{station}"]


@contextlib.contextmanager
def going_on(topologies: list[Topology], every: float = EVERY) -> Iterator[Heard]:
    """Rounds over all stations of the topology; a further one that is put into the list takes its place."""
    heard, end = Heard(), threading.Event()
    rounds = Rounds(
        lambda: topologies.pop(0) if topologies else None, lambda now: list(now.stations), lambda _: every, heard
    )
    thread = threading.Thread(target=rounds.run, args=(end,))
    thread.start()
    try:
        yield heard
    finally:
        end.set()
        thread.join()


def a_fleet(databases: Databases, stations: int = 1) -> Fleet:
    databases.create_kafka_test("control", control=True)
    for n in range(1, stations + 1):
        databases.create_kafka_test(n)
        databases.put(n, [row(10 * n + i) for i in (1, 2, 3)])
    fleet = Fleet(databases, stations)
    fleet.init()
    return fleet


def test_rows_and_edits_travel_and_then_nothing_runs(databases: Databases) -> None:
    fleet = a_fleet(databases, stations=2)
    with going_on([fleet.topology]) as heard:
        heard.rest()
        fleet.require_equal(1)
        fleet.require_equal(2)
        before = len(heard.visits)

        fleet.edit(1, 11, text="by the station")
        wait_until(lambda: ("by the station",) in databases.query("control", "SELECT text FROM kafka_test"))
        heard.rest()
        fleet.edit("control", 22, text="by control")
        wait_until(lambda: ("by control",) in databases.query(2, "SELECT text FROM kafka_test"))
        heard.rest()
        moved = {(one.station, str(one.due)) for one in heard.visits[before:] if one.moved}
        assert moved == {
            ("station-1", Due.STATION),
            ("station-2", Due.EDITS),
        }
    fleet.require_equal(1)
    fleet.require_equal(2)
    fleet.require_nothing_to_do((1, 2))


def test_a_row_that_control_and_its_station_edit_at_once_is_one_conflict(databases: Databases) -> None:
    fleet = a_fleet(databases)
    with going_on([fleet.topology]) as heard:
        heard.rest()
        fleet.edit(1, 11, text="station's")
        fleet.edit("control", 11, text="control's")
        wait_until(lambda: databases.count("control", "stationsync_conflict") == 1)
        heard.rest()
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_what_can_not_be_sent_is_tried_once_and_not_in_every_round(mariadb_databases: MariaDBDatabases) -> None:
    """Control's edit does not fit into the station's column."""
    databases = mariadb_databases
    fleet = a_fleet(databases)
    databases.execute(1, "ALTER TABLE kafka_test MODIFY text varchar(20)")
    with going_on([fleet.topology]) as heard:
        heard.rest()
        fleet.edit("control", 11, text="too long for the column of this station")
        wait_until(lambda: databases.count("control", "stationsync_quarantine") == 1)
        heard.rest(10)
        assert databases.query(1, "SELECT text FROM kafka_test WHERE id = 11") == [("row 11",)]
        fleet.edit("control", 11, text="fits")
        wait_until(lambda: databases.query(1, "SELECT text FROM kafka_test WHERE id = 11") == [("fits",)])
        heard.rest()
    fleet.require_nothing_to_do()


def test_an_older_copy_of_a_station_is_refused_and_not_taken_for_nothing_to_do(
    mariadb_databases: MariaDBDatabases,
) -> None:
    databases = mariadb_databases
    fleet = a_fleet(databases)
    databases.execute(1, "CREATE TABLE kept AS SELECT * FROM kafka_test")
    databases.put(1, [row(n, text="after the copy", at="2024-02-01 00:00:00") for n in range(100, 140)])
    with going_on([fleet.topology]) as heard:
        heard.rest()
        databases.execute(1, "DELETE FROM kafka_test WHERE id >= 100")
        wait_until(lambda: any(one.failing for one in heard.visits))
        assert [str(one.status) for one in heard.visits[-1].reports][:1] == ["failed"]
        assert "restored" in heard.visits[-1].reports[0].message or "lost" in heard.visits[-1].reports[0].message
    assert databases.count("control") == 43


def test_a_station_that_is_off_line_delays_nobody_and_catches_up(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    fleet = a_fleet(databases, stations=2)
    with MariaDBServer() as own:
        own.create_database("s")
        third = MariaDBDatabases(databases.server("control"), own)
        third.create_kafka_test(3)
        third.put(3, [row(31)])
        with_third = Fleet(databases, 3, urls={"station-3": third.url(3)})
        with going_on([with_third.topology]) as heard:
            heard.rest()
            own.stop()
            wait_until(lambda: heard.of(3)[-1].offline)
            fleet.edit(1, 11, text="meanwhile")
            wait_until(lambda: ("meanwhile",) in databases.query("control", "SELECT text FROM kafka_test"))
            assert heard.rounds[-1].failing == ("station-3",)
            own.start()
            third.execute(3, "UPDATE kafka_test SET text = 'back', modify_date = NOW() WHERE id = 31")
            wait_until(lambda: ("back",) in databases.query("control", "SELECT text FROM kafka_test"))
            heard.rest()
            assert heard.rounds[-1].failing == ()


def test_a_table_that_is_refused_does_not_slow_down_the_others(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    tables = {name: {**KAFKA_TEST, "control_table": name, "station_table": name} for name in ("kafka_test", "other")}
    for name in tables:
        databases.create_kafka_test("control", control=True, table=name)
        databases.create_kafka_test(1, table=name)
    databases.put(1, [row(1)])
    fleet = Fleet(databases, tables=tables)
    fleet.init()
    with going_on([fleet.topology]) as heard:
        heard.rest()
        databases.execute(1, "ALTER TABLE other DROP COLUMN text")
        wait_until(lambda: heard.rounds[-1].failing == ("station-1",))
        for number in range(3):
            fleet.edit(1, 1, text=f"edit {number}")
            wait_until(
                lambda text=f"edit {number}": (text,) in databases.query("control", "SELECT text FROM kafka_test")
            )
        databases.execute(1, "ALTER TABLE other ADD COLUMN text varchar(100)")
        wait_until(lambda: heard.rounds[-1].failing == ())
        heard.rest()


def test_pause_resume_and_a_changed_topology_take_effect(databases: Databases, tmp_path: Path) -> None:
    fleet = a_fleet(databases, stations=2)
    topologies = [fleet.topology]
    with going_on(topologies) as heard:
        heard.rest()
        control = fleet.pairs(1)[0].control
        pauses.pause(control, "station-1", "somebody", "")
        wait_until(lambda: heard.rounds[-1].paused == ("station-1",))
        fleet.edit(1, 11, text="while paused")
        before = len(heard.rounds)
        wait_until(lambda: len(heard.rounds) > before + 5)
        assert ("while paused",) not in databases.query("control", "SELECT text FROM kafka_test")
        pauses.resume(control, "station-1")
        wait_until(lambda: ("while paused",) in databases.query("control", "SELECT text FROM kafka_test"))
        heard.rest()

        topologies.append(Fleet(databases, 1).topology)
        wait_until(lambda: heard.rounds[-1].stations == 1)
        fleet.edit(2, 21, text="of a station that went")
        heard.rest()
        assert ("of a station that went",) not in databases.query("control", "SELECT text FROM kafka_test")
        # Another option of a table: its stations begin anew.
        count = len(heard.visits)
        topologies.append(Fleet(databases, 1, exclude=["master_id", "text"]).topology)
        wait_until(lambda: len(heard.visits) > count)
        assert heard.visits[count].due is Due.FIRST


def test_what_looks_find_equal_is_no_older_in_the_books(mariadb_databases: MariaDBDatabases) -> None:
    databases = mariadb_databases
    fleet = a_fleet(databases)
    done = "SELECT MIN(done_at) FROM stationsync_state WHERE direction <> 'both'"
    with going_on([fleet.topology]) as heard:
        heard.rest()
        ((before,),) = databases.query("control", done)
    # Whatever was found equal since is written at the end too.
    ((after,),) = databases.query("control", done)
    assert after > before
    assert databases.query("control", "SELECT DISTINCT status FROM stationsync_state") == [(str(Status.NOTHING),)]


def test_control_that_goes_away_and_comes_back(mariadb_databases: MariaDBDatabases) -> None:
    """Sessions are killed: the one of the looks and those of runs."""
    databases = mariadb_databases
    fleet = a_fleet(databases, stations=2)
    with going_on([fleet.topology]) as heard:
        heard.rest()
        ids = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        for where in ("control", 1, 2):
            for (number,) in databases.query(where, ids):  # type: ignore[arg-type]
                databases.execute(where, f"KILL {number}")  # type: ignore[arg-type]
        fleet.edit(1, 11, text="after the kill")
        wait_until(lambda: ("after the kill",) in databases.query("control", "SELECT text FROM kafka_test"))
        heard.rest()
    fleet.require_nothing_to_do((1, 2))


def test_how_many_statements_an_idle_station_costs() -> None:
    """Counted at the servers: at the station one for the rows, one for what the server says of the table, and the end
    of a transaction; at control a handful, for all stations."""
    with MariaDBServer() as control, MariaDBServer() as station:
        databases = MariaDBDatabases(control, station)
        fleet = a_fleet(databases)
        with going_on([fleet.topology], every=0.05) as heard:
            heard.rest()
            before = {where: _asked(databases, where) for where in ("control", 1)}
            rounds = len(heard.rounds)
            wait_until(lambda: len(heard.rounds) > rounds + 40)
            visits = sum(one.visited for one in heard.rounds[rounds:])
            # What the counting itself asks is no tenth of it.
            assert (_asked(databases, 1) - before[1] - 10) / visits <= 3
            assert (_asked(databases, "control") - before["control"] - 10) / visits <= 6


def _asked(databases: MariaDBDatabases, where: Any) -> int:
    sql = "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'questions'"
    return int(databases.query(where, sql)[0][0])


def test_a_topology_that_cannot_be_read_is_told_once_and_gone_on_with(databases: Databases, tmp_path: Path) -> None:
    command = Command(databases, tmp_path)
    write(command)
    told: list[str] = []
    watch = TopologyWatch(command.file, told.append)
    assert watch.changed() is not None
    assert watch.changed() is None
    good = command.file.read_text()
    command.file.write_text(good + "\nnonsense: 1\n")
    assert (watch.changed(), watch.changed()) == (None, None)
    assert len(told) == 1
    assert "nonsense" in told[0]
    command.file.write_text(good + "\n# mended\n")
    assert watch.changed() is not None


def test_the_first_topology_has_to_be_right(tmp_path: Path) -> None:
    file = tmp_path / "stations.yaml"
    file.write_text("tables: {}\n")
    with pytest.raises(Exception, match="control"):
        TopologyWatch(file, print).changed()
