"""What comes from a database controls no terminal, forges no line and is no markup, wherever people read it."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from datetime import datetime
from pathlib import Path

import pytest
from support.command import Command, Done
from support.databases import Databases
from support.fleet import KAFKA_TEST
from support.paths import ROOT
from support.sample import row

from cli import common
from stationsync.errors import RowRefused
from stationsync.health.incident_book import RecordedIncident
from stationsync.model.printable import in_a_chat, json_text, markdown, printable
from stationsync.topology.alerting import IncidentKind
from tasks.incident_events import payload_of

TITLE = "\x1b]0;owned\x07"
HOSTILE = f"A{TITLE}\r\x9b2J\u202eevil\u2066\u200b|<img src=x>[x](javascript:alert(1))`\n/etc"

SHOWN = {
    "plain, 한글, é, 😀": "plain, 한글, é, 😀",
    TITLE: r"\x1b]0;owned\x07",
    "a\rb": r"a\rb",
    "\x9b2J\x7f": r"\u009b2J\u007f",
    "\u202eevil\u2066\u200b\ufeff\u2028": r"\u202eevil\u2066\u200b\ufeff\u2028",
    "half \ud800 of it": r"half \ud800 of it",
    "\U000e0041": r"\udb40\udc41",
    # Joiners where they belong, and where they only make two texts look alike.
    "می\u200cخواهم 👩\u200d🚀": "می\u200cخواهم 👩\u200d🚀",
    "ad\u200dmin \u200d": r"ad\u200dmin \u200d",
}


@pytest.mark.parametrize("text", SHOWN)
def test_a_text_is_shown_without_what_controls_a_terminal(text: str) -> None:
    assert printable(text) == printable(printable(text)) == SHOWN[text]
    assert str(RowRefused("a/b", text)).startswith(f"a/b: {SHOWN[text]}")
    as_json = json.dumps({"text": text}, ensure_ascii=False)
    assert json.loads(json_text(as_json)) == {"text": text}
    assert _controls(json_text(as_json)) == []


def test_lines_are_one_s_own_only_where_they_are_meant_to_be() -> None:
    assert printable("a\n\tb") == "a\n\tb"
    assert printable("a\n\tb", one_line=True) == r"a\n\tb"


MARKED = {
    'key ["1","A"], price 1 -> 2 (x)': 'key ["1","A"], price 1 -> 2 (x)',
    "a|b `c` *d*": r"a\|b \`c\` \*d\*",
    "<img src=x onerror=a()>": "&lt;img src=x onerror=a()&gt;",
    "[x](javascript:a())": r"[x]\(javascript:a())",
    "_a_ kafka_test": r"\_a\_ kafka_test",
    r"\[x](y)": r"\\[x]\(y)",
    "![](http://a/b.png)": r"![]\(http:\//a/b.png)",
    "&lt;b&gt; & c": "&amp;lt;b&amp;gt; & c",
    "a\n# b\x1b": r"a\n# b\x1b",
}


@pytest.mark.parametrize("text", MARKED)
def test_nothing_in_a_text_is_markdown(text: str) -> None:
    assert markdown(text) == MARKED[text]


def test_an_alert_mentions_nobody_and_links_nothing() -> None:
    said = in_a_chat("a -> b <!channel> <http://evil|x> [x](y)\x1b\n&lt;!here&gt; & c")
    assert said == r"a -> b ‹!channel› ‹http://evil|x› [x] (y)\x1b\n& lt;!here& gt; & c"


def test_what_a_receiver_of_alerts_is_sent_is_text() -> None:
    at = datetime(2026, 5, 1)
    entry = RecordedIncident(
        1, IncidentKind.FAILED, "s", "t", at, HOSTILE + "<!channel>", f"stationsync sync s {TITLE}", "", at, None, None
    )
    sent = payload_of("fleet", entry)
    assert _controls("".join(sent.values())) == []
    assert not [word for word in ("<", "](") for text in sent.values() if word in text]
    # A line each: the value's own lines are none.
    assert [line.partition(":")[0] for line in sent["text"].splitlines()] == [
        "s/t", "What happened", "Next step", "Since",
    ]  # fmt: skip


def test_what_is_told_at_prefect_goes_through_one_place() -> None:
    """See `tasks.told`; a chart is a picture of ours."""
    words = re.compile(r"\b(get_run_logger|create_(table|markdown|progress|link)_artifact|update_progress_artifact)\b")
    found = {
        (file.relative_to(ROOT).as_posix(), match[0])
        for layer in ("tasks", "flows", "deployments")
        for file in (ROOT / layer).rglob("*.py")
        for match in words.finditer(file.read_text(encoding="utf-8"))
    }
    chart = ("tasks/fleet_report.py", "create_markdown_artifact")
    assert {one for one in found if one[0] != "tasks/told.py"} == {chart}


def test_what_the_commands_print_goes_through_one_place() -> None:
    """`say`, `print_table`, `print_json`: see `cli.common`."""
    found = []
    for file in sorted((ROOT / "cli").rglob("*.py")):
        name = file.relative_to(ROOT).as_posix()
        if name.startswith(("cli/demo/", "cli/local/")) or name in ("cli/common.py", "cli/reference.py"):
            continue  # data of ours, or documents
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in ("print", "typer.echo", "typer.secho", "typer.confirm", "typer.prompt", "traceback.print_exc"):
                found.append(f"{name}:{node.lineno}: {called}")
    assert found == []


def _controls(text: str) -> list[str]:
    """Characters of it that a terminal obeys, or that mislead."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    wrong = (c for c in text if unicodedata.category(c) in kinds and c not in "\n\u200c\u200d")
    return [f"U+{ord(c):04X}" for c in wrong]


class _Watched:
    """The command; all that it prints is looked at."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.seen = ""

    def __call__(self, *args: object) -> Done:
        done = self.command(*args)
        assert _controls(done.out + done.err) == [], args
        # No value begins a line of its own.
        assert not re.search(r"^/etc", done.out + done.err, re.MULTILINE), args
        self.seen += done.out + done.err
        return done


def test_a_hostile_station_controls_no_terminal(databases: Databases, tmp_path: Path) -> None:
    column = "c" + TITLE if databases.kind == "mariadb" else "c"
    for where in (1, "control"):
        databases.create_kafka_test(where, control=where == "control")  # type: ignore[arg-type]
        databases.execute(where, f"ALTER TABLE kafka_test ADD COLUMN `{column}` VARCHAR(200)")  # type: ignore[arg-type]
    databases.execute("control", "CREATE UNIQUE INDEX one_text ON kafka_test (text)")
    databases.put(1, [row(n) | {"text": f"{n}", column: HOSTILE} for n in (1, 2, 3, 4, 5)])
    command = Command(databases, tmp_path, tables={"kafka_test": {**KAFKA_TEST, "deletes": "archive"}})
    command.topology["journal"] = {"url": str(tmp_path / "journal")}
    run = _Watched(command)
    run("init")
    run("sync", "station-1")

    later = "2031-01-01 00:00:00"
    # Twice the same text, which control refuses with the value in its message.
    databases.execute(1, "UPDATE kafka_test SET text = %s, modify_date = %s WHERE id IN (1, 2)", [HOSTILE, later])
    # A conflict, a deleted row, and a key that is hostile itself.
    databases.execute("control", "UPDATE kafka_test SET text = 'control''s', modify_date = %s WHERE id = 3", [later])
    databases.execute(1, f"UPDATE kafka_test SET `{column}` = 'x', modify_date = %s WHERE id = 3", [later])
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 4")
    key = ["9", HOSTILE[:12] + "\x9b\u202e"]
    databases.put(1, [row(9) | {"code": key[1], "text": HOSTILE, "modify_date": later}])
    for words in (("pull", "station-1", "--dry-run"), ("sync", "station-1"), ("reconcile", "station-1"), ("check",)):
        run(*words)
    for json_ in ((), ("--json",)):
        for words in (
            ("status", "station-1"),
            ("incidents",),
            ("explain", "station-1", "kafka_test", json.dumps(["1", "A"])),
            ("explain", "station-1", "kafka_test", json.dumps(key)),
            ("journal", "list", "station-1"),
            ("journal", "show", "station-1"),
            *((kind, "list") for kind in ("quarantine", "conflicts", "trash")),
        ):
            run(*words, *json_)
    for kind in ("quarantine", "conflicts", "trash"):
        first, *_ = command.ids(kind, "list")
        run(kind, "show", first)
        run(kind, "show", first, "--json")
    run("quarantine", "retry", "--all")
    run("journal", "show", "station-1", "--csv")
    assert "owned" in run.seen, "nothing hostile was shown"


def test_a_question_and_an_error_are_printed_as_all_else(capsys: pytest.CaptureFixture[str]) -> None:
    common.print_error(RowRefused("s/t", f"refused: {HOSTILE}"))
    common.print_table(("a", HOSTILE), [(HOSTILE, 1)])
    common.print_json({HOSTILE: [HOSTILE]})
    said = capsys.readouterr()
    assert _controls(said.out + said.err) == []
    assert len(said.err.splitlines()) == 2
