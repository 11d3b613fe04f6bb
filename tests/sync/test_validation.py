"""Validation: suites that mean what they say, bad rows with reasons, batches that are stopped."""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stationsync.errors import BatchRefused, SuiteError
from stationsync.model.changes import Checked, Chunk, Position
from stationsync.model.wire import Family, typed
from stationsync.sync.suites import Suite, load_suite
from stationsync.sync.validation import Validator, check_suite

PLACE = "station-1.kafka_test"
FAMILIES = {
    "id": Family.INTEGER,
    "text": Family.TEXT,
    "code": Family.TEXT,
    "create_date": Family.DATETIME,
    "modify_date": Family.DATETIME,
    "price": Family.DECIMAL,
    "raw": Family.BINARY,
}
GOOD = {
    "id": "7",
    "text": "hello",
    "code": "ab-1",
    "create_date": "2026-01-01 10:00:00",
    "modify_date": "2026-01-02 10:00:00",
    "price": "2.50",
    "raw": b"\1",
}
REGEX = "expect_column_values_to_match_regex"
NOT_NULL = "expect_column_values_to_not_be_null"
IN_SET = "expect_column_values_to_be_in_set"
BETWEEN = "expect_column_values_to_be_between"
A_AFTER_B = "expect_column_pair_values_a_to_be_greater_than_b"


def chunk(*changes: dict[str, Any]) -> Chunk:
    """Rows that are good, but for the changes."""
    rows = [{**GOOD, **change} for change in changes]
    columns = {
        name: pa.array([row[name] for row in rows], pa.binary() if name == "raw" else pa.string()) for name in FAMILIES
    }
    return Chunk(pa.table(columns), Position("2026-01-02 10:00:00", ("7", "ab-1")), more=True)


def rule(kind: str, severity: str = "critical", description: str = "", **kwargs: Any) -> dict[str, Any]:
    told = {"description": description} if description else {}
    return {"type": kind, "severity": severity, "kwargs": kwargs, **told}


def written(text: str, folder: Path | None = None) -> Suite:
    """The suite as it is loaded from a file."""
    folder = folder or Path(tempfile.mkdtemp())
    (folder / "s.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
    return load_suite("s", folder)


def suite(*rules: dict[str, Any]) -> Suite:
    return written(yaml.safe_dump({"name": "s", "expectations": list(rules)}))


def validator(*rules: dict[str, Any], carry: bool = False, most: int = 1_000) -> Validator:
    return Validator(
        PLACE,
        suite(*rules) if rules else None,
        FAMILIES,
        carry,
        lambda bad, read: bad > most,
        key=["id", "code"],
    )


def reasons(checked: Checked) -> dict[int, list[str]]:
    return {bad.index: list(bad.reason.words) for bad in checked.bad}


# What becomes of rows


def test_bad_rows_are_parted_from_good_ones_with_all_their_reasons() -> None:
    rules = [rule(REGEX, column="code", regex="^[a-z0-9-]*$"), rule(BETWEEN, column="id", min_value=1)]
    page = chunk({}, {"code": "X y", "id": "0"}, {"text": None}, {"id": "-4"})

    checked = validator(*rules).validate(page)

    assert reasons(checked) == {
        1: [
            f"code: 'X y' does not match ^[a-z0-9-]*$ ({REGEX})",
            f"id: '0' must be at least 1 ({BETWEEN})",
        ],
        3: [f"id: '-4' must be at least 1 ({BETWEEN})"],
    }
    assert checked.chunk.rows.equals(page.rows.take([0, 2]))
    assert checked.bad_rows.equals(page.rows.take([1, 3]))
    assert (checked.chunk.last, checked.chunk.more, checked.read) == (page.last, True, 4)


LENGTHS = "expect_column_value_lengths_to_be_between"


@pytest.mark.parametrize(
    ("broken", "changes", "reason"),
    [
        (rule(REGEX, column="code", regex="^a"), {"code": "b"}, "code: 'b' does not match ^a"),
        (
            rule("expect_column_values_to_not_match_regex", column="code", regex="[A-Z]"),
            {"code": "aB"},
            "code: 'aB' matches [A-Z]",
        ),
        (rule(NOT_NULL, column="text"), {"text": None}, "text: NULL must not be NULL"),
        (rule("expect_column_values_to_be_null", column="text"), {}, "text: 'hello' must be NULL"),
        (rule(LENGTHS, column="text", max_value=4), {}, "text: 'hello' must have at most 4 characters"),
        (
            rule(BETWEEN, column="id", min_value=1, max_value=9, strict_max=True),
            {"id": "9"},
            "id: '9' must be at least 1 and less than 9",
        ),
        (rule(IN_SET, column="code", value_set=["a", "b"]), {}, "code: 'ab-1' is not one of ['a', 'b']"),
        (
            rule(A_AFTER_B, column_A="modify_date", column_B="create_date"),
            {"modify_date": "2025-01-01 00:00:00"},
            "modify_date, create_date: '2025-01-01 00:00:00', '2026-01-01 10:00:00' the first is not greater",
        ),
        (
            rule("expect_multicolumn_values_to_be_equal", column_list=["code", "text"]),
            {},
            "code, text: 'ab-1', 'hello' breaks the rule",
        ),
        (rule(NOT_NULL, description="is missing", column="text"), {"text": None}, "text: NULL is missing"),
        (
            rule("expect_column_values_to_be_null", column="raw"),
            {"raw": b"\0" * 99},
            f"raw: 0x{'00' * 29}… must be NULL",
        ),
        (rule(REGEX, column="text", regex="^$"), {"text": "x" * 99}, f"text: '{'x' * 60}…' does not match ^$"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) and "type" in value else None,
)
def test_the_reason_says_what_is_wrong_with_which_value(
    broken: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    checked = validator(broken).validate(chunk(changes))
    assert reasons(checked) == {0: [f"{reason} ({broken['type']})"]}


def test_null_is_not_judged_by_rules_on_one_column_or_two() -> None:
    rules = [
        rule(REGEX, column="text", regex="^h"),
        rule(A_AFTER_B, column_A="modify_date", column_B="create_date"),
        rule("expect_multicolumn_values_to_be_equal", column_list=["text", "code"]),
    ]
    checked = validator(*rules).validate(chunk({"text": None, "modify_date": None}))
    assert checked.bad == ()


def test_a_rule_with_a_condition_judges_only_those_rows() -> None:
    only_ten = {"type": "comparison", "column": {"name": "id"}, "operator": "==", "parameter": 10}
    rules = [rule(REGEX, column="code", regex="^z", row_condition=only_ten)]
    checked = validator(*rules).validate(chunk({}, {"id": "10"}, {"id": None}, {"id": "10", "code": "z"}))
    assert list(reasons(checked)) == [1]


def test_as_long_as_mostly_holds_no_row_is_bad() -> None:
    mostly = validator(rule(BETWEEN, column="id", min_value=1, mostly=0.75))
    assert mostly.validate(chunk({}, {}, {}, {"id": "0"}, {"id": None})).bad == ()
    assert list(reasons(mostly.validate(chunk({}, {}, {"id": "0"}, {"id": None})))) == [2]


def test_a_warning_holds_nothing_back_and_is_reported() -> None:
    rules = [
        rule(BETWEEN, "warning", column="id", min_value=1),
        rule("expect_table_row_count_to_be_between", "info", max_value=2),
    ]
    checked = validator(*rules).validate(chunk({}, {"id": "0"}, {"id": "-1", "code": "c"}))
    assert checked.bad == ()
    assert len(checked.chunk) == 3
    assert checked.notes == (
        f'warning: id: must be at least 1 ({BETWEEN}): 2 of 3 rows, first ["0","ab-1"], ["-1","c"]',
        "info: expect_table_row_count_to_be_between (max_value: 2) does not hold, the batch has 3",
    )


# Zero dates


def test_a_zero_date_is_bad_and_the_reason_names_the_way_out() -> None:
    checked = validator().validate(chunk({}, {"create_date": "0000-00-00 00:00:00"}))
    [reason] = reasons(checked)[1]
    assert reason.startswith("create_date: '0000-00-00 00:00:00' is a zero date")
    assert "zero_dates: carry" in reason


def test_a_carried_zero_date_is_good_and_no_null() -> None:
    rules = [
        rule(NOT_NULL, column="create_date"),
        rule(A_AFTER_B, column_A="modify_date", column_B="create_date"),
    ]
    page = chunk({}, {"create_date": "0000-00-00 00:00:00"}, {"create_date": None})
    checked = validator(*rules, carry=True).validate(page)
    assert list(reasons(checked)) == [2]
    assert checked.chunk.rows["create_date"].to_pylist()[1] == "0000-00-00 00:00:00"


# Bounds mean what is written


@pytest.mark.parametrize(
    ("bound", "good", "bad"),
    [
        (rule(BETWEEN, column="price", min_value=0.1), {"price": "0.10"}, {"price": "0.09"}),
        (rule(BETWEEN, column="price", max_value=1), {"price": "1.00"}, {"price": "1.01"}),
        (
            rule(BETWEEN, column="price", max_value=1),
            {"price": "-" + "9" * 35 + "." + "9" * 30},
            {"price": "1." + "0" * 29 + "1"},
        ),
        (rule(IN_SET, column="price", value_set=[1, 2.5, 1000]), {"price": "2.50"}, {"price": "2.51"}),
        (rule(IN_SET, column="price", value_set=[0.125]), {"price": None}, {"price": "0.12"}),
        (
            rule(BETWEEN, column="id", max_value=2**53),
            {"id": str(2**53)},
            {"id": str(2**53 + 1)},
        ),
        (rule(IN_SET, column="id", value_set=[2**53 + 1]), {"id": str(2**53 + 1)}, {"id": str(2**53)}),
        (
            rule(BETWEEN, column="create_date", min_value="2026-01-01"),
            {"create_date": "2026-01-01 00:00:00"},
            {"create_date": "2025-12-31 23:59:59.999999"},
        ),
        (
            rule(BETWEEN, column="create_date", max_value="9999-12-31 23:59:58"),
            {"create_date": "0001-01-01 00:00:00"},
            {"create_date": "9999-12-31 23:59:59"},
        ),
        (rule(LENGTHS, column="text", max_value=2), {"text": "😀é"}, {"text": "😀é!"}),
        (rule(REGEX, column="code", regex=r"^(a|b)\Z"), {"code": "a"}, {"code": "a\n"}),
        (rule(REGEX, column="code", regex="^(?!x)"), {"code": "y"}, {"code": "x"}),
    ],
)
def test_a_bound_is_exact(bound: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]) -> None:
    checked = validator(bound).validate(chunk(good, bad, dict.fromkeys(bad)))
    assert list(reasons(checked)) == [1]


# Batches that are stopped


def test_a_batch_rule_stops_the_batch_and_all_of_them_are_named() -> None:
    rules = [
        rule("expect_table_columns_to_match_set", column_set=["id", "volume"], exact_match=False),
        rule("expect_column_max_to_be_between", column="price", max_value=2),
    ]
    with pytest.raises(BatchRefused) as refused:
        validator(*rules).validate(chunk({}, {"price": "9.75"}))
    assert refused.value.place == PLACE
    assert "volume" in refused.value.what
    assert "9.75" in refused.value.what
    assert "Mend" in refused.value.next_step


def test_a_batch_rule_that_holds_lets_the_batch_pass() -> None:
    rules = [
        rule("expect_table_columns_to_match_set", column_set=[*FAMILIES]),
        rule("expect_column_max_to_be_between", column="price", max_value=9.75),
        rule("expect_column_max_to_be_between", column="create_date", max_value="2026-12-31"),
        rule("expect_column_to_exist", column="id"),
    ]
    assert validator(*rules).validate(chunk({}, {"price": "9.75"})).bad == ()


def test_more_bad_rows_than_allowed_stop_the_batch() -> None:
    rules = [rule(BETWEEN, column="id", min_value=1), rule(NOT_NULL, column="text")]
    page = chunk({}, {"id": "0"}, {"id": "-1"}, {"id": "-2", "text": None})
    assert len(validator(*rules, most=3).validate(page).bad) == 3
    with pytest.raises(BatchRefused) as refused:
        validator(*rules, most=2).validate(page)
    what = refused.value.what
    assert '3 of 4 rows, first ["0","ab-1"], ["-1","ab-1"]' in what
    assert what.index("3 times id: must be at least 1") < what.index("1 times text: must not be NULL")


def test_zero_dates_count_among_the_bad_rows() -> None:
    with pytest.raises(BatchRefused, match="zero date"):
        validator(most=0).validate(chunk({}, {"create_date": "2020-00-01 00:00:00"}))


def test_a_rule_that_raises_stops_the_batch_even_as_a_warning() -> None:
    json_rule = rule(
        "expect_column_values_to_match_json_schema", "warning", column="text", json_schema={"type": "object"}
    )
    with pytest.raises(BatchRefused, match=r"rule 1 \(line 2\) of s.yaml.*cannot be computed") as refused:
        validator(json_rule).validate(chunk({"text": "no json"}))
    assert refused.value.__cause__ is not None


def test_a_rule_on_a_column_that_is_not_there_is_a_fault_of_the_suite() -> None:
    page = chunk({})
    lean = Chunk(page.rows.drop_columns(["code"]), None, more=False)
    with pytest.raises(SuiteError, match="no column 'code'"):
        validator(rule(NOT_NULL, column="code")).validate(lean)


# The fast way finds what the public way finds


COMPARED = [
    rule(REGEX, column="code", regex="^[a-c]+$"),
    rule("expect_column_values_to_not_match_regex", column="text", regex="b"),
    rule(LENGTHS, column="text", min_value=1, max_value=2),
    rule(BETWEEN, column="id", min_value=-1, max_value=2, strict_max=True),
    rule(BETWEEN, column="price", min_value=1),
    rule(BETWEEN, column="modify_date", max_value="2026-01-01 00:00:01"),
    rule(IN_SET, column="code", value_set=["a", "b", "ab"]),
    rule("expect_column_values_to_not_be_in_set", column="id", value_set=[0, 2]),
    rule(NOT_NULL, column="text"),
    rule("expect_column_values_to_be_null", column="text"),
    rule("expect_column_values_to_be_unique", column="id"),
    rule(A_AFTER_B, column_A="modify_date", column_B="create_date", or_equal=True),
    rule("expect_compound_columns_to_be_unique", column_list=["id", "code"]),
    rule(A_AFTER_B, column_A="modify_date", column_B="create_date"),
    rule(BETWEEN, column="id", min_value=-1, max_value=2, strict_min=True, strict_max=True),
    rule("expect_column_value_lengths_to_be_between", column="text", min_value=1, max_value=3, strict_max=True),
    rule(IN_SET, column="id", value_set=[1, 2]),
    rule(BETWEEN, column="id", min_value=0, mostly=0.5),
    rule(NOT_NULL, column="id", mostly=0.6),
    rule(
        REGEX,
        column="code",
        regex="^a",
        row_condition={"type": "nullity", "column": {"name": "id"}, "is_null": False},
    ),
]

MOMENTS = [None, "2026-01-01 00:00:00", "2026-01-01 00:00:01", "2026-01-01 00:00:02.5"]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.one_of(st.none(), st.integers(-3, 3).map(str)),
            "text": st.one_of(st.none(), st.text("ab", max_size=3)),
            "code": st.text("abd", min_size=1, max_size=2),
            "create_date": st.sampled_from(MOMENTS),
            "modify_date": st.sampled_from(MOMENTS),
            "price": st.sampled_from([None, "0.99", "1.00", "2.50"]),
        }
    ),
    min_size=1,
    max_size=12,
)


@cache
def fast(number: int) -> Validator:
    return validator(COMPARED[number])


@cache
def public_batches() -> Any:
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("all")


def public_bad_rows(page: Chunk) -> list[list[int]]:
    """What `Batch.validate` finds, rule by rule, on the same typed view."""
    import pandas as pd
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    frame = typed(page.rows, FAMILIES).to_pandas(types_mapper=pd.ArrowDtype)
    batch = public_batches().get_batch({"dataframe": frame})
    found = []
    for number in range(len(COMPARED)):
        loaded = suite_rule(number)
        expectation = ExpectationConfiguration(loaded.type, dict(loaded.kwargs)).to_domain_obj()
        result = batch.validate(expectation, result_format="COMPLETE")
        assert not result.exception_info.get("raised_exception"), result
        found.append([] if result.success else sorted(result.result["unexpected_index_list"]))
    return found


@cache
def suite_rule(number: int) -> Any:
    return suite(COMPARED[number]).rules[0]


@given(ROWS)
@settings(  # Without shrinking: the public way takes half a second for an example, and examples are small.
    max_examples=25, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.too_slow]
)
def test_the_fast_way_finds_the_rows_that_the_public_way_finds(rows: list[dict[str, Any]]) -> None:
    page = chunk(*rows)
    found = [list(reasons(fast(number).validate(page))) for number in range(len(COMPARED))]
    assert found == public_bad_rows(page)


def test_threads_that_share_a_validator_do_not_disturb_each_other() -> None:
    def page(number: int) -> Chunk:
        return chunk(*({"id": "0" if row % (number + 2) == 0 else "1"} for row in range(300)))

    shared = validator(rule(BETWEEN, column="id", min_value=1), rule(NOT_NULL, column="text"))
    pages = [page(number) for number in range(24)]
    patience = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda one: list(reasons(shared.validate(one))), pages))
    finally:
        sys.setswitchinterval(patience)
    assert found == [[row for row in range(300) if row % (number + 2) == 0] for number in range(24)]


# Nothing is imported before it is needed


def outcome_of(code: str) -> list[str]:
    """The heavy modules that the code has imported, in a fresh interpreter."""
    prelude = """
        import io, sys, pyarrow as pa, pyarrow.csv
        from stationsync.sync.validation import Validator
        from stationsync.sync.suites import load_suite
        from stationsync.model.changes import Chunk
        from stationsync.model.wire import Family
        suite = load_suite("kafka_test")
        families = {"d": Family.DATE}
        # Not from a Python list: pyarrow itself imports pandas to look at one.
        texts = pyarrow.csv.ConvertOptions(column_types={"d": pa.string()})
        rows = pyarrow.csv.read_csv(io.BytesIO(b"d\\n2026-01-01\\n"), convert_options=texts)
    """
    ask = 'print([name for name in ("great_expectations", "pandas", "prefect") if name in sys.modules])'
    script = "\n".join(textwrap.dedent(part) for part in (prelude, code, ask))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found: list[str] = ast.literal_eval(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "code",
    [
        "",
        "Validator('p', suite, families, False, max).validate(Chunk(rows.slice(0, 0), None, False))",
        "Validator('p', None, families, True, max).validate(Chunk(rows, None, False))",
        "Validator('p', None, families, False, lambda bad, read: False).validate(Chunk(rows, None, False))",
    ],
    ids=["import", "empty chunk", "no suite, carried", "no suite, no zero dates"],
)
def test_neither_pandas_nor_great_expectations_is_imported_without_rows_and_rules(code: str) -> None:
    assert outcome_of(code) == []


def test_the_rules_of_the_sample_suite_do_not_need_great_expectations() -> None:
    """A new process with a few changed rows is done before it would be loaded."""
    code = """
        text = b"id,text,code,create_date,modify_date\\n1,one,A,2026-01-01 00:00:00,2026-01-01 00:00:00\\n"
        text += b"0,two,B b,2026-01-01 00:00:00,2026-01-01 00:00:00\\n"
        kinds = {name: pa.string() for name in ("id", "text", "code", "create_date", "modify_date")}
        rows = pyarrow.csv.read_csv(
            io.BytesIO(text), convert_options=pyarrow.csv.ConvertOptions(column_types=kinds)
        )
        families = {"id": Family.INTEGER, "text": Family.TEXT, "code": Family.TEXT}
        families |= {"create_date": Family.DATETIME, "modify_date": Family.DATETIME}
        validator = Validator("p", suite, families, False, lambda bad, read: False, key=("id",))
        checked = validator.validate(Chunk(rows, None, False))
        assert (len(checked.chunk), len(checked.bad)) == (1, 1), checked
    """
    assert "great_expectations" not in outcome_of(code)


def test_what_is_forked_has_great_expectations_all_the_same() -> None:
    code = """
        from stationsync.sync.validation import validate_one_row
        validate_one_row()
    """
    assert "great_expectations" in outcome_of(code)


@pytest.mark.parametrize(
    ("family", "value", "kwargs", "good"),
    [
        (Family.UNSIGNED, str(2**64 - 1), {"min_value": 1}, True),
        (Family.UNSIGNED, "0", {"min_value": 1}, False),
        (Family.INTEGER, str(-(2**63)), {"max_value": 5}, True),
        (Family.INTEGER, str(2**63 - 1), {"max_value": 5}, False),
    ],
)
def test_a_bound_is_exact_at_the_ends_of_a_type(family: Family, value: str, kwargs: dict[str, Any], good: bool) -> None:
    judged = Validator("p", suite(rule(BETWEEN, column="id", **kwargs)), {"id": family}, False, lambda *_: False)
    checked = judged.validate(Chunk(pa.table({"id": [value]}), None, more=False))
    assert (len(checked.chunk) == 1) is good


@pytest.mark.parametrize(
    ("kwargs", "text", "good"),
    [
        ({"max_value": 3}, "역 🚉", True),
        ({"max_value": 2}, "역 🚉", False),
        ({"min_value": 2, "strict_min": True}, "ab", False),
    ],
)
def test_lengths_are_of_characters(kwargs: dict[str, Any], text: str, good: bool) -> None:
    lengths = rule("expect_column_value_lengths_to_be_between", column="text", **kwargs)
    judged = Validator("p", suite(lengths), {"text": Family.TEXT}, False, lambda *_: False)
    checked = judged.validate(Chunk(pa.table({"text": [text]}), None, more=False))
    assert (len(checked.chunk) == 1) is good


def test_great_expectations_does_not_take_the_warnings_of_the_process() -> None:
    code = """
        import warnings
        before = warnings.showwarning
        from stationsync.sync.validation import check_suite
        check_suite(suite)
        assert warnings.showwarning is before
    """
    assert "great_expectations" in outcome_of(code)


# Suites: what the file alone tells


def test_the_sample_suite_fits_the_sample_table() -> None:
    sample = load_suite("kafka_test")
    check_suite(sample, FAMILIES)
    judge = Validator(PLACE, sample, FAMILIES, False, lambda bad, read: False, key=["id", "code"])
    page = chunk({}, {"id": "0"}, {"text": "x" * 101}, {"code": "a b"}, {"modify_date": "2020-01-01 00:00:00"})
    checked = judge.validate(page)
    assert list(reasons(checked)) == [1, 2, 3]
    assert len(checked.notes) == 1


def test_a_rule_knows_its_place_its_columns_and_its_severity() -> None:
    loaded = written("""
        # A comment.
        name: s
        expectations:
          - type: expect_column_values_to_not_be_null
            kwargs: {column: text}

          - type: expect_column_pair_values_to_be_equal
            severity: info
            kwargs:
              column_A: a
              column_B: b
              row_condition:
                type: and
                conditions:
                  - {type: nullity, column: {name: c}, is_null: false}
                  - {type: comparison, column: {name: a}, operator: "==", parameter: 1}
    """)
    first, second = loaded.rules
    assert (first.place, first.columns, first.severity) == ("rule 1 (line 5)", ("text",), "critical")
    assert (second.place, second.columns, second.severity) == ("rule 2 (line 8)", ("a", "b", "c"), "info")
    assert loaded.columns == {"text", "a", "b", "c"}


def test_a_suite_that_is_not_there_is_refused_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("orders", "kafka_test"):
        (tmp_path / f"{name}.yaml").write_text("")
    with pytest.raises(SuiteError, match=r"did you mean kafka_test\?.*There are: kafka_test, orders") as refused:
        load_suite("kafka_tset", tmp_path)
    assert str(tmp_path) in refused.value.what
    monkeypatch.setenv("STATIONSYNC_EXPECTATIONS", str(tmp_path))
    with pytest.raises(SuiteError, match="orders"):
        load_suite("nothing")
    with pytest.raises(SuiteError, match="no expectation suite"):
        load_suite("../etc/orders", tmp_path)


ONE = {"type": NOT_NULL, "kwargs": {"column": "text"}}


def with_condition(condition: object) -> list[dict[str, Any]]:
    return [{"type": NOT_NULL, "kwargs": {"column": "text", "row_condition": condition}}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: [", "is not YAML"),
        ("- a", "is not a mapping"),
        ("name: s\nname: s\nexpectations: []", "line 2: 'name' is there twice"),
        ({"name": "other", "expectations": [ONE]}, "`name` must be 's'"),
        ({"name": "s", "expectation": [ONE]}, "did you mean expectations?"),
        ({"name": "s", "expectations": []}, "at least one rule"),
        ({"name": "s", "expectations": {"type": "x"}}, "must be a list"),
        ([{**ONE, "severity": "fatal"}], "severity 'fatal' must be one of critical, warning, info"),
        ([{**ONE, "severty": "info"}], "unknown key 'severty'; did you mean severity?"),
        ([{"kwargs": {}}], "`type` must name an expectation"),
        (["expect_x"], "must be a mapping"),
        ([{**ONE, "kwargs": ["text"]}], "`kwargs` must be a mapping"),
        ([{**ONE, "kwargs": {"column": True}}], "put it in quotes"),
        ([rule(REGEX, column="code", regex="^(a")], "regex '^(a'"),
        ([rule(REGEX, column="code", regex=5)], "regex 5 is not text"),
        ([rule(REGEX, column="code", regex="")], "argument 'regex' is empty"),
        ([rule(REGEX, column="code", regex=None)], "argument 'regex' is empty"),
        ([rule(IN_SET, column="code", value_set=[])], "argument 'value_set' is empty"),
        ([rule(BETWEEN, column="id", min_value={"$PARAMETER": "x"})], "must not be a mapping"),
        ([rule(NOT_NULL, column="text", result_format="COMPLETE")], "'result_format' has no place"),
        ([{**ONE, "kwargs": {"column": "text", "severity": "info"}}], "belongs beside `kwargs`"),
        (with_condition('col("id") > 3'), "must be a mapping with `type`"),
        (with_condition({"type": "pass_through", "pass_through_filter": "id > 3"}), "with `type`, one of"),
        (with_condition({"type": "nullity", "column": {"name": "id"}}), "must have exactly: column, is_null"),
        (with_condition({"type": "nullity", "column": "id", "is_null": True}), "`column` must be"),
        (with_condition({"type": "and", "conditions": []}), "at least one condition"),
        (
            with_condition({"type": "comparison", "column": {"name": "id"}, "operator": "=", "parameter": 1}),
            "`operator` must be one of",
        ),
    ],
)
def test_a_mistake_in_the_file_is_refused(content: object, said: str) -> None:
    whole = {"name": "s", "expectations": content} if isinstance(content, list) else content
    with pytest.raises(SuiteError) as refused:
        written(whole if isinstance(whole, str) else yaml.safe_dump(whole))
    assert refused.value.place == "s.yaml"
    assert said in refused.value.what


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(SuiteError) as refused:
        suite(rule(REGEX, column="code", regex="("), ONE, {**ONE, "severity": "bad"})
    assert [number for number in (1, 2, 3) if f"rule {number} (line" in refused.value.what] == [1, 3]


# Suites: what only Great Expectations and the table can tell


@pytest.mark.parametrize(
    ("mistaken", "said"),
    [
        (rule("expect_column_value_to_match_regex", column="code", regex="a"), f"did you mean {REGEX}?"),
        (rule(REGEX, column="code"), "needs an argument: regex"),
        (rule(REGEX, column="code", regx="a"), "regx"),
        (rule(BETWEEN, column="id"), "cannot both be None"),
        (rule(BETWEEN, column="id", strict_min=True), "cannot both be None"),
        (rule("expect_table_row_count_to_be_between", strict_min=True), "needs an argument"),
        (rule(BETWEEN, column="id", min_value="soon"), "min_value"),
        (rule(NOT_NULL, column="text", mostly=1.5), "mostly"),
        (rule(NOT_NULL), "column"),
        (rule("expect_column_values_to_match_like_pattern", column="code", like_pattern="a%"), "SQL"),
        (rule("expect_table_row_count_to_equal_other_table", other_table_name="t"), "no other table"),
        (rule("expect_column_values_to_be_of_type", column="id", type_="int"), "stationsync check"),
    ],
)
def test_a_rule_that_great_expectations_would_drop_or_let_pass_is_refused(mistaken: dict[str, Any], said: str) -> None:
    with pytest.raises(SuiteError) as refused:
        check_suite(suite(ONE, mistaken))
    assert refused.value.what.startswith("rule 2 (line ")
    assert said in refused.value.what


@pytest.mark.parametrize(
    ("misfit", "said"),
    [
        (rule(NOT_NULL, column="cod"), "no column 'cod'; did you mean code?"),
        (rule(BETWEEN, column="code", min_value=1), "cannot be computed on these columns"),
        (rule(IN_SET, column="id", value_set=[1, "b"]), "cannot be computed on these columns"),
        (rule(A_AFTER_B, column_A="id", column_B="create_date"), "cannot be computed on these columns"),
    ],
)
def test_a_rule_that_does_not_fit_the_table_is_refused_before_the_first_row(misfit: dict[str, Any], said: str) -> None:
    check_suite(suite(misfit))
    with pytest.raises(SuiteError) as refused:
        check_suite(suite(misfit), FAMILIES)
    assert said in refused.value.what


EVERY_FAMILY: Sequence[tuple[str, dict[str, Any]]] = [
    (BETWEEN, {"column": "id", "min_value": 0.5}),
    (BETWEEN, {"column": "price", "max_value": 9}),
    (BETWEEN, {"column": "create_date", "min_value": "2026-01-01"}),
    (IN_SET, {"column": "create_date", "value_set": ["2026-01-01 00:00:00"]}),
    ("expect_column_values_to_be_unique", {"column": "raw"}),
    ("expect_column_values_to_be_increasing", {"column": "id"}),
    ("expect_column_values_to_match_strftime_format", {"column": "text", "strftime_format": "%Y"}),
    ("expect_column_values_to_be_json_parseable", {"column": "text"}),
    ("expect_column_values_to_not_be_outliers", {"column": "id"}),
    ("expect_select_column_values_to_be_unique_within_record", {"column_list": ["id", "price"]}),
    ("expect_column_mean_to_be_between", {"column": "id", "min_value": 1}),
    ("expect_column_unique_value_count_to_be_between", {"column": "code", "min_value": 1}),
    ("expect_column_proportion_of_non_null_values_to_be_between", {"column": "text", "min_value": 1}),
]


@pytest.mark.parametrize(("kind", "kwargs"), EVERY_FAMILY, ids=[kind for kind, _ in EVERY_FAMILY])
def test_a_rule_that_fits_the_table_is_taken(kind: str, kwargs: dict[str, Any]) -> None:
    check_suite(suite(rule(kind, **kwargs)), FAMILIES)
    validator(rule(kind, "warning", **kwargs)).validate(chunk({"text": None}, {"id": "8", "raw": b"\2"}))
