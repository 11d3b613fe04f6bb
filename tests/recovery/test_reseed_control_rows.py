"""What `reseed-control` does about single rows: other columns than then, rows that control refuses, flags, gaps, and
whatever it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.databases import Databases, MariaDBDatabases
from support.inject import ago
from support.journals import Site, files, records, replayed, row
from support.reports import json_of
from support.sweeps import sweep

from stationsync.journal.format import Decided
from stationsync.model.changes import Direction, Report, Status
from stationsync.pairing.pair import control_of
from stationsync.recovery import reseed_control
from stationsync.recovery.reseed_control_rule import (
    NO_OWNER,
    RULES,
    ControlOutcome,
    ControlRowFacts,
    JournalState,
    JournalVersion,
    fate,
    is_edit,
    told,
)
from stationsync.store import pauses

BASE = "stationsync_base_kafka_test"


def a_site(databases: Databases, folder: Path, rows: int = 4, **options: Any) -> Site:
    site = Site(databases, folder, **{"deletes": "archive", **options})
    databases.put(1, [row(n, f"row {n}", modify_date=ago(7200)) for n in range(1, rows + 1)])
    site.fleet.sync()
    return site


def lose(databases: Databases, *, base: bool = False, ddl: Sequence[str] = ()) -> None:
    databases.execute("control", "DROP TABLE kafka_test")
    databases.create_kafka_test("control", control=True)
    for one in ddl:
        databases.execute("control", one)
    if base:
        databases.execute("control", f"DELETE FROM {BASE}")


def brought_back(site: Site, *, dry_run: bool = False) -> Report:
    (pair,) = site.fleet.pairs()
    return reseed_control.plan(pair) if dry_run else reseed_control.reseed(pair)


def texts(databases: Databases, where: Any = "control") -> dict[int, Any]:
    return dict(databases.query(where, "SELECT id, text FROM kafka_test ORDER BY id"))


def test_a_station_that_is_off_line_or_paused(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path)
    rows = databases.rows("control")
    lose(databases, base=True)
    databases.execute(1, "DROP TABLE kafka_test")  # nothing is asked of it
    pauses.pause(control_of(site.fleet.topology), "station-1", "somebody", "control is lost")
    assert brought_back(site).counts.applied == 4
    assert databases.rows("control") == rows


def test_columns_of_now_are_filled_with_control_s_defaults(databases: Databases, tmp_path: Path) -> None:
    """What the journal does not know is no edit of control's: the station's value comes with the next sweep."""
    site = a_site(databases, tmp_path)
    add = "ALTER TABLE kafka_test ADD COLUMN size int NOT NULL DEFAULT 7"
    lose(databases, base=True, ddl=[add])
    databases.execute(1, add)
    databases.execute(1, "UPDATE kafka_test SET size = 9 WHERE id = 1")
    site.fleet.init()
    databases.execute("control", "DELETE FROM stationsync_schema")
    report = brought_back(site)
    assert "columns that only one of journal and table has get control's defaults: size" in report.warnings
    assert databases.rows("control", columns="id, size") == [(1, 7), (2, 7), (3, 7), (4, 7)]
    sweep(site.fleet)
    assert databases.rows("control", columns="id, size") == databases.rows(1, columns="id, size")
    assert databases.rows(1, columns="id, size")[0] == (1, 9)
    site.fleet.require_nothing_to_do()


def test_columns_that_are_no_more_are_named(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path)
    lose(databases, base=True, ddl=["ALTER TABLE kafka_test DROP COLUMN create_date"])
    report = brought_back(site)
    assert report.warnings == ("columns that only one of journal and table has are left out: create_date",)
    assert texts(databases) == {n: f"row {n}" for n in range(1, 5)}


@pytest.mark.parametrize("base", [False, True])
def test_rows_that_control_refuses_are_kept(databases: Databases, tmp_path: Path, base: bool) -> None:
    """They go in once control takes them; meanwhile they are no deletes of control's."""
    site = a_site(databases, tmp_path, control_deletes="send")
    unique = "CREATE UNIQUE INDEX own ON kafka_test (text)"
    databases.execute(1, "UPDATE kafka_test SET text = 'row 1', modify_date = %s WHERE id = 3", [ago(30)])
    site.fleet.sync()
    lose(databases, base=base, ddl=[unique])
    report = brought_back(site)
    assert (report.counts.applied, report.counts.quarantined) == (3, 1)
    held, refused = (1, 3) if 1 in texts(databases) else (3, 1)
    assert set(texts(databases)) == {2, 4, held}
    (entry,) = databases.query("control", "SELECT key_text, state, reasons FROM stationsync_quarantine")
    assert entry[:2] == (f'["{refused}","A"]', "open")
    assert "control refuses the row" in entry[2]
    site.fleet.sync()
    sweep(site.fleet)
    assert databases.count(1) == 4
    databases.execute("control", "DROP INDEX own" + (" ON kafka_test" if databases.kind == "mariadb" else ""))
    sweep(site.fleet)
    assert texts(databases) == texts(databases, 1)
    assert databases.query("control", "SELECT state FROM stationsync_quarantine") == [("released",)]
    site.fleet.require_nothing_to_do()


def test_rows_that_refer_to_others_go_in_behind_them(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    databases = mariadb_databases
    site = a_site(databases, tmp_path)
    for number, parent in ((2, "4"), (1, "2"), (3, "none")):
        databases.execute(
            1, "UPDATE kafka_test SET text = %s, modify_date = %s WHERE id = %s", [parent, ago(30), number]
        )
    databases.execute(1, "UPDATE kafka_test SET code = id, text = NULL WHERE id = 4")
    databases.execute(1, "UPDATE kafka_test SET code = id")
    site.fleet.sync()
    sweep(site.fleet)
    refers = "ALTER TABLE kafka_test ADD FOREIGN KEY (text) REFERENCES kafka_test (code)"
    lose(databases, base=True, ddl=["CREATE UNIQUE INDEX own ON kafka_test (code)", refers])
    report = brought_back(site)
    assert (report.counts.applied, report.counts.quarantined) == (3, 1)
    (why,) = databases.query("control", "SELECT reasons FROM stationsync_quarantine WHERE state = 'open'")
    assert "it refers to a row that is not there yet" in why[0]


def test_flagged_rows_are_flagged_again(databases: Databases, tmp_path: Path) -> None:
    flagged = "ALTER TABLE kafka_test ADD COLUMN gone datetime"
    site = Site(databases, tmp_path)
    databases.execute("control", flagged)
    site.fleet.options(exclude=["master_id", "gone"], deletes="flag", flag_column="gone")
    databases.put(1, [row(n, f"row {n}", modify_date=ago(7200)) for n in range(1, 5)])
    site.fleet.sync()
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 2")
    sweep(site.fleet)
    before = databases.rows("control", columns="id, text, gone")
    assert before[1][2] is not None
    for _ in range(2):  # the second time, from what the first one told
        lose(databases, ddl=[flagged])
        assert brought_back(site).counts.applied == 4
        after = databases.rows("control", columns="id, text, gone")
        assert [values[:2] for values in after] == [values[:2] for values in before]
        assert [values[2] is None for values in after] == [True, False, True, True]
    assert brought_back(site).status is Status.NOTHING
    assert sweep(site.fleet).status is Status.NOTHING
    site.fleet.require_nothing_to_do()


def test_a_lost_file_of_the_journal_is_a_gap(databases: Databases, tmp_path: Path) -> None:
    """What happened in it, nobody knows: a row that only the files before it tell of may have been deleted since."""
    site = a_site(databases, tmp_path)
    databases.put(1, [row(9, "row 9", modify_date=ago(30))])
    site.fleet.sync()
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 2")
    sweep(site.fleet)
    files(site.folder)[-1].unlink()
    lose(databases)
    report = brought_back(site)
    assert texts(databases) == {1: "row 1", 3: "row 3", 4: "row 4", 9: "row 9"}
    assert json_of(report)["left"][0]["why"].startswith("the journal has a gap behind it")
    assert json_of(report)["left"][0]["keys"] == ['["2","A"]']
    assert "cannot be read, and is passed over" in report.warnings[0]


def test_what_was_committed_and_not_placed_is_read(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path)
    ((staging, path),) = databases.query("control", "SELECT staging, path FROM stationsync_journal_file")
    (site.folder / staging).parent.mkdir(parents=True, exist_ok=True)
    (site.folder / path).rename(site.folder / staging)
    databases.execute("control", "UPDATE stationsync_journal_file SET state = 'staged'")
    lose(databases, base=True)
    assert json_of(brought_back(site, dry_run=True))["rows"] == 4
    assert databases.count("control") == 0
    assert brought_back(site).counts.applied == 4


def test_what_was_given_back_is_journalled_and_can_be_given_back_again(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path)
    site.fleet.edit(1, 1, text="lost", at=ago(30))
    site.fleet.edit("control", 1, text="won, and waits", at=ago(20))
    site.fleet.pull()
    rows = databases.rows("control")
    lose(databases)
    report = brought_back(site)
    told_of = [one for one in records(site.folder) if one["run"] == report.run]
    assert {one["rule"] for one in told_of} == {RULES[0]}
    assert [one["came"]["text"] for one in told_of if one["came"]] == ["lost"]
    for file in files(site.folder)[:-1]:
        file.unlink()
    lose(databases, base=True)
    databases.execute("control", "DELETE FROM stationsync_journal")
    databases.execute("control", "DELETE FROM stationsync_journal_file")
    brought_back(site)
    assert databases.rows("control") == rows
    site.fleet.sync()
    assert texts(databases, 1)[1] == "won, and waits"
    assert len(replayed(records(site.folder))) == 4
    site.fleet.require_nothing_to_do()


# --- the rule

ROW, OTHER = {"id": "1", "text": "a"}, {"id": "1", "text": "b"}
UP, DOWN, BOTH = Direction.UP, Direction.DOWN, Direction.BOTH


def record(decided: Decided, direction: Direction, **versions: Any) -> dict[str, Any]:
    return {"decision": str(decided), "direction": str(direction), "before": None, "after": None, "came": None,
            "rule": None, "reason": None} | versions  # fmt: skip


@pytest.mark.parametrize(
    ("said", "control", "station"),
    [
        (record(Decided.INSERTED, UP, after=ROW), ROW, ROW),
        (record(Decided.UPDATED, UP, before=OTHER, after=ROW), ROW, ROW),
        (record(Decided.SETTLED, UP, before=OTHER, after=ROW), ROW, ROW),
        (record(Decided.COMBINED, UP, before=OTHER, after=ROW, came=OTHER), ROW, OTHER),
        (record(Decided.KEPT, UP, before=ROW, after=ROW, came=OTHER), ROW, OTHER),
        (record(Decided.KEPT, UP, before=ROW, after=ROW), ROW, None),
        (record(Decided.DELETED, UP, before=ROW), None, None),
        (record(Decided.FLAGGED, UP, before=ROW, after=ROW), ROW, None),
        (record(Decided.SETTLED, UP, before=ROW), None, None),
        (record(Decided.UPDATED, DOWN, before=OTHER, after=ROW), ROW, ROW),
        (record(Decided.DELETED, DOWN, before=ROW), None, None),
        (record(Decided.KEPT, DOWN, before=ROW), None, None),
        (record(Decided.UPDATED, BOTH, before=OTHER, after=ROW, rule="revert"), ROW, OTHER),
        *((record(Decided.INSERTED, UP, after=ROW, rule=rule), ROW, ROW) for rule in RULES),
        *((record(Decided.INSERTED, UP, after=ROW, came=OTHER, rule=rule), ROW, OTHER) for rule in RULES),
        *((record(Decided.INSERTED, UP, after=ROW, rule=rule, reason=NO_OWNER), ROW, None) for rule in RULES),
        (record(Decided.UPDATED, UP, before=OTHER, after=ROW, came=OTHER, rule=RULES[0]), ROW, OTHER),
    ],
)
def test_what_a_record_tells(said: dict[str, Any], control: Any, station: Any) -> None:
    state = told(("1",), 5, said)
    assert state.control == JournalVersion(5, control)
    assert state.station == JournalVersion(5, station)


def test_rows_in_quarantine_tell_of_edits_only() -> None:
    assert told(("1",), 5, record(Decided.QUARANTINED, UP, came=ROW)) == JournalState(("1",))
    assert told(("1",), 5, record(Decided.QUARANTINED, DOWN, came=ROW)) == JournalState(
        ("1",), control=JournalVersion(5, ROW)
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_last_word_counts_whatever_comes_first(order: tuple[int, ...]) -> None:
    key = ("1",)
    said = [
        told(key, 1, record(Decided.INSERTED, UP, after=ROW)),
        told(key, 2, record(Decided.UPDATED, DOWN, after=OTHER)),
        told(key, 3, record(Decided.QUARANTINED, DOWN, came=ROW)),
    ]
    state = JournalState(key)
    for i in order:
        state = state.after(said[i])
    assert (state.control, state.station) == (JournalVersion(3, ROW), JournalVersion(2, OTHER))


FULL = JournalState(("1",), JournalVersion(5, ROW), JournalVersion(5, OTHER))
DELETED = JournalState(("1",), JournalVersion(5, None), JournalVersion(5, None))
EDIT = {"as_then": True, "edited": True}


@pytest.mark.parametrize(
    ("state", "facts", "gap", "becomes"),
    [
        (FULL, ControlRowFacts(control=True, owner="s", same=True), 0, ControlOutcome.THERE),
        (FULL, ControlRowFacts(control=True, owner="s", as_control=True, **EDIT), 0, ControlOutcome.THERE),
        (FULL, ControlRowFacts(control=True, owner="s", stays=True), 0, ControlOutcome.NEWER),
        (FULL, ControlRowFacts(control=True, owner="s", stays=True, **EDIT), 0, ControlOutcome.NEWER),
        (FULL, ControlRowFacts(control=True, owner="s"), 0, ControlOutcome.REWRITE),
        (FULL, ControlRowFacts(control=True, owner="s", as_station=True), 0, ControlOutcome.REWRITE),
        (FULL, ControlRowFacts(control=True, owner="s", **EDIT), 0, ControlOutcome.REDO),
        (JournalState(("1",)), ControlRowFacts(control=True, owner="s"), 9, ControlOutcome.REWRITE),
        (FULL, ControlRowFacts(control=True, owner=None, as_control=True), 0, ControlOutcome.THERE),
        (FULL, ControlRowFacts(control=True, owner=None, as_station=True), 0, ControlOutcome.THERE),
        (FULL, ControlRowFacts(control=True, owner=None), 0, ControlOutcome.DIFFERS),
        (DELETED, ControlRowFacts(control=True, owner=None), 0, ControlOutcome.GONE),
        (FULL, ControlRowFacts(control=False, owner="another"), 0, ControlOutcome.FOREIGN),
        (FULL, ControlRowFacts(control=False, owner="s", **EDIT), 0, ControlOutcome.EDIT),
        (FULL, ControlRowFacts(control=False, owner="s", as_then=False, edited=True), 0, ControlOutcome.BASE),
        (FULL, ControlRowFacts(control=False, owner="s", as_then=True, edited=False), 0, ControlOutcome.BASE),
        (JournalState(("1",)), ControlRowFacts(control=False, owner="s"), 9, ControlOutcome.BASE),
        (FULL, ControlRowFacts(control=False, owner=None), 0, ControlOutcome.NEW),
        (FULL, ControlRowFacts(control=False, owner=None), 9, ControlOutcome.GAP),
        (FULL, ControlRowFacts(control=False, owner=None), 4, ControlOutcome.NEW),
        (DELETED, ControlRowFacts(control=False, owner=None), 0, ControlOutcome.GONE),
        (
            JournalState(("1",), JournalVersion(5, ROW), JournalVersion(5, None)),
            ControlRowFacts(control=False, owner=None),
            0,
            ControlOutcome.ALONE,
        ),
        (
            JournalState(("1",), JournalVersion(5, ROW), JournalVersion(5, None), flagged=True),
            ControlRowFacts(control=False, owner=None),
            0,
            ControlOutcome.FLAG,
        ),
        (
            JournalState(("1",), JournalVersion(5, ROW)),
            ControlRowFacts(control=False, owner=None),
            0,
            ControlOutcome.UNTOLD,
        ),
        (JournalState(("1",)), ControlRowFacts(control=False, owner=None), 0, ControlOutcome.GONE),
    ],
)
def test_what_becomes_of_a_row(state: JournalState, facts: ControlRowFacts, gap: int, becomes: ControlOutcome) -> None:
    assert fate(state, facts, "s", gap) is becomes
    if facts.control:
        # Where only rows that control lacks are asked for, it keeps whatever it has.
        assert fate(state, facts, "s", gap, missing=True) in (ControlOutcome.THERE, ControlOutcome.DIFFERS)


_OLD, _NEW = {"at": "2026-01-01 00:00:00", "x": "1"}, {"at": "2026-01-02 00:00:00", "x": "2"}
_UNSTAMPED = {"at": "2026-01-02 00:00:00", "x": "3"}


@pytest.mark.parametrize(
    ("control", "base", "waits", "expected"),
    [
        (_OLD, _NEW, False, False),
        (_OLD, _NEW, True, False),
        (_NEW, _OLD, False, True),
        (_UNSTAMPED, _NEW, False, False),
        (_UNSTAMPED, _NEW, True, True),
        ({"at": None, "x": "1"}, _NEW, False, False),
        (_NEW, {"at": None, "x": "1"}, False, True),
    ],
)
def test_what_is_an_edit_of_control_s(control: Any, base: Any, waits: bool, expected: bool) -> None:
    assert is_edit(control, base, ("at",), waits=waits) is expected
