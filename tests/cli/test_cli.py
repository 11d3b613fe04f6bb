"""The installed command: what it prints, its JSON, its exit codes, and that it says what to do about bad input."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import PROGRAM, Command, snapshot
from support.databases import Databases, MariaDBDatabases
from support.paths import ROOT
from support.sample import row
from support.waiting import PATIENCE

SECRET = "pa55-비밀-9f3e"
OFF_LINE = {"mariadb": "mysql+pymysql://root@127.0.0.1:1/x", "sqlite": "sqlite:////nowhere/x.db"}


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Two stations, initialised, with three rows at the first."""
    databases.create_kafka_test("control", control=True)
    for number in (1, 2):
        databases.create_kafka_test(number)
    command = Command(databases, tmp_path, stations=2)
    command.well("init")
    databases.put(1, [row(n) for n in (1, 2, 3)])
    return command


def data(databases: Databases) -> dict[str, object]:
    """All tables of control and the stations, but for how the last runs went, which a failed run notes."""
    found = snapshot(databases, "control", 1, 2)
    del found["control.stationsync_state"]
    return dict(found)


def edit(databases: Databases, where: object, text: str, number: int = 1) -> None:
    sql = "UPDATE kafka_test SET text = %s, modify_date = '2025-01-01 00:00:00' WHERE id = %s"
    databases.execute(where, sql, [text, number])  # type: ignore[arg-type]


def test_a_row_goes_up_and_an_edit_comes_down(command: Command) -> None:
    databases = command.databases
    (up,) = command.well("pull", "station-1", "--json").json["reports"]
    assert (up["table"], up["direction"], up["status"], up["applied"]) == ("kafka_test", "up", "done", 3)
    assert databases.rows("control") == databases.rows(1)

    edit(databases, "control", "중앙에서 🚉")
    (down,) = command.well("push", "station-1", "--json").json["reports"]
    assert (down["direction"], down["status"], down["applied"]) == ("down", "done", 1)
    assert databases.rows(1)[0][1] == "중앙에서 🚉"

    done = command.well("sync", "station-1", "--json").json
    assert (done["station"], done["ok"]) == ("station-1", True)
    assert [(r["direction"], r["status"]) for r in done["reports"]] == [
        ("up", "nothing to do"),
        ("down", "nothing to do"),
    ]


def test_a_person_reads_one_line_a_run(command: Command) -> None:
    out = command.well("sync", "station-1").out.splitlines()
    assert out[0].startswith("station-1/kafka_test up: done (read 3, applied 3, up to 20")
    assert out[1].startswith("station-1/kafka_test down: nothing to do")


def test_the_topology_may_stand_behind_the_command_too(command: Command) -> None:
    command.well("status")
    command.environment["STATIONSYNC_TOPOLOGY"] = "/nowhere.yaml"
    assert command("status").code == 2
    command.well("status", "--topology", command.file)
    command.well("--topology", command.file, "status")


def test_a_table_that_is_refused_does_not_stop_the_others(databases: Databases, tmp_path: Path) -> None:
    tables = {name: {"key": ["id", "code"], "modified": "modify_date", "exclude": ["master_id"]} for name in "abc"}
    for name in tables:
        databases.create_kafka_test("control", control=True, table=name)
        databases.create_kafka_test(1, table=name)
        databases.put(1, [row(1)], table=name)
    command = Command(databases, tmp_path, tables=tables)
    command.well("init")
    databases.execute(1, "DROP TABLE b")

    done = command("sync", "station-1", "--json")

    assert done.code == 1
    assert done.json["ok"] is False
    reports = {(r["table"], r["direction"]): r for r in done.json["reports"]}
    assert [reports[name, "up"]["status"] for name in "abc"] == ["done", "failed", "done"]
    error = reports["b", "up"]["error"]
    assert "no table b" in error["what"]
    assert error["next_step"]
    assert (databases.count("control", "a"), databases.count("control", "c")) == (1, 1)

    done = command("pull", "station-1")
    assert done.code == 1
    assert "station-1/b up: failed" in done.err
    assert "no table b" in done.err
    assert command.well("pull", "station-1", "--table", "c").code == 0


def test_an_off_line_station_ends_calmly_with_3(command: Command) -> None:
    command.topology["stations"]["station-2"]["url"] = OFF_LINE[command.databases.kind]
    done = command("sync", "station-2")
    assert done.code == 3
    assert "station-2/kafka_test up: off-line" in done.err
    assert "Nothing is lost, nothing is to be repaired." in done.err
    assert "Traceback" not in done.err

    done = command("pull", "station-2", "--json")
    assert done.code == 3
    (report,) = done.json["reports"]
    assert (report["status"], report["error"]["kind"]) == ("offline", "StationOffline")
    (line,) = command.well("status", "station-2", "--json").json["tables"]
    assert line["up"]["status"] == "offline"


def test_control_that_does_not_answer_is_a_failure(command: Command) -> None:
    command.topology["control"]["url"] = OFF_LINE[command.databases.kind]
    done = command("pull", "station-1")
    assert done.code == 1
    assert "control" in done.err
    assert "Traceback" not in done.err


def test_before_init_a_run_says_so(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(1)])
    command = Command(databases, tmp_path)
    before = snapshot(databases, "control", 1)
    for verb in ("pull", "push", "sync"):
        done = command(verb, "station-1")
        assert done.code == 1
        assert "Run: stationsync init" in done.err
    done = command("status", "--json")
    assert (done.code, done.json["error"]["kind"]) == (1, "NotInitialised")
    assert snapshot(databases, "control", 1) == before


BAD_INPUT: dict[str, tuple[tuple[str, ...], Callable[[dict[str, object]], object], str]] = {
    "unknown station": (("pull", "staton-1"), lambda t: None, "did you mean station-1?"),
    "unknown table": (("sync", "station-1", "--table", "kafka_tets"), lambda t: None, "did you mean kafka_test?"),
    "unknown field": (("status",), lambda t: t.update(sations={}), "sations: unknown field; did you mean stations?"),
    "password in the file": (
        ("check",),
        lambda t: t.update(control={"url": f"mysql+pymysql://u:{SECRET}@h/d", "password": SECRET}),
        "control.url: holds a password",
    ),
    "missing secret": (
        ("pull", "station-1"),
        lambda t: t["stations"]["station-1"].update(password="${NOT_SET_ANYWHERE}"),  # type: ignore[index]
        "environment variable NOT_SET_ANYWHERE is not set",
    ),
    "Prefect block without Prefect": (
        ("pull", "station-1"),
        lambda t: t["stations"]["station-1"].update(password="${secret:station-1}"),  # type: ignore[index]
        "no Prefect API is configured",
    ),
    "deploy without a work pool": (("deploy",), lambda t: None, "stations.station-1: names no work pool"),
    "deploy without Prefect": (
        ("deploy",),
        lambda t: t.update(defaults={"work_pool": "central"}),
        "no Prefect API is configured",
    ),
    "deployment without Prefect": (("run", "station-1"), lambda t: None, "no Prefect API is configured"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_with_2_names_the_mistake_and_writes_nothing(command: Command, case: str) -> None:
    args, spoil, expected = BAD_INPUT[case]
    spoil(command.topology)
    before = data(command.databases)
    done = command(*args)
    assert done.code == 2, done
    assert expected in done.err
    assert "Traceback" not in done.err
    assert SECRET not in done.out + done.err
    assert data(command.databases) == before
    as_json = command(*args, "--json")
    assert (as_json.code, as_json.json["ok"]) == (2, False)


@pytest.mark.parametrize("args", [("nix",), ("pull",), ("pull", "station-1", "--nix"), ("--nix",), ("quarantine",)])
def test_a_wrong_line_ends_with_2(command: Command, args: tuple[str, ...]) -> None:
    done = command(*args)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_a_file_that_is_no_yaml_or_not_there(command: Command, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("control: {url: [", encoding="utf-8")
    done = command("--topology", broken, "check")
    assert done.code == 2
    assert "is no valid YAML" in done.err
    done = command("--topology", tmp_path / "none.yaml", "check", "--json")
    assert done.code == 2
    assert "cannot be read" in done.json["error"]["what"]


def test_debug_shows_the_traceback_too(command: Command) -> None:
    done = command("pull", "nix", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert "no such station" in done.err


def test_a_wrong_password_is_told_without_the_password(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    databases = mariadb_databases
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    server, user = databases.server(1), f"u{databases.name(1)[-10:]}"
    server.create_user(user, "right", [f"SELECT, UPDATE ON `{databases.name(1)}`.*"])
    command = Command(databases, tmp_path, installed=True)
    command.well("init")
    command.topology["stations"]["station-1"] |= {"url": server.url(databases.name(1), user), "password": "${IT}"}
    command.environment["IT"] = SECRET
    before = snapshot(databases, "control", 1)
    for args in (("pull", "station-1"), ("pull", "station-1", "--debug"), ("sync", "station-1", "--json"), ("check",)):
        done = command(*args)
        assert done.code == 1
        assert "Access denied" in done.out + done.err
        assert SECRET not in done.out + done.err
    after = snapshot(databases, "control", 1)
    assert {name for name in after if after[name] != before[name]} <= {"control.stationsync_state"}


def test_ctrl_c_ends_a_run_at_once_even_while_it_waits(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    databases = mariadb_databases
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(1)])
    command = Command(databases, tmp_path)
    command.well("init")
    blocker = databases.connect(1)
    blocker.cursor().execute("LOCK TABLES kafka_test WRITE")

    run = subprocess.Popen(
        [str(PROGRAM), "--topology", str(command.file), "pull", "station-1"],
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores it, and its children do.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = %s AND state LIKE 'Waiting for table%%'"
    while not databases.query(1, waiting, [databases.name(1)])[0][0]:
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=PATIENCE)

    assert run.returncode == 130
    assert "Stopped." in err
    assert "Traceback" not in err
    blocker.cursor().execute("UNLOCK TABLES")
    assert command.well("pull", "station-1", "--json").json["reports"][0]["applied"] == 1


def test_the_command_loads_no_heavy_library(command: Command) -> None:
    """Not while it starts, and not while it works, where no rule has to be judged."""
    lines = (["status"], ["quarantine", "list"], ["conflicts", "list"], ["check"], ["sync", "station-1"])
    script = (
        "import sys\nfrom cli.main import app\n"
        f"for args in {lines!r}:\n"
        "    try:\n        app(args)\n    except SystemExit as end:\n        assert not end.code, end.code\n"
        "    print('LOADED', *{'prefect', 'great_expectations', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"STATIONSYNC_TOPOLOGY": str(command.file), "PATH": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = [set(line.split()[1:]) for line in done.stdout.splitlines() if line.startswith("LOADED")]
    # pyarrow looks for pandas when it first makes an array, so whatever reads rows loads it.
    assert loaded[:3] == [set(), set(), set()], done
    assert len(loaded) == len(lines), done
    assert all(found <= {"pandas"} for found in loaded), done
