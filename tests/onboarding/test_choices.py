"""The rules that propose: what knows a row, what stamps it, in which zone; and the suite that is drafted."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from stationsync.database.dialect import Clock
from stationsync.model.changes import Chunk
from stationsync.model.schema import Column, TableShape, UniqueIndex
from stationsync.model.wire import Family
from stationsync.onboarding import key_choice, stamp_choice, suite_draft
from stationsync.sync.suites import load_suite
from stationsync.sync.validation import Validator, check_suite

ID = Column("id", "int(11)", Family.INTEGER, nullable=False, auto_increment=True)
CODE = Column("code", "char(2)", Family.TEXT, nullable=False, charset="utf8mb4")
MAIL = Column("mail", "varchar(50)", Family.TEXT, nullable=False, charset="utf8mb4")
GUID = Column("row_guid", "char(36)", Family.TEXT, nullable=False, charset="ascii")
MAYBE = Column("maybe", "int(11)", Family.INTEGER)


def shape(*columns: Column, unique: tuple[tuple[str, ...], ...] = (("id",),), primary: bool = True) -> TableShape:
    names = ["PRIMARY" if primary and n == 0 else f"u{n}" for n in range(len(unique))]
    whole = tuple(UniqueIndex(n, tuple((c, None) for c in u)) for n, u in zip(names, unique, strict=True))
    return TableShape("t", columns, unique, unique, unique_indexes=whole)


def rows(**values: list[str | None]) -> pa.Table:
    return pa.table({name: pa.array(given, pa.string()) for name, given in values.items()})


SAME = rows(id=["1", "2"], code=["S1", "S1"], mail=["a", "b"], row_guid=["x", "y"], maybe=[None, "1"])
TWO = rows(id=["1", "2"], code=["S1", "S2"], mail=["a", "b"], row_guid=["x", "y"], maybe=[None, "1"])
NONE = rows(id=[], code=[], mail=[], row_guid=[], maybe=[])


@pytest.mark.parametrize(
    ("unique", "seen", "wanted"),
    [
        ((("code", "mail"),), TWO, ("code", "mail")),
        ((("id",), ("id", "code")), NONE, ("id", "code")),
        ((("id",),), SAME, ("id", "code")),  # one value of the station
        ((("id",),), TWO, ("id",)),
        ((("id",),), NONE, ("id",)),
        ((("id",), ("mail",)), TWO, ("id",)),  # people change their address
        ((("id",), ("row_guid",)), TWO, ("row_guid",)),
        ((("maybe",), ("mail",)), TWO, ("mail",)),  # rows without a key are not carried
    ],
)
def test_the_key(unique: tuple[tuple[str, ...], ...], seen: pa.Table, wanted: tuple[str, ...]) -> None:
    table = shape(ID, CODE, MAIL, GUID, MAYBE, unique=unique, primary=unique[0] != ("maybe",))
    found = key_choice.choices(table, seen)
    assert found[0].columns == wanted
    assert bool(found[0].warning) == (wanted == ("id",))


def test_a_key_has_to_be_unique_at_control_too() -> None:
    table = shape(ID, CODE, unique=(("id",), ("id", "code")))
    control = shape(Column("master_id", "int", Family.INTEGER), ID, CODE, unique=(("master_id",), ("id", "code")))
    assert [one.columns for one in key_choice.choices(table, NONE, control)] == [("id", "code")]


CHANGED = (
    "updated_at modify_date ModifyDate lastUpdated last_modified UPD_DT mod_dttm chg_date row_updated_at mtime"
    " update_time dt_modified 수정일시"
)
OTHER = "created_at date code updater moderated_by model update_count birthday 등록일시 modifier change_reason"


@pytest.mark.parametrize("name", CHANGED.split())
def test_names_that_say_when_a_row_was_changed(name: str) -> None:
    assert stamp_choice.looks_modified(name)


@pytest.mark.parametrize("name", OTHER.split())
def test_names_that_say_something_else(name: str) -> None:
    assert not stamp_choice.looks_modified(name)


def test_what_the_server_stamps_goes_first() -> None:
    dated = [Column(name, "datetime", Family.DATETIME, on_update=own) for name, own in (("mod_dt", False), ("x", True))]
    assert [one.name for one in stamp_choice.stamps(shape(ID, *dated))] == ["x", "mod_dt"]
    both = Column("updated_at", "datetime", Family.DATETIME, on_update=True)
    assert stamp_choice.stamps(shape(ID, *dated, both))[0].name == "updated_at"


UTC = datetime(2026, 3, 1, 3, 0)
SEOUL = UTC + timedelta(hours=9)


@pytest.mark.parametrize(
    ("now", "newest", "wanted"),
    [
        (UTC, [UTC, UTC - timedelta(hours=3)], "server"),
        (UTC, [SEOUL, SEOUL - timedelta(minutes=1)], "+09:00"),
        (UTC, [SEOUL], "server"),  # one row may be a mistake
        (SEOUL, [UTC, UTC - timedelta(seconds=30)], "UTC"),
        (SEOUL, [UTC, UTC - timedelta(hours=2)], "server"),  # one row: it may be nine hours old
        (SEOUL, [UTC - timedelta(hours=1), UTC - timedelta(hours=2)], "server"),
        (SEOUL, [SEOUL, UTC, UTC], "server"),
        (UTC - timedelta(hours=5), [UTC, UTC - timedelta(seconds=9)], "UTC"),
        (UTC, [], "server"),
    ],
)
def test_the_zone(now: datetime, newest: list[datetime], wanted: str) -> None:
    clock = Clock(now, UTC, server=now)
    assert stamp_choice.zone(newest, clock, Family.DATETIME).zone == wanted
    assert stamp_choice.zone(newest, Clock(UTC, UTC, server=now), Family.TIMESTAMP).zone == "server"


COLUMNS = (
    ID,
    CODE,
    Column("no", "varchar(9)", Family.TEXT, charset="utf8mb4"),
    Column("이름: #1", "text", Family.TEXT, charset="utf8mb4"),
    Column("kind", "enum('a','it''s, \"b\"')", Family.ENUM, nullable=False, charset="utf8mb4"),
    Column("price", "decimal(9,2)", Family.DECIMAL, nullable=False),
    Column("weight", "double", Family.FLOAT),
    Column("state", "tinyint(4)", Family.INTEGER, nullable=False),
    Column("doc", "longtext", Family.TEXT, charset="utf8mb4"),
    Column("day", "date", Family.DATE),
    Column("at", "datetime(3)", Family.DATETIME, nullable=False),
    Column("blob", "blob", Family.BINARY, nullable=False),
)


def sample(number: int) -> pa.Table:
    texts: dict[str, list[str | None]] = {
        "id": [str(n + 1) for n in range(number)],
        "code": ["한" + "ab"[n % 2] for n in range(number)],
        "no": [None if n % 7 == 0 else f"n{n}" for n in range(number)],
        "이름: #1": [f"줄\n{n}" for n in range(number)],
        "kind": [("a", 'it\'s, "b"')[n % 2] for n in range(number)],
        "price": [f"{n - 5}.50" for n in range(number)],
        "weight": [f"{n}e-3" for n in range(number)],
        "state": [str(n % 3) for n in range(number)],
        "doc": [f'{{"n": {n}}}' for n in range(number)],
        "day": ["0000-00-00" if n == 3 else f"2024-02-{n % 28 + 1:02}" for n in range(number)],
        "at": [f"1998-01-01 00:00:0{n % 10}.000" for n in range(number)],
    }
    found = rows(**texts)
    return found.append_column("blob", pa.array([b"\xff"] * number, pa.binary()))


@pytest.mark.parametrize("number", [0, 1, 60])
def test_the_drafted_suite_takes_the_rows_that_it_saw(tmp_path: Path, number: int) -> None:
    text = suite_draft.draft("주문 no", "s/t\n- x", COLUMNS, sample(number), frozenset())
    (tmp_path / "주문 no.yaml").write_text(text, encoding="utf-8")
    suite = load_suite("주문 no", tmp_path)
    families = {column.name: column.family for column in COLUMNS}
    check_suite(suite, families)
    assert len(suite.rules) == suite_draft.number_of_rules(text)
    # Each rule stands below what it saw.
    lines = text.splitlines()
    assert all(lines[n - 1].startswith("  # ") for n, line in enumerate(lines) if line.startswith("  - type:"))
    checked = Validator("s/t", suite, families, True, lambda bad, read: False).validate(
        Chunk(sample(max(number, 1)), None, more=False)
    )
    assert checked.bad == ()
    assert checked.notes == ()
    kinds = {(rule.type.removeprefix("expect_column_"), rule.severity.value) for rule in suite.rules}
    assert ("values_to_not_be_null", "critical") in kinds
    if number == 60:
        assert kinds >= {
            ("value_lengths_to_be_between", "critical"),
            ("values_to_be_between", "warning"),
            ("values_to_be_in_set", "warning"),
            ("values_to_be_in_set", "critical"),
            ("values_to_be_json_parseable", "warning"),
            ("values_to_not_be_null", "warning"),
        }
        assert 'value_set: ["한a", "한b"]' in text
        assert "value_set: [0, 1, 2]" in text


def test_what_was_only_seen_holds_nothing_back(tmp_path: Path) -> None:
    """A later row that is otherwise is reported; only what the table itself says is critical."""
    (tmp_path / "t.yaml").write_text(suite_draft.draft("t", "s/t", COLUMNS, sample(60), frozenset()), encoding="utf-8")
    suite = load_suite("t", tmp_path)
    families = {column.name: column.family for column in COLUMNS}
    other = sample(1).set_column(1, "code", pa.array(["zz"])).set_column(7, "state", pa.array(["99"]))
    checked = Validator("s/t", suite, families, True, lambda bad, read: False).validate(Chunk(other, None, more=False))
    assert checked.bad == ()
    assert len(checked.notes) >= 2
