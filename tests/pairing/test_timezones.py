"""Stations at +09:00, -11:30 and UTC, control at UTC: values arrive as written, each clock is followed as its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from support.databases import MariaDBDatabases
from support.fleet import Fleet
from support.mirror import Mirror

from cli.sandbox.servers import MariaDBServer
from stationsync.health.check import check
from stationsync.keeping import books
from stationsync.model.changes import Direction, Report, Status
from stationsync.recovery.backfill_range import BackfillRange, begin
from stationsync.session.lease import lease

ZONES = ["+09:00", "-11:30", "+00:00"]
HOURS = {"+09:00": timedelta(hours=9), "-11:30": timedelta(hours=-11, minutes=-30), "+00:00": timedelta(0)}
DATETIME, TIMESTAMP = "DATETIME(6) NOT NULL", "TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"
KINDS = {"datetime": DATETIME, "timestamp": TIMESTAMP}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, MariaDBServer]]:
    """A server in each zone; that of control is at UTC."""
    made = {zone: MariaDBServer(timezone=zone) for zone in ZONES} | {"control": MariaDBServer(timezone="+00:00")}
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(MariaDBServer.start, made.values()))
        yield made
    finally:
        for server in made.values():
            server.close()


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def zoned(zone: str, servers: dict[str, MariaDBServer]) -> Iterator[MariaDBDatabases]:
    databases = MariaDBDatabases(servers["control"], servers[zone])
    yield databases
    databases.close()


def mirror_of(databases: MariaDBDatabases, kind: str, **options: str) -> Mirror:
    columns = {"id": "INT NOT NULL", "v": "INT", "d": "DATETIME(6)", "ts": "TIMESTAMP(6) NULL DEFAULT NULL"}
    mirror = Mirror(databases, columns, modified=KINDS[kind], **options)
    mirror.fleet.init()
    return mirror


def application(mirror: Mirror, where: int | str, *statements: str) -> None:
    """As an application does it: in the session's own zone, which is the server's, stamping NOW(6)."""
    for statement in statements:
        mirror.databases.execute(where, statement)  # type: ignore[arg-type]


def insert(number: int) -> str:
    return f"INSERT INTO t (id, v, d, ts, m) VALUES ({number}, 0, NOW(6), NOW(6), NOW(6))"


def watermark(mirror: Mirror) -> datetime:
    (pair,) = mirror.fleet.pairs()
    with pair.control.connect() as conn:
        found = books.read_mark(conn, pair, Direction.UP).watermark
    assert found is not None
    return found


@pytest.mark.some(1, 2)
@pytest.mark.parametrize("kind", KINDS)
def test_values_arrive_as_written_in_both_directions(kind: str, zoned: MariaDBDatabases) -> None:
    mirror = mirror_of(zoned, kind)
    application(mirror, 1, insert(1), insert(2))
    up, down = mirror.sync()
    assert (up.counts.applied, down.counts.read) == (2, 0)
    mirror.require_equal()
    # A DATETIME is the station's wall clock; a TIMESTAMP is the same moment, shown in each server's own zone.
    ours, theirs = (zoned.query(where, "SELECT d, UNIX_TIMESTAMP(ts) FROM t ORDER BY id") for where in (1, "control"))
    assert ours == theirs

    application(mirror, "control", "UPDATE t SET v = 1, d = NOW(6), ts = NOW(6), m = NOW(6) WHERE id = 1")
    up, down = mirror.sync()
    assert (up.counts.applied, up.counts.conflicts, down.counts.applied) == (0, 0, 1)
    mirror.require_equal()
    application(mirror, 1, "UPDATE t SET v = 2, d = NOW(6), ts = NOW(6), m = NOW(6) WHERE id = 1")
    up, down = mirror.sync()
    assert (up.counts.applied, up.counts.conflicts, down.counts.read) == (1, 0, 0)
    mirror.require_equal()


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("kind", KINDS)
def test_the_watermark_follows_the_stations_own_wall_clock(kind: str, zone: str, zoned: MariaDBDatabases) -> None:
    mirror = mirror_of(zoned, kind, lookback="0s")
    before = datetime.fromisoformat(str(zoned.query(1, "SELECT UTC_TIMESTAMP()")[0][0]))
    # Rows of the last hour, and one that this clock stamps now.
    application(mirror, 1, *(insert(number) for number in range(20)), "UPDATE t SET m = NOW(6) - INTERVAL 1 HOUR")
    application(mirror, 1, insert(99))
    assert mirror.fleet.pull().counts.applied == 21
    offset = HOURS[zone] if kind == "datetime" else timedelta(0)
    assert timedelta(seconds=-5) < watermark(mirror) - (before + offset) < timedelta(seconds=60)
    # Old rows are not read again, new ones are not missed.
    again = mirror.fleet.pull()
    assert again.status is Status.NOTHING
    assert again.counts.read <= 1
    application(mirror, 1, "UPDATE t SET v = 5, m = NOW(6) WHERE id IN (3, 4)")
    assert mirror.fleet.pull().counts.applied == 2
    # Nor are they by control, whose own clock tells what was edited there.
    application(mirror, "control", "UPDATE t SET v = 6, m = NOW(6) WHERE id = 5")
    down = mirror.fleet.push()
    assert (down.counts.applied, down.counts.read) == (1, 1)
    mirror.require_equal()


@pytest.mark.some(0, 3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", ["station", "control"])
def test_the_newest_edit_wins_across_zones(kind: str, later: str, zoned: MariaDBDatabases) -> None:
    """Both sides edit the row between two runs, half a minute apart by the clock on the wall of either."""
    mirror = mirror_of(zoned, kind)
    application(mirror, 1, insert(1))
    mirror.sync()
    early, late = "NOW(6) - INTERVAL 30 SECOND", "NOW(6)"
    application(mirror, 1, f"UPDATE t SET v = 1, m = {late if later == 'station' else early}")
    application(mirror, "control", f"UPDATE t SET v = 2, m = {late if later == 'control' else early}")
    up, _ = mirror.sync()
    assert up.counts.conflicts == 1
    winner = 1 if later == "station" else 2
    assert zoned.query(1, "SELECT v FROM t") == zoned.query("control", "SELECT v FROM t") == [(winner,)]
    loser = "control" if later == "station" else "station"
    assert zoned.query("control", "SELECT loser FROM stationsync_conflict") == [(loser,)]
    mirror.require_equal()


def test_summer_time_ends_at_a_station(servers: dict[str, MariaDBServer]) -> None:
    """A wall clock that is set back stamps rows "before" the watermark: they are read all the same."""
    with MariaDBServer(timezone="+02:00") as station:
        databases = MariaDBDatabases(servers["control"], station)
        mirror = mirror_of(databases, "datetime", lookback="0s")
        application(mirror, 1, insert(1))
        mirror.sync()
        station.execute("SET GLOBAL time_zone = '+01:00'")
        application(mirror, 1, insert(2), "UPDATE t SET v = 7, m = NOW(6) WHERE id = 1")
        assert mirror.fleet.pull().counts.applied == 2
        mirror.require_equal()
        station.execute("SET GLOBAL time_zone = '+02:00'")
        application(mirror, 1, insert(3))
        assert mirror.fleet.pull().counts.applied == 1
        mirror.require_equal()
        databases.close()


# --- applications that stamp in another zone than their server's (modified_zone)


def zoned_sites(servers: dict[str, MariaDBServer], station: str, control: str = "control") -> MariaDBDatabases:
    return MariaDBDatabases(servers[control], servers[station])


def zone_warnings(reports: tuple[Report, ...]) -> list[str]:
    return [warning for report in reports for warning in report.warnings if "modified_zone" in warning]


def checked_zones(mirror: Mirror) -> list[str]:
    (pair,) = mirror.fleet.pairs()
    found = check(pair.control, [[pair]])
    return [note.what for one in found for note in one.notes if "modified_zone" in note.what]


UTC_NOW = "UTC_TIMESTAMP(6)"


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("control", ["control", "+09:00"])
@pytest.mark.parametrize("written", ["table", "station"])
def test_an_application_that_stamps_utc_on_a_server_at_seoul_time(
    control: str, written: str, servers: dict[str, MariaDBServer]
) -> None:
    """Django, Rails, JDBC: edits travel with the very next run, both ways, and conflicts go to the newest."""
    if written == "station" and control != "control":
        pytest.skip("there control's application stamps in its server's zone")
    databases = zoned_sites(servers, "+09:00", control)
    options = {"modified_zone": "UTC"} if written == "table" else {}
    mirror = mirror_of(databases, "datetime", lookback="0s", **options)
    if written == "station":
        mirror.fleet = Fleet(
            databases, tables={"t": {"key": ["id"], "modified": "m"}}, overrides={1: {"modified_zone": "UTC"}}
        )
    old = f"{UTC_NOW} - INTERVAL 1 HOUR"
    application(mirror, 1, *(f"INSERT INTO t (id, v, m) VALUES ({n}, 0, {old})" for n in range(5)))
    mirror.sync()
    for value in (1, 2):
        application(mirror, 1, f"UPDATE t SET v = {value}, m = {UTC_NOW} WHERE id = 1")
        application(mirror, "control", f"UPDATE t SET v = {value}, m = {UTC_NOW} WHERE id = 2")
        up, down = mirror.sync()
        assert (up.counts.applied, down.counts.applied) == (1, 1)
        # No nine hours of rows that are read again and again.
        assert up.counts.read <= 3
        mirror.require_equal()
    application(mirror, 1, f"UPDATE t SET v = 10, m = {UTC_NOW} WHERE id IN (3, 4)")
    application(mirror, "control", f"UPDATE t SET v = 20, m = {UTC_NOW} + INTERVAL 30 SECOND WHERE id = 3")
    application(mirror, "control", f"UPDATE t SET v = 30, m = {UTC_NOW} - INTERVAL 50 SECOND WHERE id = 4")
    up, down = mirror.sync()
    assert up.counts.conflicts == 2
    assert databases.query(1, "SELECT v FROM t WHERE id > 2 ORDER BY id") == [(20,), (10,)]
    mirror.require_equal()
    assert zone_warnings((up, down)) == checked_zones(mirror) == []
    databases.close()


def test_a_station_s_zone_beside_control_s(servers: dict[str, MariaDBServer]) -> None:
    """Seoul's wall clock on a server at UTC, control's application at UTC: each side's edits are seen at once."""
    databases = zoned_sites(servers, "+00:00")
    mirror = mirror_of(databases, "datetime")
    mirror.fleet = Fleet(
        databases, tables={"t": {"key": ["id"], "modified": "m"}}, overrides={1: {"modified_zone": "Asia/Seoul"}}
    )
    seoul = "NOW(6) + INTERVAL 9 HOUR"
    application(mirror, 1, *(f"INSERT INTO t (id, v, m) VALUES ({n}, 0, {seoul})" for n in range(6)))
    mirror.sync()
    application(mirror, 1, f"UPDATE t SET v = 1, m = {seoul} WHERE id = 1")
    # Several, so that they could be taken for an older copy of control's table.
    application(mirror, "control", "UPDATE t SET v = 2, m = NOW(6) WHERE id > 1")
    up, down = mirror.sync()
    assert (up.counts.applied, down.counts.applied) == (1, 4)
    mirror.require_equal()
    application(mirror, 1, f"UPDATE t SET v = 3, m = {seoul} - INTERVAL 30 SECOND WHERE id = 1")
    application(mirror, "control", "UPDATE t SET v = 4, m = NOW(6) WHERE id = 1")
    mirror.sync()
    assert databases.query(1, "SELECT v FROM t WHERE id = 1") == [(4,)]
    mirror.require_equal()
    databases.close()


def test_stamps_behind_the_clock_are_read_and_told_with_the_line_to_write(servers: dict[str, MariaDBServer]) -> None:
    databases = zoned_sites(servers, "+09:00")
    mirror = mirror_of(databases, "datetime")
    application(mirror, 1, *(f"INSERT INTO t (id, v, m) VALUES ({n}, 0, {UTC_NOW})" for n in range(5)))
    reports = mirror.sync()
    # Nothing is certain yet: the station may have been quiet for nine hours.
    assert zone_warnings(reports) == checked_zones(mirror) == []
    application(mirror, 1, f"UPDATE t SET v = 1, m = {UTC_NOW} WHERE id = 1")
    reports = mirror.sync()
    assert reports[0].counts.applied == 1
    (warning,) = zone_warnings(reports)
    assert "9 h behind" in warning
    assert warning.endswith("modified_zone: UTC")
    assert len(checked_zones(mirror)) == 1
    mirror.fleet.options(modified_zone="UTC")
    application(mirror, 1, f"UPDATE t SET v = 2, m = {UTC_NOW} WHERE id = 1")
    reports = mirror.sync()
    assert zone_warnings(reports) == checked_zones(mirror) == []
    mirror.require_equal()
    databases.close()


def test_stamps_ahead_of_the_clock_are_told(servers: dict[str, MariaDBServer]) -> None:
    databases = zoned_sites(servers, "+00:00")
    mirror = mirror_of(databases, "datetime")
    kathmandu = "NOW(6) + INTERVAL 345 MINUTE"
    application(mirror, 1, *(f"INSERT INTO t (id, v, m) VALUES ({n}, 0, {kathmandu})" for n in range(5)))
    (said,) = checked_zones(mirror)
    assert said.endswith("modified_zone: +05:45")
    (warning,) = zone_warnings(mirror.sync())
    assert "5.75 h ahead" in warning
    mirror.fleet.options(modified_zone="Asia/Kathmandu")
    application(mirror, 1, f"UPDATE t SET v = 1, m = {kathmandu} WHERE id = 1")
    reports = mirror.sync()
    assert zone_warnings(reports) == checked_zones(mirror) == []
    # Control's application at another zone than that.
    seoul = "NOW(6) + INTERVAL 9 HOUR"
    application(mirror, "control", f"UPDATE t SET v = 2, m = {seoul} WHERE id IN (2, 3)")
    (said,) = checked_zones(mirror)
    assert "control's edits" in said
    assert said.endswith("modified_zone: +09:00")
    assert len(zone_warnings(mirror.sync())) == 1
    mirror.require_equal()
    databases.close()


def test_a_quiet_station_is_no_false_alarm(servers: dict[str, MariaDBServer]) -> None:
    databases = zoned_sites(servers, "+09:00")
    mirror = mirror_of(databases, "datetime")
    application(mirror, 1, *(insert(number) for number in range(5)), "UPDATE t SET m = NOW(6) - INTERVAL 9 HOUR")
    for _ in range(2):
        assert zone_warnings(mirror.sync()) == checked_zones(mirror) == []
    # One row that came late, and the usual ones.
    application(mirror, 1, "UPDATE t SET v = 1, m = NOW(6) - INTERVAL 134 MINUTE WHERE id = 1", insert(9))
    for _ in range(2):
        assert zone_warnings(mirror.sync()) == checked_zones(mirror) == []
    mirror.require_equal()
    databases.close()


def test_a_timestamp_column_needs_no_zone(servers: dict[str, MariaDBServer]) -> None:
    databases = zoned_sites(servers, "+09:00")
    mirror = mirror_of(databases, "timestamp", modified_zone="Asia/Tokyo", lookback="0s")
    application(mirror, 1, insert(1))
    mirror.sync()
    for value in (1, 2):
        application(mirror, 1, f"UPDATE t SET v = {value}, m = NOW(6)")
        assert mirror.sync()[0].counts.applied == 1
        mirror.require_equal()
    databases.close()


def test_a_backfill_s_moment_is_taken_to_the_zone_of_the_stamps(servers: dict[str, MariaDBServer]) -> None:
    databases = zoned_sites(servers, "+09:00")
    mirror = mirror_of(databases, "datetime", modified_zone="UTC")
    application(mirror, 1, *(f"INSERT INTO t (id, v, m) VALUES ({n}, 0, {UTC_NOW})" for n in range(3)))
    (pair,) = mirror.fleet.pairs()
    soon = datetime.now(UTC)
    for since, rows in ((soon - timedelta(minutes=5), 3), (soon + timedelta(minutes=5), 0)):
        with lease(pair) as session:
            assert session
            session.open()
            _, found = begin(session, BackfillRange(since=since))
        assert found == rows
    databases.close()
