"""Wire rows: what the database printed, its typed view for validation, and keys as text."""

from __future__ import annotations

import calendar
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationsync.model.wire import Family, key_text, key_texts, parse_key_text, typed, zero_dates


def wire(*values: str | None) -> pa.Table:
    return pa.table({"c": pa.array(values, pa.string())})


def natively(family: Family, *values: str | None) -> tuple[pa.DataType, list[object]]:
    column = typed(wire(*values), {"c": family})["c"]
    return column.type, column.to_pylist()


@pytest.mark.parametrize(
    ("family", "printed", "kind", "values"),
    [
        (Family.INTEGER, ["123", None, "-5", "00012"], pa.int64(), [123, None, -5, 12]),
        (Family.INTEGER, ["9223372036854775807", None], pa.int64(), [2**63 - 1, None]),
        (Family.UNSIGNED, ["18446744073709551615"], pa.uint64(), [2**64 - 1]),
        (Family.YEAR, ["0000", "1901"], pa.int64(), [0, 1901]),
        (Family.FLOAT, ["1e10", "-0.5", None], pa.float64(), [1e10, -0.5, None]),
        (Family.DECIMAL, ["12.50", "-1.00", None], pa.decimal128(4, 2), [Decimal("12.50"), Decimal(-1), None]),
        (Family.DECIMAL, [".5", "+3."], pa.decimal128(2, 1), [Decimal("0.5"), Decimal(3)]),
        (Family.DATE, ["2024-02-29", None], pa.date32(), [date(2024, 2, 29), None]),
        (Family.DATETIME, ["2026-01-02 03:04:05"], pa.timestamp("us"), [datetime(2026, 1, 2, 3, 4, 5)]),
        (
            Family.TIMESTAMP,
            ["2026-01-02 03:04:05.000001"],
            pa.timestamp("us"),
            [datetime(2026, 1, 2, 3, 4, 5, 1)],
        ),
        (Family.TIME, ["-838:59:59"], pa.string(), ["-838:59:59"]),
        (Family.ENUM, ["a"], pa.string(), ["a"]),
        (Family.JSON, ['{"a": 1}'], pa.string(), ['{"a": 1}']),
        (Family.OTHER, ["1"], pa.string(), ["1"]),
    ],
)
def test_a_value_has_its_native_type(
    family: Family, printed: list[str | None], kind: pa.DataType, values: list[object]
) -> None:
    assert natively(family, *printed) == (kind, values)


def test_a_decimal_is_as_wide_as_mariadb_allows() -> None:
    printed = "9" * 35 + "." + "1" * 30
    kind, values = natively(Family.DECIMAL, printed, "-0.5")
    assert (kind.precision, kind.scale) == (65, 30)
    assert values == [Decimal(printed), Decimal("-0.5")]


@pytest.mark.parametrize(
    ("family", "printed"),
    [
        (Family.INTEGER, ["1.0", "2"]),
        (Family.INTEGER, [""]),
        (Family.INTEGER, ["9223372036854775808"]),
        (Family.DECIMAL, ["1e10", "1"]),
        (Family.DECIMAL, ["9" * 77]),
        (Family.DATETIME, ["2026-02-31 00:00:00", "yesterday"]),
        (Family.DATE, ["2026-01-01", "2026-01-01 10:00:00"]),
    ],
)
def test_a_column_that_will_not_cast_stays_text(family: Family, printed: list[str]) -> None:
    assert natively(family, *printed) == (pa.string(), printed)


def test_dates_that_no_calendar_has_are_null_and_the_others_survive() -> None:
    printed = ["0000-00-00", "2020-00-00", "2020-05-00", "0000-01-01", "2026-02-31", None]
    kept = ["0001-01-01", "9999-12-31", "2024-02-29"]
    assert natively(Family.DATE, *printed, *kept) == (
        pa.date32(),
        [None] * 6 + [date(1, 1, 1), date(9999, 12, 31), date(2024, 2, 29)],
    )
    midnight = [text and f"{text} 00:00:00" for text in printed]
    last = "9999-12-31 23:59:59.999999"
    assert natively(Family.DATETIME, *midnight, last) == (
        pa.timestamp("us"),
        [None] * 6 + [datetime(9999, 12, 31, 23, 59, 59, 999999)],
    )


@given(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32)), min_size=1))
def test_exactly_the_days_of_the_calendar_are_dates(days: list[tuple[int, int, int]]) -> None:
    def expected(year: int, month: int, day: int) -> date | None:
        there = year >= 1 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]
        return date(year, month, day) if there else None

    printed = [f"{year:04}-{month:02}-{day:02}" for year, month, day in days]
    assert natively(Family.DATE, *printed) == (pa.date32(), [expected(*day) for day in days])


def test_binary_columns_and_empty_tables_pass_unchanged() -> None:
    rows = pa.table({"b": pa.array([b"\0\xff", None]), "e": pa.array([None, None], pa.string())})
    view = typed(rows, {"b": Family.BINARY, "e": Family.DATETIME})
    assert view["b"].to_pylist() == [b"\0\xff", None]
    assert view["e"].to_pylist() == [None, None]
    assert typed(rows.slice(0, 0), {"b": Family.BIT, "e": Family.DECIMAL}).num_rows == 0


def test_zero_dates_are_named_row_by_row_and_column_by_column() -> None:
    rows = pa.table(
        {
            "made": ["2026-01-01 00:00:00", "0000-00-00 00:00:00", None, "2020-00-10 00:00:00"],
            "day": ["2026-02-31", "2020-05-00", "2026-01-01", "0000-01-01"],
            "text": ["0000-00-00", "0000-00-00", "0000-00-00", "0000-00-00"],
        }
    )
    families = {"made": Family.DATETIME, "day": Family.DATE, "text": Family.TEXT}
    assert zero_dates(rows, families) == {1: ["made", "day"], 3: ["made"]}
    assert zero_dates(rows.slice(0, 1), families) == {}


def test_rows_in_several_pieces_count_from_the_first() -> None:
    rows = pa.concat_tables([wire("2026-01-01"), wire("0000-00-00", "x-00"), wire("2026-00-01")])
    assert zero_dates(rows, {"c": Family.DATE}) == {1: ["c"], 3: ["c"]}
    assert key_texts(rows, ["c"])[3] == '["2026-00-01"]'


def test_a_key_has_one_text() -> None:
    assert key_text(("7", 'Zoë "x"')) == '["7","Zoë \\"x\\""]'
    assert key_text((b"\x00\xab",)) == '[{"hex":"00ab"}]'
    rows = pa.table({"id": ["7"], "code": ["Ä"], "raw": pa.array([b"\1"])})
    assert key_texts(rows, ["code", "raw"]) == [key_text(("Ä", b"\1"))]


PARTS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.binary())


@given(st.lists(PARTS, min_size=1).map(tuple), st.lists(PARTS, min_size=1).map(tuple))
def test_a_key_comes_back_from_its_text_and_no_two_share_one(
    key: tuple[str | bytes, ...], other: tuple[str | bytes, ...]
) -> None:
    assert parse_key_text(key_text(key)) == key
    assert (key_text(key) == key_text(other)) == (key == other)


@pytest.mark.parametrize("text", ["", "7", '{"hex":"00"}', "[7]", "[null]", '[{"hex":1}]', '[{"hex":"0"}]', "[["])
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_key_text(text)
