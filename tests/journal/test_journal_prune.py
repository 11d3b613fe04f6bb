"""Keeping the journal small loses no record but the oldest, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.databases import Databases, SQLiteDatabases
from support.inject import ago
from support.journals import Site, files, records, require_named, require_told, row, staged

from stationsync.errors import DatabaseBusy
from stationsync.journal import place as journal_place
from stationsync.journal import prune as journal_prune
from stationsync.journal import read as journal_read
from stationsync.journal.catalog import PLACED, File, owner_of
from stationsync.journal.format import merging_folder
from stationsync.journal.prune import Pruned, to_merge, too_old
from stationsync.journal.read import JournalQuery
from stationsync.pairing.pair import control_of
from stationsync.topology.options import Journal

NOON = datetime(2026, 11, 23, 12)


class Old(Site):
    """Some chunks, as if they were of yesterday."""

    def __init__(self, databases: Databases, folder: Path, **options: Any) -> None:
        super().__init__(databases, folder, **options)
        for n in range(1, 6):
            databases.put(1, [row(n, modify_date=ago(30 - n))])
            self.fleet.pull()
        self.fleet.edit("control", 1, text="down", at=ago(3))
        self.fleet.push()

    def prune(self, options: Journal | None = None, **more: Any) -> Pruned:
        return journal_prune.prune(control_of(self.fleet.topology), options or self.fleet.topology.journal, **more)

    def read(self) -> list[dict[str, Any]]:
        """By our own reader."""
        found = journal_read.records(control_of(self.fleet.topology), JournalQuery())
        return [record for _, rows in found for record in rows.to_pylist()]


@pytest.fixture(autouse=True)
def merge_today_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_prune, "_MANY", 2)


@pytest.fixture
def site(databases: Databases, tmp_path: Path) -> Old:
    return Old(databases, tmp_path)


def test_small_files_become_one_with_the_same_records(site: Old) -> None:
    before, ours = records(site.folder), site.read()
    dry = site.prune(dry_run=True)
    assert (dry.merged, dry.into) == (6, 1)
    assert len(files(site.folder)) == 6
    done = site.prune()
    assert (done.merged, done.into, done.deleted, done.kept) == (6, 1, 0, 1)
    assert records(site.folder) == before
    assert site.read() == ours
    assert len(files(site.folder)) == 1
    require_told(site.fleet, site.folder)
    assert site.prune() == Pruned(kept=1, kept_bytes=done.kept_bytes)
    chunks, total = journal_read.chunks(control_of(site.fleet.topology), JournalQuery())
    assert total == 6
    assert {chunk.file.id for chunk in chunks if chunk.file} == {chunks[0].file.id if chunks[0].file else ""}
    run = chunks[-1].run
    ((entry, rows),) = journal_read.records(control_of(site.fleet.topology), JournalQuery(run=run))
    assert (entry.direction, rows["run"].to_pylist()) == ("down", [run])


def test_files_of_different_columns_are_merged(site: Old) -> None:
    for where in (1, "control"):
        site.databases.execute(where, "ALTER TABLE kafka_test ADD COLUMN colour varchar(20)")
    site.fleet.init()
    site.databases.put(1, [row(9, colour="red", modify_date=ago(1))])
    site.fleet.pull()
    before = records(site.folder)
    assert site.prune().merged == 7
    assert records(site.folder) == before
    assert before[-1]["after"]["colour"] == "red"


STEPS = ["_write", "move", "settle", "delete", "forget"]


class Killed(BaseException):
    pass


@pytest.mark.some(0, 2)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_cut_off_anywhere_it_is_done_by_the_next(
    step: str, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Old(SQLiteDatabases(tmp_path), tmp_path)
    before, ours = records(site.folder), site.read()
    home: Any = {"_write": journal_prune, "forget": journal_prune.books}.get(step, journal_place._Folder)
    real = getattr(home, step)

    def deadly(*args: Any) -> Any:
        if when == "before":
            raise Killed
        real(*args)
        raise Killed

    monkeypatch.setattr(home, step, deadly)
    with pytest.raises(Killed):
        site.prune()
    monkeypatch.undo()
    monkeypatch.setattr(journal_prune, "_MANY", 2)
    assert _distinct(records(site.folder)) == _distinct(before), "at any moment nothing is missing"
    assert site.read() == ours
    site.prune()
    assert records(site.folder) == before
    require_named(site.databases, site.folder)
    assert len(files(site.folder)) == 1


def _distinct(found: list[dict[str, Any]]) -> set[str]:
    return {json.dumps(record, default=str, sort_keys=True) for record in found}


def test_a_live_run_takes_away_nothing_of_a_merge_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Old(SQLiteDatabases(tmp_path), tmp_path)
    real = journal_prune._write

    def write(*args: Any) -> int:
        size = real(*args)
        site.databases.put(1, [row(9, modify_date=ago(1))])
        assert site.fleet.pull().counts.applied == 1
        return size

    monkeypatch.setattr(journal_prune, "_write", write)
    assert site.prune().merged == 6
    require_told(site.fleet, site.folder)
    assert len(files(site.folder)) == 2


def test_what_is_too_old_or_too_much_goes(site: Old) -> None:
    before = records(site.folder)
    sizes = sorted(path.stat().st_size for path in files(site.folder))
    room = replace_options(site, max_size=str(sum(sizes[-3:])))
    dry = site.prune(room, dry_run=True)
    assert dry.deleted in (3, 4)
    assert len(files(site.folder)) == 6
    done = site.prune(room)
    assert done.deleted == dry.deleted
    assert records(site.folder) == before[done.deleted :]
    require_named(site.databases, site.folder)
    gone = site.prune(replace_options(site, retention="0s"))
    assert gone.kept == 0
    assert records(site.folder) == []
    require_named(site.databases, site.folder)
    site.fleet.edit(1, 2, text="afterwards")
    assert site.fleet.pull().counts.applied == 1


def replace_options(site: Site, **options: Any) -> Journal:
    return Journal.model_validate({"url": str(site.folder), **options})


def test_leavings_of_runs_go_after_a_day_and_those_of_merges_at_once(site: Old) -> None:
    ours = site.folder / merging_folder(owner_of(control_of(site.fleet.topology))) / "0.parquet"
    theirs = site.folder / "_staging/kafka_test/station-9/1.parquet"
    unknown = site.folder / "table=kafka_test/station=station-9/day=2026-01-01/1.parquet"
    for path in (ours, theirs, unknown):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert site.prune().leavings == 1
    assert staged(site.folder) == [theirs]
    for days, gone in ((2, theirs), (8, unknown)):
        for path in filter(Path.exists, (theirs, unknown)):
            then = time.time() - timedelta(days=days).total_seconds()
            os.utime(path, (then, then))
        assert site.prune().leavings == 1
        assert not gone.exists()
    assert staged(site.folder) == []
    assert not unknown.parent.exists()
    require_told(site.fleet, site.folder)


def test_one_at_a_time(site: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    real = journal_prune._finish

    def meanwhile(conn: Any) -> None:
        with pytest.raises(DatabaseBusy):
            journal_prune.prune(control_of(site.fleet.topology), site.fleet.topology.journal)
        monkeypatch.setattr(journal_prune, "_finish", real)
        real(conn)

    monkeypatch.setattr(journal_prune, "_finish", meanwhile)
    assert site.prune().merged == 6


def some(number: int, *, hours: float, size: int = 100, day: str = "2026-11-22", station: str = "s") -> File:
    at = NOON - timedelta(hours=hours)
    return File(str(number), station, "t", day, PLACED, "/j", f"_staging/{number}", f"p/{number}", 1, size, at, at)


def test_the_rule_of_retention() -> None:
    young, old, oldest = some(1, hours=1), some(2, hours=10), some(3, hours=200)
    options = Journal(url="/j")
    assert too_old([young, old, oldest], options, NOON) == [oldest]
    assert too_old([young, old, oldest], options.model_copy(update={"max_size": 150}), NOON) == [oldest, old]
    assert too_old([young, old], options.model_copy(update={"max_size": 200}), NOON) == []


def test_the_rule_of_merging() -> None:
    small = [some(n, hours=n) for n in (3, 2, 1)]
    assert list(to_merge(small, "2026-11-23")) == [small]
    assert list(to_merge([*small, some(4, hours=5, station="other")], "2026-11-23")) == [small]
    large = replace(some(5, hours=2.5), bytes=journal_prune._SMALL)
    assert list(to_merge([large, *small], "2026-11-23")) == [small]
    assert list(to_merge(small[:1], "2026-11-23")) == []


def test_today_s_files_wait_until_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_prune, "_MANY", 200)
    assert list(to_merge([some(n, hours=n) for n in (3, 2, 1)], "2026-11-22")) == []


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Old]:
    """A journal that is reached by a URL: whatever pyarrow takes for a filesystem."""
    import fsspec

    store = fsspec.filesystem("memory")
    yield Old(SQLiteDatabases(tmp_path), tmp_path, journal={"url": "fsspec+memory://journal-test"})
    store.rm("/journal-test", recursive=True)


def test_a_journal_by_a_url(elsewhere: Old) -> None:
    control = control_of(elsewhere.fleet.topology)
    before = elsewhere.read()
    assert [record["decision"] for record in before] == ["inserted"] * 5 + ["updated"]
    assert elsewhere.databases.query("control", "SELECT DISTINCT state FROM stationsync_journal_file") == [("placed",)]
    place = journal_place.place_of("fsspec+memory://journal-test")
    assert place.files("_staging") == []
    assert len(place.files("table=kafka_test")) == 6
    assert journal_read.dataset(control, JournalQuery()).to_table().num_rows == 6
    assert elsewhere.prune().merged == 6
    assert elsewhere.read() == before
    assert len(place.files("table=kafka_test")) == 1
