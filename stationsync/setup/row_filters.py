"""Taking a changed filter of rows (`where`): first it is said how many rows come in and how many leave, and a person
allows it where many leave. Until then no run reads or writes the table (`leaving.require_accepted`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from stationsync.errors import BrakePulled, DatabaseBusy, NotInitialised, StationSyncError, guarded
from stationsync.keeping import books
from stationsync.model.changes import Direction, Position
from stationsync.pairing.pair import Pair
from stationsync.rollback.brake import limit
from stationsync.session import extract
from stationsync.session.lease import lease
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION
from stationsync.sync import leaving
from stationsync.topology.row_filter import Leaving

_NOTHING = "The filter was not taken; nothing was changed."


@dataclass(frozen=True)
class FilterChange:
    """What another filter makes of one station's table. `comes`: rows that go through for the first time, or again;
    `leaves`: rows that control has, and that go through no more; `edits` of them with an edit of control's that waits,
    and stays at control alone. `before`, `now`: empty for none."""

    station: str
    table: str
    before: str
    now: str
    comes: int
    leaves: int
    edits: int
    leaving: Leaving


@dataclass(frozen=True)
class FilterChanges:
    """Those that were taken, or on a dry run would be; and stations whose filter was not."""

    changes: tuple[FilterChange, ...] = ()
    errors: tuple[StationSyncError, ...] = ()


def take_filters(pairs: Sequence[Pair], *, dry_run: bool = False, allow_leaving: bool = False) -> FilterChanges:
    """Of each pair whose filter is not the one that its rows were read by. `pairs` are initialised."""
    changes: list[FilterChange] = []
    errors: list[StationSyncError] = []
    for pair in pairs:
        try:
            with guarded(pair.place):
                if (change := _take(pair, dry_run, allow_leaving)) is not None:
                    changes.append(change)
        except StationSyncError as error:
            errors.append(error)
    return FilterChanges(tuple(changes), tuple(errors))


def _take(pair: Pair, dry_run: bool, allow_leaving: bool) -> FilterChange | None:
    if _unchanged(pair):
        return None
    with lease(pair, even_paused=True) as session:
        if session is None:
            step = "Run again: stationsync init"
            raise DatabaseBusy(pair.place, "another run is under way.", not_done=_NOTHING, next_step=step)
        session.open()
        with session.transaction():
            before = books.read_mark(session.control, pair, Direction.UP).row_filter or ""
        comes = sum(rows.num_rows - leaving.count_known(session, rows) for rows in _pages(session, session.carried))
        outside = [_known(session, rows) for rows in _pages(session, session.outside)]
        leaves, edits = (sum(numbers) for numbers in zip(*outside, strict=True)) if outside else (0, 0)
        change = FilterChange(
            pair.name, pair.table, before, pair.options.where or "", comes, leaves, edits, pair.options.leaving
        )
        if dry_run:
            return change
        if not allow_leaving:
            _ask_the_brake(session, change)
        with session.transaction():
            books.accept_filter(session.control, session.pair)
        return change


def _unchanged(pair: Pair) -> bool:
    with pair.control.connect() as conn, pair.control.transaction(conn):
        try:
            mark = books.read_mark(conn, pair, Direction.UP)
        except NotInitialised:
            return True  # a dry run before the first `init`, or of an older version
    seen = mark.watermark is not None or mark.place is not None
    return not seen or (mark.row_filter or "") == (pair.options.where or "")


def _pages(session: Session, where: sa.ColumnElement[bool]) -> Iterator[pa.Table]:
    """Keys and stamps of the station's rows of this kind."""
    after: Position | None = None
    while (rows := extract.read_places(session, where, None, after, leaving.KEYS_A_PAGE)).num_rows:
        yield rows
        after = extract.position(rows, session.fit)


def _known(session: Session, rows: pa.Table) -> tuple[int, int]:
    """How many of these control has, and how many with an edit that has not gone down."""
    return leaving.count_known(session, rows), leaving.count_edited(session, rows)


def _ask_the_brake(session: Session, change: FilterChange) -> None:
    base, pair = session.base, session.pair
    query = sa.select(sa.func.count()).select_from(base).where(base.c[STATION] == pair.name)
    with session.transaction():
        known = int(session.control.scalar(query) or 0)
    most = limit(known, pair.options.max_deletes)
    if change.leaves <= most:
        return
    raise BrakePulled(
        pair.place,
        f"{change.leaves:,} of {known:,} rows would leave with the new filter of its rows (limit {most:,}).",
        not_done=_NOTHING,
        next_step="See what comes and leaves: stationsync init --dry-run; to take it: stationsync init --allow-leaving",
    )
