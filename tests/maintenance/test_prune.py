"""Maintenance: what is over and old goes, what is unresolved, young, or of a stale station stays."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases, SQLiteDatabases
from support.fleet import Fleet
from support.sample import row
from support.waiting import wait_until

from stationsync.errors import DatabaseBusy, UsageError
from stationsync.health.freshness import Freshness, Why
from stationsync.maintenance.prune import prune_logs
from stationsync.maintenance.rule import ages
from stationsync.store import kept
from stationsync.topology.topology_file import from_mapping

NOW = datetime(2026, 11, 23, 4)
DAY = timedelta(days=1)


def fresh(station: str, **more: Any) -> Freshness:
    return Freshness(station, "t", NOW, timedelta(minutes=15), frozenset(), **more)


@pytest.mark.parametrize(
    ("found", "station", "expected"),
    [
        ([fresh("a", succeeded=NOW)], "a", NOW - 90 * DAY),
        ([fresh("a", succeeded=NOW - 2 * DAY, why=Why.OLD)], "a", NOW - 90 * DAY),
        ([fresh("a", succeeded=NOW - 100 * DAY, why=Why.OLD)], "a", NOW - 100 * DAY),
        ([fresh("a", succeeded=NOW, reached=NOW - 99 * DAY, why=Why.HELD_BACK)], "a", NOW - 99 * DAY),
        ([fresh("a", why=Why.NEVER)], "a", datetime.min),
        ([fresh("a", why=Why.NEVER)], "b", NOW - 90 * DAY),
        ([fresh("a", succeeded=NOW), fresh("a", succeeded=NOW - 95 * DAY, why=Why.OLD)], "a", NOW - 95 * DAY),
        ([fresh("a", why=Why.NEVER), fresh("a", succeeded=NOW - DAY, why=Why.OLD)], "a", datetime.min),
    ],
)
def test_what_is_younger_than_a_stale_station_s_last_moment_stays(
    found: list[Freshness], station: str, expected: datetime
) -> None:
    assert ages(NOW, found).before(90 * DAY, station) == expected


class Kept:
    """A synchronised row, a conflict, entries in quarantine and trash: each old and young."""

    def __init__(self, databases: Databases, folder: Path) -> None:
        self.databases = databases
        databases.create_kafka_test("control", control=True)
        databases.create_kafka_test(1)
        databases.put(1, [row(1), row(2)])
        self.fleet = Fleet(databases)
        self.fleet.init()
        self.fleet.sync()
        self.command = Command(databases, folder)
        self.command.topology["journal"] = "off"
        self.command.environment["PREFECT_API_URL"] = ""

    def old(self, days: int = 91) -> str:
        return str(datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(days=days))

    def trash(self, key: str, days: int, text: str = "{}", state: str = "kept") -> None:
        names = "at, station, table_name, key_hash, key_text, side, row_json, reason, state"
        values = [self.old(days), "station-1", "kafka_test", key, key, "control", text, "gone", state]
        self._insert("trash", names, values)

    def quarantine(self, key: str, days: int, state: str, text: str = "{}") -> None:
        names = "station, table_name, direction, key_hash, key_text, row_json, reasons, state, times, first_at, last_at"
        at = self.old(days)
        self._insert("quarantine", names, ["station-1", "kafka_test", "up", key, key, text, "[]", state, 1, at, at])

    def conflict(self, key: str, days: int, text: str = "{}") -> None:
        names = (
            "at, station, table_name, key_hash, key_text, policy, loser, reason, columns, clock_offset, station_row"
        ).replace("columns", "`columns`")
        values = [self.old(days), "station-1", "kafka_test", key, key, "newest", "control", "r", "[]", 0, text]
        self._insert("conflict", names, values)

    def _insert(self, table: str, names: str, values: list[Any]) -> None:
        marks = ", ".join(["%s"] * len(values))
        self.databases.execute("control", f"INSERT INTO stationsync_{table} ({names}) VALUES ({marks})", values)

    def keys(self, table: str) -> list[str]:
        found = self.databases.query("control", f"SELECT key_text FROM stationsync_{table} ORDER BY key_text")
        return [str(key) for (key,) in found]

    def size(self) -> int:
        """Bytes on the disk, of control."""
        control = self.fleet.pairs()[0].control
        if isinstance(self.databases, SQLiteDatabases):
            return self.databases.path("control").stat().st_size
        with control.connect() as conn:
            sql = (
                "SELECT file_size FROM information_schema.innodb_sys_tablespaces"
                " WHERE name = CONCAT(DATABASE(), '/stationsync_trash')"
            )
            return int(conn.exec_driver_sql(sql).scalar_one())

    def prune(self, *args: str) -> dict[str, int]:
        done = self.command.well("prune", "--json", *args).json
        return {part["what"]: part["pruned"] for part in done["parts"] if part["pruned"]}


@pytest.fixture
def books(databases: Databases, tmp_path: Path) -> Kept:
    return Kept(databases, tmp_path)


def fill(books: Kept) -> None:
    for key, days in (("old", 91), ("young", 89)):
        books.trash(key, days)
        books.conflict(key, days)
        books.quarantine(f"{key}-released", days, "released")
        books.quarantine(f"{key}-discarded", days, "discarded")
        books.quarantine(f"{key}-open", days, "open")
    books.conflict("old-open", 91)


def test_what_is_over_and_old_goes_and_all_else_stays(books: Kept) -> None:
    fill(books)
    before = snapshot(books.databases, "control")
    assert books.prune("--dry-run") == {"conflicts": 1, "quarantine": 1, "trash": 1}
    done = books.command.well("prune", "--dry-run")
    assert done.out.endswith("Nothing was changed.\n")
    assert "no Prefect API is configured" in done.out
    assert snapshot(books.databases, "control") == before

    assert books.prune() == {"conflicts": 1, "quarantine": 1, "trash": 1}
    assert books.keys("trash") == ["young"]
    assert books.keys("conflict") == ["old-open", "young"], "the row of one of them is still in quarantine"
    assert books.keys("quarantine") == [
        "old-discarded", "old-open", "young-discarded", "young-open", "young-released",
    ]  # fmt: skip
    assert books.prune() == {}
    books.fleet.require_nothing_to_do()
    books.fleet.require_equal()


def test_everything_of_a_stale_station_that_is_younger_than_its_watermark_stays(books: Kept) -> None:
    fill(books)
    sets = "done_at = %s, watermark = %s"
    long_ago = books.old(100)
    books.databases.execute("control", f"UPDATE stationsync_state SET {sets}", [long_ago, long_ago])
    books.trash("older", 101)
    assert books.prune() == {"trash": 1}
    assert books.keys("trash") == ["old", "young"]
    books.fleet.sync()
    assert books.prune() == {"conflicts": 1, "quarantine": 1, "trash": 1}


def test_conflicts_of_a_pair_whose_edits_wait_stay(books: Kept) -> None:
    books.conflict("old", 91)
    books.fleet.edit("control", 1, text="waits")
    books.databases.execute("control", "UPDATE stationsync_base_kafka_test SET stationsync_pending = 1 WHERE id = 1")
    assert books.prune() == {}
    books.fleet.sync()
    assert books.prune() == {"conflicts": 1}


def test_a_long_value_goes_once_no_row_refers_to_it(books: Kept) -> None:
    control = books.fleet.pairs()[0].control
    rows = {name: kept.keep({"text": name * 100_000}) for name in ("used", "free")}
    with control.connect() as conn, conn.begin():
        kept.store(conn, rows.values(), datetime.now(UTC).replace(tzinfo=None) - 2 * DAY)
    books.trash("used", 89, rows["used"].text)
    books.trash("free", 91, rows["free"].text)
    assert books.prune() == {"trash": 1, "long values": 1}
    digests = books.databases.query("control", "SELECT DISTINCT sha256 FROM stationsync_value")
    assert [digest for (digest,) in digests] == list(rows["used"].apart)
    assert books.prune() == {}


def test_a_value_that_is_about_to_be_referred_to_stays(books: Kept) -> None:
    control = books.fleet.pairs()[0].control
    one, now = kept.keep({"text": "x" * 300_000}), datetime.now(UTC).replace(tzinfo=None)
    for at in (now - 2 * DAY, now):  # the second one meets it there
        with control.connect() as conn, conn.begin():
            kept.store(conn, [one], at)
    assert books.prune() == {}


def test_space_is_given_back_where_much_went(books: Kept) -> None:
    """MariaDB frees the pages of deleted rows in the background, so the next maintenance may find it."""
    for n in range(32):
        books.trash(f"row-{n}", 91, "x" * 1_000_000)
    full = books.size()
    assert books.prune() == {"trash": 32}

    def given_back() -> bool:
        books.prune()
        return books.size() < full / 4

    wait_until(given_back, f"fewer bytes than {full:,}")
    books.fleet.require_nothing_to_do()


def test_one_maintenance_at_a_time(books: Kept) -> None:
    from stationsync.maintenance.prune import _alone, prune

    control = books.fleet.pairs()[0].control
    with control.connect() as conn, _alone(control, conn), pytest.raises(DatabaseBusy, match="another maintenance"):
        prune(books.fleet.topology)


def test_old_log_files_go_and_no_link_is_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "logs", tmp_path / "outside.log"
    (folder / "deeper").mkdir(parents=True)
    for name in ("a.log", "a.log.1", "young.log", "other.txt", "deeper/b.log"):
        (folder / name).write_text("12345")
    outside.write_text("not ours")
    (folder / "link.log").symlink_to(outside)
    for file in (*folder.rglob("*"), outside):
        os.utime(file, (0, 0), follow_symlinks=False)
    os.utime(folder / "young.log")
    names = sorted(folder.rglob("*"))

    tried = prune_logs(str(folder), 90 * DAY, dry_run=True)
    assert (tried.pruned, tried.kept, tried.before, tried.after) == (2, 1, 15, 15)
    assert sorted(folder.rglob("*")) == names
    done = prune_logs(str(folder), 90 * DAY)
    assert (done.pruned, done.kept, done.before, done.after) == (2, 1, 15, 5)
    left = sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))
    assert left == ["deeper", "deeper/b.log", "link.log", "other.txt", "young.log"]
    assert outside.exists()

    (tmp_path / "linked").symlink_to(folder)
    assert prune_logs(str(tmp_path / "linked"), timedelta(0)).note.startswith("left alone")
    assert (folder / "young.log").exists()


def test_what_is_wrong_with_the_section_is_told_at_once_with_all_else(tmp_path: Path) -> None:
    data = {
        "control": {"url": f"sqlite:///{tmp_path}/c.db"},
        "tables": {"t": {"key": ["id"], "modified": "m"}},
        "stations": {"s": {"url": f"sqlite:///{tmp_path}/s.db"}},
    }
    assert from_mapping(data).maintenance.log_retention == 90 * DAY
    given = from_mapping({**data, "maintenance": {"completed": "1d", "logs": ["logs"]}}, tmp_path).maintenance
    assert (given.completed, given.logs) == (DAY, (str(tmp_path / "logs"),))
    wrong = {"completed": "soon", "trush": "1d"}
    with pytest.raises(UsageError) as caught:
        from_mapping({**data, "maintenance": wrong, "more": 1})
    for told in ("maintenance.completed", "did you mean trash", "more"):
        assert told in str(caught.value)
