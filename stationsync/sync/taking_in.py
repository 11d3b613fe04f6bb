"""After all tables of a station: rows that wait for rows of other tables, as long as some go in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import sqlalchemy as sa

from stationsync.errors import StationSyncError, guarded
from stationsync.keeping import books
from stationsync.model.changes import Direction, Report, Status
from stationsync.pairing.pair import Pair
from stationsync.store.bookkeeping import quarantine
from stationsync.sync import circles, runs
from stationsync.sync.runs import Steps
from stationsync.topology.model import TableDirection

T = TypeVar("T")


def take_in(pairs: Sequence[Pair], steps: Steps, failed: Callable[[Pair, StationSyncError], T]) -> Iterator[Report | T]:
    """Reports of the runs in which rows went in, and what `failed` makes of those that could not be done. `pairs` are
    tables of one station."""
    left = [pair for pair in pairs if pair.options.direction is not TableDirection.DOWN]
    while len(left) > 1:
        went_in = False
        try:
            waiting = _waiting(left)
        except StationSyncError as error:
            yield failed(left[0], error)
            return
        for pair in waiting:
            try:
                with guarded(pair.place):
                    report = runs.take_in_waiting(pair, steps)
            except StationSyncError as error:
                yield failed(pair, error)
                left.remove(pair)
                continue
            if report.status is Status.DONE and report.counts.applied:
                went_in = True
                yield report
        if not went_in and len(waiting) > 1:
            try:
                with guarded(waiting[0].place):
                    reports = circles.take_in(waiting, steps)
            except StationSyncError as error:
                yield failed(waiting[0], error)
                return
            went_in = bool(reports)
            yield from reports
        if not went_in:
            return


def _waiting(pairs: Sequence[Pair]) -> list[Pair]:
    """Tables with rows that wait for another row."""
    control, station = pairs[0].control, pairs[0].name
    query = sa.select(quarantine.c.table_name).where(quarantine.c.station == station, books.waits_for_another())
    query = query.where(quarantine.c.direction == str(Direction.UP)).distinct()
    with control.begin() as conn:
        tables = set(conn.scalars(query))
    return [pair for pair in pairs if pair.table in tables]
