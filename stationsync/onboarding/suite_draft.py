"""A first expectation suite, from what a table is and what its rows look like. Pure: text out.

What the table itself says (NOT NULL, the length of a VARCHAR, the labels of an ENUM) is critical: a row that breaks it
is one that control would refuse. What was only seen in some rows is a warning: the next row may be right all the same,
so it is reported, and a person says whether it is a rule."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

import pyarrow as pa

from stationsync.model import printable, stored_text
from stationsync.model.schema import Column
from stationsync.model.wire import Family

# Fewer rows tell nothing that would hold for the next one.
_ENOUGH = 20
# A column with so few values, each of them many times, seems to have these only.
_FEW, _OFTEN = 12, 5
_LONGEST_VALUE = 60
_NUMBERS = (Family.INTEGER, Family.UNSIGNED, Family.DECIMAL, Family.FLOAT)
_LETTERS = re.compile(r"(?:var)?char\((\d+)\)")
_LABEL = re.compile(r"'((?:[^'\\]|''|\\.)*)'")
_DIGIT_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")

_HEAD = """\
# What a row of {name} must be, drafted from {seen} of {place}. Each rule says what it saw: read them, and
# keep what you know to be so.
#
#   severity: critical (where nothing is said)  the row goes to quarantine with the reason, the others go on.
#   severity: warning                           nothing is held back; the run reports it.
#
# Every rule of Great Expectations that works on pandas can stand here: https://greatexpectations.io/expectations/
# `stationsync check` reads this file strictly and names each mistake. NULL is judged by the rules on NULL only.

name: {quoted}

expectations:
"""


@dataclass(frozen=True)
class _Rule:
    type: str
    column: str
    saw: str
    arguments: tuple[tuple[str, str], ...] = ()
    warning: bool = True

    def text(self) -> str:
        lines = [f"  # {printable.printable(self.saw, one_line=True)}", f"  - type: {self.type}"]
        lines += ["    severity: warning"] if self.warning else []
        lines += ["    kwargs:", f"      column: {quoted(self.column)}"]
        lines += [f"      {name}: {value}" for name, value in self.arguments]
        return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """As a double-quoted text of YAML, where it is not a plain word."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text) and text.lower() not in (
        "y", "n", "yes", "no", "on", "off", "true", "false", "null",
    )  # fmt: skip
    return text if plain else json.dumps(text, ensure_ascii=False)


def draft(name: str, place: str, columns: Sequence[Column], rows: pa.Table, json_columns: frozenset[str]) -> str:
    """The suite's file. `columns`: those that are synchronised, with the names that rules have for them."""
    rules = [rule for column in columns for rule in _of_column(column, rows, column.name in json_columns)]
    if not rules:
        rules = [_Rule("expect_column_to_exist", columns[0].name, "nothing was seen that would be a rule", (), False)]
    seen = f"{rows.num_rows:,} row{'' if rows.num_rows == 1 else 's'}"
    head = _HEAD.format(
        name=printable.printable(name, one_line=True),
        seen=seen,
        place=printable.printable(place, one_line=True),
        quoted=quoted(name),
    )
    return head + "\n".join(rule.text() for rule in rules)


def number_of_rules(text: str) -> int:
    return text.count("\n  - type: ")


def _of_column(column: Column, rows: pa.Table, is_json: bool) -> Iterator[_Rule]:
    values = rows[column.name].to_pylist() if column.name in rows.column_names else []
    yield from _not_null(column, values)
    there = [value for value in values if value is not None]
    if any(isinstance(value, bytes) or stored_text.parsed(value) for value in there):
        return
    texts = [str(value) for value in there]
    if column.family is Family.ENUM:
        labels = [label.replace("''", "'") for label in _LABEL.findall(column.type)]
        if set(texts) <= set(labels):
            yield _in_set(column, labels, f"{column.name}: the labels of its ENUM", warning=False)
    elif column.family in _NUMBERS:
        yield from _numbers(column, texts)
    elif column.family in (Family.DATE, Family.DATETIME, Family.TIMESTAMP):
        yield from _dates(column, texts)
    elif column.family in (Family.TEXT, Family.JSON):
        yield from _texts(column, texts, is_json)


def _not_null(column: Column, values: Sequence[object]) -> Iterator[_Rule]:
    kind = "expect_column_values_to_not_be_null"
    if not column.nullable:
        yield _Rule(kind, column.name, f"{column.name}: {column.type} NOT NULL", (), False)
    elif len(values) >= _ENOUGH and None not in values:
        saw = f"{column.name} may be NULL; it was in none of {len(values):,} rows"
        yield _Rule(kind, column.name, saw)


def _numbers(column: Column, texts: Sequence[str]) -> Iterator[_Rule]:
    try:
        numbers = sorted(Decimal(text) for text in texts)
    except InvalidOperation:
        return
    if len(numbers) < _ENOUGH:
        return
    low, high = numbers[0], numbers[-1]
    saw = f"{column.name}: saw {low:f} to {high:f} in {len(numbers):,} rows"
    if column.family is not Family.FLOAT and (some := _few(texts)):
        yield _in_set(column, [int(one) for one in some], saw) if _whole(some) else _between(column, low, high, saw)
    else:
        yield _between(column, low, high, saw)


def _whole(texts: Sequence[str]) -> bool:
    return all(re.fullmatch(r"-?\d{1,15}", text) for text in texts)


def _between(column: Column, low: Decimal, high: Decimal, saw: str) -> _Rule:
    """With room: ten times what was seen; a number that counts up has no upper end."""
    arguments = [("min_value", str(_rounded(low, up=False)))]
    if not column.auto_increment:
        arguments.append(("max_value", str(_rounded(high, up=True))))
    return _Rule("expect_column_values_to_be_between", column.name, saw, tuple(arguments))


def _rounded(number: Decimal, *, up: bool) -> int:
    if number == 0 or (number > 0) is not up:
        return 0
    power = int(10 ** (max(abs(number).adjusted(), 0) + 2))
    return power if up else -power


def _dates(column: Column, texts: Sequence[str]) -> Iterator[_Rule]:
    dates = sorted(text for text in texts if (match := _DIGIT_DATE.match(text)) and match[2] != "00")
    if len(dates) < _ENOUGH or column.on_update:
        return
    year = max(int(dates[0][:4]) - 1, 1)
    saw = f"{column.name}: saw {dates[0]} to {dates[-1]} in {len(dates):,} rows"
    yield _Rule(
        "expect_column_values_to_be_between", column.name, saw, (("min_value", f"{date(year, 1, 1).isoformat()}"),)
    )


def _texts(column: Column, texts: Sequence[str], is_json: bool) -> Iterator[_Rule]:
    if is_json or column.family is Family.JSON or _all_json(texts):
        saw = f"{column.name}: JSON by its declaration" if is_json else f"{column.name}: JSON in {len(texts):,} rows"
        yield _Rule("expect_column_values_to_be_json_parseable", column.name, saw)
        return
    lengths = sorted(map(len, texts))
    seen = f"saw {lengths[0]} to {lengths[-1]} characters in {len(texts):,} rows" if lengths else "saw no value"
    kind = "expect_column_value_lengths_to_be_between"
    match = _LETTERS.match(column.type)
    if match and (not lengths or lengths[-1] <= int(match[1])):
        arguments = (("max_value", match[1]),)
        yield _Rule(kind, column.name, f"{column.name}: {column.type}; {seen}", arguments, False)
    if some := _few(texts):
        yield _in_set(column, some, f"{column.name}: saw only these in {len(texts):,} rows")
    elif len(texts) >= _ENOUGH and lengths[0] == lengths[-1] > 1:
        both = (("min_value", str(lengths[0])), ("max_value", str(lengths[0])))
        yield _Rule(kind, column.name, f"{column.name}: each of {len(texts):,} rows has so many characters", both)


def _few(texts: Sequence[str]) -> list[str]:
    """The values, where they are few and often there."""
    values = sorted(set(texts))
    few = 1 < len(values) <= _FEW and len(texts) >= max(_ENOUGH, _OFTEN * len(values))
    return values if few and max(map(len, values)) <= _LONGEST_VALUE else []


def _all_json(texts: Sequence[str]) -> bool:
    return len(texts) >= _ENOUGH and all(text[:1] in ("{", "[") and _is_json(text) for text in texts)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _in_set(column: Column, values: Sequence[str | int], saw: str, *, warning: bool = True) -> _Rule:
    written = ", ".join(str(one) if isinstance(one, int) else json.dumps(one, ensure_ascii=False) for one in values)
    return _Rule("expect_column_values_to_be_in_set", column.name, saw, (("value_set", f"[{written}]"),), warning)
