"""What a rule is given to see: its columns and its bounds, in types that compare exactly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from stationsync.model.wire import Family, typed
from stationsync.sync.suites import Rule

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


def seen_columns(rule: Rule, rows: pa.Table, native: pa.Table) -> pa.Table:
    """Only the rule's own columns, as GX copies them all to leave out NULLs; all for a rule on the table."""
    if not rule.columns:
        return rows
    return pa.table({name: _seen_column(rule, name, rows, native) for name in rule.columns})


def _seen_column(rule: Rule, name: str, rows: pa.Table, native: pa.Table) -> pa.ChunkedArray:
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


def sample(rule: Rule, families: Mapping[str, Family]) -> tuple[pa.Table, pa.Table]:
    """One made-up row of the rule's columns, wire and native. '{}' is a text that JSON rules take too."""
    rows = pa.table({name: [_SAMPLES.get(families[name], "{}")] for name in rule.columns})
    return rows, typed(rows, families)


def exact_bounds(rule: Rule, family: Family, taken: Mapping[str, Any]) -> dict[str, Any]:
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
