"""The journal tells what every run moved: what came, what it replaced, what was decided."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy.engine.default import DefaultDialect
from support.databases import Databases, SQLiteDatabases
from support.inject import ago
from support.journals import Site, files, records, replayed, require_named, require_told, row, staged
from support.waiting import wait_until

from stationsync.errors import JournalUnavailable, StationSyncError, Unexpected
from stationsync.journal import recorder
from stationsync.keeping import books
from stationsync.model.changes import Status


@pytest.fixture
def site(databases: Databases, tmp_path: Path) -> Site:
    return Site(databases, tmp_path)


def test_rows_that_came_and_what_they_replaced(site: Site) -> None:
    site.databases.put(1, [row(1), row(2), row(3, 'say "hi"\\', code='B"')])
    first = site.fleet.pull()
    assert site.told("decision", "direction", "key", "before", "after.text") == [
        ("inserted", "up", '["1","A"]', None, "first"),
        ("inserted", "up", '["2","A"]', None, "first"),
        ("inserted", "up", '["3","B\\""]', None, 'say "hi"\\'),
    ]
    site.fleet.edit(1, 2, text="second")
    site.databases.put(1, [row(4, None, modify_date=ago(5))])
    second = site.fleet.pull()
    by_key = {record["key"]: record for record in site.since(second)}
    assert {key: record["decision"] for key, record in by_key.items()} == {
        '["2","A"]': "updated",
        '["4","A"]': "inserted",
    }
    edited = by_key['["2","A"]']
    assert (edited["before"]["text"], edited["after"]["text"], edited["came"]) == ("first", "second", None)
    assert by_key['["4","A"]']["after"]["text"] is None
    assert first.run != second.run
    assert {record["run"] for record in records(site.folder)} == {first.run, second.run}
    assert second.as_dict()["run"] == second.run
    assert second.up_to is not None
    # From right behind the newest row that was seen, which is before the lookback.
    newest = datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=second.up_to.tzinfo)
    assert {(r["window_from"], r["window_to"]) for r in by_key.values()} == {(newest, second.up_to)}
    now = datetime.now(UTC)
    assert all(
        now - timedelta(minutes=5) < record["written_at"] <= now + timedelta(seconds=2) for record in by_key.values()
    )
    site.require_told()


def test_a_run_with_nothing_to_do_writes_nothing(site: Site) -> None:
    site.databases.put(1, [row(n) for n in range(1, 6)])
    site.fleet.pull()
    before = files(site.folder)
    site.fleet.require_nothing_to_do()
    assert files(site.folder) == before
    assert len(before) == 1
    site.fleet.edit(1, 3, text="again")
    site.fleet.pull()
    (unchanged,) = site.databases.query("control", "SELECT unchanged, decisions FROM stationsync_journal ORDER BY at")[
        1:
    ]
    assert unchanged == (0, '{"updated": 1}') or unchanged[0] > 0, "rows of the lookback are counted, and left out"
    assert len(records(site.folder)) == 6


@pytest.mark.parametrize("policy", ["newest", "station", "control", "merge"])
def test_a_conflict_is_told_with_who_lost_and_why(databases: Databases, tmp_path: Path, policy: str) -> None:
    site = Site(databases, tmp_path, conflicts=policy)
    databases.put(1, [row(1), row(2)])
    site.fleet.pull()
    site.fleet.edit(1, 1, text="station's", at=ago(20))
    site.fleet.edit("control", 1, text="control's", at=ago(10))
    site.fleet.edit(1, 2, text="station's", at=ago(10))
    site.fleet.edit("control", 2, create_date="2024-05-05 00:00:00", at=ago(20))
    run = site.fleet.pull()
    by_key = {record["key"]: record for record in site.since(run)}
    one, two = by_key['["1","A"]'], by_key['["2","A"]']
    assert {record["rule"] for record in by_key.values()} == {policy}
    assert one["before"]["text"] == "control's"
    if policy == "station":
        assert (one["decision"], one["loser"], one["after"]["text"], one["came"]) == (
            "updated",
            "control",
            "station's",
            None,
        )
    else:
        loser = "both" if policy == "merge" else "station"
        assert (one["decision"], one["loser"], one["after"]["text"]) == ("kept", loser, "control's")
        assert one["came"]["text"] == "station's"
        assert one["reason"]
    if policy == "merge":
        assert (two["decision"], two["after"]["text"], two["after"]["create_date"]) == (
            "combined",
            "station's",
            "2024-05-05 00:00:00",
        )
        assert (two["before"]["text"], two["came"]["create_date"]) == ("first", "2024-01-01 00:00:00")
    reasons = databases.query("control", "SELECT key_text, loser, reason FROM stationsync_conflict")
    assert {(r["key"], r["loser"], r["reason"]) for r in by_key.values() if r["loser"]} == {
        tuple(reason) for reason in reasons
    }
    site.fleet.push()
    site.require_told()


def test_rows_in_quarantine_are_told_once_with_the_reason(databases: Databases, tmp_path: Path) -> None:
    site = Site(databases, tmp_path, stations=2, expectations="kafka_test")
    databases.put(1, [row(1), row(2), row(3, modify_date="2099-01-01 00:00:00", create_date="0000-00-00 00:00:00")])
    if databases.kind == "sqlite":
        databases.put(1, [row(5, modify_date="2024-02-02 00:00:00")])
    site.fleet.pull(1)
    databases.put(2, [row(1, "another station's")])
    run = site.fleet.pull(2)
    (foreign,) = site.since(run)
    assert (foreign["decision"], foreign["station"], foreign["before"], foreign["after"]) == (
        "quarantined",
        "station-2",
        None,
        None,
    )
    assert foreign["came"]["text"] == "another station's"
    assert "station-1 owns this key" in foreign["reason"]
    assert site.fleet.pull(2).counts.quarantined == 0
    told_once = [r for r in records(site.folder) if r["decision"] == "quarantined"]
    entries = databases.query("control", "SELECT key_text FROM stationsync_quarantine")
    assert sorted(r["key"] for r in told_once) == sorted(key for (key,) in entries)
    assert len(told_once) == 2
    require_told(site.fleet, site.folder)


def test_rows_found_by_halving_are_told_and_the_others_too(databases: Databases, tmp_path: Path) -> None:
    site = Site(databases, tmp_path)
    table = "CREATE UNIQUE INDEX once ON kafka_test (text)"
    databases.execute("control", table if databases.kind == "sqlite" else table.replace("(text)", "(text(50))"))
    databases.put(1, [row(n, f"text {n}") for n in range(1, 8)] + [row(8, "text 3")])
    run = site.fleet.pull()
    assert (run.counts.applied, run.counts.quarantined) == (7, 1)
    found = site.since(run)
    assert sorted((r["key"], r["decision"]) for r in found if r["decision"] != "inserted") == [
        ('["8","A"]', "quarantined")
    ]
    assert len(replayed(found)) == 7
    require_told(site.fleet, site.folder)


def test_a_chunk_that_is_rolled_back_leaves_no_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.databases.put(1, [row(n) for n in range(1, 4)])

    def broken(*args: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(books, "write_mark", broken)
    with pytest.raises(Unexpected):
        site.fleet.pull()
    assert (files(site.folder), staged(site.folder)) == ([], [])
    assert site.databases.query("control", "SELECT * FROM stationsync_journal") == []
    monkeypatch.undo()
    site.fleet.pull()
    site.require_told()


def test_a_place_that_cannot_be_written_stops_the_run_and_loses_nothing(site: Site) -> None:
    site.databases.put(1, [row(1)])
    site.folder.write_text("a file in the way")
    with pytest.raises(JournalUnavailable, match=r"journal: off") as refused:
        site.fleet.pull()
    assert str(site.folder) in str(refused.value)
    assert site.databases.count("control") == 0
    site.folder.unlink()
    site.fleet.pull()
    site.require_told()


def test_where_it_need_not_be_whole_the_run_goes_on_and_says_so(databases: Databases, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.write_text("a file in the way")
    site = Site(databases, tmp_path, journal={"url": str(folder), "required": False})
    databases.put(1, [row(1)])
    report = site.fleet.pull()
    assert (report.status, report.counts.applied) == (Status.DONE, 1)
    assert any("gap" in warning for warning in report.warnings)
    (gap,) = databases.query("control", "SELECT file, decisions, run FROM stationsync_journal WHERE lost IS NOT NULL")
    assert gap == (None, '{"inserted": 1}', report.run)
    folder.unlink()
    site.fleet.edit(1, 1, text="told again")
    site.fleet.pull()
    assert site.told("decision", "before.text", "after.text") == [("updated", "first", "told again")]


def test_without_a_journal_nothing_is_written(databases: Databases, tmp_path: Path) -> None:
    site = Site(databases, tmp_path, journal="off")
    databases.put(1, [row(1)])
    site.fleet.pull()
    assert not site.folder.exists()
    assert databases.query("control", "SELECT * FROM stationsync_journal") == []


def test_a_commit_whose_answer_was_lost_keeps_its_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Committed, but we never hear of it: the file must not be taken away."""
    site.databases.put(1, [row(1), row(2)])
    store, commit, named = recorder._Page.store, DefaultDialect.do_commit, [False]
    lost = {"mariadb": pymysql.err.OperationalError(2013, "gone"), "sqlite": sqlite3.OperationalError("disk I/O error")}

    def naming(self: Any, conn: Any) -> bool:
        named[0] = store(self, conn)
        return named[0]

    def unheard(self: Any, connection: Any) -> None:
        commit(self, connection)
        if named[0]:
            raise lost[site.databases.kind]

    monkeypatch.setattr(recorder._Page, "store", naming)
    monkeypatch.setattr(DefaultDialect, "do_commit", unheard)
    with suppress(StationSyncError):
        site.fleet.pull()
    monkeypatch.undo()
    assert len(staged(site.folder)) == 1
    site.require_told()


def test_tables_that_change_over_time_still_open(site: Site) -> None:
    site.databases.put(1, [row(1)])
    site.fleet.pull()
    for where in (1, "control"):
        site.databases.execute(where, "ALTER TABLE kafka_test ADD COLUMN colour varchar(20)")
    site.fleet.init()
    site.databases.put(1, [row(2, colour="red", modify_date=ago(3))])
    site.fleet.pull()
    assert site.told("key", "after.text") == [('["1","A"]', "first"), ('["2","A"]', "first")]
    assert [record["after"]["colour"] for record in records(site.folder)] == [None, "red"]
    require_named(site.databases, site.folder)


def test_two_controls_in_one_folder_take_nothing_from_each_other(databases: Databases, tmp_path: Path) -> None:
    """A test installation beside the real one, by the same names."""
    site = Site(databases, tmp_path)
    others = SQLiteDatabases(tmp_path / "other")
    (tmp_path / "other").mkdir()
    other = Site(others, tmp_path)
    for here in (databases, others):
        here.put(1, [row(1), row(2)])

    def meanwhile(*args: Any) -> Any:
        wait_until(lambda: staged(site.folder), "a staged file", pause=0.001)
        assert other.fleet.pull().counts.applied == 2
        return write_mark(*args)

    write_mark = books.write_mark
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books, "write_mark", lambda *args: (patch.undo(), meanwhile(*args)))
        assert site.fleet.pull().counts.applied == 2
    assert len(records(site.folder)) == 4
    assert staged(site.folder) == []
