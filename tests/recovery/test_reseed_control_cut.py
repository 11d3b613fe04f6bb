"""`reseed-control` that is cut off, or brings back a part: what is missing still is no delete of control's."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from support import kill_run
from support.databases import Databases, MariaDBDatabases
from support.fleet import Fleet
from support.inject import ago
from support.journals import Site, records, replayed, require_named, row
from support.sweeps import sweep
from support.waiting import eventually

from stationsync.errors import BrakePulled, DatabaseBusy, NotInitialised
from stationsync.journal import read
from stationsync.journal.read import JournalQuery
from stationsync.model.changes import Status
from stationsync.recovery import reseed_control
from stationsync.recovery.reseed_control import JournalSelection

BASE = "stationsync_base_kafka_test"
SENDS = {"control_deletes": "send", "deletes": "archive"}


def lose(databases: Databases) -> None:
    databases.execute("control", "DROP TABLE kafka_test")
    databases.create_kafka_test("control", control=True)


def brought_back(fleet: Fleet, wanted: JournalQuery | None = None, *, missing: bool = False) -> int:
    (pair,) = fleet.pairs()
    return reseed_control.reseed(pair, JournalSelection(wanted or JournalQuery(), missing)).counts.applied


def a_site(databases: Databases, folder: Path, rows: int) -> Site:
    """Rows that came in two runs, the last 30 in the second."""
    site = Site(databases, folder, **SENDS)
    databases.put(1, [row(n, modify_date=ago(7200)) for n in range(1, rows - 29)])
    site.fleet.sync()
    databases.put(1, [row(n, modify_date=ago(30)) for n in range(rows - 29, rows + 1)])
    site.fleet.sync()
    return site


def test_a_part_that_is_back_lets_nothing_be_deleted(databases: Databases, tmp_path: Path) -> None:
    """Few are missing then, too few for the brake, and none of the newest: they would be deleted at the station."""
    site = a_site(databases, tmp_path, 300)
    (pair,) = site.fleet.pairs()
    first, second = read.chunks(pair.control, JournalQuery())[0]
    lose(databases)
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 299")
    assert brought_back(site.fleet, JournalQuery(run=second.run)) == 30
    databases.execute(
        "control",
        "INSERT INTO kafka_test (id, text, code, create_date, modify_date) "
        f"SELECT id, text, code, create_date, modify_date FROM {BASE} WHERE id <= 260",
    )
    with pytest.raises(BrakePulled, match="stationsync reseed-control station-1 --table kafka_test"):
        sweep(site.fleet)
    assert databases.count(1) == 299

    assert brought_back(site.fleet, JournalQuery(run=first.run)) == 10
    assert (sweep(site.fleet).counts.deleted, databases.count(1)) == (1, 299)
    # From here on a row that control deletes is deleted at the station, as ever.
    databases.execute("control", "DELETE FROM kafka_test WHERE id = 1")
    assert (sweep(site.fleet).counts.deleted, databases.count(1)) == (1, 298)


def test_missing_rows_can_be_allowed_to_go(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path, 300)
    (pair,) = site.fleet.pairs()
    _, second = read.chunks(pair.control, JournalQuery())[0]
    lose(databases)
    brought_back(site.fleet, JournalQuery(run=second.run))
    databases.execute(
        "control",
        "INSERT INTO kafka_test (id, text, code, create_date, modify_date) "
        f"SELECT id, text, code, create_date, modify_date FROM {BASE} WHERE id <= 260",
    )
    with pytest.raises(BrakePulled):
        sweep(site.fleet)
    assert sweep(site.fleet, allow_deletes=True).counts.deleted == 10
    assert databases.count(1) == 290
    databases.execute("control", "DELETE FROM kafka_test WHERE id = 1")
    assert sweep(site.fleet).counts.deleted == 1


@pytest.mark.parametrize(
    ("at", "there"), [(("naming", "after", 2), 500), (("naming", "after", 8), 3_500), (("placing", "before", 8), 4_000)]
)
def test_killed_in_the_middle_and_run_again(
    at: tuple[str, str, int], there: int, mariadb_databases: MariaDBDatabases, tmp_path: Path
) -> None:
    databases = mariadb_databases
    site = Site(databases, tmp_path, **SENDS)
    databases.execute(
        1,
        "INSERT INTO kafka_test SELECT seq, CONCAT('행 🚉 ', seq), IF(seq % 2, 'A', 'B'), '2024-01-01',"
        " '2024-01-02' - INTERVAL seq SECOND FROM seq_1_to_4100",
    )
    site.fleet.sync()
    rows = databases.rows("control")
    lose(databases)
    urls = (databases.control_url, databases.station_url(1))
    killed = kill_run.start(
        *urls, direction="reseed-control", at=list(at), page_rows=10_000, journal=str(site.folder), **SENDS
    )
    killed.end()
    assert killed.was_killed
    assert databases.count("control") == there, "each transaction is there whole, or not at all"
    # Where 100 are missing, none of the newest: deletes of so few would be carried to the station.
    with pytest.raises(BrakePulled):
        sweep(site.fleet)
    assert databases.count(1) == 4_100

    def once_the_lease_is_free() -> int | None:
        with contextlib.suppress(DatabaseBusy):
            return brought_back(site.fleet)
        return None

    assert eventually(once_the_lease_is_free, "the lease of a killed run is freed") == 4_100 - there
    assert databases.rows("control") == rows
    assert brought_back(site.fleet) == 0
    require_named(databases, site.folder)
    assert len(replayed(records(site.folder))) == 4_100
    assert sweep(site.fleet).status is Status.NOTHING
    site.fleet.require_nothing_to_do()


@pytest.mark.parametrize("missing", [False, True])
def test_runs_go_on_meanwhile(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    """A run that meets it leaves it the lease; what stations and control write meanwhile is neither lost nor
    overwritten."""
    site = a_site(databases, tmp_path, 300)
    lose(databases)
    look, met = reseed_control.give, []

    def in_between(*args: object, **kwargs: object) -> object:
        if not met:
            met.append(site.fleet.pull().status)
            site.fleet.edit(1, 7, text="written meanwhile", at=ago(5))
            databases.put("control", [row(8, "put back by a person", modify_date=ago(5))])
        return look(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(reseed_control, "give", in_between)
    assert brought_back(site.fleet, missing=missing) == 299
    assert met == [Status.UNDER_WAY]
    site.fleet.sync()
    sweep(site.fleet)
    found = {values[0]: values[1] for values in databases.rows("control")}
    assert (found[7], found[8], len(found)) == ("written meanwhile", "put back by a person", 300)
    site.fleet.require_equal()
    assert sweep(site.fleet).status is Status.NOTHING


def test_books_of_an_older_version_are_named(databases: Databases, tmp_path: Path) -> None:
    site = a_site(databases, tmp_path, 40)
    databases.execute("control", "DROP TABLE stationsync_rebuilding")
    for run in (lambda: sweep(site.fleet), lambda: brought_back(site.fleet)):
        with pytest.raises(NotInitialised, match="stationsync init"):
            run()
    site.fleet.init()
    assert sweep(site.fleet).status is Status.NOTHING
