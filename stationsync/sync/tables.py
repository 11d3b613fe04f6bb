"""All tables of a station, one after the other, each there and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from stationsync.errors import StationOffline, StationPaused, StationSyncError, guarded
from stationsync.model.changes import Direction, Report, Status
from stationsync.pairing.pair import Pair
from stationsync.sync import runs
from stationsync.sync.runs import Steps
from stationsync.sync.taking_in import take_in

T = TypeVar("T")
Run = Callable[[Pair, Steps], Report]
BOTH_WAYS: Mapping[Direction, Run] = {Direction.UP: runs.pull, Direction.DOWN: runs.push_edits}
_ENDS = (StationOffline, StationPaused)


def failure(pair: Pair, direction: Direction, error: StationSyncError) -> Report:
    """The report of a run that raised: with what it had done before, and the error's own words."""
    named = {StationOffline: Status.OFFLINE, StationPaused: Status.PAUSED}
    status = next((status for kind, status in named.items() if isinstance(error, kind)), Status.FAILED)
    so_far = error.report or Report(pair.name, pair.table, direction, status)
    return replace(so_far, status=status, message=str(error))


def run_tables(
    pairs: Sequence[Pair],
    each: Mapping[Direction, Run],
    steps: Callable[[], Steps],
    *,
    waiting: bool = True,
    run: Callable[[Pair, Run], Report] | None = None,
    failed: Callable[[Pair, Direction, StationSyncError], T],
) -> Iterator[Report | T]:
    """The reports of these runs of every table of one station. One table that is refused does not stop the others; a
    station that does not answer is not asked again. Behind the last one, rows that are `waiting` for rows of other
    tables are tried again. `run`: how one of them is begun, by default with the `steps`; `failed`: what is made of one
    that raised, such as `failure`."""
    for pair in pairs:
        for direction, work in each.items():
            try:
                with guarded(pair.place):
                    report = run(pair, work) if run else work(pair, steps())
            except StationSyncError as error:
                yield failed(pair, direction, error)
                if isinstance(error, _ENDS):
                    return
            else:
                yield report
    if waiting:
        yield from take_in(pairs, steps(), lambda pair, error: failed(pair, Direction.UP, error))
