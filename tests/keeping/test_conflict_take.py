"""`conflicts take`: what lost, or values of one's own, become the row's new version, and travel; nothing is replaced
unseen, and what cannot be taken is left and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command import Command, snapshot
from support.databases import Databases
from support.inject import ago, before_send
from support.sample import row

from stationsync.recovery import take

TEXT = "control's 😀 word"


@pytest.fixture
def command(databases: Databases, tmp_path: Path) -> Command:
    """Four rows; both sides changed 1 and 2, then synchronised: control won row 1 (conflict 1), the station row 2."""
    databases.create_kafka_test(1)
    databases.create_kafka_test("control", control=True)
    databases.put(1, [row(number) for number in (1, 2, 3, 4)])
    command = Command(databases, tmp_path, deletes="archive")
    command.well("init")
    command.well("sync", "station-1")
    clash(command, 1, winner="control")
    clash(command, 2, winner="station")
    command.well("sync", "station-1")
    return command


def clash(command: Command, number: int, winner: str) -> None:
    edit(command, 1, number, "station's 값", 10 if winner == "station" else 30)
    edit(command, "control", number, TEXT, 10 if winner == "control" else 30)


def edit(command: Command, where: Any, number: int, text: str, seconds: float = 0) -> None:
    sql = "UPDATE kafka_test SET text = %s, modify_date = %s WHERE id = %s"
    command.databases.execute(where, sql, [text, ago(seconds), number])


def text(command: Command, where: Any, number: int) -> Any:
    (found,) = command.databases.query(where, "SELECT text FROM kafka_test WHERE id = %s", [number])
    return found[0]


def conflicts(command: Command, number: int | None = None) -> dict[int, str]:
    """Id -> state, of one row or of all."""
    found = command.well("conflicts", "list", "--json").json["conflicts"]
    return {one["id"]: one["state"] for one in found if number in (None, int(one["key"][0]))}


def of_row(command: Command, number: int) -> int:
    """The conflict of this row."""
    (found,) = conflicts(command, number)
    return found


def settled(command: Command) -> None:
    """Both sides are equal, and there is nothing more to do."""
    command.well("sync", "station-1")
    databases = command.databases
    assert databases.rows(1) == databases.rows("control")
    assert command.well("sync", "station-1").out.count("nothing to do") == 2


@pytest.mark.parametrize(("number", "lost"), [(1, "station's 값"), (2, TEXT)])
def test_what_lost_becomes_the_row_s_new_version_at_both_sides(command: Command, number: int, lost: str) -> None:
    one, other = of_row(command, number), of_row(command, 3 - number)
    stood, begun = text(command, "control", number), ago(0)
    before = snapshot(command.databases, "control", 1)
    plan = command.well("conflicts", "take", one, "--dry-run").out
    assert f"conflict {one}: text {stood} → {lost}" in plan
    assert plan.endswith("Nothing was changed.\n")
    assert snapshot(command.databases, "control", 1) == before

    done = command.well("conflicts", "take", one, "--yes").out
    assert f"station-1/kafka_test: 1 taken (conflicts {one}); run " in done
    assert "now: stationsync push station-1 --table kafka_test" in done
    assert (text(command, "control", number), text(command, 1, number)) == (lost, stood)
    assert conflicts(command) == {one: "taken", other: "open"}
    settled(command)
    assert text(command, 1, number) == lost
    # It is stamped as an edit of now.
    sql = "SELECT modify_date FROM kafka_test WHERE id = %s"
    assert str(command.databases.query(1, sql, [number])[0][0]) >= begun
    # Nothing was replaced unseen, so there is no new conflict.
    assert conflicts(command) == {one: "taken", other: "open"}
    assert [one["conflicts"] for one in command.well("status", "--json").json["tables"]] == [1]


def test_a_take_can_be_taken_back(command: Command) -> None:
    one = of_row(command, 1)
    (report,) = command.well("conflicts", "take", one, "--yes", "--json").json["reports"]
    # Before it went down, and after.
    for sync in (False, True):
        if sync:
            command.well("sync", "station-1")
            assert text(command, 1, 1) == "station's 값"
        (back,) = command.well("revert", report["run"], "--yes", "--json").json["reports"]
        assert (back["applied"], back["left"]) == (1, [])
        settled(command)
        assert text(command, 1, 1) == TEXT
        (again,) = command.well("revert", back["run"], "--yes", "--json").json["reports"]
        assert again["applied"] == 1
        settled(command)
        assert text(command, 1, 1) == "station's 값"
        break_ = "conflicts", "list", "--open", "--json"
        assert command.well(*break_).json["total"] == 1


def test_values_of_one_s_own(command: Command) -> None:
    one, other = of_row(command, 1), of_row(command, 2)
    said = 'text= = \'x; DROP "y" \\ 😀'
    command.well("conflicts", "take", one, "--set", f"TEXT={said}", "--yes")
    settled(command)
    assert text(command, 1, 1) == said
    command.well("conflicts", "take", other, "--null", "text", "--yes")
    settled(command)
    assert text(command, 1, 2) is None
    assert set(conflicts(command).values()) == {"taken"}


def test_many_at_once(command: Command) -> None:
    clash(command, 3, winner="control")
    clash(command, 4, winner="control")
    command.well("sync", "station-1")
    assert len(conflicts(command)) == 4
    lost = ("--station", "station-1", "--where-loser", "station")
    answered = command.well("conflicts", "take", *lost, "--yes", "--json")
    assert len(answered.json["taken"]) == 3
    settled(command)
    assert [text(command, 1, number) for number in (1, 2, 3, 4)] == ["station's 값"] * 4
    assert command.well("conflicts", "take", "--since", "1h", "--table", "kafka_test", "--yes").code == 0
    settled(command)
    assert text(command, 1, 2) == TEXT
    assert "Nothing was changed." in command.well("conflicts", "take", "--station", "station-1", "--yes").out


# --- what came meanwhile


def test_a_station_edit_before_the_push_is_a_conflict_by_the_ordinary_rule(command: Command) -> None:
    one = of_row(command, 1)
    command.well("conflicts", "take", one, "--yes")
    edit(command, 1, 1, "a newer word", -60)
    command.well("push", "station-1")  # a push decides nothing, and replaces nothing that it does not know
    settled(command)
    (newest, *_) = conflicts(command, 1)
    shown = command.well("conflicts", "show", newest, "--json").json["conflict"]
    assert (newest > one, shown["loser"], shown["control_row"]["text"]) == (True, "control", "station's 값")
    assert text(command, "control", 1) == "a newer word"


def test_an_older_station_edit_before_the_push_is_kept_when_the_take_wins(command: Command) -> None:
    one = of_row(command, 1)
    command.well("conflicts", "take", one, "--yes")
    edit(command, 1, 1, "an older word", 20)
    settled(command)
    (newest, *_) = conflicts(command, 1)
    shown = command.well("conflicts", "show", newest, "--json").json["conflict"]
    assert (shown["loser"], shown["station_row"]["text"]) == ("station", "an older word")
    assert text(command, 1, 1) == "station's 값"


def test_a_station_edit_in_the_midst_of_the_push(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    one = of_row(command, 1)
    command.well("conflicts", "take", one, "--yes")
    before_send(monkeypatch, lambda: edit(command, 1, 1, "in the midst", 30))
    command.well("push", "station-1")
    monkeypatch.undo()
    settled(command)
    (newest, *_) = conflicts(command, 1)
    shown = command.well("conflicts", "show", newest, "--json").json["conflict"]
    assert (shown["loser"], shown["station_row"]["text"]) == ("station", "in the midst")
    assert text(command, 1, 1) == "station's 값"


def test_of_a_mixture_only_what_lost_is_taken(command: Command) -> None:
    command.topology["tables"]["kafka_test"]["conflicts"] = "merge"
    at = "UPDATE kafka_test SET text = %s, create_date = %s, modify_date = %s WHERE id = 3"
    command.databases.execute(1, at, ["theirs", "2020-01-01 00:00:00", ago(10)])
    edit(command, "control", 3, "ours", 5)
    command.well("sync", "station-1")
    assert text(command, 1, 3) == "ours"
    command.well("conflicts", "take", of_row(command, 3), "--yes")
    settled(command)
    found = command.databases.query(1, "SELECT text, create_date FROM kafka_test WHERE id = 3")
    assert [tuple(map(str, row)) for row in found] == [("theirs", "2020-01-01 00:00:00")]


@pytest.mark.parametrize("where", [1, "control"])
def test_a_row_that_is_another_by_now_is_left_and_shown(command: Command, where: Any) -> None:
    one = of_row(command, 1)
    edit(command, where, 1, "written since", -1)
    if where == 1:
        command.well("sync", "station-1")
    before = snapshot(command.databases, "control", 1)
    refused = command("conflicts", "take", one, "--yes", "--json")
    (left,) = refused.json["plan"][0]["left"]
    assert (refused.code, refused.json["taken"], left["now"]["text"]) == (1, [], "written since")
    assert f"text {TEXT} → written since" in left["why"]
    assert snapshot(command.databases, "control", 1) == before
    told = command("conflicts", "take", one, of_row(command, 2), "--yes")
    assert told.code == 1
    assert f"conflict {one} is left: control's row is another by now" in told.out
    assert (text(command, "control", 2), conflicts(command)[one]) == (TEXT, "open")


def test_control_s_application_writes_at_the_very_moment(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = of_row(command, 1), of_row(command, 2)
    around = take.locked.around

    def behind_it(*args: Any, **kwargs: Any) -> Any:
        edit(command, "control", 1, "at the very moment")
        command.well("conflicts", "done", other)
        return around(*args, **kwargs)

    monkeypatch.setattr(take.locked, "around", behind_it)
    done = command("conflicts", "take", one, other, "--yes")
    monkeypatch.undo()
    assert done.code == 1
    assert "control's row was changed at this very moment" in done.out
    assert "somebody else has answered it at this very moment" in done.out
    assert (text(command, "control", 1), conflicts(command)) == ("at the very moment", {one: "open", other: "done"})
    settled(command)
    assert text(command, 1, 1) == "at the very moment"


def test_of_rows_that_cannot_be_written_together_the_others_are_taken(command: Command) -> None:
    edit(command, 1, 4, "lost", 20)
    edit(command, "control", 4, "won", 10)
    command.well("sync", "station-1")
    one, four = of_row(command, 1), of_row(command, 4)
    command.databases.execute("control", "CREATE UNIQUE INDEX words ON kafka_test (text)")
    refused = command("conflicts", "take", one, four, "--yes")
    assert refused.code == 1
    assert f"conflict {one} is left: control refuses the row: " in refused.out
    settled(command)
    assert (text(command, 1, 1), text(command, 1, 4)) == (TEXT, "lost")
    assert (conflicts(command)[one], conflicts(command)[four]) == ("open", "taken")


def test_of_two_conflicts_of_one_row_one_is_taken(command: Command) -> None:
    first = of_row(command, 1)
    edit(command, 1, 1, "once more", 8)
    edit(command, "control", 1, TEXT + "!", 5)
    command.well("sync", "station-1")
    second, _ = conflicts(command, 1)
    refused = command("conflicts", "take", first, second, "--yes")
    assert refused.code == 1
    assert refused.out.count(f"conflicts {first}, {second} are about the same row") == 2
    assert "another by now" in command("conflicts", "take", first, "--yes").out
    command.well("conflicts", "take", second, "--yes")
    settled(command)
    assert text(command, 1, 1) == "once more"


def test_an_answer_is_given_once(command: Command) -> None:
    one, other = of_row(command, 1), of_row(command, 2)
    command.well("conflicts", "take", one, "--yes")
    command.well("conflicts", "done", other)
    refused = command("conflicts", "take", one, other, "--yes")
    assert refused.code == 1
    assert "it was answered already: taken" in refused.out
    assert "it was answered already: done" in refused.out
    settled(command)


@pytest.mark.parametrize("where", [1, "control"])
def test_a_row_that_was_deleted_since_is_not_born_again(command: Command, where: Any) -> None:
    one = of_row(command, 1)
    command.databases.execute(where, "DELETE FROM kafka_test WHERE id = 1")
    if where == 1:
        command.well("reconcile", "station-1")
        (item,) = command.ids("trash", "list")
    refused = command("conflicts", "take", one, "--yes")
    assert refused.code == 1
    assert "control has the row no more" in refused.out
    if where == 1:
        assert f"stationsync trash restore {item}" in refused.out
        command.well("trash", "restore", item)
        # It is at control alone now.
        assert "station-1 is not known to have the row" in command("conflicts", "take", one, "--yes").out


def test_what_lost_may_be_a_delete(command: Command) -> None:
    command.databases.execute(1, "DELETE FROM kafka_test WHERE id = 3")
    edit(command, "control", 3, "edited")
    command.well("reconcile", "station-1")
    one = of_row(command, 3)
    before = snapshot(command.databases, "control", 1)
    refused = command("conflicts", "take", one, "--yes")
    assert refused.code == 1
    assert "station-1 is not known to have the row" in refused.out
    assert snapshot(command.databases, "control", 1) == before


# --- what cannot be


def test_a_line_that_makes_no_sense_changes_nothing(command: Command) -> None:
    one = of_row(command, 1)
    before = snapshot(command.databases, "control", 1)
    for args, said in (
        ((), "name conflicts by number"),
        ((one, "--station", "station-1"), "name conflicts by number"),
        ((one, "--table", "kafka_test"), "name conflicts by number"),
        (("--station", "station-7"), "station-7"),
        ((4711,), "4711"),
        ((one, "--set", "text"), "--set text has no value"),
        ((one, "--set", "text=\udcff"), "is no UTF-8"),
        ((one, "--set", "text=a", "--null", "text"), "given twice"),
        ((one, "--set", "text=a", "--set", "TEXT=b"), "given twice"),
        ((one, "--set", "txet=a"), "did you mean text?"),
        ((one, "--set", "master_id=a"), "there is no synchronised column master_id"),
        ((one, "--set", "id=7"), "part of the key"),
        ((one, "--null", "code"), "part of the key"),
        ((one, "--set", "modify_date=2026-01-01"), "is stamped with the time of the answer"),
        ((one, "--set", "create_date=tomorrow"), "tomorrow is no value of column create_date"),
    ):
        refused = command("conflicts", "take", *args, "--yes")
        assert refused.code == 2, (args, refused)
        assert said in " ".join(refused.err.split()), (args, refused)
    assert snapshot(command.databases, "control", 1) == before
    assert command("conflicts", "take", one, answer="n\n").code == 1
    assert snapshot(command.databases, "control", 1) == before


def test_what_control_refuses_is_left(command: Command) -> None:
    one, other = of_row(command, 1), of_row(command, 2)
    refused = command("conflicts", "take", one, other, "--null", "create_date", "--yes")
    assert refused.code == 1
    assert refused.out.count("control refuses the row") == 2
    assert set(conflicts(command).values()) == {"open"}
    settled(command)


def test_a_rule_of_the_suite_is_kept(command: Command, tmp_path: Path) -> None:
    suite = tmp_path / "expectations" / "words.yaml"
    suite.parent.mkdir()
    suite.write_text(
        "name: words\nexpectations:\n  - type: expect_column_value_lengths_to_be_between\n"
        "    kwargs: {column: text, max_value: 20}\n"
    )
    command.topology["tables"]["kafka_test"]["expectations"] = "words"
    one, other = of_row(command, 1), of_row(command, 2)
    refused = command("conflicts", "take", one, other, "--set", f"text={'x' * 21}", "--yes")
    assert refused.code == 1
    assert refused.out.count("the new version breaks a rule: ") == 2
    assert set(conflicts(command).values()) == {"open"}
    command.well("conflicts", "take", one, "--set", f"text={'x' * 20}", "--yes")
    settled(command)
    assert text(command, 1, 1) == "x" * 20


def test_a_table_of_which_nothing_goes_down(command: Command) -> None:
    command.topology["tables"]["kafka_test"]["direction"] = "up"
    refused = command("conflicts", "take", of_row(command, 1), "--yes")
    assert refused.code == 1
    assert "nothing goes down from this table" in refused.err
    assert set(conflicts(command).values()) == {"open"}


def test_columns_that_control_may_not_edit(command: Command) -> None:
    command.topology["tables"]["kafka_test"]["editable"] = ["create_date"]
    refused = command("conflicts", "take", of_row(command, 1), "--yes")
    assert refused.code == 1
    assert "control may not edit these columns: text" in refused.out
    assert "control may not edit column text" in command("conflicts", "take", "--since", "1h", "--set", "text=a").err


def test_a_table_of_which_nothing_goes_up(command: Command) -> None:
    command.topology["tables"]["kafka_test"]["direction"] = "down"
    edit(command, 1, 3, "only at the station", 10)
    command.well("sync", "station-1")
    assert text(command, 1, 3) == "row 3"
    one = of_row(command, 3)
    assert f"stationsync conflicts take {one}" in command.well("conflicts", "show", one).out
    command.well("conflicts", "take", one, "--yes")
    settled(command)
    assert text(command, 1, 3) == "only at the station"


def test_a_row_that_left_the_filter(command: Command) -> None:
    command.topology["tables"]["kafka_test"]["where"] = "text <> 'hidden'"
    command.well("init")
    one = of_row(command, 1)
    edit(command, 1, 1, "hidden")
    command.well("sync", "station-1")
    refused = command("conflicts", "take", one, "--yes")
    assert refused.code == 1
    assert "the filter of rows (where) does not let it through any more" in refused.out
    # What is taken may leave it too: then the row is as it is at the station, and is left there.
    two = of_row(command, 2)
    command.well("conflicts", "take", two, "--set", "text=hidden", "--yes")
    command.well("sync", "station-1")
    assert text(command, 1, 2) == text(command, "control", 2) == "hidden"
    command.well("sync", "station-1")
    assert command.well("sync", "station-1").out.count("nothing to do") == 2


def test_a_column_that_is_gone(command: Command) -> None:
    command.topology["tables"]["kafka_test"]["exclude"] = ["master_id", "text"]
    command.well("sync", "station-1")
    one = of_row(command, 1)
    refused = command("conflicts", "take", one, "--yes")
    assert refused.code == 1
    assert "column text, in which it lost, is not synchronised any more" in refused.out
    command.well("conflicts", "take", one, "--set", "create_date=2020-02-02 02:02:02", "--yes")
    command.well("sync", "station-1")
    found = command.databases.query(1, "SELECT create_date FROM kafka_test WHERE id = 1")
    assert str(found[0][0]) == "2020-02-02 02:02:02"


def test_a_station_that_is_off_line_or_paused_gets_it_later(command: Command) -> None:
    good = command.topology["stations"]["station-1"]["url"]
    off = "sqlite:////nowhere/at-all.db" if command.databases.kind == "sqlite" else "mysql+pymysql://u@127.0.0.1:1/none"
    command.topology["stations"]["station-1"]["url"] = off
    command.well("conflicts", "take", of_row(command, 1), "--yes")
    command.topology["stations"]["station-1"]["url"] = good
    command.well("pause", "station-1")
    told = command.well("conflicts", "take", of_row(command, 2), "--yes").out
    assert "stationsync resume station-1" in told
    command.well("resume", "station-1")
    settled(command)
    assert (text(command, 1, 1), text(command, 1, 2)) == ("station's 값", TEXT)


def test_a_locked_row_is_left(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    if command.databases.kind == "sqlite":
        pytest.skip("a file is locked as a whole")
    monkeypatch.setenv("STATIONSYNC_LOCK_WAIT", "1")
    holder = command.databases.connect("control")
    holder.cursor().execute("SELECT * FROM kafka_test WHERE id = 1 FOR UPDATE")
    one, other = of_row(command, 1), of_row(command, 2)
    done = command("conflicts", "take", one, other, "--yes")
    assert done.code == 1
    assert "an application at control keeps the row locked" in done.out
    holder.rollback()
    assert conflicts(command) == {one: "open", other: "taken"}
    command.well("conflicts", "take", one, "--yes")
    settled(command)


def test_explain_tells_who_took_what(command: Command) -> None:
    one = of_row(command, 1)
    command.well("conflicts", "take", one, "--yes")
    said = command.well("explain", "station-1", "kafka_test", "1", "A").out
    assert f"a person took the station's version, which had lost in conflict {one}" in said
    settled(command)
    told = command.well("explain", "station-1", "kafka_test", "1", "A", "--json").json
    assert f"a person took the station's version, which had lost in conflict {one}" in told["standing"]
    assert told["set"]["text"]["by"] == "take"


def test_without_a_journal_what_it_replaces_stands_in_the_conflict(command: Command) -> None:
    command.topology["journal"] = "off"
    one = of_row(command, 1)
    command.well("conflicts", "take", one, "--yes")
    settled(command)
    kept = command.well("conflicts", "show", one, "--json").json["conflict"]["result_row"]
    assert (kept["text"], text(command, 1, 1)) == (TEXT, "station's 값")


@pytest.mark.parametrize("winner", ["control", "station"])
def test_a_control_that_was_lost_has_it_again(command: Command, winner: str) -> None:
    """Whether the answer had gone down or not; the journal tells of it."""
    clash(command, 3, winner)
    command.well("pull", "station-1")
    command.well("conflicts", "take", of_row(command, 3), "--yes")
    expected = text(command, "control", 3)
    command.databases.execute("control", "DELETE FROM kafka_test")
    command.well("reseed-control", "station-1", "--yes")
    settled(command)
    assert text(command, 1, 3) == expected == ("station's 값" if winner == "control" else TEXT)
