"""What a run reports has one JSON a kind of run, whose fields scripts go by."""

from __future__ import annotations

import json

import pytest

from stationsync.model.changes import Direction, Report, Status
from stationsync.model.details import (
    BackfillDetails,
    Details,
    JournalRead,
    Left,
    LeftConflict,
    PlanDetails,
    ReconcileDetails,
    ReseedControlDetails,
    ReseedDetails,
    RevertDetails,
    RunDetails,
    TakeDetails,
    plan_of,
)
from stationsync.model.plan import Sample, Share

SHARE = Share("s", "t", "control", updates=1, samples={"updates": (Sample(("1",), "text a → b"),)})
OF_SHARE = {
    "station": "s", "table": "t", "at": "control", "inserts": 0, "updates": 1, "deletes": 0, "conflicts": 0,
    "quarantined": 0, "samples": {"updates": [{"key": ["1"], "what": "text a → b"}]},
}  # fmt: skip
LEFT = Left("its row is another's", 2, ('["1"]',))
OF_LEFT = {"why": "its row is another's", "rows": 2, "keys": ['["1"]']}
ALL = {
    "station", "table", "direction", "run", "status", "read", "applied", "unchanged", "settled", "conflicts",
    "quarantined", "released", "missing", "changed", "deleted", "older", "locked", "outside", "chunks", "up_to",
    "seconds", "warnings", "message",
}  # fmt: skip


def reconciled(dry_run: bool, **more: object) -> ReconcileDetails:
    found, samples = {"gone": 1, "older": 0}, {"gone": [["1", "A"]]}
    rows, checksum = (None, None) if dry_run else (5, "00ff")
    return ReconcileDetails(dry_run, 3, found, samples, rows, checksum, {"gone": 1}, **more)  # type: ignore[arg-type]


OF_RECONCILE = {
    "dry_run": False, "ranges": 3, "found": {"gone": 1, "older": 0}, "samples": {"gone": [["1", "A"]]}, "rows": 5,
    "checksum": "00ff", "exceptions": {"gone": 1},
}  # fmt: skip
NOTHING_PROVED = OF_RECONCILE | {"dry_run": True, "rows": None, "checksum": None}


@pytest.mark.parametrize(
    ("details", "said"),
    [
        (None, {}),
        (RunDetails(), {}),
        (RunDetails(without_key=1, without_date=2), {"without_key": 1, "without_date": 2}),
        (RunDetails(more=True), {"more": True}),
        (PlanDetails((SHARE,)), {"dry_run": True, "plan": [OF_SHARE]}),
        (PlanDetails(()), {"dry_run": True, "plan": []}),
        (reconciled(False), OF_RECONCILE),
        (reconciled(False, without_key=2, more=True), OF_RECONCILE | {"without_key": 2, "more": True}),
        (reconciled(True), NOTHING_PROVED | {"plan": []}),
        (reconciled(True, plan=(SHARE,), more=True), NOTHING_PROVED | {"plan": [OF_SHARE], "more": True}),
        (
            ReseedDetails(True, {"insert": 1}, {"insert": [["1"]]}, 2, 3, (["4"],)),
            {
                "dry_run": True, "found": {"insert": 1}, "samples": {"insert": [["1"]]}, "kept": 2, "refused": 3,
                "locked_keys": [["4"]],
            },
        ),
        (
            ReseedControlDetails(
                False, (SHARE,), {"insert": 3}, {"insert": [("1",)]}, 3, 2, 1, JournalRead(4, 5, 6), 7, 8, 9, [("2",)],
                (LEFT,),
            ),
            {
                "dry_run": False, "plan": [OF_SHARE], "found": {"insert": 3}, "samples": {"insert": [["1"]]}, "rows": 3,
                "sources": {"journal": 2, "base": 1}, "edits": 1, "journal": {"files": 4, "unnamed": 5, "records": 6},
                "kept": 7, "refused": 8, "returned": 9, "locked_keys": [["2"]], "left": [OF_LEFT],
            },
        ),
        (
            RevertDetails(True, (SHARE,), (LEFT,), [("2",)]),
            {"dry_run": True, "plan": [OF_SHARE], "left": [OF_LEFT], "locked_keys": [["2"]]},
        ),
        (
            RevertDetails(False, (), (), (), sent=0),
            {"dry_run": False, "plan": [], "left": [], "locked_keys": [], "sent": 0},
        ),
        (
            TakeDetails(False, (SHARE,), (3,), (LeftConflict(4, "it is gone", "", {"b": b"\x01", "t": None}),)),
            {
                "dry_run": False, "plan": [OF_SHARE], "taken": [3],
                "left": [{"id": 4, "why": "it is gone", "next_step": "", "now": {"b": {"hex": "01"}, "t": None}}],
            },
        ),
        (
            BackfillDetails("all", 5, None, False),
            {"backfill": {"asked": "all", "rows": 5, "expected": None, "resumed": False}},
        ),
        (
            BackfillDetails("all", 5, 6, True, more=True),
            {"backfill": {"asked": "all", "rows": 5, "expected": 6, "resumed": True, "more": True}},
        ),
    ],
)  # fmt: skip
def test_a_kind_of_run_has_these_fields(details: Details | None, said: dict[str, object]) -> None:
    printed = json.loads(json.dumps(Report("s", "t", Direction.UP, Status.DONE, details=details).as_dict()))
    assert printed.keys() == ALL | said.keys()
    assert {name: printed[name] for name in said} == said
    assert [share.as_dict() for share in plan_of(details)] == said.get("plan", [])
