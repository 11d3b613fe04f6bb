"""Expectation suites: one commented YAML file a table, in the shape of a Great Expectations suite.

Great Expectations only logs a rule that it cannot read, and goes on without it. So the loader is strict about
everything that the file alone tells, and `validation.check_suite` about the rest. No heavy import."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from stationsync.errors import SuiteError, did_you_mean
from stationsync.topology.positions import Place, parsed


class Severity(StrEnum):
    """What a failed rule does: `critical` quarantines rows or stops the batch, the others only report."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class SuiteRule:
    """One expectation. `columns` are those it reads; none for a rule on the table as a whole."""

    place: str
    type: str
    kwargs: Mapping[str, Any]
    severity: Severity
    description: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    name: str
    source: Path
    rules: tuple[SuiteRule, ...]
    columns: frozenset[str] = field(default_factory=frozenset)


def load_suite(name: str, folder: Path | None = None, *, beside: Path | None = None) -> Suite:
    """`name`.yaml of `folder`, else of $STATIONSYNC_EXPECTATIONS, else of `beside` (the topology's own) where it is
    there, else of the installed package."""
    folder = folder or _default_folder(name, beside)
    source = folder / f"{name}.yaml"
    if name != Path(name).name or not source.is_file():
        raise _missing(name, folder)
    whole, lines = _parsed(source)
    rules = _rules(source, name, whole, lines)
    return Suite(name, source, rules, frozenset(column for rule in rules for column in rule.columns))


def spelled(suite: Suite, names: Iterable[str]) -> Suite:
    """The suite with column names as the table spells them: servers compare these names without case."""
    known = {name.lower(): name for name in names}
    rules = tuple(_spelled_rule(rule, known) for rule in suite.rules)
    return replace(suite, rules=rules, columns=frozenset(column for rule in rules for column in rule.columns))


def _spelled_rule(rule: SuiteRule, known: Mapping[str, str]) -> SuiteRule:
    kwargs = {
        name: _spelled(value, known) if name in (*_COLUMN_ARGUMENTS, "column_set") else value
        for name, value in rule.kwargs.items()
    }
    if "row_condition" in kwargs:
        kwargs["row_condition"] = _spelled_condition(kwargs["row_condition"], known)
    return replace(rule, kwargs=kwargs, columns=tuple(known.get(name.lower(), name) for name in rule.columns))


def _spelled(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_spelled(one, known) for one in value]
    return known.get(value.lower(), value) if isinstance(value, str) else value


def _spelled_condition(condition: dict[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    if "column" in condition:
        column = condition["column"]
        return {**condition, "column": {**column, "name": _spelled(column["name"], known)}}
    return {**condition, "conditions": [_spelled_condition(inner, known) for inner in condition.get("conditions", [])]}


class Problem(Exception):
    """What is wrong with one rule; collected, so that all rules of a file are reported at once."""


def refuse(source: Path, problems: list[str]) -> None:
    """SuiteError with all problems; nothing where there are none."""
    if problems:
        step = f"Mend {source}, then run: stationsync check"
        raise SuiteError(source.name, f"{'; '.join(problems)}.", next_step=step)


_TOP_KEYS = ("name", "expectations", "meta", "notes")
_RULE_KEYS = ("type", "kwargs", "severity", "meta", "notes", "description")
_BESIDE_KWARGS = frozenset({"severity", "meta", "notes", "description"})
# These steer how GX reports; here they would change what counts as a bad row, or do nothing.
_NOT_OURS = frozenset({"result_format", "catch_exceptions", "batch_id", "windows", "condition_parser", "id"})
_DICT_ARGUMENTS = frozenset({"row_condition", "json_schema", "partition_object", "quantile_ranges"})
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list")
_OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "IN", "NOT_IN")
_CONDITIONS = {
    "comparison": {"type", "column", "operator", "parameter"},
    "nullity": {"type", "column", "is_null"},
    "and": {"type", "conditions"},
    "or": {"type", "conditions"},
}


FOLDER_VARIABLE = "STATIONSYNC_EXPECTATIONS"


def _default_folder(name: str, beside: Path | None) -> Path:
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    if beside is not None and (beside / f"{name}.yaml").is_file():
        return beside
    # Found, not imported: the engine imports nothing from above it.
    spec = importlib.util.find_spec("expectations")
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else Path("expectations")


def _missing(name: str, folder: Path) -> SuiteError:
    there = sorted(path.stem for path in folder.glob("*.yaml"))
    what = f"no expectation suite {name!r} in {folder}{did_you_mean(name, there)}"
    return SuiteError(f"{name}.yaml", f"{what} There are: {', '.join(there) or 'none'}.")


def _parsed(source: Path) -> tuple[dict[str, Any], list[int]]:
    """The content, and the line of each rule."""
    try:
        file = parsed(source.read_bytes(), yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise SuiteError(source.name, f"is not YAML: {error}", next_step=f"Mend {source}.") from error
    if not isinstance(file.content, dict):
        raise SuiteError(source.name, "is not a mapping with `name` and `expectations`.")
    refuse(source, [f"line {file.lines[place]}: {place[-1]!r} is there twice" for place, _ in file.repeated])
    return file.content, [line for place, line in file.lines.items() if _is_rule(place)]


def _is_rule(place: Place) -> bool:
    return place[:-1] == ("expectations",) and isinstance(place[-1], int)


def _rules(source: Path, name: str, whole: dict[str, Any], lines: list[int]) -> tuple[SuiteRule, ...]:
    problems = [f"unknown key {key!r}{did_you_mean(str(key), _TOP_KEYS)}" for key in whole if key not in _TOP_KEYS]
    if whole.get("name") != name:
        problems.append(f"`name` must be {name!r}, as the file is called, not {whole.get('name')!r}")
    items = whole.get("expectations")
    if not isinstance(items, list) or not items:
        problems.append("`expectations` must be a list with at least one rule")
        items = []
    rules = []
    for number, (item, line) in enumerate(zip(items, lines, strict=True), 1):
        place = f"rule {number} (line {line})"
        try:
            rules.append(_rule(place, item))
        except Problem as problem:
            problems.append(f"{place}: {problem}")
    refuse(source, problems)
    return tuple(rules)


def _rule(place: str, item: Any) -> SuiteRule:
    if not isinstance(item, dict):
        raise Problem("must be a mapping with `type` and `kwargs`")
    for key in item:
        if key not in _RULE_KEYS:
            raise Problem(f"unknown key {key!r}{did_you_mean(str(key), _RULE_KEYS)}")
    kind, kwargs = item.get("type"), item.get("kwargs") or {}
    if not isinstance(kind, str):
        raise Problem("`type` must name an expectation")
    if not isinstance(kwargs, dict):
        raise Problem("`kwargs` must be a mapping")
    if item.get("severity", "critical") not in list(Severity):
        raise Problem(f"severity {item['severity']!r} must be one of {', '.join(Severity)}")
    _check_arguments(kwargs)
    kwargs = _null_is_not_judged(kind, kwargs)
    severity = Severity(item.get("severity", "critical"))
    return SuiteRule(place, kind, kwargs, severity, str(item.get("description") or ""), _columns(kind, kwargs))


def _check_arguments(kwargs: dict[str, Any]) -> None:
    for name, value in kwargs.items():
        if name in _BESIDE_KWARGS:
            raise Problem(f"{name!r} belongs beside `kwargs`, not in it")
        if name in _NOT_OURS:
            raise Problem(f"argument {name!r} has no place in a suite here")
        # GX takes an empty argument for "not given", and the rule then passes everything.
        if value is None or value in ("", [], {}):
            raise Problem(f"argument {name!r} is empty")
        # GX takes any dict for a suite parameter, and the rule then has no bound at all.
        if isinstance(value, dict) and name not in _DICT_ARGUMENTS:
            raise Problem(f"argument {name!r} must not be a mapping (suite parameters are not supported)")
    for name in _COLUMN_ARGUMENTS:
        for column in _as_list(kwargs.get(name, [])):
            if not isinstance(column, str):
                raise Problem(f"{name} {column!r} is not text: put it in quotes")
    for pattern in (*_as_list(kwargs.get("regex", [])), *_as_list(kwargs.get("regex_list", []))):
        _check_regex(pattern)
    if "row_condition" in kwargs:
        _check_condition(kwargs["row_condition"])


def _check_regex(pattern: object) -> None:
    if not isinstance(pattern, str):
        raise Problem(f"regex {pattern!r} is not text: put it in quotes")
    try:
        re.compile(pattern)
    except re.error as error:
        raise Problem(f"regex {pattern!r}: {error}") from error


def _check_condition(condition: Any) -> None:
    """Only the dict form: GX evaluates text as pandas code, and does not look at unknown keys."""
    shape = f"row_condition {condition!r}"
    if not isinstance(condition, dict) or condition.get("type") not in _CONDITIONS:
        raise Problem(f"{shape} must be a mapping with `type`, one of {', '.join(_CONDITIONS)}")
    if set(condition) != _CONDITIONS[condition["type"]]:
        raise Problem(f"{shape} must have exactly: {', '.join(sorted(_CONDITIONS[condition['type']]))}")
    if condition["type"] in ("and", "or"):
        if not isinstance(condition["conditions"], list) or not condition["conditions"]:
            raise Problem(f"{shape}: `conditions` must be a list with at least one condition")
        for inner in condition["conditions"]:
            _check_condition(inner)
        return
    column = condition["column"]
    if not isinstance(column, dict) or list(column) != ["name"] or not isinstance(column["name"], str):
        raise Problem(f"{shape}: `column` must be {{name: COLUMN}}")
    if condition["type"] == "comparison" and condition["operator"] not in _OPERATORS:
        raise Problem(f"{shape}: `operator` must be one of {' '.join(_OPERATORS)}")


def _null_is_not_judged(kind: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """As in rules of one column. GX's own default makes a pair rule raise on NULL."""
    if "column_A" in kwargs:
        return {"ignore_row_if": "either_value_is_missing", **kwargs}
    if "column_list" in kwargs and not kind.startswith("expect_table_"):
        return {"ignore_row_if": "any_value_is_missing", **kwargs}
    return kwargs


def _columns(kind: str, kwargs: dict[str, Any]) -> tuple[str, ...]:
    """A rule on the whole table names columns too, but must see all of them to judge."""
    if kind.startswith("expect_table_") or kind == "expect_column_to_exist":
        return ()
    named = [column for name in _COLUMN_ARGUMENTS for column in _as_list(kwargs.get(name, []))]
    return tuple(dict.fromkeys([*named, *_condition_columns(kwargs.get("row_condition", {}))]))


def _condition_columns(condition: dict[str, Any]) -> list[str]:
    if "column" in condition:
        return [condition["column"]["name"]]
    return [name for inner in condition.get("conditions", []) for name in _condition_columns(inner)]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
