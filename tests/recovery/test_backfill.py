"""Backfill: a range by time, by key, or all; cut off and taken up; beside live runs; turning nothing back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from support import kill_run
from support.databases import Databases, MariaDBDatabases
from support.fleet import KAFKA_TEST, Fleet
from support.key_cases import KEYS, ROWS
from support.mirror import Mirror
from support.reports import json_of
from support.sample import row

from stationsync.errors import StationOffline, StationSyncError, StationWentBack, UsageError
from stationsync.model.changes import Checked, Counts, Report, Status
from stationsync.pairing.pair import control_of
from stationsync.pairing.watermark import Reading
from stationsync.recovery import backfill as engine
from stationsync.recovery import backfill_books
from stationsync.recovery.backfill import BackfillOrder
from stationsync.recovery.backfill_books import DONE, DROPPED, OPEN, Progress
from stationsync.recovery.backfill_range import BackfillRange, asked
from stationsync.session.lease import BACKFILL, Timing, awaited, is_any_held, lease
from stationsync.session.session import Session
from stationsync.sync import merge, runs

ALL = BackfillRange()
STATE = "SELECT watermark, place, newest, run_at, done_at, status FROM stationsync_state ORDER BY direction"


class Cut(BaseException):
    """The process is gone, as far as the backfill can tell."""


def fleet_of(databases: Databases, rows: int = 40, stations: int = 1, **options: Any) -> Fleet:
    """Row n of station-1 is stamped on the n-th minute of 2024."""
    databases.create_kafka_test("control", control=True)
    for station in range(1, stations + 1):
        databases.create_kafka_test(station)
    databases.put(1, [row(n, at=minute(n)) for n in range(1, rows + 1)])
    fleet = Fleet(databases, stations, **options)
    fleet.init()
    return fleet


def minute(number: int) -> str:
    return str(datetime(2024, 1, 1) + timedelta(minutes=number))


def at(number: int) -> datetime:
    return datetime.fromisoformat(minute(number))


def backfill(fleet: Fleet, range_: BackfillRange = ALL, station: int = 1, **more: Any) -> Report:
    (pair,) = fleet.pairs(station)
    steps = replace(runs.plain_steps(), **more.pop("steps", {}))
    outside = {name: more.pop(name) for name in ("told", "timing", "stretch") if name in more}
    return engine.backfill(pair, steps, BackfillOrder(range_, **more), **outside)


def small_pages(monkeypatch: pytest.MonkeyPatch, rows: int = 10) -> None:
    monkeypatch.setattr(engine, "_MOST", rows)


def cut_off_after(chunks: int) -> dict[str, Callable[..., Any]]:
    """Steps that are gone behind the merge of that many chunks."""
    done: list[int] = []

    def merged(session: Session, checked: Checked, reading: Reading | None) -> Counts:
        if len(done) == chunks:
            raise Cut
        done.append(len(checked.chunk))
        return merge.merge_chunk(session, checked, reading)

    return {"merge": merged}


def lose_at_control(databases: Databases, where: str) -> None:
    """Rows gone from control and from the base, as if they had never been read."""
    for table in ("kafka_test", "stationsync_base_kafka_test"):
        databases.execute("control", f"DELETE FROM {table} WHERE {where}")


def ids(databases: Databases) -> list[int]:
    return [number for (number,) in databases.query("control", "SELECT id FROM kafka_test ORDER BY id")]


def entries(fleet: Fleet) -> list[backfill_books.BackfillEntry]:
    return backfill_books.find(control_of(fleet.topology), closed=True, limit=None)[0]


# What is read


RANGES: dict[str, tuple[BackfillRange, list[int]]] = {
    "since": (BackfillRange(since=at(38)), [38, 39, 40]),
    "until": (BackfillRange(until=at(3)), [1, 2]),
    "between": (BackfillRange(since=at(10), until=at(13)), [10, 11, 12]),
    "keys": (BackfillRange(from_key=("10",), to_key=("12",)), [10, 11, 12]),
    "whole keys": (BackfillRange(from_key=("10", "B"), to_key=("12", "A")), [11, 12]),
    "from a key": (BackfillRange(from_key=("39",)), [39, 40]),
    "up to a key": (BackfillRange(to_key=("2",)), [1, 2]),
    "all": (ALL, list(range(1, 41))),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_range_and_nothing_else_comes_up(name: str, databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    range_, expected = RANGES[name]
    small_pages(monkeypatch, 2)
    fleet = fleet_of(databases)
    report = backfill(fleet, range_)
    assert ids(databases) == expected
    assert (report.status, report.counts.applied) == (Status.DONE, len(expected))
    assert backfill(fleet, range_).status is Status.NOTHING
    # It has no mark: live sync begins where it would have begun.
    assert fleet.pull().counts.applied == 40 - len(expected)
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_rows_that_were_missed_come_and_the_mark_stays(databases: Databases) -> None:
    fleet = fleet_of(databases)
    fleet.sync()
    lose_at_control(databases, "id BETWEEN 11 AND 20")
    fleet.require_nothing_to_do()
    # As after an hour, so that a mark that is moved is another.
    databases.execute("control", "UPDATE stationsync_state SET watermark = '2024-01-01 00:30:00'")
    before = databases.query("control", STATE)
    report = backfill(fleet, BackfillRange(since=at(5), until=at(30)))
    assert (report.counts.applied, report.counts.unchanged) == (10, 15)
    assert databases.query("control", STATE) == before
    fleet.require_equal()
    fleet.require_nothing_to_do()


@pytest.mark.some(1, 3)
@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_kind_are_walked_and_taken_up(
    kind: str, mariadb_databases: MariaDBDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns, rows = KEYS[kind]
    small_pages(monkeypatch, 60)
    mirror = Mirror(mariadb_databases, {**columns, "v": "INT"}, key=list(columns))
    mirror.fleet.init()
    mirror.insert(1, [[*row, str(n)] for n, row in enumerate(rows)], [*columns, "v"])
    with pytest.raises(Cut):
        backfill(mirror.fleet, steps=cut_off_after(2))
    report = backfill(mirror.fleet)
    assert (report.counts.read, report.counts.applied, report.chunks) == (ROWS - 120, ROWS - 120, 3)
    mirror.require_equal()


def test_rows_without_a_date_come_with_all(databases: Databases) -> None:
    fleet = fleet_of(databases, 0, tables={"kafka_test": {**KAFKA_TEST, "zero_dates": "carry"}})
    # `modify_date` is NOT NULL here; a row that is older than any date that counts.
    stamp = "0000-00-00 00:00:00"
    if databases.kind == "mariadb":
        databases.execute(1, "SET STATEMENT sql_mode='' FOR INSERT INTO kafka_test VALUES (1, 'x', 'A', NOW(), 0)")
    else:
        databases.put(1, [row(1, at=stamp)])
    fleet.pull()
    assert databases.count("control") == 0
    assert backfill(fleet, BackfillRange(since=datetime(1, 1, 1))).counts.read == 0
    assert backfill(fleet).counts.applied == 1
    assert databases.count("control") == 1


def test_what_is_written_meanwhile_is_live_sync_s(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """A station that writes faster than a backfill reads does not keep it busy for ever."""
    small_pages(monkeypatch)
    fleet = fleet_of(databases)
    newest = 40

    def writes(progress: Progress) -> None:
        nonlocal newest
        assert progress.chunks <= 20, "it runs after the station for ever"
        stamp = str(datetime.now(UTC).replace(tzinfo=None, microsecond=0) + timedelta(minutes=newest))
        databases.put(1, [row(newest + n, at=stamp) for n in range(1, 13)])
        newest += 12

    for range_ in (ALL, BackfillRange(since=at(1)), BackfillRange(from_key=("1",))):
        backfill(fleet, range_, told=writes)
    fleet.pull()
    fleet.require_equal()


def test_a_moment_with_a_zone_is_the_same_moment_on_the_station_s_clock(databases: Databases) -> None:
    """The servers' zone is UTC here."""
    fleet = fleet_of(databases)
    zone = timezone(timedelta(hours=9))
    range_ = BackfillRange(since=(at(10) + timedelta(hours=9)).replace(tzinfo=zone), until=at(12).replace(tzinfo=UTC))
    if databases.kind == "mariadb" and databases.query(1, "SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), NOW())")[0][0]:
        pytest.skip("this machine's zone is another")
    backfill(fleet, range_)
    assert ids(databases) == [10, 11]


# What it does not do


def test_edits_that_wait_at_control_are_conflicts_by_the_rule(databases: Databases) -> None:
    """The newer one wins, on whichever side, and both are kept."""
    fleet = fleet_of(databases)
    fleet.sync()
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    fleet.edit("control", 1, at=now, text="newer at control")
    fleet.edit("control", 2, at=now, text="older at control")
    fleet.edit(1, 1, at=now - timedelta(seconds=30), text="older at the station")
    fleet.edit(1, 2, at=now + timedelta(seconds=30), text="newer at the station")
    fleet.edit("control", 3, at=now, text="only at control")
    report = backfill(fleet)
    assert report.counts.conflicts == 2
    texts = [text for _, text, *_ in databases.rows("control")][:3]
    assert texts == ["newer at control", "newer at the station", "only at control"]
    assert databases.query("control", "SELECT COUNT(*) FROM stationsync_conflict") == [(2,)]
    fleet.sync()
    assert [text for _, text, *_ in databases.rows(1)][:3] == texts
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_a_row_that_went_back_at_the_station_is_left_and_told(databases: Databases) -> None:
    fleet = fleet_of(databases)
    fleet.sync()
    fleet.edit(1, 7, text="newer")
    fleet.sync()
    fleet.edit(1, 7, at=minute(7), text="restored")
    report = backfill(fleet)
    assert (report.status, report.counts.older, report.counts.unchanged) == (Status.NOTHING, 1, 39)
    assert "1 rows are older at the station" in report.warnings[0]
    assert "stationsync reconcile station-1 --table kafka_test --dry-run" in report.warnings[0]
    assert databases.rows("control")[6][1] == "newer"
    # Live runs have no such scruple, and never meet the row; a reconcile judges it.
    fleet.require_nothing_to_do()


def test_a_restored_station_is_refused(databases: Databases) -> None:
    fleet = fleet_of(databases)
    fleet.sync()
    databases.execute(1, "DELETE FROM kafka_test WHERE id > 10")
    with pytest.raises(StationWentBack, match="restored or emptied"):
        backfill(fleet)
    assert databases.count("control") == 40


@pytest.mark.parametrize("back", [True, False])
def test_rows_that_control_lost_come_back_unless_control_s_deletes_travel(back: bool, databases: Databases) -> None:
    fleet = fleet_of(databases, control_deletes="restore" if back else "send")
    fleet.sync()
    databases.execute("control", "DELETE FROM kafka_test WHERE id BETWEEN 5 AND 8")
    fleet.require_nothing_to_do()
    report = backfill(fleet, BackfillRange(since=at(1), until=at(20)))
    assert report.counts.applied == (4 if back else 0)
    assert databases.count("control") == (40 if back else 36)
    if back:
        fleet.require_equal()
    fleet.require_nothing_to_do()


def test_another_station_s_rows_are_left_and_bad_rows_kept(databases: Databases) -> None:
    fleet = fleet_of(databases, stations=2)
    fleet.sync(1)
    databases.put(2, [row(3, text="theirs"), row(50), row(51)])
    databases.execute("control", "CREATE UNIQUE INDEX one_text ON kafka_test (text)")
    databases.put("control", [row(900, code="Z", text="row 51")])
    report = backfill(fleet, station=2)
    assert (report.counts.quarantined, report.counts.applied) == (2, 1)
    assert databases.rows("control")[2][1] == "row 3"
    reasons = str(databases.query("control", "SELECT reasons FROM stationsync_quarantine ORDER BY id"))
    assert "station-1 owns this key" in reasons
    assert backfill(fleet, station=2).counts.quarantined == 0


def test_a_dry_run_tells_what_it_would_do_and_leaves_nothing(databases: Databases) -> None:
    fleet = fleet_of(databases)
    fleet.sync()
    lose_at_control(databases, "id <= 4")
    fleet.edit(1, 9, at=minute(9), text="not stamped")
    before = [databases.rows("control"), databases.query("control", STATE)]
    report = backfill(fleet, dry_run=True)
    (plan,) = json_of(report)["plan"]
    assert (plan["inserts"], plan["updates"], plan["at"]) == (4, 1, "control")
    assert [databases.rows("control"), databases.query("control", STATE)] == before
    assert entries(fleet) == []


# Cut off and taken up


@pytest.mark.parametrize(
    "range_", [ALL, BackfillRange(since=at(1)), BackfillRange(from_key=("1",))], ids=["all", "time", "keys"]
)
def test_a_backfill_that_was_cut_off_goes_on_where_it_stopped(
    range_: BackfillRange, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pages(monkeypatch)
    fleet = fleet_of(databases)
    with pytest.raises(Cut):
        backfill(fleet, range_, steps=cut_off_after(2))
    assert ids(databases) == list(range(1, 21))
    (entry,) = entries(fleet)
    assert (entry.state, entry.rows, entry.expected) == (OPEN, 20, 40)

    # Another range is another backfill.
    backfill(fleet, BackfillRange(to_key=("3",)))
    report = backfill(fleet, range_)
    assert (report.counts.read, report.counts.applied) == (20, 20)
    details = json_of(report)["backfill"]
    assert (details["resumed"], details["rows"], details["expected"]) == (True, 40, 40)
    assert {entry.state for entry in entries(fleet)} == {DONE}
    # Done is done: asked again, it reads everything again, which costs nothing.
    again = backfill(fleet, range_)
    assert (again.counts.read, again.counts.unchanged, json_of(again)["backfill"]["resumed"]) == (40, 40, False)
    fleet.pull()
    fleet.require_equal()


@pytest.mark.parametrize("when", ["before", "after"])
def test_one_that_was_killed_goes_on_where_it_stopped(when: str, mariadb_databases: MariaDBDatabases) -> None:
    """kill -9 before the commit of its third chunk, or between that and remembering the place."""
    databases = mariadb_databases
    fleet = fleet_of(databases, rows=45)
    run = kill_run.start(
        databases.control_url, databases.station_url(1), direction="backfill", at=["merge", when, 3], page_rows=10
    )
    run.end()
    assert run.was_killed
    assert databases.count("control") == (20 if when == "before" else 30)
    (pair,) = fleet.pairs()
    while is_any_held([pair]):  # until the server has noticed
        pass
    report = backfill(fleet)
    assert (report.counts.read, report.counts.applied) == (25, 25 if when == "before" else 15)
    moved = "SELECT COUNT(*) FROM stationsync_state WHERE watermark IS NOT NULL OR newest IS NOT NULL"
    assert databases.query("control", moved) == [(0,)]
    assert fleet.pull().counts.unchanged == 45
    fleet.require_equal()


def test_restart_begins_anew(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pages(monkeypatch)
    fleet = fleet_of(databases)
    with pytest.raises(Cut):
        backfill(fleet, steps=cut_off_after(2))
    assert backfill(fleet, restart=True).counts.read == 40
    assert [entry.state for entry in entries(fleet)] == [DONE, DROPPED]


def test_a_place_of_another_table_is_no_place(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pages(monkeypatch)
    fleet = fleet_of(databases)
    with pytest.raises(Cut):
        backfill(fleet, steps=cut_off_after(2))
    fleet.options(exclude=["master_id", "create_date"])
    databases.execute("control", "ALTER TABLE kafka_test ADD COLUMN more INTEGER")
    databases.execute(1, "ALTER TABLE kafka_test ADD COLUMN more INTEGER")
    fleet.options(exclude=["master_id"])
    fleet.init()
    report = backfill(fleet)
    assert report.counts.read == 40
    assert "begun anew" in report.warnings[-1]


def test_an_error_says_how_to_go_on(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pages(monkeypatch)
    fleet = fleet_of(databases)
    chunks = 0
    slept: list[float] = []

    def unplugged(session: Session) -> None:
        nonlocal chunks
        chunks += 1
        if chunks > 3:
            raise StationOffline("station-1", "does not answer")
        session.open()

    with pytest.raises(StationOffline) as caught:
        backfill(
            fleet,
            BackfillRange(since=at(1)),
            rate=500,
            steps={"open": unplugged},
            timing=Timing(lambda: 0.0, slept.append),
        )
    assert caught.value.next_step == (
        "It goes on where it stopped with:"
        " stationsync backfill station-1 --table kafka_test --since '2024-01-01 00:01:00' --rate 500"
    )
    assert caught.value.report is not None
    assert (caught.value.report.status, caught.value.report.counts.applied) == (Status.OFFLINE, 20)
    assert len(slept) == 2 + 4  # the rate's, and each try's
    (entry,) = entries(fleet)
    assert (entry.state, entry.rows) == (OPEN, 20)
    assert "does not answer" in entry.message
    assert backfill(fleet, BackfillRange(since=at(1))).counts.applied == 20


def test_a_station_that_is_away_for_a_moment_ends_nothing(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pages(monkeypatch)
    fleet = fleet_of(databases)
    opened = 0

    def flickering(session: Session) -> None:
        nonlocal opened
        opened += 1
        if opened > 2 and opened % 2:
            raise StationOffline("station-1", "does not answer")
        session.open()

    quiet = Timing(lambda: 0.0, lambda seconds: None)
    assert backfill(fleet, steps={"open": flickering}, timing=quiet).counts.applied == 40


# Beside live runs


def test_live_runs_go_on_between_chunks(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pages(monkeypatch)
    fleet = fleet_of(databases)
    fleet.sync()
    lose_at_control(databases, "id <= 30")
    seen: list[tuple[Report, Report]] = []

    def live(progress: Progress) -> None:
        number = 100 + len(seen)
        databases.put(1, [row(number, at=str(datetime.now(UTC).replace(tzinfo=None, microsecond=0)))])
        fleet.edit("control", 40, text=f"edit {number}")
        seen.append(fleet.sync())

    report = backfill(fleet, told=live)
    assert report.counts.applied == 30
    assert len(seen) >= 4
    assert {(up.counts.applied, down.counts.applied) for up, down in seen} == {(1, 1)}
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_a_live_run_that_meets_a_chunk_waits_for_it_and_goes_first(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that, a run every five minutes would nearly always find the lease taken, and give up."""
    small_pages(monkeypatch)
    fleet = fleet_of(databases, rows=60)
    (pair,) = fleet.pairs()
    order: list[str] = []
    live: list[Any] = []
    with ThreadPoolExecutor(1) as pool:

        def live_merge(session: Session, checked: Checked, reading: Reading | None) -> Counts:
            order.append("live")
            return merge.merge_chunk(session, checked, reading)

        def chunk(session: Session, checked: Checked, reading: Reading | None) -> Counts:
            if len(order) == 1:
                live.append(pool.submit(fleet.pull, merge=live_merge))
                while not awaited(pair):
                    assert not live[0].done(), live[0].result()
            order.append("chunk")
            return merge.merge_chunk(session, checked, reading)

        report = backfill(fleet, steps={"merge": chunk})
    assert live[0].result().counts.applied == 40
    assert order == ["chunk", "chunk", "live", *["chunk"] * 5]
    assert report.counts.read == 60
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_a_live_run_with_the_lease_is_waited_for(databases: Databases) -> None:
    fleet = fleet_of(databases)
    (pair,) = fleet.pairs()
    said: list[Progress] = []
    with lease(pair) as held, ThreadPoolExecutor(1) as pool:
        assert held is not None
        running = pool.submit(backfill, fleet, told=said.append)
        while not any(one.waits for one in said):
            assert not running.done(), running.result()
        assert databases.count("control") == 0
        # The pool would wait for the backfill, which waits for us.
        held.pair.control.dialect.free_lease(held.control, pair.place)
        held.control.rollback()
        assert running.result(60).counts.applied == 40
    assert "waiting" in next(one for one in said if one.waits).in_words()


def test_one_backfill_of_a_table_at_a_time(databases: Databases) -> None:
    fleet = fleet_of(databases)
    (pair,) = fleet.pairs()
    with lease(pair, BACKFILL):
        report = backfill(fleet)
        assert (report.status, report.counts) == (Status.UNDER_WAY, Counts())
        assert "another backfill is under way" in report.message
        assert json_of(backfill(fleet, dry_run=True))["plan"][0]["inserts"] == 40
    assert entries(fleet) == []


# How fast, and how far


def test_the_rate_is_kept_outside_of_the_lease(databases: Databases) -> None:
    fleet = fleet_of(databases, rows=450)
    now, free = 0.0, list[bool]()
    (pair,) = fleet.pairs()

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        with lease(pair, chunk=True) as session:
            free.append(session is not None)

    report = backfill(fleet, rate=50, timing=Timing(lambda: now, sleep))
    assert (report.counts.applied, report.chunks) == (450, 5)
    # Behind the last chunk there is nothing to wait for.
    assert (now, free) == (8.0, [True] * 4)


def test_what_is_left_is_told_from_what_was_done(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pages(monkeypatch)
    fleet = fleet_of(databases)
    now, said = 0.0, list[Progress]()

    def tick(session: Session, checked: Checked, reading: Reading | None) -> Counts:
        nonlocal now
        now += 2
        return merge.merge_chunk(session, checked, reading)

    backfill(fleet, steps={"merge": tick}, told=said.append, timing=Timing(lambda: now, lambda seconds: None))
    assert [(one.rows, one.expected, one.fraction) for one in said[:5]] == [
        (0, 40, 0.0), (10, 40, 0.25), (20, 40, 0.5), (30, 40, 0.75), (40, 40, 1.0),
    ]  # fmt: skip
    assert [one.remaining for one in said[:4]] == [None, 6.0, 4.0, 2.0]
    assert said[1].in_words() == "10 of 40 rows, 25%, 5 rows a second, 6s left"
    assert said[-1].done


@pytest.mark.parametrize(
    "range_", [BackfillRange(since=at(1), until=at(41)), BackfillRange(from_key=("1",))], ids=["time", "keys"]
)
def test_of_more_rows_than_are_counted_the_place_tells_how_far_it_is(
    range_: BackfillRange, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pages(monkeypatch)
    monkeypatch.setattr(engine.backfill_range, "COUNTED", 39)
    fleet = fleet_of(databases)
    said: list[Progress] = []
    backfill(fleet, range_, told=said.append)
    assert {one.expected for one in said} == {None}
    assert [one.fraction for one in said[:3]] == [None, pytest.approx(9 / 39), pytest.approx(19 / 39)]
    assert said[-1].fraction == 1.0


# What may be asked for


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "no range is named"),
    "two kinds": ({"since": at(1), "from_key": "1"}, "exclude each other"),
    "all and more": ({"everything": True, "until": at(1)}, "exclude each other"),
    "turned round": ({"since": at(2), "until": at(1)}, "is not before until"),
    "one zone": ({"since": at(1).replace(tzinfo=UTC), "until": at(2)}, "one of since and until has a time zone"),
    "no list": ({"from_key": "[1"}, "this is no key"),
    "no value": ({"from_key": "[]"}, "at least one value"),
    "a list in it": ({"from_key": "[[1]]"}, "this is no key"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_contradicts_itself_is_refused(name: str) -> None:
    given, what = WRONG[name]
    with pytest.raises(UsageError, match=what) as caught:
        asked(**given)
    assert "--since 2024-05-01" in caught.value.next_step


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"from_key": "x"}, "'x' is no value of key column id"),
        ({"from_key": '[1, "A", 2]'}, "more values than the key"),
        ({"from_key": "9", "to_key": "10", "rate": 0}, "0 rows a second"),
        ({"from_key": "10", "to_key": "9"}, "the first key, 10, is behind the last, 9"),
    ],
)
def test_what_does_not_fit_the_table_is_refused_and_nothing_written(
    given: dict[str, Any], what: str, databases: Databases
) -> None:
    fleet = fleet_of(databases)
    range_ = {name: value for name, value in given.items() if name != "rate"}
    with pytest.raises(StationSyncError, match=what.replace("[", r"\[")) as caught:
        backfill(fleet, asked(**range_), rate=given.get("rate"))
    assert caught.value.exit_code == 2
    assert (entries(fleet), databases.count("control")) == ([], 0)


def test_a_range_is_known_again_however_it_was_typed() -> None:
    assert asked(from_key='[10, "A"]') == asked(from_key='["10","A"]')
    assert asked(from_key="10").digest == asked(from_key="[10]").digest
    for range_ in (asked(everything=True), asked(since=at(1)), asked(from_key='[{"hex": "00ff"}]', to_key='["Ü"]')):
        assert engine.backfill_books.asked_from(range_.text) == range_
