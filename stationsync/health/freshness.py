"""How old what control has of each station's table is, from the books and never from the states of runs.

Two facts count, because either alone can lie. The last run of a way that came to its end: an off-line or refused one
does not. And the moment up to which everything was seen: runs may succeed while an open transaction holds the watermark
back. `judge` is pure; `freshness` asks control."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.model.changes import Direction, Status
from stationsync.model.wire import Family
from stationsync.store.bookkeeping import proof, require_books, state
from stationsync.topology.model import TableDirection, TableOptions, Topology
from stationsync.topology.schedules import Schedule

_MICROSECOND = timedelta(microseconds=1)
_WAYS = {
    "sync": frozenset({Direction.UP, Direction.DOWN}),
    "pull": frozenset({Direction.UP}),
    "push": frozenset({Direction.DOWN}),
}


class Why(StrEnum):
    """Why a table counts as stale; the first that fits."""

    FRESH = ""
    NEVER = "never succeeded"
    OLD = "no run came to its end"
    HELD_BACK = "runs succeed, but the watermark stands"


@dataclass(frozen=True)
class DirectionFreshness:
    """One direction of a table as the books have it. Moments are UTC on control's clock; `reached`: everything
    written before it was seen."""

    direction: Direction
    succeeded: datetime | None = None
    reached: datetime | None = None
    status: str | None = None
    message: str = ""


@dataclass(frozen=True)
class Freshness:
    """Of one table of a station; of the way that is farther behind. `equal_up_to` is what the last reconcile proved, on
    the station's own clock. `expected`: the ways that its schedule, or where it has none its options, ask for."""

    station: str
    table: str
    now: datetime
    stale_after: timedelta
    expected: frozenset[Direction]
    succeeded: datetime | None = None
    reached: datetime | None = None
    equal_up_to: datetime | None = None
    why: Why = Why.FRESH
    offline: bool = False
    message: str = ""

    @property
    def stale(self) -> bool:
        return self.why is not Why.FRESH

    @property
    def lag(self) -> timedelta | None:
        """How far behind what was seen is; None where nothing ever was."""
        if self.why is Why.NEVER:
            return None
        return self.now - min(one for one in (self.succeeded, self.reached, self.now) if one is not None)

    @property
    def since(self) -> datetime | None:
        """When it became stale; None where it is not, or where nothing ever succeeded."""
        lag = self.lag
        return None if lag is None or not self.stale else self.now - lag + self.stale_after


def expected(options: TableOptions, schedule: Schedule) -> frozenset[Direction]:
    """The ways in which a table is to be kept fresh."""
    able = frozenset({Direction.UP} if options.direction is TableDirection.UP else {Direction.UP, Direction.DOWN})
    named = [ways for name, ways in _WAYS.items() if getattr(schedule, name)]
    # Without a schedule something else starts the runs, such as cron: then all that the table can do is expected.
    return able & frozenset[Direction]().union(*named) if named else able


def judge(
    station: str,
    table: str,
    ways: Iterable[DirectionFreshness],
    *,
    now: datetime,
    expected: frozenset[Direction],
    stale_after: timedelta,
    max_hold: timedelta,
    equal_up_to: datetime | None = None,
) -> Freshness:
    """One table from what the books have of its ways; a way they know nothing of never succeeded."""
    known = {way.direction: way for way in ways}
    each = [known.get(direction, DirectionFreshness(direction)) for direction in sorted(expected)]
    succeeded = _least(way.succeeded for way in each)
    # An upwards-only table has no watermark downwards, so None says nothing beside a success.
    reached = min((way.reached for way in each if way.reached is not None), default=None)
    why = Why.FRESH
    if each and succeeded is None:
        why = Why.NEVER
    elif succeeded is not None and now - succeeded > stale_after:
        why = Why.OLD
    elif reached is not None and now - reached > stale_after + max_hold:
        # A transaction may hold the watermark back for so long, and no longer.
        why = Why.HELD_BACK
    told = [way for way in each if way.message]
    return Freshness(
        station, table, now, stale_after, expected, succeeded, reached, equal_up_to, why,
        offline=any(way.status == Status.OFFLINE for way in each),
        message=told[0].message if told else "",
    )  # fmt: skip


def _least(moments: Iterable[datetime | None]) -> datetime | None:
    """The earliest; None where one is missing."""
    each = list(moments)
    present = [moment for moment in each if moment is not None]
    return min(present) if present and len(present) == len(each) else None


def freshness(control: Database, topology: Topology) -> list[Freshness]:
    """One for each table of each station, in the topology's order, in three statements however large the fleet.

    Raises NotInitialised, and where control does not answer."""
    with control.begin() as conn:
        require_books(conn)
        now = control.dialect.clock(conn, Family.TIMESTAMP).utc
        ways = _ways(conn)
        columns = (proof.c.station, proof.c.table_name, proof.c.equal_up_to)
        proved = {(station, table): moment for station, table, moment in conn.execute(sa.select(*columns))}
    found = []
    for station, place in topology.stations.items():
        schedule, stale_after = topology.schedule(station), topology.stale_after(station)
        for table, options in place.tables.items():
            key = (station, table)
            found.append(
                judge(
                    *key,
                    ways.get(key, ()),
                    now=now,
                    expected=expected(options, schedule),
                    stale_after=stale_after,
                    max_hold=options.max_hold,
                    equal_up_to=proved.get(key),
                )
            )
    return found


def _ways(conn: sa.Connection) -> Mapping[tuple[str, str], list[DirectionFreshness]]:
    found: dict[tuple[str, str], list[DirectionFreshness]] = {}
    for row in conn.execute(sa.select(state)).mappings():
        reached, measured = row["watermark"], row["clock_measured"]
        if reached is not None and measured is not None:
            reached -= measured * _MICROSECOND
        way = DirectionFreshness(
            Direction(row["direction"]), row["done_at"], reached, row["status"], row["message"] or ""
        )
        found.setdefault((row["station"], row["table_name"]), []).append(way)
    return found
