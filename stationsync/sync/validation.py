"""Validation of a chunk against its suite. The only module that knows Great Expectations.

GX takes seconds to import, so that happens when the first row meets a rule that `plain_rules` cannot judge. Row rules
do not go through `Batch.validate`, which hashes the frame twice and costs 50 ms a batch: they take the mask of
unexpected rows that GX computes inside, the `.condition` metric. A test holds both to what the public way finds."""

from __future__ import annotations

import copy
import logging
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stationsync.errors import BatchRefused, did_you_mean
from stationsync.model.changes import Checked, Chunk
from stationsync.model.wire import Family, typed
from stationsync.sync import plain_rules
from stationsync.sync.findings import (
    RowFinding,
    batch_finding,
    exact_bounds,
    parted,
    rule_finding,
    sample,
    seen_columns,
    some,
    with_unreadable,
    zero_date_findings,
)
from stationsync.sync.suites import Problem, Severity, Suite, SuiteRule, load_suite, refuse

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.validator.metric_configuration import MetricConfiguration
    from great_expectations.validator.metrics_calculator import MetricsCalculator

_TYPES = "column types are compared by `stationsync check`; here it would see those of pandas"
_NOT_HERE = {
    "expect_column_type_to_be": _TYPES,
    "expect_column_values_to_be_of_type": _TYPES,
    "expect_column_values_to_be_in_type_list": _TYPES,
    "expect_table_row_count_to_equal_other_table": "there is no other table, only the rows of a chunk",
}
# Arguments that only tune a rule: with nothing but these it has no statement to make.
_TUNING = frozenset({"mostly", "strict_min", "strict_max", "strictly", "ties_okay", "match_on", "method", "multiplier"})
_NOT_DONE = "Nothing of this chunk was written."
_RUNTIME = {"result_format": "BASIC", "catch_exceptions": False}


@dataclass(frozen=True)
class _Ready:
    """A rule that GX has taken. `metric` is the mask's name; empty for a rule on the batch as a whole."""

    rule: SuiteRule
    metric: str
    domain: Mapping[str, Any]
    values: Mapping[str, Any]
    exact: Mapping[str, Any]


@dataclass
class _Judge:
    """A rule as it is judged here; `ready` once GX has taken it, None while it is plain."""

    rule: SuiteRule
    ready: _Ready | None = None


class Validator:
    """Judges the chunks of one run and table. Cheap to make; threads may share it.

    `max_bad(bad, read)` is True where that is too many; `key` names the columns that tell rows in messages.
    """

    def __init__(
        self,
        place: str,
        suite: Suite | None,
        families: Mapping[str, Family],
        carry_zero_dates: bool,
        max_bad: Callable[[int, int], bool],
        *,
        key: Sequence[str] = (),
    ) -> None:
        self.place = place
        self._suite = suite
        self._families = families
        self._carry_zero_dates = carry_zero_dates
        self._max_bad = max_bad
        self._key = tuple(key)
        self._lock = threading.Lock()
        self._judges: tuple[_Judge, ...] | None = None

    def validate(self, chunk: Chunk) -> Checked:
        """Bad rows apart from good; BatchRefused where the run must stop, SuiteError for a wrong suite."""
        whole, unreadable = with_unreadable(chunk)
        if not len(whole):
            return Checked(chunk, (), chunk.rows)
        findings = [] if self._carry_zero_dates else zero_date_findings(chunk.rows, self._families)
        notes: list[str] = []
        if self._suite is not None and len(chunk):
            self._judge(self._suite, chunk.rows, findings, notes)
        findings += unreadable
        self._stop_at_too_many(whole.rows, findings)
        return parted(whole, findings, tuple(notes))

    def _judge(self, suite: Suite, rows: pa.Table, findings: list[RowFinding], notes: list[str]) -> None:
        """Run every rule before refusing, so that a refusal names all that is wrong with the batch."""
        judges = self._rules(suite, rows)
        native = typed(rows.select(sorted(suite.columns)), self._families)
        refusals = []
        for one in judges:
            finding = self._run(suite, one, rows, native)
            if finding is None:
                continue
            if one.rule.severity is not Severity.CRITICAL:
                where = f": {some(rows, finding.rows, self._key)}" if finding.rows else ""
                notes.append(f"{one.rule.severity}: {finding.what}{where}")
            elif finding.rows:
                findings.append(finding)
            else:
                refusals.append(finding.what)
        if refusals:
            raise self._refused("; ".join(refusals), f"Mend the data, or the rules in {suite.source}.")

    def _rules(self, suite: Suite, rows: pa.Table) -> tuple[_Judge, ...]:
        with self._lock:
            if self._judges is None:
                present = self._present(rows)
                others = [rule for rule in suite.rules if not plain_rules.is_plain(rule, present)]
                ready = {one.rule.place: one for one in _ready_rules(suite.source, others, present)}
                self._judges = tuple(_Judge(rule, ready.get(rule.place)) for rule in suite.rules)
            return self._judges

    def _present(self, rows: pa.Table) -> dict[str, Family]:
        return {name: self._families.get(name, Family.OTHER) for name in rows.column_names}

    def _run(self, suite: Suite, one: _Judge, rows: pa.Table, native: pa.Table) -> RowFinding | None:
        try:
            seen = seen_columns(one.rule, rows, native)
            if one.ready is None and (bad := plain_rules.bad_rows(one.rule, seen)) is not None:
                return rule_finding(one.rule, bad, rows) if bad else None
            return self._run_ready(suite, one, rows, seen)
        except Exception as error:
            # Fail closed: a rule that gives no answer has not been kept.
            where = f"{one.rule.place} of {suite.source.name}, {one.rule.type}"
            step = f"Mend the rule in {suite.source}, then run: stationsync check"
            raise self._refused(f"{where}, cannot be computed: {_plain(error)}", step) from error

    def _run_ready(self, suite: Suite, one: _Judge, rows: pa.Table, seen: pa.Table) -> RowFinding | None:
        ready = one.ready
        if ready is None:
            # A plain rule that meets what is not: another type than the column's, or what it has to say of a batch.
            [ready] = _ready_rules(suite.source, [one.rule], self._present(rows))
        frame = _frame(seen)
        if ready.metric:
            bad = _bad_rows(ready, frame)
            return rule_finding(one.rule, bad, rows) if bad else None
        observed = _batch_failure(ready, frame)
        return batch_finding(one.rule, observed) if observed else None

    def _stop_at_too_many(self, rows: pa.Table, findings: list[RowFinding]) -> None:
        bad = sorted({row for finding in findings for row in finding.rows})
        if not bad or not self._max_bad(len(bad), rows.num_rows):
            return
        top = sorted(findings, key=lambda finding: len(finding.rows), reverse=True)[:3]
        why = "; ".join(f"{len(finding.rows)} times {finding.what}" for finding in top)
        what = f"more bad rows than `max_bad` allows: {some(rows, bad, self._key)}: {why}."
        raise self._refused(what, "Mend the data or the suite, or raise `max_bad` of the table.")

    def _refused(self, what: str, next_step: str) -> BatchRefused:
        return BatchRefused(self.place, what, not_done=_NOT_DONE, next_step=next_step)


def check_suite(suite: Suite, families: Mapping[str, Family] | None = None) -> None:
    """SuiteError with everything that Great Expectations would drop, skip or choke on.

    With the table's `families`, also whether the columns are there and each row rule can be computed on them.
    """
    _ready_rules(suite.source, suite.rules, families)


def _ready_rules(source: Path, rules: Sequence[SuiteRule], families: Mapping[str, Family] | None) -> tuple[_Ready, ...]:
    if not rules:
        return ()
    _import_quietly()
    ready, problems = [], []
    for rule in rules:
        try:
            ready.append(_made_ready(rule, families))
        except Problem as problem:
            problems.append(f"{rule.place}: {rule.type}: {problem}")
    refuse(source, problems)
    return tuple(ready)


def _import_quietly() -> None:
    """GX sends all warnings of the process to its logger, and logs at will: neither is wanted."""
    showwarning = warnings.showwarning
    import great_expectations.expectations.core
    import great_expectations.validator.validator  # noqa: F401

    if warnings.showwarning is not showwarning:
        logging.captureWarnings(False)
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    # A regex with a group, ^(a|b)$, is no mistake.
    warnings.filterwarnings("ignore", "This pattern is interpreted as a regular expression", UserWarning)


def _made_ready(rule: SuiteRule, families: Mapping[str, Family] | None) -> _Ready:
    from great_expectations.expectations.registry import get_metric_kwargs

    expectation = _expectation(rule)
    for column in rule.columns:
        if families is not None and column not in families:
            raise Problem(f"the table has no column {column!r}{did_you_mean(column, list(families))}")
    family = (families or {}).get(rule.kwargs.get("column", ""), Family.OTHER)
    exact = exact_bounds(rule, family, vars(expectation))
    ready = _Ready(rule, "", {}, {}, exact)
    if map_metric := getattr(expectation, "map_metric", None):
        metric = f"{map_metric}.condition"
        kwargs = get_metric_kwargs(metric, expectation.configuration, {})
        values = {**kwargs["metric_value_kwargs"], **exact}
        ready = _Ready(rule, metric, kwargs["metric_domain_kwargs"], values, exact)
    _try_out(ready, families)
    return ready


def _expectation(rule: SuiteRule) -> Expectation:
    """The rule as GX has it, made anew for each use: threads must not share one."""
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    known = list_registered_expectation_implementations()
    if rule.type not in known:
        raise Problem(f"there is no such rule{did_you_mean(rule.type, known)}")
    if rule.type in _NOT_HERE:
        raise Problem(_NOT_HERE[rule.type])
    try:
        kwargs = copy.deepcopy(dict(rule.kwargs))
        expectation = ExpectationConfiguration(rule.type, kwargs).to_domain_obj()
    except Exception as error:
        raise Problem(_plain(error)) from error
    needed = set(expectation.success_keys) - _TUNING
    if needed and not needed & set(rule.kwargs):
        raise Problem(f"needs an argument: {' or '.join(sorted(needed))}")
    return expectation


def _try_out(ready: _Ready, families: Mapping[str, Family] | None) -> None:
    """Build the graph of metrics, which tells rules for SQL only; run a row rule on one sample row."""
    from great_expectations.exceptions.exceptions import MetricProviderError

    try:
        if ready.metric and families is not None:
            _bad_rows(ready, _frame(seen_columns(ready.rule, *sample(ready.rule, families))))
        else:
            _calculator(None).build_metric_dependency_graph(_metrics(ready))
    except MetricProviderError as error:
        raise Problem("works in SQL databases only, not on the rows of a chunk") from error
    except Exception as error:
        raise Problem(f"cannot be computed on these columns: {_plain(error)}") from error


def _bad_rows(ready: _Ready, frame: pd.DataFrame) -> list[int]:
    """The rows that the rule does not want; none while `mostly` holds."""
    [metric] = _metrics(ready)
    mask = _calculator(frame).compute_metrics([metric], _RUNTIME)[0][metric.id][0]
    # NULLs and rows outside of the condition are not in the mask; its index says which rows are.
    bad = mask.to_numpy(dtype=bool, na_value=True)
    mostly = ready.rule.kwargs.get("mostly", 1)
    if mostly < 1 and len(bad) and (len(bad) - bad.sum()) / len(bad) >= mostly:
        return []
    return [int(row) for row in mask.index[bad]]


def _batch_failure(ready: _Ready, frame: pd.DataFrame) -> str:
    """What a broken batch rule observed; empty where the rule holds."""
    expectation = _expectation(ready.rule)
    for name, value in ready.exact.items():
        setattr(expectation, name, value)
    calculator = _calculator(frame)
    metrics = calculator.compute_metrics(_metrics(ready), _RUNTIME)[0]
    result = expectation.metrics_validate(metrics, dict(_RUNTIME))
    if result.success:
        return ""
    found = result.result or {}
    return str(found.get("details") or found.get("observed_value", "nothing of that"))


def _metrics(ready: _Ready) -> list[MetricConfiguration]:
    from great_expectations.validator.metric_configuration import MetricConfiguration

    if ready.metric:
        return [MetricConfiguration(ready.metric, dict(ready.domain), dict(ready.values))]
    wanted = _expectation(ready.rule).get_validation_dependencies(None, dict(_RUNTIME))
    return list(wanted.get_metric_configurations())


def _calculator(frame: pd.DataFrame | None) -> MetricsCalculator:
    """On an engine of its own: threads that share one get wrong results, silently."""
    from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
    from great_expectations.validator.metrics_calculator import MetricsCalculator

    engine = PandasExecutionEngine()
    if frame is not None:
        engine.load_batch_data("chunk", frame)
    return MetricsCalculator(engine)


def _frame(table: pa.Table) -> pd.DataFrame:
    """On Arrow's own types: nothing is copied, and a bigint with NULLs stays a bigint."""
    import pandas as pd

    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _plain(error: BaseException) -> str:
    """The error in one line; GX wraps the cause in its own, and pydantic makes a list of it."""
    error = error.__cause__ or error
    if callable(listed := getattr(error, "errors", None)):
        return "; ".join(dict.fromkeys(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in listed()))
    return " ".join(f"{type(error).__name__}: {error}".split())


_SUITE = """
name: warm
expectations:
  - type: expect_column_values_to_not_be_null
    kwargs: {column: id}
  - type: expect_column_values_to_match_regex
    kwargs: {column: text, regex: a, mostly: 0.9}
"""


def validate_one_row() -> None:
    """By a rule that is not plain, so that all is loaded: some seconds, the first time."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "warm.yaml").write_text(_SUITE, encoding="utf-8")
        suite = load_suite("warm", Path(folder))
    rows = pa.table({"id": ["1"], "text": ["a"]})
    families = {"id": Family.INTEGER, "text": Family.TEXT}
    validator = Validator("warm", suite, families, False, lambda bad, read: False, key=("id",))
    validator.validate(Chunk(rows, None, more=False))
