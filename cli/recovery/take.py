"""`conflicts take`: what lost in a conflict, or values of one's own, as the row's new version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated

import typer

from cli.common import (
    DryRun,
    Json,
    Settings,
    Table,
    confirm,
    error_object,
    print_error,
    print_json,
    say,
    settings,
    worst,
)
from cli.journal.options import Since
from cli.recovery.choice import Ids, Loser, OfStation, chosen_conflicts
from stationsync.errors import StationSyncError, UsageError, guarded
from stationsync.health import conflict_list
from stationsync.health.conflict_list import Conflict
from stationsync.model.changes import Report
from stationsync.model.details import LeftConflict, TakeDetails
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.recovery import take as engine
from stationsync.recovery.take_rule import TakeOrder

_Result = Report | StationSyncError


def take(
    ctx: typer.Context,
    ids: Ids = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="COLUMN=VALUE", help="Instead of what lost: this value in the row as it is."),
    ] = None,
    null: Annotated[
        list[str] | None, typer.Option("--null", metavar="COLUMN", help="As --set, of a column that is to be NULL.")
    ] = None,
    station: OfStation = None,
    table: Table = None,
    since: Since = None,
    where_loser: Loser = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Make what lost in a conflict, or values of your own, the row's new version: an edit of control's, stamped now,
    that goes down with the next push, stands in the journal and can be taken back.

    By number, or all open ones of a station, since a moment, or that one side lost. Shows the plan and asks first. Of a
    row that is another by now than the conflict left, nothing is changed, and the row is shown. The station may be
    off-line. Bytes are set as {"hex":"00ff"}."""
    given = settings(ctx)
    order = _order(set_ or [], null or [])
    found = _chosen(ctx, ids, chosen_conflicts(ctx, "take", ids, station, table, since, where_loser))
    plans = _each(given, found, order, dry_run=True)
    wanted = {number for one in plans for number in _details(one).taken}
    if not json:
        _show(plans)
    done: list[_Result] = []
    if wanted and not dry_run:
        if not yes:
            confirm(f"Take {len(wanted):,} of {len(found):,} conflicts?")
        done = _each(given, [one for one in found if one.id in wanted], order)
        if not json:
            _show(done)
    results = [*plans, *done]
    errors = [one for one in results if isinstance(one, StationSyncError)]
    left = [one for result in results for one in _details(result).left]
    code = worst([*(one.exit_code for one in errors), *([1] if left else [])])
    if json:
        shown = {"plan": [*_objects(plans)], "reports": [*_objects(done)]}
        told = {"taken": [n for one in done for n in _details(one).taken], "left": [one.id for one in left]}
        named = [{"error": error_object(error)} for error in errors]
        print_json({"ok": code == 0, "dry_run": dry_run, **told, **shown, "errors": named})
    elif dry_run or not wanted:
        say(NOTHING_CHANGED)
    if code:
        raise typer.Exit(code)


def _order(given: Sequence[str], null: Sequence[str]) -> TakeOrder:
    values: dict[str, str | None] = {}
    for name, value in [*(_pair(word) for word in given), *((name, None) for name in null)]:
        if name in values:
            raise _wrong(f"column {name} is given twice.")
        values[name] = value
    return TakeOrder(values)


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise _wrong(f"--set {word} has no value.")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _wrong(f"the value of --set {name} is no UTF-8.")
    return name, value


def _wrong(what: str) -> UsageError:
    step = "Write --set COLUMN=VALUE, or --null COLUMN."
    return UsageError("conflicts take", what, not_done="Nothing was changed.", next_step=step)


def _chosen(
    ctx: typer.Context, ids: Sequence[int] | None, wanted: conflict_list.ConflictFilter | None
) -> list[Conflict]:
    control = settings(ctx).control
    return conflict_list.by_ids(control, ids or []) if wanted is None else conflict_list.find(control, wanted)[0]


def _each(given: Settings, found: Sequence[Conflict], order: TakeOrder, *, dry_run: bool = False) -> list[_Result]:
    """Table by table; what cannot be done in one stops no other."""

    def place(one: Conflict) -> tuple[str, str]:
        return one.station, one.table

    results: list[_Result] = []
    for (station, table), some in groupby(sorted(found, key=place), place):
        try:
            with guarded(f"{station}/{table}"):
                (pair,) = given.pairs(station, table)
                results.append(engine.take(pair, sorted(some, key=lambda one: one.id), order, dry_run=dry_run))
        except StationSyncError as error:
            results.append(error)
    return results


def _details(result: _Result) -> TakeDetails:
    details = result.details if isinstance(result, Report) else None
    return details if isinstance(details, TakeDetails) else TakeDetails(True, (), (), ())


def _objects(results: Sequence[_Result]) -> list[dict[str, object]]:
    return [one.as_dict() for one in results if isinstance(one, Report)]


def _show(results: Sequence[_Result]) -> None:
    for result in results:
        if isinstance(result, StationSyncError):
            print_error(result)
            continue
        for line in _lines(result):
            say(line)


def _lines(report: Report) -> Iterator[str]:
    details, of = _details(report), f"{report.station}/{report.table}"
    if details.dry_run:
        yield from (line for share in details.plan for line in share.lines())
    else:
        numbers = ", ".join(map(str, details.taken))
        now = f"stationsync push {report.station} --table {report.table}"
        if details.taken:
            yield f"{of}: {len(details.taken):,} taken (conflicts {numbers}); run {report.run}"
            yield f"  They go down with the next push; now: {now}"
    for one in details.left:
        yield from _left(of, one)
    yield from (f"  warning: {warning}" for warning in report.warnings)


def _left(of: str, one: LeftConflict) -> Iterator[str]:
    yield f"{of}: conflict {one.id} is left: {one.why}"
    if one.next_step:
        yield f"  {one.next_step}"
