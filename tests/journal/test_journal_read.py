"""Reading the journal: `stationsync journal`, the engine's reader, and outsiders' libraries."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.dataset as ds
import pytest
from support.command import PROGRAM, Command
from support.databases import Databases, SQLiteDatabases
from support.inject import ago
from support.journals import Site, files, row
from support.paths import ROOT
from support.waiting import PATIENCE

from stationsync.errors import JournalUnavailable
from stationsync.journal import read
from stationsync.journal.read import JournalQuery
from stationsync.pairing.pair import control_of


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Two stations; the first has had an edit, a conflict that it lost, and an edit of control's."""
    return a_history(databases, tmp_path)


def a_history(databases: Databases, folder: Path, **options: Any) -> Command:
    databases.create_kafka_test("control", control=True)
    for n in (1, 2):
        databases.create_kafka_test(n)
        databases.put(n, [row(i, code="AB"[n - 1]) for i in range(1, 4)])
    command = Command(databases, folder, stations=2, **options)
    command.well("init")
    for n in (1, 2):
        command.well("sync", f"station-{n}")
    edit(databases, 1, "second", ago(20))
    command.well("sync", "station-1")
    edit(databases, 1, "station's", ago(15))
    edit(databases, "control", "control's", ago(10))
    command.well("sync", "station-1")
    return command


def edit(databases: Databases, where: Any, text: str, at: str) -> None:
    databases.execute(
        where, "UPDATE kafka_test SET text = %s, modify_date = %s WHERE id = 2 AND code = 'A'", [text, at]
    )


def test_what_passed_of_one_row_in_order(command: Command) -> None:
    found = command.well("journal", "show", "station-1", "--key", '["2","A"]', "--json").json["records"]
    assert [(r["direction"], r["decision"], (r["after"] or {}).get("text")) for r in found] == [
        ("up", "inserted", "first"),
        ("up", "updated", "second"),
        ("up", "kept", "control's"),
        ("down", "updated", "control's"),
    ]
    assert (found[2]["came"]["text"], found[2]["loser"], found[2]["rule"]) == ("station's", "station", "newest")
    assert (found[3]["before"]["text"]) == "station's"
    lines = command.well("journal", "show", "station-1", "--key", '["2","A"]').out.splitlines()
    assert len(lines) == 5
    assert '"first" → "second"' in lines[2]


def test_chunks_by_station_run_and_time(command: Command) -> None:
    everything = command.well("journal", "list", "--json").json
    assert everything["total"] == 5
    chunks = everything["chunks"]
    assert [c["at"] for c in chunks] == sorted(c["at"] for c in chunks)
    assert command.well("journal", "list", "station-2", "--json").json["chunks"] == [
        c for c in chunks if c["station"] == "station-2"
    ]
    run = chunks[-1]["run"]
    for asked in (run, run[:8]):
        assert command.well("journal", "list", "--run", asked, "--json").json["chunks"] == chunks[-1:]
    assert command.well("journal", "list", "--since", chunks[-2]["at"], "--json").json["total"] == 2
    assert command.well("journal", "list", "--until", chunks[1]["at"], "--json").json["total"] == 1
    assert command.well("journal", "list", "--since", "1h", "--json").json["total"] == 5
    assert command.well("journal", "list", "--limit", "2", "--json").json["chunks"] == chunks[-2:]
    assert "2 of 5" in command.well("journal", "list", "--limit", "2").out
    assert command("journal", "list", "--since", "yesterday").code == 2
    assert command("journal", "list", "station-9").code == 2
    assert (command.file.parent / "journal").is_dir(), "by default it is next to the topology"


def test_as_csv(command: Command) -> None:
    out = command.well("journal", "show", "--decision", "updated", "--csv").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(r["decision"], json.loads(r["after"])["text"]) for r in rows] == [
        ("updated", "second"), ("updated", "control's"),
    ]  # fmt: skip
    assert rows[0]["reason"] == ""
    listed = list(csv.DictReader(io.StringIO(command.well("journal", "list", "--csv").out)))
    assert [json.loads(r["decisions"]) for r in listed][:2] == [{"inserted": 3}, {"inserted": 3}]


def test_described(command: Command) -> None:
    found = command.well("journal", "describe", "--json").json
    assert found["retention_seconds"] == 168 * 3600
    one, two = found["parts"]
    assert (one["station"], one["chunks"], one["rows"], one["runs"], one["gaps"]) == ("station-1", 4, 6, 4, 0)
    assert (two["files"], two["rows"]) == (1, 3)
    paths = files(command.file.parent / "journal")
    assert one["bytes"] + two["bytes"] == sum(path.stat().st_size for path in paths)
    said = command.well("journal", "describe").out
    assert "kept for 7d" in said
    assert "station-2" in said


def test_followed(tmp_path: Path) -> None:
    databases = SQLiteDatabases(tmp_path)
    command = a_history(databases, tmp_path)
    environment = os.environ | {"STATIONSYNC_TOPOLOGY": str(command.file), "PYTHONUNBUFFERED": "1"}
    arguments = [str(PROGRAM), "journal", "show", "--follow", "--json", "--since", "1h", "--key", '["2","A"]']
    following = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert following.stdout is not None
        before = [json.loads(following.stdout.readline()) for _ in range(4)]
        assert [record["decision"] for record in before] == ["inserted", "updated", "kept", "updated"]
        edit(databases, 1, "while it follows", ago(0))
        command.well("pull", "station-1")
        assert json.loads(following.stdout.readline())["after"]["text"] == "while it follows"
    finally:
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=PATIENCE)


def test_outsiders_open_it_without_us(command: Command) -> None:
    """As docs/JOURNAL.md says."""
    folder = command.file.parent / "journal"
    found = pd.read_parquet(folder)
    assert len(found) == 9
    assert set(found["station"]) == {"station-1", "station-2"}
    assert [after["text"] for after in found[found["decision"] == "updated"].sort_values("written_at")["after"]] == [
        "second", "control's",
    ]  # fmt: skip
    journal = ds.dataset(folder, partitioning="hive")
    some = journal.to_table(filter=(ds.field("station") == "station-1") & (ds.field("after", "text") == "second"))
    assert some.num_rows == 1


def test_the_engine_s_dataset_has_committed_files_only(databases: Databases, tmp_path: Path) -> None:
    site = Site(databases, tmp_path)
    databases.put(1, [row(1), row(2)])
    site.fleet.pull()
    control = control_of(site.fleet.topology)
    assert read.dataset(control, JournalQuery(table="other")) is None
    copied = files(site.folder)[0].with_name("another.parquet")
    copied.write_bytes(files(site.folder)[0].read_bytes())
    found = read.dataset(control, JournalQuery()).to_table()
    assert found.num_rows == 2
    assert found["station"].to_pylist() == ["station-1"] * 2
    (part,) = read.describe(control, JournalQuery(station="station-1"))
    assert part.rows == 2
    assert part.last_at - part.first_at == timedelta(0)


def test_a_file_that_is_not_there_is_named(site_with_a_lost_file: Site) -> None:
    control = control_of(site_with_a_lost_file.fleet.topology)
    with pytest.raises(JournalUnavailable, match="it is not there"):
        list(read.records(control, JournalQuery()))
    told: list[JournalUnavailable] = []
    assert len(list(read.records(control, JournalQuery(), missing=told.append))) == 1
    assert len(told) == 1


@pytest.fixture
def site_with_a_lost_file(tmp_path: Path) -> Site:
    databases = SQLiteDatabases(tmp_path)
    site = Site(databases, tmp_path)
    databases.put(1, [row(1)])
    site.fleet.pull()
    databases.put(1, [row(2, modify_date=ago(1))])
    site.fleet.pull()
    files(site.folder)[0].unlink()
    return site


def test_a_word_is_the_whole_key_of_a_table_with_one(tmp_path: Path) -> None:
    databases = SQLiteDatabases(tmp_path)
    tables = {"plain": {"key": ["id"], "modified": "changed"}}
    for where in (1, "control"):
        databases.execute(where, "CREATE TABLE plain (id varchar(9) PRIMARY KEY NOT NULL, changed datetime NOT NULL)")
        databases.execute(where, "CREATE INDEX changed ON plain (changed, id)")
    for id in ("7", "8"):
        databases.execute(1, "INSERT INTO plain VALUES (%s, '2024-01-01 00:00:00')", [id])
    command = Command(databases, tmp_path, tables=tables)
    command.well("init")
    command.well("pull", "station-1")
    (found,) = command.well("journal", "show", "--key", "7", "--json").json["records"]
    assert found["key"] == '["7"]'


def test_it_needs_no_prefect(tmp_path: Path) -> None:
    databases = SQLiteDatabases(tmp_path)
    command = a_history(databases, tmp_path)
    script = (
        "import sys; from cli.main import app\n"
        "try: app(['journal', 'show'])\n"
        "except SystemExit: print(*{'prefect', 'great_expectations'} & set(sys.modules), file=sys.stderr)"
    )
    environment = os.environ | {"STATIONSYNC_TOPOLOGY": str(command.file)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "inserted" in done.stdout
    assert done.stderr.split() == []
