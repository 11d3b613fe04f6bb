"""The flow `backfill` against a real Prefect server: the progress artifact, few tasks, typed parameters."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import ArtifactSort
from support.sample import row

import tasks.backfill as task
from flows.backfill import backfill
from stationsync.errors import LeaseLost, Refused
from stationsync.pairing.pair import control_of
from stationsync.recovery import backfill as engine
from stationsync.recovery import backfill_books
from stationsync.sync import merge

if TYPE_CHECKING:
    from support.flow_runs import Flows, Run

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("prefect")


def progress(flows: Flows, run: Run) -> tuple[float, str]:
    """The one progress artifact of this run, as the UI shows it."""
    found = [
        one
        for one in flows.client.read_artifacts(sort=ArtifactSort.CREATED_DESC)
        if (one.key, one.flow_run_id) == ("station-1-backfill-progress", run.flow_run.id)
    ]
    (one,) = found
    return float(str(one.data)), str(one.description)


def test_a_backfill_shows_how_far_it_is_and_goes_on_where_it_stopped(
    flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_MOST", 10)
    monkeypatch.setattr(engine, "_AGAIN", ())
    monkeypatch.setattr(task, "_EVERY", 0.0)
    flows.databases.put(1, [row(n, at="2024-03-01 12:00:00") for n in range(101, 141)])
    real, merged = merge.merge_chunk, list[int]()

    def refusing(*args: Any) -> Any:
        merged.append(1)
        if len(merged) > 2:
            raise Refused("control", "no more of these", next_step="Mend it.")
        return real(*args)

    range_ = {"since": datetime(2024, 2, 1), "until": datetime(2024, 4, 1)}
    with monkeypatch.context() as broken:
        broken.setattr(merge, "merge_chunk", refusing)
        failed = flows(backfill, "station-1", "kafka_test", **range_)
    assert failed.state.type is StateType.FAILED
    assert "no more of these" in failed.message
    way_on = "Mend it. It goes on where it stopped with: stationsync backfill station-1 --table kafka_test --since"
    assert way_on in failed.message
    percent, text = progress(flows, failed)
    assert percent == 50.0
    assert "modified from 2024-02-01 00:00:00 until 2024-04-01 00:00:00: 20 of 40 rows, 50%" in text

    run = flows(backfill, "station-1", "kafka_test", **range_)
    assert (run.state.type, run.state.name) == (StateType.COMPLETED, "Completed")
    assert run.message == "kafka_test up: done (read 20, applied 20)"
    # Chunks are no tasks: of a large table there would be thousands.
    assert run.steps(1) == ["backfill"]
    assert progress(flows, run)[0] == 100.0
    (told,) = run.artifact("station-1-backfill")
    assert (told["table"], told["read"], told["applied"]) == ("kafka_test", 20, 20)
    assert run.flow_run.parameters["since"].startswith("2024-02-01")
    assert flows.databases.count("control") == 40


def test_a_lost_lease_does_not_restart_a_restart(flows: Flows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_MOST", 1)
    monkeypatch.setattr(engine, "_AGAIN", ())
    monkeypatch.setattr("flows.station_run.AGAIN", (0.01,))
    monkeypatch.setattr(task.stretch, "retries", 0)
    real, remembered = backfill_books.remember, list[int]()

    def lost(*args: Any) -> None:
        remembered.append(1)
        if len(remembered) == 3:
            raise LeaseLost("station-1/kafka_test", "the control session is gone")
        real(*args)

    monkeypatch.setattr(backfill_books, "remember", lost)
    run = flows(backfill, all=True, restart=True)
    assert run.state.type is StateType.COMPLETED
    entries, _ = backfill_books.find(control_of(flows.fleet.topology), closed=True, limit=None)
    assert [(entry.state, entry.rows) for entry in entries] == [("done", 3)]


def test_what_contradicts_itself_fails_and_says_so(flows: Flows) -> None:
    run = flows(backfill, all=True, from_key="1")
    assert run.state.type is StateType.FAILED
    assert "exclude each other. Nothing was done. Fill in one of: Since and Until" in run.message
    assert flows.databases.count("control") == 0


def test_a_run_of_a_dry_run_leaves_the_plan(flows: Flows) -> None:
    run = flows(backfill, all=True, dry_run=True)
    assert run.state.name == "Plan"
    (share,) = run.artifact("station-1-backfill-plan")
    assert (share["table"], share["inserts"]) == ("kafka_test", 3)
    assert flows.databases.count("control") == 0
