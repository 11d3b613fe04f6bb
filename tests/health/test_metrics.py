"""What Prometheus reads, by its own parser; and the chart, as XML."""

from __future__ import annotations

import base64
import http.client
import re
import signal
import stat
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.command import PROGRAM, Command
from support.databases import Databases
from support.sample import row
from support.waiting import PATIENCE

from stationsync.errors import SetUpError
from stationsync.health.freshness import Freshness, Why
from stationsync.health.metrics import chart, prometheus, svg, write
from stationsync.health.status import DirectionStatus, TableStatus
from stationsync.model.changes import Direction
from stationsync.store.pauses import Pause

NOW = datetime(2026, 3, 1, 12, 0)


def table(station: str = "station-1", table: str = "kafka_test", minutes: float | None = 2) -> TableStatus:
    seen = None if minutes is None else NOW - timedelta(minutes=minutes)
    fresh = Freshness(
        station, table, NOW, timedelta(minutes=15), frozenset(Direction), seen, seen,
        why=Why.NEVER if minutes is None else Why.OLD if minutes > 15 else Why.FRESH,
    )  # fmt: skip
    return TableStatus(station, table, DirectionStatus("done", run_at=seen), DirectionStatus("done"), 0, 3, 4, fresh)


def read(text: str) -> dict[tuple[str, str], float]:
    """(name, station) -> value, as Prometheus' own parser has it."""
    families = list(text_string_to_metric_families(text))
    assert all(family.type == "gauge" and family.documentation for family in families)
    assert len({family.name for family in families}) == len(families)
    return {(s.name, s.labels.get("station", "")): s.value for family in families for s in family.samples}


def test_every_number_with_its_station_and_table() -> None:
    found = read(prometheus([table(), table("station-2", minutes=90), table("station-3", minutes=None)], NOW))
    assert found["stationsync_lag_seconds", "station-1"] == 120
    assert found["stationsync_lag_seconds", "station-2"] == 5_400
    assert ("stationsync_lag_seconds", "station-3") not in found, "nothing is known, so nothing is told"
    assert [found["stationsync_stale", f"station-{n}"] for n in (1, 2, 3)] == [0, 1, 1]
    assert [found["stationsync_up", f"station-{n}"] for n in (1, 2, 3)] == [1, 1, 0]
    assert found["stationsync_quarantined_rows", "station-1"] == 3
    assert found["stationsync_conflicts", "station-1"] == 4
    assert found["stationsync_report_timestamp_seconds", ""] == 1_772_366_400
    assert found["stationsync_last_run_timestamp_seconds", "station-1"] == 1_772_366_400 - 120


def test_a_name_cannot_break_out_of_its_label() -> None:
    name = 'a"b\\c\nd} 1'
    (sample,) = (
        s
        for family in text_string_to_metric_families(prometheus([table(table=name)], NOW))
        for s in family.samples
        if s.name == "stationsync_waiting_edits"
    )
    assert sample.labels == {"station": "station-1", "table": name}


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "stationsync.prom"
    write(file, "old\n")
    write(file, "new\n")
    assert file.read_text() == "new\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    with pytest.raises(SetUpError, match="metrics_file"):
        write(tmp_path / "nowhere" / "x.prom", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SetUpError):
        write(tmp_path / "folder", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "stationsync.prom"]


def test_the_chart_has_a_bar_a_table_as_long_as_its_data_is_old() -> None:
    tables = [table("a"), table("b", minutes=90), table("c", minutes=None), table("<d>&", minutes=0)]
    tables[0] = replace(tables[0], pause=Pause("a", NOW, "kim", ""))
    root = ET.fromstring(svg(tables))
    names = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a/kafka_test", "2m paused", "1h 30m stale", "never", "<d>&/kafka_test", "0s ok"} <= set(names)
    bars = [int(one.get("width", 0)) for one in root.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert bars[0] < bars[1] == bars[2]
    assert bars[3] == 2


def test_the_chart_of_a_large_fleet_says_that_it_is_not_all() -> None:
    text = chart([table(f"station-{n}") for n in range(1_000)], NOW)
    assert "The worst 40 of 1,000 tables." in text
    picture = re.search(r"base64,([^)]+)\)", text)
    assert picture
    assert b"station-39/" in base64.b64decode(picture[1])
    assert len(text) < 60_000
    assert chart([], NOW)


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    databases.put(1, [row(1)])
    command = Command(databases, tmp_path)
    command.well("init")
    command.well("sync", "station-1")
    return command


def test_metrics_by_the_command(command: Command, tmp_path: Path) -> None:
    found = read(command.well("metrics").out)
    assert found["stationsync_up", "station-1"] == 1
    file = tmp_path / "x.prom"
    command.well("metrics", "--file", file)
    assert read(file.read_text()).keys() == found.keys()
    assert command("metrics", "--file", file, "--port", "1").code == 2
    assert command("metrics", "--host", "no.such.host.invalid", "--port", "0").code == 2


def test_metrics_at_a_port_until_ctrl_c(command: Command) -> None:
    serving = subprocess.Popen(
        [str(PROGRAM), "--topology", str(command.file), "metrics", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "", "PYTHONUNBUFFERED": "1"},
        # A background job of a shell ignores it, and its children do.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert serving.stdout
        port = int(serving.stdout.readline().split(":")[2].split("/")[0])

        def get(path: str) -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        code, text = get("/metrics")
        assert (code, read(text)["stationsync_up", "station-1"]) == (200, 1)
        assert get("/other")[0] == 404
        command.databases.execute("control", "DROP TABLE stationsync_state")
        code, text = get("/metrics")
        assert (code, "stationsync_state" in text) == (503, True)
        serving.send_signal(signal.SIGINT)
        assert serving.wait(30) == 0
    finally:
        serving.kill()
