"""On a terminal, what the options leave open is asked, each with what is proposed."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

from support.command import PROGRAM
from support.databases import Databases
from support.waiting import PATIENCE


def typed(answers: list[str], *args: object, folder: Path, code: int = 0) -> str:
    """What a terminal shows of a command, whose questions are answered one after the other."""
    ours, theirs = pty.openpty()
    command = [str(PROGRAM), *map(str, args)]
    done = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, start_new_session=True)
    os.close(theirs)
    shown, waiting, limit, seen = "", list(answers), time.monotonic() + PATIENCE, 0
    try:
        while time.monotonic() < limit:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    shown += os.read(ours, 4096).decode()
                except OSError:  # it has ended
                    break
            if waiting and shown[seen:].rstrip().endswith(":"):
                os.write(ours, f"{waiting.pop(0)}\n".encode())
                seen = len(shown)
        assert done.wait(PATIENCE) == code, shown
    finally:
        done.kill()
        done.wait()
        os.close(ours)
    assert waiting == [], shown
    return shown.replace("\r\n", "\n")


def test_the_first_hour_by_questions(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test(1)
    databases.execute(1, "INSERT INTO kafka_test VALUES (1, 'a', 'A', '2026-01-01 00:00:00', '2026-01-02 00:00:00')")
    shown = typed([databases.control_url, "-"], "new", tmp_path / "f", folder=tmp_path)
    assert "control's database (URL)" in shown
    assert "env:CONTROL_PASSWORD" in shown
    folder = tmp_path / "f"
    file = folder / "stations.yaml"
    before = file.read_text(encoding="utf-8")
    assert "  # password:" in before
    assert "is no reference" in typed(
        [databases.station_url(1), "hunter2"], "add-station", "s-1", folder=folder, code=2
    )
    assert file.read_text(encoding="utf-8") == before
    typed([databases.station_url(1), "-"], "add-station", "s-1", folder=folder)
    before = file.read_text(encoding="utf-8")
    # Nothing is made and nothing written where the last answer is no.
    shown = typed(["", "", "none", "y", "n"], "add-table", "kafka_test", "--from", "s-1", folder=folder, code=1)
    assert "key [id,code]" in shown or "key (or id) [id,code]" in shown
    assert "modified [modify_date]" in shown
    assert "created (none: no column) [create_date]" in shown
    assert file.read_text(encoding="utf-8") == before
    typed(["", "", "none", "y", "y"], "add-table", "kafka_test", "--from", "s-1", folder=folder)
    text = file.read_text(encoding="utf-8")
    assert "key: [id, code]" in text
    assert "created:" not in text
    assert databases.count("control") == 0
