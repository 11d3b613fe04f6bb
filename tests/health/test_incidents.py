"""What counts as an incident, by tables of cases; and that each is opened once and over once, on both databases."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.sample import row

from stationsync.errors import StationSyncError
from stationsync.health import incident_book
from stationsync.health.freshness import Freshness, Why
from stationsync.health.incident_book import RecordedIncident, incidents, look_at_fleet, look_at_station, not_told, told
from stationsync.health.incident_facts import fleet_facts
from stationsync.health.incidents import Disk, FleetFacts, Incident, TableHealth, judge
from stationsync.pairing.pair import control_of
from stationsync.reconcile.reconcile import reconcile
from stationsync.sync import runs
from stationsync.topology.alerting import Alerts, IncidentKind, Tell
from stationsync.topology.model import Topology
from stationsync.topology.options import Journal
from stationsync.topology.topology_file import from_mapping

NOW = datetime(2026, 3, 1, 12, 0)
FINE = TableHealth("station-1", "orders")
STALE = Freshness("station-1", "orders", NOW, timedelta(minutes=15), frozenset(), why=Why.NEVER)
OFF_LINE = "mysql+pymysql://root@127.0.0.1:1/x"


@pytest.mark.parametrize(
    ("facts", "kinds"),
    [
        ({}, []),
        ({"failed": ("station-1/orders: no.",)}, ["failed"]),
        ({"offline": "does not answer"}, ["offline"]),
        ({"sweep": "refused", "braked": True}, ["brake"]),
        ({"sweep": "no table"}, ["failed"]),
        ({"quarantined": 1}, ["quarantine"]),
        ({"conflicts": 1}, ["conflicts"]),
        ({"skew": timedelta(seconds=-6)}, ["skew"]),
        ({"skew": timedelta(seconds=5)}, []),
        ({"fresh": STALE}, ["stale"]),
        ({"fresh": replace(STALE, why=Why.FRESH)}, []),
        ({"failed": ("a",), "quarantined": 2, "conflicts": 3}, ["failed", "quarantine", "conflicts"]),
    ],
)
def test_what_is_an_incident(facts: dict[str, Any], kinds: list[str]) -> None:
    found = judge([replace(FINE, **facts)], Tell())
    assert [str(one.kind) for one in found.incidents] == kinds
    for one in found.incidents:
        assert one.station == "station-1"
        assert one.what
        assert "stationsync " in one.next_step


def test_two_tables_of_a_station_that_does_not_answer_are_one_incident() -> None:
    facts = [replace(FINE, offline="does not answer", skew=timedelta(hours=1), table=table) for table in ("a", "b")]
    found = judge(facts, Tell())
    assert [one.subject for one in found.incidents] == [
        (IncidentKind.OFFLINE, "station-1", ""),
        (IncidentKind.SKEW, "station-1", ""),
    ]
    # Whether it still fails cannot be seen now.
    assert (IncidentKind.FAILED, "station-1", "a") in found.unknown


def test_what_all_tables_of_a_station_fail_with_is_one_incident_of_the_station() -> None:
    """A wrong password, say. What one table fails with besides is told of that table."""
    refused = "station-1: Access denied."
    facts = [
        replace(FINE, table="a", failed=(refused, refused)),
        replace(FINE, table="b", failed=(refused, "station-1/b: no table.")),
        replace(FINE, table="c", failed=("station-1/c: no table.",)),
        replace(FINE, station="station-2", table="a", failed=(refused,)),
    ]
    fresh = [TableHealth("station-1", table, fresh=replace(STALE, table=table)) for table in "ab"]
    found = judge([*facts, *fresh], Tell())
    assert [(one.station, one.table, one.what) for one in found.incidents] == [
        ("station-1", "", refused),
        ("station-1", "b", "station-1/b: no table."),
        ("station-1", "c", "station-1/c: no table."),
        ("station-2", "a", refused),
    ]
    assert found.incidents[0].next_step.endswith("stationsync sync station-1")
    off_line = judge([replace(FINE, table=table, offline="does not answer") for table in "ab"], Tell())
    assert (IncidentKind.FAILED, "station-1", "") in off_line.unknown


def test_limits_and_what_nobody_wants_to_hear() -> None:
    tell = from_tell({"quarantine": {"rows": 10}, "conflicts": None, "size": {"over": "1GB"}, "disk": {"free": "20GB"}})
    facts = [replace(FINE, quarantined=9, conflicts=9)]
    assert judge(facts, tell).incidents == ()
    fleet = FleetFacts(2 * 10**9, (Disk("control's disk", 19 * 10**9, 10**12), Disk("another", 10**12, 10**12)))
    disk, size = judge([replace(FINE, quarantined=10)], tell, fleet).incidents[1:]
    assert (disk.what, size.station) == ("control's disk: 19.0 GB of 1.0 TB free", "")
    assert "2.0 GB, more than 1.0 GB" in size.what
    share = from_tell({"disk": {"free": "2%"}})
    assert judge([], share, replace(fleet, size=10**15)).incidents != ()
    assert judge([], from_tell({"disk": {"free": "1%"}}), fleet).incidents == ()
    only = from_tell(["failed"])
    assert [kind for kind in IncidentKind if only.rule(kind)] == [IncidentKind.FAILED]


def from_tell(tell: object) -> Tell:
    return from_mapping(minimal(tell=tell)).alerts.tell


def minimal(**alerts: Any) -> dict[str, Any]:
    return {
        "control": {"url": "sqlite:///c.db"},
        "tables": {"orders": {"key": ["id"], "modified": "changed"}},
        "stations": {"station-1": {"url": "sqlite:///s.db", "group": "remote"}},
        "alerts": alerts,
    }


class Watch:
    """A fleet of one station that somebody looks at."""

    def __init__(self, databases: Databases) -> None:
        databases.create_kafka_test("control", control=True)
        databases.create_kafka_test(1)
        databases.put(1, [row(1), row(2)])
        self.fleet = Fleet(databases)
        self.fleet.init()
        self.control = control_of(self.fleet.topology)

    @property
    def topology(self) -> Topology:
        """The disk of whatever machine this is does not count."""
        return self.fleet.topology.model_copy(update={"alerts": Alerts(tell=Tell(disk=None))})

    def look(self, *, tell: bool = True) -> list[str]:
        """What a look at the whole fleet has to tell."""
        entries = look_at_fleet(self.control, self.topology)
        return self._told(entries) if tell else shown(entries)

    def never_fresh(self) -> None:
        """No run for so long that a new station should have had one."""
        assert self.look() == []
        self.fleet.databases.execute("control", "UPDATE stationsync_incident SET since = '2026-01-01 00:00:00'")

    def run_ends(self) -> list[str]:
        return self._told(look_at_station(self.control, self.topology, "station-1", "a-run"))

    def _told(self, entries: list[RecordedIncident]) -> list[str]:
        told(self.control, entries)
        return shown(entries)

    def pulls(self) -> None:
        with contextlib.suppress(StationSyncError):
            self.fleet.pull()


def shown(entries: list[RecordedIncident]) -> list[str]:
    return [f"{one.kind}{' over' if one.over else ''}" for one in entries]


@pytest.fixture
def watch(databases: Databases) -> Watch:
    return Watch(databases)


def test_the_disks_that_runs_write_to_are_looked_at(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever folder the worker's run happens to be in."""
    monkeypatch.chdir("/")
    journal = Journal(url=str(tmp_path / "not" / "yet" / "there"))
    topology = watch.topology.model_copy(update={"journal": journal})
    asked: list[Path] = []
    usage = shutil.disk_usage

    def look(folder: Any) -> Any:
        asked.append(Path(folder))
        return usage(folder)

    monkeypatch.setattr(shutil, "disk_usage", look)
    with watch.control.connect() as conn, conn.begin():
        found = fleet_facts(conn, watch.control, topology)
    assert [disk.where.split(",")[0] for disk in found.disks] == ["control's disk", "the journal's disk"]
    assert Path.cwd() not in asked
    assert tmp_path in asked


def test_a_station_that_never_succeeded_is_told_once_and_once_when_it_did(watch: Watch) -> None:
    watch.never_fresh()
    assert watch.look() == ["stale"]
    assert watch.look() == []
    watch.fleet.sync()
    assert watch.look() == ["stale over"]
    assert watch.look() == []
    (entry,) = incidents(watch.control, over=True)
    assert (entry.over, entry.what) == (True, "no run ever succeeded")
    assert incidents(watch.control) == []


def test_a_table_that_fails_is_told_once_however_often_it_fails(watch: Watch) -> None:
    watch.fleet.sync()
    databases = watch.fleet.databases
    databases.execute(1, "ALTER TABLE kafka_test RENAME TO away")
    watch.pulls()
    assert watch.run_ends() == ["failed"]
    (entry,) = incidents(watch.control, "station-1")
    assert "there is no table kafka_test" in entry.what
    assert (entry.table, entry.run) == ("kafka_test", "a-run")
    for _ in range(2):
        watch.pulls()
        assert watch.run_ends() + watch.look() == []
    databases.execute(1, "ALTER TABLE away RENAME TO kafka_test")
    watch.pulls()
    assert watch.run_ends() == ["failed over"]
    # The same again is another incident.
    databases.execute(1, "ALTER TABLE kafka_test RENAME TO away")
    watch.pulls()
    assert watch.run_ends() == ["failed"]
    assert len(incidents(watch.control, over=True)) == 2


def test_quarantine_that_grows_is_one_incident_and_shows_what_there_is_now(watch: Watch) -> None:
    watch.fleet.sync()
    databases = watch.fleet.databases
    for number in (7, 8):
        _keep(watch, number)
        assert watch.run_ends() == (["quarantine"] if number == 7 else [])
        (entry,) = incidents(watch.control)
        assert entry.what == ("1 row in quarantine" if number == 7 else "2 rows in quarantine")
    databases.execute("control", "UPDATE stationsync_quarantine SET state = 'discarded'")
    assert watch.run_ends() == ["quarantine over"]


def _keep(watch: Watch, number: int) -> None:
    values = f"'station-1', 'kafka_test', 'up', 'h{number}', '[{number}]', '{{}}', '[]', 'open', 1"
    names = "station, table_name, direction, key_hash, key_text, row_json, reasons, state, times, first_at, last_at"
    moment = "'2026-01-01 00:00:00'"
    watch.fleet.databases.execute(
        "control", f"INSERT INTO stationsync_quarantine ({names}) VALUES ({values}, {moment}, {moment})"
    )


def test_a_new_station_has_time_for_its_first_run(watch: Watch) -> None:
    assert watch.look() == []
    watch.fleet.sync()
    assert watch.look() == []
    assert incidents(watch.control, over=True) == []


def test_what_could_not_be_told_is_told_later_and_by_one_only(watch: Watch) -> None:
    watch.never_fresh()
    assert watch.look(tell=False) == ["stale"]
    # It is being told by somebody.
    assert watch.look() == []
    not_told(watch.control, incidents(watch.control))
    assert watch.look(tell=False) == ["stale"]
    # That one died: after a minute it is another's.
    long_ago = "UPDATE stationsync_incident SET claimed = '2026-01-01 00:00:00'"
    watch.fleet.databases.execute("control", long_ago)
    assert watch.look() == ["stale"]
    assert watch.look() == []


def test_what_was_over_before_anybody_could_be_told_is_told_as_one(watch: Watch) -> None:
    watch.never_fresh()
    assert watch.look(tell=False) == ["stale"]
    watch.fleet.sync()
    assert watch.look() == ["stale over"]
    assert watch.look() == []


def test_two_who_look_at_once_tell_once(mariadb_databases: MariaDBDatabases) -> None:
    """On SQLite only one can write at a time."""
    watch = Watch(mariadb_databases)
    tell, control = watch.topology.alerts.tell, watch.control
    found = judge([replace(FINE, failed=("no.",))], tell)
    scope = incident_book.Scope(frozenset({IncidentKind.FAILED}))
    with control.connect() as one, control.connect() as other, one.begin(), other.begin():
        for conn in (one, other):
            assert incident_book.read(conn) == []  # both have read before either writes
        incident_book.compare(one, found, scope, tell, NOW)
        taken = incident_book.take(one, NOW)
        one.commit()
        incident_book.compare(other, found, scope, tell, NOW)
        assert (shown(taken), incident_book.take(other, NOW)) == (["failed"], [])
    assert len(incidents(control)) == 1


def test_off_line_is_told_when_it_lasts_and_leaves_no_trace_before(databases: Databases, watch: Watch) -> None:
    watch.fleet.sync()
    away = Fleet(databases, urls={"station-1": OFF_LINE if databases.kind == "mariadb" else "sqlite:///nowhere/x.db"})
    here, watch.fleet = watch.fleet, away
    watch.pulls()
    assert watch.run_ends() == []
    assert incidents(watch.control, over=True) == []
    watch.fleet = here
    watch.pulls()
    assert watch.run_ends() == []
    assert databases.count("control", "stationsync_incident") == 0

    watch.fleet = away
    watch.pulls()
    assert watch.run_ends() == []
    databases.execute("control", "UPDATE stationsync_incident SET since = '2026-01-01 00:00:00'")
    assert watch.run_ends() == ["offline"]
    assert "does not answer" in incidents(watch.control)[0].what
    watch.fleet = here
    watch.pulls()
    assert watch.run_ends() == ["offline over"]


def test_a_failure_is_not_over_because_the_station_went_off_line(databases: Databases, watch: Watch) -> None:
    watch.fleet.sync()
    databases.execute(1, "ALTER TABLE kafka_test RENAME TO away")
    watch.pulls()
    assert watch.run_ends() == ["failed"]
    gone = Fleet(databases, urls={"station-1": OFF_LINE if databases.kind == "mariadb" else "sqlite:///nowhere/x.db"})
    here, watch.fleet = watch.fleet, gone
    watch.pulls()
    assert watch.run_ends() == []
    watch.fleet = here
    databases.execute(1, "ALTER TABLE away RENAME TO kafka_test")
    watch.pulls()
    assert watch.run_ends() == ["failed over"]


def test_a_pulled_brake_is_told_with_the_way_on(databases: Databases, watch: Watch) -> None:
    databases.put(1, [row(n) for n in range(3, 60)])
    watch.fleet.options(deletes="archive")
    watch.fleet.sync()
    databases.execute(1, "DELETE FROM kafka_test WHERE id > 5")
    (pair,) = watch.fleet.pairs()
    with pytest.raises(StationSyncError):
        reconcile(pair, runs.plain_steps())
    assert watch.run_ends() == ["brake"]
    (entry,) = incidents(watch.control)
    assert "would be deleted at control" in entry.what
    assert "reconcile station-1 --table kafka_test --dry-run" in entry.next_step
    reconcile(pair, runs.plain_steps(), allow_deletes=True)
    assert watch.run_ends() == ["brake over"]


def test_a_wrong_clock_is_an_incident(watch: Watch) -> None:
    watch.fleet.sync()
    databases = watch.fleet.databases
    (measured,) = databases.query("control", "SELECT skew FROM stationsync_state WHERE direction = 'up'")[0]
    assert abs(measured) < 5_000_000
    databases.execute("control", "UPDATE stationsync_state SET skew = 61000000 WHERE direction = 'up'")
    assert watch.run_ends() == ["skew"]
    assert "+61 s off" in incidents(watch.control)[0].what
    watch.fleet.sync()
    assert watch.run_ends() == ["skew over"]


def test_incidents_of_others_are_told_and_over_with_the_same_care(watch: Watch) -> None:
    watch.fleet.sync()
    crashed = [Incident(IncidentKind.CRASHED, "station-1", "", "the run sync crashed", "Look at it", run="r")]
    for others, expected in (((), []), (crashed, ["crashed"]), (crashed, []), ((), ["crashed over"])):
        entries = look_at_fleet(watch.control, watch.topology, others, {IncidentKind.CRASHED})
        told(watch.control, entries)
        assert shown(entries) == expected
    # Whoever did not look for crashes cannot say that they are over.
    look_at_fleet(watch.control, watch.topology, crashed, {IncidentKind.CRASHED})
    assert look_at_fleet(watch.control, watch.topology) == []
    assert shown(list(incidents(watch.control))) == ["crashed"]


def test_a_watchdog_that_was_silent_is_an_incident_when_it_is_back(watch: Watch) -> None:
    watch.fleet.sync()
    topology = watch.topology

    def look() -> list[str]:
        return watch._told(look_at_fleet(watch.control, topology, watchdog=True))

    assert look() + look() == []
    watch.fleet.databases.execute(
        "control", "UPDATE stationsync_incident SET since = '2026-01-01 00:00:00.000000' WHERE kind = 'watchdog'"
    )
    # Whoever else looks is not the watchdog.
    assert watch.look() == []
    assert look() == ["watchdog over"]
    assert look() == []
    (entry,) = incidents(watch.control, over=True)
    assert "between 2026-01-01 00:00:00 and " in entry.what


def test_old_data_of_a_table_that_fails_or_a_station_that_is_off_line_is_no_second_incident() -> None:
    off_line = replace(FINE, offline="does not answer")
    failing = replace(FINE, failed=("no.",))
    fresh = TableHealth("station-1", "orders", fresh=replace(STALE, offline=True))
    for facts, kinds in ((off_line, ["offline"]), (failing, ["failed"])):
        found = judge([facts, fresh], Tell())
        assert [str(one.kind) for one in found.incidents] == kinds
        # Nor is it over, where it was told before.
        assert (IncidentKind.STALE, "station-1", "orders") in found.unknown
    assert [str(one.kind) for one in judge([off_line, fresh], Tell(offline=None)).incidents] == ["stale"]
