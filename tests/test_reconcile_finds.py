"""Faults that a second reading of sweeps and deletes found: each as the story in which it was seen."""

from __future__ import annotations

import pytest
from support.databases import Databases
from support.fleet import Fleet
from support.sweeps import ROWS, a_fleet, sweep
from test_deletes import delete, flagged, flagging, ids, items

from stationsync import trash
from stationsync.errors import BrakePulled

__all__ = ["flagging"]


def test_what_was_allowed_on_one_side_allows_nothing_on_the_other(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive", control_deletes="send")
    delete(fleet, 1, "id <= 180")
    with pytest.raises(BrakePulled):
        sweep(fleet)
    delete(fleet, "control", "id BETWEEN 200 AND 280")
    report = sweep(fleet, allow_deletes=True)
    assert report.counts.deleted == 180
    assert ids(fleet, 1) == set(range(181, ROWS + 1))
    assert "81 more rows are gone since" in report.warnings[0]


def test_nothing_is_allowed_that_was_not_refused_before(databases: Databases) -> None:
    fleet = a_fleet(databases, deletes="archive")
    delete(fleet, 1, "id <= 180")
    with pytest.raises(BrakePulled):
        sweep(fleet, allow_deletes=True)
    assert len(ids(fleet, "control")) == ROWS
    assert sweep(fleet, allow_deletes=True).counts.deleted == 180
    # The same command once more, out of the shell's history or from a schedule.
    delete(fleet, 1, "id <= 290")
    with pytest.raises(BrakePulled):
        sweep(fleet, allow_deletes=True)


def test_a_flagged_row_that_control_deleted_since_comes_back_whole(flagging: Fleet) -> None:
    before = flagging.databases.rows("control")
    delete(flagging, 1, "id = 5")
    sweep(flagging)
    delete(flagging, "control", "id = 5")
    (pair,), (item,) = flagging.pairs(), items(flagging)
    trash.restore(pair.control, pair, item)
    assert flagging.databases.rows("control") == before
    assert flagged(flagging) == set()
