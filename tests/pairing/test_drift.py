"""Schema drift: what runs on is reported once, what does not fit pauses its own station and table and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from support.command import Command
from support.databases import Databases, MariaDBDatabases, Where
from support.fleet import KAFKA_TEST, Fleet
from support.sample import row

from stationsync.errors import DatabaseBusy, LeaseLost, NotInitialised, SchemaRefused
from stationsync.model.changes import Counts, Report, Status
from stationsync.model.schema import Column, TableShape
from stationsync.model.wire import Family
from stationsync.pairing.drift import Description, describe, difference, told
from stationsync.store import known_shapes
from stationsync.sync import runs

LATER = "2030-01-01 00:00:00"
PAUSED = "Nothing was synchronised for this table; the others go on."


def made(databases: Databases, stations: int = 1, **options: object) -> Fleet:
    """A fleet whose stations have a row each, synchronised."""
    databases.create_kafka_test("control", control=True)
    for n in range(1, stations + 1):
        databases.create_kafka_test(n)
        databases.put(n, [row(n)])
    fleet = Fleet(databases, stations, **options)
    fleet.init()
    for n in range(1, stations + 1):
        assert all(report.warnings == () for report in fleet.sync(n))
    return fleet


def alter(databases: Databases, where: Where, change: str) -> None:
    databases.execute(where, f"ALTER TABLE kafka_test {change}")


def remembered(databases: Databases, station: int = 1) -> list[tuple[object, ...]]:
    query = "SELECT side, fingerprint, description, since, `before` FROM stationsync_schema"
    return databases.query("control", f"{query} WHERE station = 'station-{station}' AND side <> 'base' ORDER BY side")


def require_quiet(fleet: Fleet, station: int = 1) -> None:
    for report in fleet.sync(station):
        assert (report.status, report.warnings) == (Status.NOTHING, ())


def told_once(fleet: Fleet, station: int = 1) -> str:
    """The one warning of the next run; after it there is nothing to tell."""
    up, down = fleet.sync(station)
    assert down.warnings == ()
    (warning,) = up.warnings
    require_quiet(fleet, station)
    return warning


def refused(fleet: Fleet, station: int = 1) -> SchemaRefused:
    with pytest.raises(SchemaRefused) as caught:
        fleet.pull(station)
    with pytest.raises(SchemaRefused):
        fleet.push(station)
    assert caught.value.not_done == PAUSED
    assert isinstance(caught.value.report, Report)
    return caught.value


def test_a_run_with_nothing_to_do_pays_one_look_and_writes_nothing(databases: Databases) -> None:
    fleet = made(databases)
    before = remembered(databases)
    assert [(side, earlier) for side, *_, earlier in before] == [("control", None), ("station", None)]
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if "stationsync_schema" in statement:
            statements.append(statement.split()[0])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        require_quiet(fleet)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert statements == ["SELECT", "SELECT"], "one for the pull, one for the push"
    assert remembered(databases) == before


def test_a_column_added_at_a_station_is_told_once_and_the_run_goes_on(databases: Databases) -> None:
    fleet = made(databases)
    _, (_, old, lines, *_) = remembered(databases)
    alter(databases, 1, "ADD COLUMN note varchar(20)")
    databases.put(1, [row(7, at=LATER)])

    up, _ = fleet.sync()
    assert up.counts.applied == 1
    (warning,) = up.warnings
    assert warning.startswith("the station's table changed: + column note varchar(20) NULL")
    assert warning.endswith("(not synchronised: control does not have it)")
    _, (_, new, _, _, before) = remembered(databases)
    assert (new != old, before) == (True, lines)
    require_quiet(fleet)
    fleet.require_equal()


def test_a_column_added_at_control_is_told_once_to_each_station(databases: Databases) -> None:
    fleet = made(databases, stations=2)
    alter(databases, "control", "ADD COLUMN note varchar(20)")
    for station in (1, 2):
        warning = told_once(fleet, station)
        assert warning.startswith("control's table changed: + column note varchar(20) NULL")
        assert warning.endswith("(not synchronised: the station does not have it)")


def test_a_column_added_at_both_sides_waits_for_init_and_is_named(databases: Databases) -> None:
    fleet = made(databases)
    for where in (1, "control"):
        alter(databases, where, "ADD COLUMN note varchar(20)")
    with pytest.raises(NotInitialised, match=r"no column note yet\. Changed .*\+ column note varchar\(20\) NULL") as e:
        fleet.pull()
    assert (e.value.not_done, e.value.next_step) == (PAUSED, "Run: stationsync init")

    databases.execute(1, f"UPDATE kafka_test SET note = 'up', modify_date = '{LATER}'")
    fleet.init()
    up, _ = fleet.sync()
    assert len(up.warnings) == 2
    assert all("+ column note" in w and w.endswith("(synchronised from now on)") for w in up.warnings)
    assert databases.query("control", "SELECT note FROM kafka_test") == [("up",)]
    require_quiet(fleet)


@pytest.mark.parametrize("where", [1, "control"])
def test_a_column_that_is_gone_at_one_side_pauses_the_table_until_somebody_decides(
    databases: Databases, where: Where
) -> None:
    """Going on, an empty column that comes back would be an edit of every row."""
    fleet = made(databases)
    alter(databases, where, "DROP COLUMN text")
    side = "the station" if where == 1 else "control"
    for _ in range(2):
        error = refused(fleet)
        assert f"column text was synchronised and is gone at {side}" in error.what
        assert "- column text varchar(100) NULL" in error.what
        assert "exclude: [text]" in error.next_step
    alter(databases, where, "ADD COLUMN text varchar(100)")
    databases.execute(where, "UPDATE kafka_test SET text = 'row 1'")
    fleet.sync()  # whoever put it back may have put something else there: it is compared as a new column is
    assert databases.count("control", "stationsync_conflict") == 0
    require_quiet(fleet)

    alter(databases, where, "DROP COLUMN text")
    refused(fleet)
    fleet.options(exclude=["master_id", "text"])
    assert "- column text varchar(100) NULL" in told_once(fleet)


def test_a_renamed_column_pauses_the_table_until_the_topology_says_so(databases: Databases) -> None:
    fleet = made(databases)
    alter(
        databases, 1, "RENAME COLUMN text TO words" if databases.kind == "sqlite" else "CHANGE text words varchar(100)"
    )
    error = refused(fleet)
    assert "- column text varchar(100) NULL" in error.what
    assert "+ column words varchar(100) NULL" in error.what

    fleet.options(rename={"words": "text"})
    databases.execute(1, f"UPDATE kafka_test SET words = 'new', modify_date = '{LATER}'")
    fleet.pull()
    assert databases.query("control", "SELECT text FROM kafka_test") == [("new",)]
    require_quiet(fleet)


@pytest.mark.parametrize("size", [50, 200])
def test_a_text_made_shorter_or_longer_goes_on(mariadb_databases: MariaDBDatabases, size: int) -> None:
    fleet = made(mariadb_databases)
    alter(mariadb_databases, 1, f"MODIFY text varchar({size})")
    assert told_once(fleet) == f"the station's table changed: ~ column text varchar(100) -> varchar({size})"


def test_another_kind_of_type_pauses_the_table_until_it_is_mended(mariadb_databases: MariaDBDatabases) -> None:
    fleet = made(mariadb_databases)
    good = remembered(mariadb_databases)
    mariadb_databases.execute(1, "UPDATE kafka_test SET text = '5'")
    alter(mariadb_databases, 1, "MODIFY text int")
    for _ in range(2):
        error = refused(fleet)
        assert "~ column text varchar(100) NULL utf8mb4_general_ci -> int(11) NULL" in error.what
        assert remembered(mariadb_databases) == good

    alter(mariadb_databases, 1, "MODIFY text varchar(100)")
    require_quiet(fleet)
    assert remembered(mariadb_databases) == good


@pytest.mark.parametrize("where", [1, "control"])
def test_a_key_that_is_unique_no_more_pauses_the_table(mariadb_databases: MariaDBDatabases, where: Where) -> None:
    databases = mariadb_databases
    fleet = made(databases)
    if where == 1:  # its key is unique by `id` alone as well
        alter(databases, 1, "MODIFY id bigint NOT NULL, DROP PRIMARY KEY")
        assert "- unique (id)" in told_once(fleet)
    alter(databases, where, "DROP INDEX id")
    error = refused(fleet)
    assert "- unique (id, code)" in error.what
    assert f"Changed at {'the station' if where == 1 else 'control'} since the last good run:" in error.what

    alter(databases, where, "ADD UNIQUE (id, code)")
    require_quiet(fleet)


def test_a_dropped_table_pauses_itself_and_tells_what_it_was(databases: Databases) -> None:
    fleet = made(databases)
    databases.execute(1, "DROP TABLE kafka_test")
    error = refused(fleet)
    assert "there is no table kafka_test. Changed at the station since the last good run:" in error.what
    assert "- column text varchar(100) NULL" in error.what

    databases.create_kafka_test(1)
    databases.put(1, [row(1), row(2, at=LATER)])
    fleet.sync()
    fleet.require_equal()
    require_quiet(fleet)


def test_control_s_dropped_table_tells_what_it_was(databases: Databases) -> None:
    fleet = made(databases)
    databases.execute("control", "DROP TABLE kafka_test")
    assert "Changed at control since the last good run: - column code" in refused(fleet).what


def test_an_added_index_is_remembered_and_not_told_by_a_run(databases: Databases) -> None:
    fleet = made(databases)
    databases.execute(1, "CREATE INDEX by_text ON kafka_test (text)")
    assert fleet.pull().warnings == ()
    _, (_, _, lines, _, before) = remembered(databases)
    assert "index (text)" in str(lines)
    assert "index (text)" not in str(before)


def test_a_change_is_told_until_a_run_came_to_its_end(databases: Databases) -> None:
    fleet = made(databases)
    alter(databases, 1, "ADD COLUMN note varchar(20)")
    databases.put(1, [row(7, at=LATER)])

    def full(*_: object) -> Counts:
        raise DatabaseBusy("control", "the disk is full")

    with pytest.raises(DatabaseBusy) as caught:
        fleet.pull(merge=full)
    assert caught.value.report
    assert "+ column note" in caught.value.report.warnings[0]
    assert "+ column note" in fleet.pull().warnings[0]
    assert fleet.pull().warnings == ()


def test_rows_that_are_only_read_again_are_no_run_that_remembers(databases: Databases) -> None:
    fleet = made(databases)
    alter(databases, 1, "ADD COLUMN note varchar(20)")
    before = remembered(databases)
    runs.pull_keys(fleet.pairs()[0], runs.plain_steps(), (("1", "A"),))
    assert remembered(databases) == before
    assert "+ column note" in told_once(fleet)


def test_status_has_the_fingerprints(databases: Databases, tmp_path: Path) -> None:
    databases.create_kafka_test("control", control=True)
    databases.create_kafka_test(1)
    command = Command(databases, tmp_path)
    command.well("init")
    assert command.well("status", "--json").json["tables"][0]["schema"] is None
    command.well("sync", "station-1")
    control, station = ((side, fingerprint) for side, fingerprint, *_ in remembered(databases))
    schema = command.well("status", "--json").json["tables"][0]["schema"]
    assert [*schema.items()][1:] == [control, station]
    assert schema["since"]


def test_books_without_a_place_for_it_ask_for_init(databases: Databases) -> None:
    fleet = made(databases)
    databases.execute("control", "DROP TABLE stationsync_schema")
    with pytest.raises(NotInitialised, match="stationsync_schema is not there"):
        fleet.pull()
    fleet.init()
    require_quiet(fleet)


def test_a_refusal_before_any_run_has_no_difference_to_tell(databases: Databases) -> None:
    databases.create_kafka_test("control", control=True)
    fleet = Fleet(databases)
    fleet.init()
    databases.execute(1, "CREATE TABLE other (id int)")
    assert "Changed" not in refused(fleet).what


def test_one_station_that_breaks_leaves_the_fleet_alone(databases: Databases) -> None:
    fleet = made(databases, stations=3)
    databases.execute(2, "ALTER TABLE kafka_test RENAME TO gone")
    for n in (1, 3):
        databases.put(n, [row(10 + n, at=LATER)])
        assert fleet.pull(n).counts.applied == 1
        require_quiet(fleet, n)
    refused(fleet, 2)

    databases.execute(2, "ALTER TABLE gone RENAME TO kafka_test")
    databases.put(2, [row(12, at=LATER)])
    assert fleet.pull(2).counts.applied == 1
    require_quiet(fleet, 2)


def test_one_table_that_breaks_leaves_the_station_s_others_alone(databases: Databases, tmp_path: Path) -> None:
    for table in ("first", "second"):
        databases.create_kafka_test("control", control=True, table=table)
        databases.create_kafka_test(1, table=table)
    command = Command(databases, tmp_path, tables={"first": KAFKA_TEST, "second": KAFKA_TEST})
    command.well("init")
    command.well("sync", "station-1")
    databases.execute(1, "ALTER TABLE first RENAME TO gone")
    databases.put(1, [row(1, at=LATER)], table="second")

    done = command("sync", "station-1", "--json")
    assert (done.code, databases.count("control", "second")) == (1, 1)
    first, _, second, _ = done.json["reports"]
    assert (first["status"], first["error"]["not_done"]) == ("failed", PAUSED)
    assert "- column text varchar(100) NULL" in first["message"]
    assert (second["table"], second["status"]) == ("second", "done")


# The description itself

NAMES = st.text(st.sampled_from("ab` \n\\,("), min_size=1, max_size=4)
TYPES = st.sampled_from(["int", "varchar(9)", "enum('a NULL','b')", "bigint unsigned", ""])
TEXTS = st.sampled_from([(None, None), ("utf8mb4", "utf8mb4_bin"), ("utf8mb4", "uca1400_ai_ci"), ("latin1", "binary")])
FLAGS = ("nullable", "generated", "auto_increment", "on_update", "required")


@st.composite
def columns(draw: st.DrawFn, name: str | None = None) -> Column:
    charset, collation = draw(TEXTS)
    flags = {flag: draw(st.booleans()) for flag in FLAGS}
    name = draw(NAMES) if name is None else name
    return Column(name, draw(TYPES), Family.OTHER, charset=charset, collation=collation, **flags)


LISTS = st.lists(columns(), min_size=1, max_size=5, unique_by=lambda c: c.name)
FACTS = ("name", "type", "charset", "collation", *FLAGS)


@given(LISTS, st.randoms(), st.integers())
def test_order_and_statistics_are_no_part_of_a_fingerprint(found: list[Column], random: object, size: int) -> None:
    shape = TableShape("t", tuple(found), (("a",), ("b", "a")), (("a",), ("b",)))
    shuffled = [*found]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = TableShape("u", tuple(shuffled), shape.unique[::-1], shape.indexes[::-1], row_bytes=size)
    assert describe(other) == describe(shape)
    assert describe(other).fingerprint == describe(shape).fingerprint
    assert Description.parse(describe(shape).text) == describe(shape)


@given(LISTS, st.data())
def test_any_fact_of_a_column_makes_another_fingerprint(found: list[Column], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(found) - 1))
    changed = [*found]
    changed[place] = data.draw(columns() | columns(name=found[place].name))
    before, now = (describe(TableShape("t", tuple(c))) for c in (found, changed))
    same = all(getattr(found[place], fact) == getattr(changed[place], fact) for fact in FACTS)
    assert (before.fingerprint == now.fingerprint) == same
    assert (difference(before, now) == ()) == same


TEXT = Column("text", "varchar(100)", Family.TEXT, charset="utf8mb4", collation="utf8mb4_bin")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"type": "varchar(50)"}, "varchar(100) -> varchar(50)"),
        ({"nullable": False}, "NULL -> NOT NULL"),
        ({"collation": "utf8mb4_general_ci"}, "utf8mb4_bin -> utf8mb4_general_ci"),
        ({"type": "char(9)", "nullable": False}, "varchar(100) NULL -> char(9) NOT NULL"),
        ({"type": "enum('a NULL b')", "charset": None, "collation": None},
         "varchar(100) NULL utf8mb4_bin -> enum('a NULL b') NULL"),
    ],
)  # fmt: skip
def test_a_changed_column_tells_what_changed_of_it(change: dict[str, object], line: str) -> None:
    before, now = (describe(TableShape("t", (c,))) for c in (TEXT, replace(TEXT, **change)))  # type: ignore[arg-type]
    assert difference(before, now) == (f"~ column text {line}",)


def test_a_name_in_another_case_is_no_other_column() -> None:
    before = describe(TableShape("t", (TEXT,)))
    now = describe(TableShape("t", (replace(TEXT, name="Text", nullable=False),)))
    (line,) = difference(before, now)
    assert line.startswith("~ column text spelled Text, ")
    assert "NULL" in line


def test_keys_indexes_and_triggers_are_told_after_the_columns() -> None:
    before = TableShape("t", (TEXT,), (("a",),), (("a",),))
    now = TableShape("t", (replace(TEXT, name="my text"),), (), (("a",),), ("t1",))
    assert difference(describe(before), describe(now)) == (
        "- column text varchar(100) NULL utf8mb4_bin",
        "+ column `my text` varchar(100) NULL utf8mb4_bin",
        "- unique (a)",
        "+ index (a)",
        "+ trigger t1",
    )


def test_a_long_difference_is_cut_short() -> None:
    assert told([str(n) for n in range(100)]).endswith("; 11; and 88 more")


def test_a_connection_that_is_lost_while_the_books_are_read_is_a_lost_connection(
    mariadb_databases: MariaDBDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more is asked of it. Found by the drill."""
    fleet = made(mariadb_databases)
    real = known_shapes._rows

    def after_its_end(conn: sa.Connection, *where: sa.ColumnElement[bool]) -> object:
        number = conn.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
        mariadb_databases.server("control").execute(f"KILL {number}")
        return real(conn, *where)

    with monkeypatch.context() as patch:
        patch.setattr(known_shapes, "_rows", after_its_end)
        with pytest.raises(LeaseLost):
            fleet.pull()
    require_quiet(fleet)
