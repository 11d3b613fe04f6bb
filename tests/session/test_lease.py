"""One run at a time for a station's table, whichever its direction; everybody else goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from support.databases import Databases
from support.fleet import KAFKA_TEST, Fleet
from support.sample import row
from support.waiting import PATIENCE, wait_until

from stationsync.errors import BatchRefused, Unexpected
from stationsync.model.changes import Checked, Counts, Report, Status
from stationsync.pairing.watermark import Reading
from stationsync.session.lease import lease
from stationsync.session.session import Session
from stationsync.sync import merge, runs

FORK = multiprocessing.get_context("fork")


def fleet_of(databases: Databases, stations: int = 1, **options: Any) -> Fleet:
    databases.create_kafka_test("control", control=True)
    for station in range(1, stations + 1):
        databases.create_kafka_test(station)
        databases.put(station, [row(100 * station + n) for n in range(5)])
    fleet = Fleet(databases, stations, **options)
    fleet.init()
    return fleet


@contextmanager
def held_up_pull(fleet: Fleet, station: int = 1) -> Iterator[Future[Report]]:
    """A pull that has read its rows and waits with the merge until the block is left."""
    reached, go_on = threading.Event(), threading.Event()

    def waiting(session: Session, checked: Checked, reading: Reading | None) -> Counts:
        reached.set()
        assert go_on.wait(60)
        return merge.merge_chunk(session, checked, reading)

    with ThreadPoolExecutor(1) as pool:
        pulling = pool.submit(fleet.pull, station, merge=waiting)
        try:
            while not reached.wait(0.05):
                assert not pulling.done(), pulling.result()
            yield pulling
        finally:
            go_on.set()


def contents(databases: Databases) -> list[Any]:
    tables = ["kafka_test", "stationsync_base_kafka_test", "stationsync_state", "stationsync_quarantine"]
    return [databases.query("control", f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables]


@pytest.mark.parametrize("other", ["pull", "push"])
def test_the_second_run_of_a_pair_says_that_it_is_under_way_and_changes_nothing(
    other: str, databases: Databases
) -> None:
    fleet = fleet_of(databases)
    with held_up_pull(fleet) as pulling:
        before = contents(databases)
        second = fleet.pull() if other == "pull" else fleet.push()
        assert second.status is Status.UNDER_WAY
        assert "another run is under way" in second.message
        assert second.counts == Counts()
        assert contents(databases) == before
    assert pulling.result().counts.applied == 5
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_a_pull_is_kept_out_while_a_push_is_under_way(databases: Databases) -> None:
    fleet = fleet_of(databases)
    fleet.sync()
    fleet.edit("control", 100, text="edited")
    seen: list[Status] = []
    push = runs.plain_steps().push

    def meanwhile(*args: Any) -> Any:
        seen.append(fleet.pull().status)
        return push(*args)

    assert fleet.push(push=meanwhile).counts.applied == 1
    assert set(seen) == {Status.UNDER_WAY}
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_other_stations_and_other_tables_go_on_meanwhile(databases: Databases) -> None:
    databases.create_kafka_test(1, table="other")
    databases.create_kafka_test("control", control=True, table="other")
    fleet = fleet_of(databases, 2, tables={"kafka_test": KAFKA_TEST, "other": KAFKA_TEST})
    one, two = ({pair.table: pair for pair in fleet.pairs(n)} for n in (1, 2))
    databases.put(1, [row(7)], table="other")
    steps = runs.plain_steps()
    with lease(one["kafka_test"]) as held:
        assert held is not None
        assert runs.pull(one["kafka_test"], steps).status is Status.UNDER_WAY
        assert runs.pull(one["other"], steps).counts.applied == 1
        assert runs.pull(two["kafka_test"], steps).counts.applied == 5
        assert runs.push_edits(two["kafka_test"], steps).status is Status.NOTHING
    assert runs.pull(one["kafka_test"], steps).counts.applied == 5


def test_stations_merge_side_by_side(mariadb_databases: Databases) -> None:
    """On MariaDB nobody waits, not even for another station's transaction that has written and not committed."""
    fleet = fleet_of(mariadb_databases, 2)
    reached, go_on = threading.Event(), threading.Event()

    def open_transaction(session: Session, checked: Checked, reading: Reading | None) -> Counts:
        with session.control.begin():
            counts = merge._merge_rows(session, checked.chunk)
            reached.set()
            assert go_on.wait(60)
            return counts

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(fleet.pull, 1, merge=open_transaction)
        try:
            assert reached.wait(60)
            assert fleet.pull(2).counts.applied == 5
        finally:
            go_on.set()
        assert first.result().counts.applied == 5
    fleet.require_equal(1)
    fleet.require_equal(2)


def test_runs_started_together_share_the_work_out(databases: Databases) -> None:
    """Eight at once, again and again: each row is applied once, and nobody fails."""
    fleet = fleet_of(databases)
    applied = 0
    for turn in range(4):
        stamp = str(datetime.now(UTC).replace(tzinfo=None, microsecond=0))
        databases.put(1, [row(1000 * (turn + 1) + n, at=stamp) for n in range(50)])
        with ThreadPoolExecutor(8) as pool:
            reports = list(pool.map(lambda number: fleet.pull() if number % 2 else fleet.push(), range(8)))
        assert {r.status for r in reports} <= {Status.DONE, Status.NOTHING, Status.UNDER_WAY}
        applied += sum(r.counts.applied for r in reports)
    applied += fleet.pull().counts.applied
    assert applied == 4 * 50 + 5
    fleet.require_equal()
    fleet.require_nothing_to_do()


def pulled_elsewhere(fleet: Fleet, gate: Any, answers: Any) -> None:
    gate.wait()
    report = fleet.pull()
    answers.put((str(report.status), report.counts.applied))


def held_elsewhere(fleet: Fleet, reached: Any) -> None:
    with lease(fleet.pairs()[0]) as session:
        assert session is not None
        reached.set()
        time.sleep(600)


def test_processes_started_together(databases: Databases) -> None:
    fleet = fleet_of(databases)
    gate, answers = FORK.Barrier(3), FORK.Queue()
    processes = [FORK.Process(target=pulled_elsewhere, args=(fleet, gate, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=PATIENCE) for _ in processes]
    for process in processes:
        process.join()
    assert sum(applied for _, applied in found) == 5
    assert {status for status, _ in found} <= {Status.DONE, Status.NOTHING, Status.UNDER_WAY}
    fleet.require_equal()


def test_the_lease_of_a_dead_process_is_free(databases: Databases) -> None:
    fleet = fleet_of(databases)
    reached = FORK.Event()
    holder = FORK.Process(target=held_elsewhere, args=(fleet, reached))
    holder.start()
    assert reached.wait(60)
    assert fleet.pull().status is Status.UNDER_WAY
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    wait_until(lambda: fleet.pull().status is Status.DONE)
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_a_run_that_has_ended_has_given_the_lease_back(databases: Databases) -> None:
    """Not a moment later: the push of a `sync` comes right behind its pull."""
    fleet = fleet_of(databases)
    statuses = [report.status for _ in range(20) for report in fleet.sync()]
    assert statuses == [Status.DONE] + [Status.NOTHING] * 39


def test_a_run_that_fails_gives_the_lease_back(databases: Databases) -> None:
    fleet = fleet_of(databases)

    def broken(*_: Any) -> Counts:
        raise RuntimeError("a fault of ours")

    with pytest.raises(Unexpected, match="unexpected RuntimeError"):
        fleet.pull(merge=broken)
    assert fleet.pull().counts.applied == 5
    fleet.require_nothing_to_do()


def fault(*_: Any, **__: Any) -> None:
    raise TypeError("a fault of ours")


def test_a_fault_of_ours_in_giving_the_lease_back_is_seen(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of(databases)
    (pair,) = fleet.pairs()
    monkeypatch.setattr(type(pair.control.dialect), "free_lease", fault)
    with pytest.raises(TypeError, match="a fault of ours"):
        fleet.pull()


def test_what_fails_in_clearing_up_does_not_hide_the_first_error(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of(databases)
    (pair,) = fleet.pairs()
    monkeypatch.setattr(type(pair.control.dialect), "free_lease", fault)
    monkeypatch.setattr(runs.books, "write_result", fault)

    def refuse(*_: Any) -> None:
        raise BatchRefused(pair.place, "the first error")

    with pytest.raises(BatchRefused, match="the first error") as caught:
        fleet.pull(merge=refuse)
    assert caught.value.__notes__ == ["Clearing up after it failed as well: TypeError"] * 2
