"""What a sweep would do about the differences it found: its dry run's plan."""

from __future__ import annotations

from stationsync.pairing.pair import Pair
from stationsync.reconcile.repair import Repairs, Todo
from stationsync.sync.plan import CONTROL, SAMPLES, Gathering, Sample, Share, key_of
from stationsync.sync.rehearse import Rehearsal
from stationsync.sync.runs import Steps


def plan_of(pair: Pair, steps: Steps, todo: Todo) -> tuple[Share, ...]:
    """Rows that a merge would decide are read from the station, and compared; for the others the keys say it all."""
    rehearsal, plan = Rehearsal(), Gathering()
    Repairs(pair, rehearsal.steps(steps)).merge(todo.read)
    for share in rehearsal.plan.shares:
        plan.add(share)
    for at, kind, keys, what in (
        (CONTROL, "inserts", todo.back, "control has lost it"),
        (CONTROL, "deletes", todo.at_control, "the station has deleted it"),
        (pair.name, "updates", todo.send, "control has edited it"),
        (pair.name, "deletes", todo.at_station, "control has deleted it"),
    ):
        if keys:
            rows = (Sample(key_of(key), what) for key in keys[:SAMPLES])
            plan.add(Share.of(pair.name, pair.table, at, kind, rows, len(keys)))
    return plan.shares
