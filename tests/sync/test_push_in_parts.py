"""Many edits go down in parts: a part may meet rows that the station changed, lost or refuses, the others do not."""

from __future__ import annotations

from typing import Any

import pytest
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row

from stationsync.model.changes import Status
from stationsync.session.session import Session
from stationsync.sync import push, send

ROWS = 900


@pytest.fixture
def fleet(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """900 rows at both sides, all edited at control; parts of 50, then of 200 rows."""
    monkeypatch.setattr(push, "_FIRST", 50)
    monkeypatch.setattr(push, "_AT_ONCE", 200)
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(n, at=ago(3600)) for n in range(1, ROWS + 1)])
    fleet = Fleet(databases)
    fleet.init()
    fleet.sync()
    databases.execute("control", "UPDATE kafka_test SET text = 'edited', modify_date = %s", [ago(30)])
    return fleet


def texts(fleet: Fleet, where: Any) -> dict[str, int]:
    return dict(fleet.databases.query(where, "SELECT text, COUNT(*) FROM kafka_test GROUP BY text"))


def test_all_of_a_page_arrives(fleet: Fleet) -> None:
    report = fleet.push()
    assert (report.counts.read, report.counts.applied, report.chunks) == (ROWS, ROWS, 2)
    assert texts(fleet, 1) == {"edited": ROWS}
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_rows_in_several_parts_that_the_station_changed_or_lost(fleet: Fleet) -> None:
    fleet.edit(1, 120, text="newer at the station")
    fleet.edit(1, 700, at=ago(1800), text="older at the station")
    fleet.databases.execute(1, "DELETE FROM kafka_test WHERE id = 300")
    report = fleet.push()
    counts = report.counts
    assert (counts.missing, counts.conflicts, counts.quarantined) == (1, 2, 1)
    assert texts(fleet, 1) == {"edited": ROWS - 2, "newer at the station": 1}
    assert texts(fleet, "control") == {"edited": ROWS - 1, "newer at the station": 1}
    fleet.require_nothing_to_do()


def test_rows_that_the_station_has_already(fleet: Fleet) -> None:
    """As after a run that was cut off between the station and control."""
    stamp = fleet.databases.query("control", "SELECT modify_date FROM kafka_test")[0][0]
    already = "UPDATE kafka_test SET text = 'edited', modify_date = %s WHERE id <= 300"
    fleet.databases.execute(1, already, [str(stamp)])
    counts = fleet.push().counts
    assert (counts.applied, counts.settled) == (600, 300)
    fleet.require_equal()
    fleet.require_nothing_to_do()


def test_only_columns_that_were_edited_are_written(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    staged: list[list[str]] = []
    real = send._edited

    def seen(fit: Any, old: Any, new: Any) -> tuple[int, ...]:
        edited = real(fit, old, new)
        staged.append([fit.columns[i].name for i in edited])
        return edited

    monkeypatch.setattr(send, "_edited", seen)
    assert fleet.push().status is Status.DONE
    assert staged
    assert all(names == ["text", "modify_date"] for names in staged)


def test_a_run_cut_off_between_two_parts_goes_on_behind_them(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = []
    real = push._settle

    def dying(session: Session, *rest: Any) -> Any:
        if len(settled) == 3:  # one is of the rows marked pending
            raise KeyboardInterrupt
        settled.append(1)
        return real(session, *rest)

    with monkeypatch.context() as cut:
        cut.setattr(push, "_settle", dying)
        with pytest.raises(KeyboardInterrupt):
            fleet.push()
    report = fleet.push()
    assert report.counts.applied + report.counts.settled == ROWS - 250
    assert texts(fleet, 1) == {"edited": ROWS}
    fleet.require_equal()
    fleet.require_nothing_to_do()
