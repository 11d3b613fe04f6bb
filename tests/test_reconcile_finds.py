"""Faults that a second reading of sweeps and deletes found: each as the story in which it was seen."""

from __future__ import annotations

import pytest
from support.databases import Databases
from support.sweeps import ROWS, a_fleet, sweep
from test_deletes import delete, flagging, ids

from stationsync.errors import BrakePulled

__all__ = ["flagging"]


# --- what is allowed once


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
