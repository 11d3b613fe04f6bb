"""Why a row is in quarantine, as a code beside its words; and entries of an older version, which had words alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.command import Command
from support.databases import Databases
from support.sample import row

from stationsync.model import reasons
from stationsync.model.reasons import Code
from stationsync.setup.reason_codes import of_words

CODES = {
    ("up", "2", "station-1"): "refused",
    ("up", "5", "station-1"): "waits_for_value",
    ("down", "1", "station-1"): "gone",
    ("up", "3", "station-2"): "foreign",
}


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Two stations: a row of the first that control refuses, one whose value of a unique index another row has, an edit
    whose row is gone there; and a row of the second under a key of the first."""
    databases.create_kafka_test("control", control=True)
    for number in (1, 2):
        databases.create_kafka_test(number)
    command = Command(databases, tmp_path, stations=2)
    databases.put(1, [row(n, at=f"2024-01-0{n} 00:00:00") for n in range(1, 5)])
    command.well("init")
    command.well("sync", "station-1")
    databases.execute("control", "CREATE UNIQUE INDEX one_of_a_day ON kafka_test (create_date)")
    databases.execute(1, f"UPDATE kafka_test SET text = NULL, modify_date = '{now()}' WHERE id = 2")
    _not_null(databases)
    databases.put(1, [row(5, at="2024-01-04 00:00:00")])
    databases.execute(1, f"UPDATE kafka_test SET modify_date = '{now()}' WHERE id = 5")
    databases.execute(1, "DELETE FROM kafka_test WHERE id = 1")
    databases.execute("control", f"UPDATE kafka_test SET text = 'an edit', modify_date = '{now()}' WHERE id = 1")
    databases.put(2, [row(3, text="another's")])
    for station in ("station-1", "station-2"):
        command("sync", station)
    return command


def now() -> str:
    return str(datetime.now(UTC).replace(tzinfo=None, microsecond=0))


def _not_null(databases: Databases) -> None:
    if databases.kind == "mariadb":
        databases.execute("control", "ALTER TABLE kafka_test ADD CONSTRAINT text_is_there CHECK (text IS NOT NULL)")
        return
    for when in ("INSERT", "UPDATE"):
        refuse = "BEGIN SELECT RAISE(ABORT, 'CONSTRAINT text_is_there'); END"
        databases.execute(
            "control", f"CREATE TRIGGER text_{when} BEFORE {when} ON kafka_test WHEN NEW.text IS NULL {refuse}"
        )


def codes(command: Command) -> dict[tuple[str, str, str], str | None]:
    entries = command.well("quarantine", "list", "--json").json["entries"]
    return {(one["direction"], one["key"][0], one["station"]): one["code"] for one in entries}


def test_a_table_of_an_older_version_gets_its_codes_from_init(command: Command) -> None:
    databases = command.databases
    assert codes(command) == CODES
    for column in ("code", "owner"):
        databases.execute("control", f"ALTER TABLE stationsync_quarantine DROP COLUMN {column}")
    before = databases.query("control", "SELECT id, reasons, state, times FROM stationsync_quarantine ORDER BY id")

    asked = (
        ("sync", "station-1"),
        ("quarantine", "list"),
        ("status",),
        ("explain", "station-1", "kafka_test", "2", "A"),
    )
    for words in (*asked, ("rename", "station-1", "harbour", "--dry-run")):
        refused = command(*words)
        assert (refused.code, "stationsync init" in refused.out + refused.err) == (1, True), (words, refused)
    added = ["stationsync_quarantine.code", "stationsync_quarantine.owner"]
    assert command.well("init", "--dry-run", "--json").json["columns"] == added
    assert command.well("init", "--json").json["columns"] == added

    assert codes(command) == CODES
    found = databases.query("control", "SELECT id, reasons, state, times FROM stationsync_quarantine ORDER BY id")
    assert found == before
    for station in ("station-1", "station-2"):
        reports = command.well("sync", station, "--json").json["reports"]
        assert {report["status"] for report in reports} == {"nothing to do"}, reports
    # What waits still goes in by itself.
    databases.execute(
        1, f"UPDATE kafka_test SET create_date = '2024-02-01 00:00:00', modify_date = '{now()}' WHERE id = 4"
    )
    command.well("sync", "station-1")
    assert codes(command) == {key: code for key, code in CODES.items() if code != "waits_for_value"}
    assert "5" in {str(number) for number, *_ in databases.rows("control")}


def test_an_init_that_was_cut_off_behind_the_column_is_made_good_by_the_next(command: Command) -> None:
    """Or a worker of an older version wrote entries after it."""
    databases = command.databases
    databases.execute("control", "UPDATE stationsync_quarantine SET code = NULL, owner = NULL")
    assert set(codes(command).values()) == {None}
    refused = command("sync", "station-1")
    assert (refused.code, "stationsync init" in refused.out + refused.err) == (1, True), refused
    command.well("init")
    assert codes(command) == CODES


def test_the_owner_of_a_key_goes_by_its_new_name(command: Command) -> None:
    owner = "SELECT owner FROM stationsync_quarantine WHERE code = 'foreign'"
    assert command.databases.query("control", owner) == [("station-1",)]
    command.well("rename", "station-1", "harbour", "--yes")
    assert command.databases.query("control", owner) == [("harbour",)]


REFUSES = (Code.REFUSED, Code.WAITS_FOR_ROW, Code.WAITS_FOR_VALUE)


@pytest.mark.parametrize(
    "reason",
    [
        *(reasons.refused(side, code, "why") for side in (reasons.CONTROL, reasons.STATION) for code in REFUSES),
        reasons.refused(reasons.STATION, Code.NOT_BACK, "why"),
        reasons.foreign("station-1"),
        reasons.LOCKED,
        reasons.GONE,
    ],
    ids=str,
)
def test_the_words_of_before_stand_for_these_codes(reason: reasons.Reason) -> None:
    assert of_words(reason.words[0]) == (reason.code, reason.owner)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("control may not edit these columns: id, code", Code.NOT_EDITABLE),
        ("the databases of both sides change text whenever the row is written (triggers), so", Code.DISPUTED),
        ("rows of part (in another) refer to it and would go, or be changed, with it: it stays", Code.DELETE_REFUSED),
        ("the station deleted the row, control refuses to: why", Code.DELETE_REFUSED),
        ("control deleted the row, the station refuses to: why", Code.DELETE_REFUSED),
        ("the station deleted the row, an application at control keeps it locked: the next", Code.DELETE_LOCKED),
        ("control deleted the row, an application at the station keeps it locked: the next", Code.DELETE_LOCKED),
        ("column text: its text is not UTF-8: 0xff; mend it at the station", Code.UNREADABLE),
        ("column text: its big5 text would not come back from utf8mb4 as it is: 0xff", Code.UNREADABLE),
        ("column id: the value is stored as text, but the column is declared int", Code.UNREADABLE),
        ("text: 'no' must not be NULL (expect_column_values_to_not_be_null)", Code.INVALID),
        ("", Code.INVALID),
    ],
)
def test_the_words_of_before_stand_for_these_codes_too(words: str, code: Code) -> None:
    assert of_words(words) == (code, None)
