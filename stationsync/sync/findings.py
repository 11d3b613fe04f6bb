"""What validation found, in words: the reasons of a bad row, and the notes and refusals about a batch.

And what a rule is given to see: its columns and its bounds, in types that compare exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from stationsync.model import stored_text
from stationsync.model.changes import BadRow, Checked, Chunk
from stationsync.model.reasons import Code, Reason
from stationsync.model.wire import Family, key_texts, typed, zero_dates
from stationsync.sync.suites import SuiteRule

_SHOWN_KEYS = 5
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class RowFinding:
    """One thing that is wrong, the rows it is wrong with, and how to say it of one of them."""

    what: str
    rows: Sequence[int]
    tell: Callable[[int], str]
    code: Code = Code.INVALID


def zero_date_findings(rows: pa.Table, families: Mapping[str, Family]) -> list[RowFinding]:
    by_column: dict[str, list[int]] = {}
    for index, columns in zero_dates(rows, families).items():
        for column in columns:
            by_column.setdefault(column, []).append(index)
    return [_zero_date(column, found, rows) for column, found in by_column.items()]


def with_unreadable(chunk: Chunk) -> tuple[Chunk, list[RowFinding]]:
    """The chunk with its unreadable rows at the end, and these as findings."""
    if not chunk.unreadable:
        return chunk, []
    first = len(chunk)
    found = range(first, first + len(chunk.unreadable))
    rows = pa.concat_tables([chunk.rows, chunk.unreadable_rows])
    what = "a value that cannot be carried as it is"
    finding = RowFinding(what, found, lambda index: str(chunk.unreadable[index - first].reason), Code.UNREADABLE)
    return dataclasses.replace(chunk, rows=rows, unreadable=(), unreadable_rows=None), [finding]


def _zero_date(column: str, found: list[int], rows: pa.Table) -> RowFinding:
    def tell(index: int) -> str:
        shown = shown_value(rows[column][index].as_py())
        return f"{column}: {shown} is a zero date (`zero_dates: carry` of the table lets it through)"

    return RowFinding(f"{column}: zero date", found, tell)


def rule_finding(rule: SuiteRule, found: Sequence[int], rows: pa.Table) -> RowFinding:
    columns = [*_judged(rule)]

    def tell(index: int) -> str:
        values = ", ".join(shown_value(rows[column][index].as_py()) for column in columns)
        return f"{', '.join(columns)}: {values} {broken(rule)} ({rule.type})"

    return RowFinding(f"{', '.join(columns)}: {broken(rule)} ({rule.type})", found, tell)


def batch_finding(rule: SuiteRule, observed: str) -> RowFinding:
    asked = ", ".join(f"{name}: {value}" for name, value in rule.kwargs.items())
    why = rule.description or "does not hold"
    return RowFinding(f"{rule.type} ({asked}) {why}, the batch has {observed}", [], str)


def some(rows: pa.Table, found: Sequence[int], key: Sequence[str]) -> str:
    """'7 of 100 rows, first ["4","b"], ...'."""
    first = found[:_SHOWN_KEYS]
    names = key_texts(rows.take(first), key) if key else [f"row {index + 1}" for index in first]
    return f"{len(found)} of {rows.num_rows} rows, first {', '.join(names)}"


def parted(chunk: Chunk, findings: Iterable[RowFinding], notes: tuple[str, ...]) -> Checked:
    """The good rows, and the bad ones with all that is wrong with them; their code is the first one's."""
    reasons: dict[int, Reason] = {}
    for finding in findings:
        for index in finding.rows:
            before = reasons.get(index, Reason(finding.code, ()))
            reasons[index] = Reason(before.code, (*before.words, finding.tell(index)))
    if not reasons:
        return Checked(chunk, (), chunk.rows.slice(0, 0), notes)
    bad = tuple(BadRow(index, reasons[index]) for index in sorted(reasons))
    good = dataclasses.replace(chunk, rows=chunk.rows.filter(pa.array(_is_good(len(chunk), reasons))))
    return Checked(good, bad, chunk.rows.take([row.index for row in bad]), notes)


def _is_good(length: int, bad: Iterable[int]) -> list[bool]:
    good = [True] * length
    for index in bad:
        good[index] = False
    return good


def broken(rule: SuiteRule) -> str:
    """What is wrong with a row that breaks the rule: the author's words, else ours."""
    if rule.description:
        return rule.description
    arguments = rule.kwargs
    match rule.type.removeprefix("expect_column_"):
        case "values_to_match_regex":
            return f"does not match {arguments['regex']}"
        case "values_to_not_match_regex":
            return f"matches {arguments['regex']}"
        case "values_to_be_in_set":
            return f"is not one of {_shortened(str(arguments['value_set']))}"
        case "values_to_not_be_in_set":
            return f"is one of {_shortened(str(arguments['value_set']))}"
        case "values_to_be_between":
            return f"must be {_bounds(arguments)}"
        case "value_lengths_to_be_between":
            return f"must have {_bounds(arguments)} characters"
        case "values_to_not_be_null":
            return "must not be NULL"
        case "values_to_be_null":
            return "must be NULL"
        case "values_to_be_unique":
            return "is there more than once in the batch"
        case "pair_values_a_to_be_greater_than_b":
            return "the first is less than the second" if arguments.get("or_equal") else "the first is not greater"
        case "pair_values_to_be_equal":
            return "are not equal"
        case _:
            return "breaks the rule"


def shown_value(value: str | bytes | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return _shortened(f"0x{value.hex()}")
    stored = stored_text.parsed(value)
    return repr(_shortened(value)) if stored is None else stored.shown


def _judged(rule: SuiteRule) -> list[str]:
    """The columns that the rule is about, without those of its condition."""
    about = [rule.kwargs[name] for name in ("column", "column_A", "column_B") if name in rule.kwargs]
    return about or list(rule.kwargs.get("column_list", ()))


def _bounds(arguments: Mapping[str, Any]) -> str:
    low = "more than" if arguments.get("strict_min") else "at least"
    high = "less than" if arguments.get("strict_max") else "at most"
    named = [(low, arguments.get("min_value")), (high, arguments.get("max_value"))]
    return " and ".join(f"{word} {value}" for word, value in named if value is not None)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


_NULL_RULES = frozenset(
    {
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_be_null",
        "expect_column_proportion_of_non_null_values_to_be_between",
    }
)
_SET_RULES = frozenset({"expect_column_values_to_be_in_set", "expect_column_values_to_not_be_in_set"})
_BOUND_RULES = frozenset(
    {
        "expect_column_values_to_be_between",
        "expect_column_min_to_be_between",
        "expect_column_max_to_be_between",
    }
)
_SAMPLES: dict[Family, str | bytes] = {
    **dict.fromkeys((Family.INTEGER, Family.UNSIGNED, Family.DECIMAL, Family.FLOAT, Family.YEAR), "1"),
    **dict.fromkeys((Family.DATE, Family.DATETIME, Family.TIMESTAMP), "2026-01-01"),
    **dict.fromkeys((Family.BINARY, Family.BIT), b"1"),
}


def seen_columns(rule: SuiteRule, rows: pa.Table, native: pa.Table) -> pa.Table:
    """Only the rule's own columns, as GX copies them all to leave out NULLs; all for a rule on the table."""
    if not rule.columns:
        return rows
    return pa.table({name: _seen_column(rule, name, rows, native) for name in rule.columns})


def _seen_column(rule: SuiteRule, name: str, rows: pa.Table, native: pa.Table) -> pa.ChunkedArray:
    column = native[name]
    if name != rule.kwargs.get("column"):
        return column
    if rule.type in _NULL_RULES:
        # A zero date that is carried is no NULL, though the typed view has no value for it.
        return rows[name]
    if rule.type in _SET_RULES and pa.types.is_decimal(column.type):
        # Arrow looks values up in a set only at the column's own scale.
        scales = [_scale(value) for value in rule.kwargs["value_set"]]
        return column.cast(pa.decimal256(76, max(column.type.scale, *scales)))
    return column


def sample(rule: SuiteRule, families: Mapping[str, Family]) -> tuple[pa.Table, pa.Table]:
    """One made-up row of the rule's columns, wire and native. '{}' is a text that JSON rules take too."""
    rows = pa.table({name: [_SAMPLES.get(families[name], "{}")] for name in rule.columns})
    return rows, typed(rows, families)


def exact_bounds(rule: SuiteRule, family: Family, taken: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds as the author wrote them. `taken` are GX's, which makes floats of all numbers: as such,
    DECIMAL 0.10 is less than 0.1, and bounds above 2**53 move."""
    if rule.type in _BOUND_RULES:
        names = [name for name in ("min_value", "max_value") if name in rule.kwargs]
        return {name: _exact(rule.kwargs[name], taken[name], family) for name in names}
    if rule.type in _SET_RULES:
        return {"value_set": [_exact(value, value, family) for value in rule.kwargs["value_set"]]}
    return {}


def _exact(written: Any, taken: Any, family: Family) -> Any:
    if family is Family.DECIMAL and isinstance(written, int | float):
        return Decimal(str(written))
    if family in (Family.DATETIME, Family.TIMESTAMP) and type(taken) is date:
        return datetime.combine(taken, time())
    return written if isinstance(written, int) else taken


def _scale(value: Any) -> int:
    exponent = Decimal(str(value)).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
