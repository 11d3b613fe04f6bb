"""A reconcile under faults of the environment: cut off anywhere, the next one completes; no row is blamed."""

from __future__ import annotations

from typing import Any

import pytest
from support.faults import Site, dying
from support.reports import json_of
from support.sweeps import found, sweep

from stationsync.errors import DatabaseBusy, LeaseLost, StationOffline
from stationsync.model.changes import Status
from stationsync.reconcile import deletes, scan
from stationsync.reconcile.repair import Repairs

pytest_plugins = ["support.faults"]


@pytest.fixture
def swept(site: Site) -> Site:
    """Both sides equal, then: five rows deleted at the station, three edited there without a stamp, two at control."""
    site.fleet.options(deletes="archive", sweep_rows=50)
    site.fleet.sync()
    site.databases.execute(1, "DELETE FROM kafka_test WHERE id <= 5")
    site.databases.execute(1, "UPDATE kafka_test SET text = 'silent' WHERE id IN (100, 200, 300)")
    site.databases.execute("control", "UPDATE kafka_test SET text = 'at control' WHERE id IN (400, 401)")
    return site


def require_finished(site: Site) -> None:
    """What was deleted is in the trash once, everything else is equal, nothing is left to do."""
    site.require_nobody_blamed()
    kept = site.databases.query("control", "SELECT key_text FROM stationsync_trash ORDER BY id")
    assert sorted(kept) == [(f'["{n}","A"]',) for n in range(1, 6)]
    site.fleet.require_equal()
    report = sweep(site.fleet)
    assert (report.status, found(report), json_of(report)["exceptions"]) == (Status.NOTHING, {}, {})


def test_a_station_that_is_back_in_a_moment_delays_a_sweep_only(swept: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def restart() -> None:
        swept.station.kill()
        swept.station.start()

    restarted = dying(monkeypatch, scan.Scanner, "_with", 3, restart)
    report = sweep(swept.fleet)
    assert restarted
    assert (report.status, report.counts.deleted) == (Status.DONE, 5)
    require_finished(swept)


@pytest.mark.parametrize("where", [(Repairs, "do"), (deletes, "_deleted")])
def test_a_station_that_goes_off_line_before_it_is_repaired(
    where: tuple[Any, str], swept: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        killed = dying(patch, *where, 1, swept.station.kill)
        with pytest.raises(StationOffline):
            sweep(swept.fleet)
    assert killed
    swept.station.start()
    sweep(swept.fleet)
    require_finished(swept)


def test_a_control_that_dies_in_the_middle_of_deletes(swept: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        killed = dying(patch, deletes, "_forget", 1, swept.control.kill)
        with pytest.raises(LeaseLost):
            sweep(swept.fleet)
    assert killed
    swept.control.start()
    assert swept.databases.count("control", "stationsync_trash") == 0
    sweep(swept.fleet)
    require_finished(swept)


def test_a_control_that_is_read_only_for_a_while(swept: Site) -> None:
    swept.control.execute("SET GLOBAL read_only = 1")
    with pytest.raises(DatabaseBusy):
        sweep(swept.fleet)
    swept.control.execute("SET GLOBAL read_only = 0")
    swept.require_nobody_blamed()
    sweep(swept.fleet)
    require_finished(swept)
