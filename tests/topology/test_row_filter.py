"""What may be written under `where:` and `leaving:`."""

from __future__ import annotations

from typing import Any

import pytest
from support.fleet import KAFKA_TEST

from stationsync.errors import UsageError
from stationsync.topology.model import TableOptions
from stationsync.topology.row_filter import Leaving, check_filter
from stationsync.topology.topology_file import from_mapping


@pytest.mark.parametrize(
    "where",
    [
        "status <> 'draft'",
        "a = 1 AND (b IS NULL OR c IN (1, 2, 3))",
        "name LIKE '%it''s; -- # /* no comment */ (%'",
        "`select` = 'select now() from x' and \"now\" = 1",
        "state = 'closed' or total > 10.5e3 or mask & 4",
        "place regexp '^[a-z]+$'",
        "`current_date` > '2024-01-01' and version = 3 and user = 'x'",
        "coalesce(ended, created) >= '2024-01-01 12:30:00'",
        "CASE WHEN a THEN b ELSE c END",
        "상태 = '완료'",
    ],
)
def test_a_condition_over_the_row_s_columns_is_taken_as_it_is(where: str) -> None:
    assert check_filter(f"\n  {where} ") == where


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("", "is empty"),
        ("   \n", "is empty"),
        ("a = 1) or (1 = 1", "closes a parenthesis"),
        ("(a = 1", "leaves a parenthesis open"),
        ("a = 'x", "leaves a quotation mark"),
        ("a = \"x' and b", "leaves a quotation mark"),
        ("a = 1 -- b", "has a comment"),
        ("a = 1 # b", "has a comment"),
        ("a /* b */ = 1", "has a comment"),
        ("a = 1; DELETE FROM t", "has the sign ';'"),
        ("a = @x", "has the sign '@'"),
        ("a = ?", "has the sign '?'"),
        (r"a = 'it\'s'", "has a backslash"),
        ("a IN (SELECT id FROM other)", "asks another table (SELECT)"),
        ("exists(select 1)", "asks another table (select)"),
        ("d > NOW()", "asks for NOW"),
        ("d > now () - INTERVAL 1 DAY", "asks for now"),
        ("d > current_timestamp", "asks for current_timestamp"),
        ("d = CURRENT_DATE", "asks for CURRENT_DATE"),
        ("rand() < 0.5", "asks for rand"),
        ("d > date('now')", "asks for the moment"),
        ("owner = USER()", "asks for USER"),
        ("sleep(10)", "asks for sleep"),
        ("other.is_good(a)", "calls a stored function"),
        ("a" * 2_001, "2,001 characters"),
    ],
)
def test_what_is_no_condition_over_the_row_is_refused_with_the_reason(where: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        check_filter(where)
    assert why in str(refused.value)


def test_a_station_has_a_filter_of_its_own() -> None:
    topology = from_mapping(_topology({"where": "text <> 'draft'"}, {"where": "text = 'mine'", "leaving": "keep"}))
    found = {name: station.tables["kafka_test"].where for name, station in topology.stations.items()}
    assert found == {"station-1": "text <> 'draft'", "station-2": "text = 'mine'"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"leaving": "delete", "deletes": "archive"}, "write the filter under where"),
        ({"leaving": "delete", "where": "a = 1"}, "write deletes: archive"),
        ({"leaving": "vanish", "where": "a = 1"}, "leaving"),
        ({"where": "a = now()"}, "tables.kafka_test.where"),
    ],
)
def test_what_would_say_nothing_is_refused_with_its_place(options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as refused:
        from_mapping(_topology(options))
    assert why in str(refused.value)


def test_a_name_that_leaves_no_room_for_rows_that_left_is_refused() -> None:
    for letters, refused in ((62, False), (63, True)):
        data = _topology({"where": "a = 1"})
        data["stations"] = {"s" * letters: data["stations"]["station-1"]}
        if not refused:
            assert from_mapping(data).stations
            continue
        with pytest.raises(UsageError, match="62 letters at most"):
            from_mapping(data)


def test_rows_that_leave_are_deleted_where_that_is_said() -> None:
    options = TableOptions.model_validate(
        {**KAFKA_TEST, "where": "a = 1", "leaving": "delete", "deletes": "archive", "control_table": "t"}
    )
    assert options.leaving is Leaving.DELETE


def _topology(options: dict[str, Any], own: dict[str, Any] | None = None) -> dict[str, Any]:
    url = "mysql+pymysql://u@{}/d"
    stations: dict[str, Any] = {"station-1": {"url": url.format("one")}}
    if own is not None:
        stations["station-2"] = {"url": url.format("two"), "tables": {"kafka_test": own}}
    return {"control": {"url": url.format("c")}, "tables": {"kafka_test": KAFKA_TEST | options}, "stations": stations}
