"""The common rules of a suite, judged on Arrow without Great Expectations, whose import takes seconds: a new process
with a few changed rows is done before that would be loaded. They mean what they mean there: a test holds each against
`Batch.validate`. Whatever is written in another way than it is known here is judged there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stationsync.model.wire import Family
from stationsync.sync.suites import SuiteRule

_WHOLE = frozenset({Family.INTEGER, Family.UNSIGNED})
_DATED = frozenset({Family.DATE, Family.DATETIME, Family.TIMESTAMP})
_BOUNDS = frozenset({"min_value", "max_value", "strict_min", "strict_max"})
_OF_PAIRS = frozenset({"or_equal", "ignore_row_if"})


def is_plain(rule: SuiteRule, families: Mapping[str, Family]) -> bool:
    """Whether the rule, on columns of these families, is judged here."""
    known = _RULES.get(rule.type)
    return known is not None and all(name in families for name in rule.columns) and known[0](rule.kwargs, families)


def bad_rows(rule: SuiteRule, seen: pa.Table) -> list[int] | None:
    """The rows of a plain row rule that it does not want, by number; None where Great Expectations has to say. `seen`:
    the rule's columns, as `findings.seen_columns` gives them."""
    return _RULES[rule.type][1](rule.kwargs, seen)


def _has(kwargs: Mapping[str, Any], needed: set[str], other: frozenset[str] = frozenset()) -> bool:
    """These arguments, and no others than `other`, which change nothing or are known here."""
    return needed <= kwargs.keys() <= needed | other


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _takes_null(kwargs: Mapping[str, Any], families: Mapping[str, Family]) -> bool:
    return _has(kwargs, {"column"})


def _takes_bounds(kwargs: Mapping[str, Any], families: Mapping[str, Family]) -> bool:
    """Whole numbers between whole numbers."""
    return families[kwargs["column"]] in _WHOLE and _are_bounds(kwargs)


def _takes_lengths(kwargs: Mapping[str, Any], families: Mapping[str, Family]) -> bool:
    lengths = (kwargs.get("min_value") or 0, kwargs.get("max_value") or 0)
    return families[kwargs["column"]] is Family.TEXT and _are_bounds(kwargs) and min(lengths) >= 0


def _are_bounds(kwargs: Mapping[str, Any]) -> bool:
    """Whole numbers in their order; what other bounds mean is for Great Expectations to say."""
    bounds = [kwargs[name] for name in ("min_value", "max_value") if kwargs.get(name) is not None]
    flags = [kwargs[name] for name in ("strict_min", "strict_max") if name in kwargs]
    return (
        _has(kwargs, {"column"}, _BOUNDS)
        and bool(bounds)
        and all(_is_whole(one) and abs(one) < 2**53 for one in bounds)
        and (len(bounds) < 2 or bounds[0] < bounds[1])
        and all(isinstance(one, bool) for one in flags)
    )


def _takes_regex(kwargs: Mapping[str, Any], families: Mapping[str, Family]) -> bool:
    if not _has(kwargs, {"column", "regex"}) or families[kwargs["column"]] is not Family.TEXT:
        return False
    try:
        re.compile(kwargs["regex"])
    except (re.error, TypeError):
        return False
    return True


def _takes_set(kwargs: Mapping[str, Any], families: Mapping[str, Family]) -> bool:
    if (
        not _has(kwargs, {"column", "value_set"})
        or not isinstance(kwargs["value_set"], list)
        or not kwargs["value_set"]
    ):
        return False
    family, values = families[kwargs["column"]], kwargs["value_set"]
    if family is Family.TEXT:
        return all(isinstance(one, str) for one in values)
    return family in _WHOLE and all(_is_whole(one) and abs(one) < 2**53 for one in values)


def _takes_pair(kwargs: Mapping[str, Any], families: Mapping[str, Family]) -> bool:
    if not _has(kwargs, {"column_A", "column_B"}, _OF_PAIRS) or not isinstance(kwargs.get("or_equal", False), bool):
        return False
    if kwargs.get("ignore_row_if") != "either_value_is_missing":
        return False
    kinds = {families[kwargs[name]] for name in ("column_A", "column_B")}
    return kinds <= _WHOLE or (len(kinds) == 1 and kinds <= _DATED)


def _takes_columns(kwargs: Mapping[str, Any], families: Mapping[str, Family]) -> bool:
    return (
        _has(kwargs, {"column_set", "exact_match"})
        and kwargs["exact_match"] is False
        and isinstance(kwargs["column_set"], list)
        and all(isinstance(one, str) for one in kwargs["column_set"])
    )


def _where(mask: pa.ChunkedArray) -> list[int]:
    """NULL is not judged."""
    return [int(row) for row in pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()]


def _of_values(column: pa.ChunkedArray, is_bad: Callable[[Any], bool]) -> list[int]:
    """Judged by Python, each value once. (Of a Python list, Arrow would make an array by importing pandas.)"""
    coded = column.combine_chunks().dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    bad = {code for code, value in enumerate(coded.dictionary.to_pylist()) if value is not None and is_bad(value)}
    return [row for row, code in enumerate(coded.indices.to_pylist()) if code in bad] if bad else []


def _null(kwargs: Mapping[str, Any], seen: pa.Table) -> list[int]:
    return _where(pc.is_null(seen[kwargs["column"]]))


def _not_null(kwargs: Mapping[str, Any], seen: pa.Table) -> list[int]:
    return _where(pc.is_valid(seen[kwargs["column"]]))


def _out_of_bounds(kwargs: Mapping[str, Any], seen: pa.Table) -> list[int] | None:
    column = seen[kwargs["column"]]
    return _outside(kwargs, column) if pa.types.is_integer(column.type) else None


def _wrong_length(kwargs: Mapping[str, Any], seen: pa.Table) -> list[int]:
    return _outside(kwargs, pc.utf8_length(seen[kwargs["column"]]))


def _outside(kwargs: Mapping[str, Any], column: pa.ChunkedArray) -> list[int]:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    # As decimals: a bound may be one that the column's type does not hold.
    numbers = column.cast(pa.decimal128(38, 0))
    masks = []
    if low is not None:
        masks.append((pc.less_equal if kwargs.get("strict_min") else pc.less)(numbers, low))
    if high is not None:
        masks.append((pc.greater_equal if kwargs.get("strict_max") else pc.greater)(numbers, high))
    return _where(masks[0] if len(masks) == 1 else pc.or_(*masks))


def _no_match(kwargs: Mapping[str, Any], seen: pa.Table) -> list[int]:
    """By Python's regular expressions, which Arrow's are not."""
    pattern = re.compile(kwargs["regex"])
    return _of_values(seen[kwargs["column"]], lambda value: pattern.search(value) is None)


def _in_set(kwargs: Mapping[str, Any], seen: pa.Table) -> list[int] | None:
    return _by_set(kwargs, seen, wanted=False)


def _not_in_set(kwargs: Mapping[str, Any], seen: pa.Table) -> list[int] | None:
    return _by_set(kwargs, seen, wanted=True)


def _by_set(kwargs: Mapping[str, Any], seen: pa.Table, *, wanted: bool) -> list[int] | None:
    column, values = seen[kwargs["column"]], set(kwargs["value_set"])
    is_text = isinstance(kwargs["value_set"][0], str)
    as_written = pa.types.is_string(column.type) if is_text else pa.types.is_integer(column.type)
    return _of_values(column, lambda value: (value in values) is not wanted) if as_written else None


def _not_greater(kwargs: Mapping[str, Any], seen: pa.Table) -> list[int] | None:
    a, b = seen[kwargs["column_A"]], seen[kwargs["column_B"]]
    if a.type != b.type:
        return None
    return _where(pc.less(a, b) if kwargs.get("or_equal", False) else pc.less_equal(a, b))


def _columns_missing(kwargs: Mapping[str, Any], seen: pa.Table) -> list[int] | None:
    return [] if set(kwargs["column_set"]) <= set(seen.column_names) else None


_Takes = Callable[[Mapping[str, Any], Mapping[str, Family]], bool]
_Judges = Callable[[Mapping[str, Any], pa.Table], list[int] | None]
_RULES: Mapping[str, tuple[_Takes, _Judges]] = {
    "expect_column_values_to_not_be_null": (_takes_null, _null),
    "expect_column_values_to_be_null": (_takes_null, _not_null),
    "expect_column_values_to_be_between": (_takes_bounds, _out_of_bounds),
    "expect_column_value_lengths_to_be_between": (_takes_lengths, _wrong_length),
    "expect_column_values_to_match_regex": (_takes_regex, _no_match),
    "expect_column_values_to_be_in_set": (_takes_set, _not_in_set),
    "expect_column_values_to_not_be_in_set": (_takes_set, _in_set),
    "expect_column_pair_values_a_to_be_greater_than_b": (_takes_pair, _not_greater),
    "expect_table_columns_to_match_set": (_takes_columns, _columns_missing),
}
