"""The flows against a real Prefect server, on MariaDB: what moves, what the UI shows, and how runs end."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from prefect.blocks.system import Secret
from prefect.client.schemas.objects import StateType
from pydantic import SecretStr
from support.databases import Where
from support.fleet import KAFKA_TEST
from support.sample import row

from flows.pull import pull
from flows.push import push
from flows.reconcile import reconcile
from flows.sync import sync
from stationsync.database.mariadb.dialect import MariaDB
from stationsync.errors import DatabaseBusy
from stationsync.model.changes import Checked, Counts
from stationsync.model.schema import TableShape
from stationsync.pairing.watermark import Reading
from stationsync.session.lease import lease
from stationsync.session.session import Session
from stationsync.sync import merge
from tasks.steps import merge as merge_task

if TYPE_CHECKING:
    from support.flow_runs import Flows

pytest_plugins = ["support.prefect_fixtures"]
pytestmark = pytest.mark.xdist_group("prefect")

OFF_LINE = "mysql+pymysql://root@127.0.0.1:1/x"
SECRET = "pa55-비밀-9f3e"


def test_a_pull_brings_rows_up_and_shows_each_of_its_steps(flows: Flows) -> None:
    run = flows(pull)
    assert (run.state.type, run.state.name) == (StateType.COMPLETED, "Completed")
    assert run.message == "kafka_test up: done (read 3, applied 3)"
    assert flows.databases.rows("control") == flows.databases.rows(1)
    flows.fleet.require_equal()
    chunks = flows.databases.query("control", "SELECT DISTINCT flow_run FROM stationsync_journal")
    assert chunks == [(str(run.flow_run.id),)]

    assert run.flow_run.name == "pull station-1"
    assert run.flow_run.parameters == {"station": "station-1", "table": None, "dry_run": False, "approve": False}
    assert [task.name for task in run.tasks(4)] == [
        f"{step} station-1/kafka_test" for step in ("connect", "extract", "validate", "merge")
    ]
    log = run.log("Finished in state Completed('")
    for line in ("read 3 rows from the beginning", "3 rows are good, 0 bad", "read 3, applied 3"):
        assert line in log
    (told,) = run.artifact("station-1-pull")
    told = {**told, "up to": bool(told["up to"]), "seconds": 0}
    assert told == {
        "table": "kafka_test", "direction": "up", "result": "done", "read": 3, "applied": 3, "unchanged": 0,
        "conflicts": 0, "quarantined": 0, "up to": True, "seconds": 0, "notes": "",
    }  # fmt: skip


def test_an_edit_goes_down_and_then_there_is_nothing_to_do(flows: Flows) -> None:
    flows(pull)
    flows.fleet.edit("control", 1, text="edited")
    run = flows(push)
    assert (run.state.name, run.message) == ("Completed", "kafka_test down: done (read 1, applied 1)")
    assert flows.databases.rows(1)[0][1] == "edited"
    assert set(run.steps(3)) == {"connect", "push"}

    again = flows(push)
    assert (again.state.type, again.state.name) == (StateType.COMPLETED, "NothingToDo")
    flows.fleet.require_equal()
    flows.fleet.require_nothing_to_do()


def test_a_sync_pulls_then_pushes(flows: Flows) -> None:
    flows(sync)
    flows.fleet.edit(1, 1, text="by the station")
    flows.fleet.edit("control", 2, text="by control")
    run = flows(sync)
    assert run.state.name == "Completed"
    assert [step for step in run.steps(7) if step != "connect"] == ["extract", "validate", "merge", "push", "push"]
    assert [(line["direction"], line["applied"]) for line in run.artifact("station-1-sync")] == [("up", 1), ("down", 1)]
    assert [text for _, text, *_ in flows.databases.rows("control")] == ["by the station", "by control", "row 3"]
    flows.fleet.require_equal()
    assert flows(sync).state.name == "NothingToDo"


def test_pages_that_are_read_ahead_in_another_thread_belong_to_the_run(flows: Flows) -> None:
    flows.topology["tables"]["kafka_test"]["page_rows"] = 100
    flows.databases.put(1, [row(n) for n in range(4, 251)])
    run = flows(pull)
    assert run.artifact("station-1-pull")[0]["applied"] == 250
    steps = run.steps(10)
    assert [steps.count(step) for step in ("extract", "validate", "merge")] == [3, 3, 3]
    flows.fleet.require_equal()


def test_only_the_named_station_and_table_are_touched(flows: Flows) -> None:
    flows.databases.put(2, [row(1, code="B")])
    flows(pull, "station-2", "kafka_test")
    assert flows.databases.rows("control") == flows.databases.rows(2)


def test_an_off_line_station_is_no_crash_and_is_caught_up_later(flows: Flows) -> None:
    address = flows.topology["stations"]["station-1"]["url"]
    flows.topology["stations"]["station-1"]["url"] = OFF_LINE
    run = flows(sync)
    assert (run.state.type, run.state.name) == (StateType.COMPLETED, "Offline")
    assert "station-1: does not answer" in run.message
    (connect,) = run.tasks(1)
    assert (connect.name, connect.run_count) == ("connect station-1/kafka_test", 4)
    # One line, and no pages of tracebacks of the driver.
    assert "pymysql" not in run.log("Finished in state Offline")
    # It is not asked a second time for the push.
    assert [line["result"] for line in run.artifact("station-1-sync")] == ["offline"]
    assert flows.databases.rows("control") == []

    flows.topology["stations"]["station-1"]["url"] = address
    assert flows(sync).state.name == "Completed"
    flows.fleet.require_equal()


def test_a_deadlock_is_tried_again_after_growing_delays(flows: Flows, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tried = merge.merge_chunk, list[int]()

    def deadlocked_twice(session: Session, checked: Checked, reading: Reading | None) -> Counts:
        tried.append(1)
        if len(tried) < 3:
            raise DatabaseBusy("control", "Deadlock found when trying to get lock (1213)")
        return real(session, checked, reading)

    monkeypatch.setattr(merge, "merge_chunk", deadlocked_twice)
    run = flows(pull)
    assert run.state.name == "Completed"
    merged = run.tasks(4)[-1]
    assert (merged.name, merged.run_count) == ("merge station-1/kafka_test", 3)
    first, second = run.delays(merged)
    assert 0 < first < second  # the jitter is a half; each delay here is four times the one before
    flows.fleet.require_equal()


def test_the_usual_delays_double() -> None:
    assert merge_task.retries == 3
    assert (merge_task.retry_delay_seconds, merge_task.retry_jitter_factor) == ([2.0, 4.0, 8.0], 0.5)


def test_a_lost_lease_begins_the_run_again(flows: Flows, monkeypatch: pytest.MonkeyPatch) -> None:
    real, lost = merge.merge_chunk, list[int]()

    def killed_once(session: Session, checked: Checked, reading: Reading | None) -> Counts:
        if not lost:
            number = session.control.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
            session.control.rollback()
            flows.databases.server("control").execute(f"KILL {number}")
            lost.append(number)
        return real(session, checked, reading)

    monkeypatch.setattr(merge, "merge_chunk", killed_once)
    run = flows(pull)
    assert (run.state.name, run.message) == ("Completed", "kafka_test up: done (read 3, applied 3)")
    merges = [task for task in run.tasks(8) if task.name.startswith("merge")]
    assert [(task.state_name, task.run_count) for task in merges] == [("Failed", 1), ("Completed", 1)]
    flows.fleet.require_equal()


def test_a_refused_table_fails_the_run_at_once_and_the_others_are_done(flows: Flows) -> None:
    tables = flows.topology["tables"]
    flows.topology["tables"] = {"gone": KAFKA_TEST, **tables}
    flows.databases.create_kafka_test("control", control=True, table="gone")
    run = flows(pull)
    assert (run.state.type, run.state.name) == (StateType.FAILED, "Failed")
    assert "there is no table gone" in run.message
    refused = next(task for task in run.tasks(5) if task.name == "connect station-1/gone")
    assert (refused.state_name, refused.run_count) == ("Failed", 1)
    told = run.artifact("station-1-pull")
    assert [(line["table"], line["result"], line["applied"]) for line in told] == [
        ("gone", "failed", 0), ("kafka_test", "done", 3)
    ]  # fmt: skip
    assert "there is no table gone" in told[0]["notes"]
    flows.fleet.require_equal()


def test_an_exception_that_nobody_foresaw_fails_its_own_table_and_tells_no_secret(
    flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows.topology["tables"] = {"broken": KAFKA_TEST, **flows.topology["tables"]}
    reflect = MariaDB.reflect

    def fails(self: MariaDB, conn: sa.Connection, table: str) -> TableShape | None:
        if table == "broken":
            raise RuntimeError(f"mysql://root:{SECRET}@station-1/x")
        return reflect(self, conn, table)

    monkeypatch.setattr(MariaDB, "reflect", fails)
    run = flows(pull)
    assert run.state.type is StateType.FAILED
    assert "station-1/broken: unexpected RuntimeError in" in run.message
    told = run.artifact("station-1-pull")
    assert [(line["table"], line["result"]) for line in told] == [("broken", "failed"), ("kafka_test", "done")]
    flows.fleet.require_equal()
    assert SECRET not in run.log("unexpected RuntimeError") + run.message + str(told)


def test_a_breaking_change_pauses_its_station_only_and_is_named_in_the_ui(flows: Flows) -> None:
    for station in ("station-1", "station-2"):
        assert flows(sync, station).state.type is StateType.COMPLETED
    flows.databases.execute(1, "UPDATE kafka_test SET text = NULL")
    flows.databases.execute(1, "ALTER TABLE kafka_test MODIFY text date")
    flows.databases.execute(2, "ALTER TABLE kafka_test ADD COLUMN note int")
    paused = flows(sync)
    assert paused.state.type is StateType.FAILED
    assert "~ column text varchar(100) NULL utf8mb4_general_ci -> date NULL" in paused.message
    assert "Nothing was synchronised for this table; the others go on." in paused.message

    assert flows(sync, "station-2").state.type is StateType.COMPLETED
    flows.databases.execute(1, "ALTER TABLE kafka_test MODIFY text varchar(100)")
    assert flows(sync).state.type is StateType.COMPLETED


def test_what_a_hostile_station_calls_a_column_is_plain_text_in_the_ui(flows: Flows) -> None:
    flows(pull)
    name = "c\x1b]0;x\x07\r\u202e|<img src=x>[x](javascript:a())`"
    flows.databases.execute(1, f"ALTER TABLE kafka_test ADD COLUMN `{name.replace('`', '``')}` int")
    run = flows(pull)
    (told,) = run.artifact("station-1-pull")
    assert r"c\x1b]0;x\x07\r\u202e\|&lt;img src=x&gt;[x]\(javascript:a())\`" in told["notes"]
    log = run.log("Finished in state")
    for text in (told["notes"], run.message, log):
        assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]
    # An error of that column's, as Prefect logs it and keeps it with the run.
    flows.databases.execute("control", f"ALTER TABLE kafka_test ADD COLUMN `{name.replace('`', '``')}` date")
    failed = flows(pull)
    assert (failed.state.type, r"column c\x1b]0;x\x07\r\u202e|<img" in failed.message) == (StateType.FAILED, True)
    log = failed.log("Finished in state")
    assert r"c\x1b]0;x\x07\r\u202e" in log
    assert not [c for c in failed.message + log if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]


def test_an_added_column_is_told_in_the_artifact_once(flows: Flows) -> None:
    flows(pull)
    flows.databases.execute(1, "ALTER TABLE kafka_test ADD COLUMN note int")
    first, then = flows(pull), flows(pull)
    assert "+ column note int(11) NULL (not synchronised" in first.artifact("station-1-pull")[0]["notes"]
    assert then.artifact("station-1-pull")[0]["notes"] == ""


def test_a_failed_run_tells_what_it_had_done_before(flows: Flows, monkeypatch: pytest.MonkeyPatch) -> None:
    flows.topology["tables"]["kafka_test"]["page_rows"] = 100
    flows.databases.put(1, [row(n) for n in range(4, 251)])
    real, done = merge.merge_chunk, list[int]()

    def full_after_one(session: Session, checked: Checked, reading: Reading | None) -> Counts:
        if done:
            raise DatabaseBusy("control", "The table 'kafka_test' is full (1114)")
        done.append(1)
        return real(session, checked, reading)

    with monkeypatch.context() as patch:
        patch.setattr(merge, "merge_chunk", full_after_one)
        run = flows(pull)
    assert (run.state.type, "is full" in run.message) == (StateType.FAILED, True)
    assert [(line["result"], line["applied"]) for line in run.artifact("station-1-pull")] == [("failed", 100)]
    assert flows.databases.count("control") == 100

    assert flows(pull).artifact("station-1-pull")[0]["applied"] == 150
    flows.fleet.require_equal()


def test_a_run_beside_another_says_so_and_touches_nothing(flows: Flows) -> None:
    with lease(flows.fleet.pairs(1)[0]) as held:
        assert held
        run = flows(pull)
    assert (run.state.type, run.state.name) == (StateType.COMPLETED, "UnderWay")
    assert "another run is under way" in run.message
    assert flows.databases.count("control") == 0


@pytest.mark.parametrize("station", ["station-9", "Station 1", "../x"])
def test_an_unknown_station_is_refused_by_name(flows: Flows, station: str) -> None:
    run = flows(pull, station)
    assert (run.state.type, run.tasks(0)) == (StateType.FAILED, [])
    assert "no such station" in run.message
    assert "Known: station-1, station-2" in run.message


def with_password(flows: Flows, where: Where) -> str:
    """The address of a database for a user whose password is SECRET."""
    server, name = flows.databases.server(where), flows.databases.name(where)
    server.create_user(f"user_{name}", SECRET, [f"ALL ON `{name}`.*"])
    return server.url(name, f"user_{name}")


def test_secrets_are_nowhere_on_the_server(flows: Flows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From a Prefect block, a file and the environment; in runs that succeed and in one that is refused."""
    flows.topology["control"]["url"] = with_password(flows, "control")
    flows.topology["stations"]["station-1"]["url"] = with_password(flows, 1)
    Secret(value=SecretStr(SECRET)).save("control-password", overwrite=True)
    flows.topology["control"]["password"] = "${secret:control-password}"
    secret_file = tmp_path / "station-1.secret"
    secret_file.write_text(SECRET)
    flows.topology["stations"]["station-1"]["password"] = f"${{file:{secret_file}}}"
    assert flows(sync).state.name == "Completed"

    monkeypatch.setenv("STATION_1_PASSWORD", f"wrong-{SECRET}")
    flows.topology["stations"]["station-1"]["password"] = "${STATION_1_PASSWORD}"
    refused = flows(sync)
    assert refused.state.type == StateType.FAILED
    assert "Access denied" in refused.message
    refused.tasks(2)
    refused.log("Finished in state Failed")

    kept = flows.server.everything() + b"".join(
        path.read_bytes() for path in Path(os.environ["PREFECT_HOME"]).rglob("*") if path.is_file()
    )
    assert b"Access denied" in kept  # it is the right place to look
    for written in (SECRET.encode(), json.dumps(SECRET).strip('"').encode()):
        assert written not in kept
    flows.fleet.require_equal()


def test_a_missing_block_is_named(flows: Flows) -> None:
    flows.topology["control"]["password"] = "${secret:not-there}"
    run = flows(pull)
    assert run.state.type == StateType.FAILED
    assert "Create the Secret block not-there in Prefect" in run.message


def test_the_run_form_explains_itself() -> None:
    for flow in (pull, push, sync):
        found = flow.parameters.model_dump()
        assert list(found["properties"]) == ["station", "table", "dry_run", "approve"]
        assert found["required"] == ["station"]
        assert all(one["description"] for one in found["properties"].values())
        assert all(found["properties"][name]["examples"] for name in ("station", "table"))


def test_a_reconcile_shows_its_comparing_and_what_it_proved(flows: Flows) -> None:
    flows(pull)
    flows.databases.execute(1, "UPDATE kafka_test SET text = 'silent' WHERE id = 2")
    run = flows(reconcile)
    assert (run.state.type, run.state.name) == (StateType.COMPLETED, "Completed")
    assert "changed or new at the station 1; equal up to" in run.message
    assert flows.databases.rows("control") == flows.databases.rows(1)
    steps = run.steps(7)
    assert steps[:3] == ["connect", "compare", "look-into"]
    assert {"extract-keys", "validate", "merge"} <= set(steps)
    (told,) = run.artifact("station-1-reconcile")
    assert (told["direction"], told["result"], told["applied"]) == ("both", "done", 1)
    quiet = flows(reconcile)
    assert quiet.state.name == "NothingToDo"
