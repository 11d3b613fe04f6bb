"""How each station's tables stand, from control's books alone: stations may be off-line.

A few statements however many stations there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import LockWait, StationSyncError, TryAgain, guarded
from stationsync.health.freshness import Freshness, Why, freshness
from stationsync.keeping import books
from stationsync.model.changes import Direction
from stationsync.model.changes import Status as Ended
from stationsync.reconcile.proof import Proof, read_proofs
from stationsync.store import bookkeeping, known_shapes, pauses, pending
from stationsync.store.bookkeeping import PENDING, STATION, conflict, proof, quarantine, state
from stationsync.store.pauses import Pause
from stationsync.topology.model import TableDirection, TableOptions, Topology


class State(StrEnum):
    """In the order of precedence: of several that fit, the first is told. Worst first in a list is `URGENCY`."""

    PAUSED = "paused"  # somebody paused the station: no run begins
    NEW = "new"  # control has no table or bookkeeping for it yet
    FAILED = "failed"  # a last run was refused or failed: a person has to look
    OFFLINE = "off-line"  # the last run found no station: normal operation, it will catch up
    NEVER = "never"  # no run ever came to its end
    STALE = "stale"  # older than `stale_after` allows
    BEHIND = "behind"  # fresh; edits wait to go down, or rows for others that have to come first
    OK = "ok"


URGENCY = (
    State.FAILED, State.NEW, State.NEVER, State.STALE, State.OFFLINE, State.PAUSED, State.BEHIND, State.OK,
)  # fmt: skip


def state_of(
    *, paused: bool, initialised: bool, failed: bool, offline: bool, never: bool, stale: bool, waiting: int
) -> State:
    told = (
        (paused, State.PAUSED),
        (not initialised, State.NEW),
        (failed, State.FAILED),
        (offline, State.OFFLINE),
        (never, State.NEVER),
        (stale, State.STALE),
        (waiting > 0, State.BEHIND),
    )
    return next((state for holds, state in told if holds), State.OK)


# Station -> what its last push had seen; None where there was none.
Seen = Mapping[str, datetime | None]
# Stations that are so far apart are counted apart, or one that is off-line would make the count of all read much.
_APART = timedelta(minutes=10)
_AT_ONCE = 500


def count_waiting_edits(conn: sa.Connection, options: TableOptions, seen: Seen) -> dict[str, int]:
    """Rows marked `pending`, and those that were stamped anew since the last push looked."""
    found = _pending(conn, options, list(seen))
    for stations, since in _alike(seen):
        for station, number in _stamped(conn, options, stations, since):
            found[station] = found.get(station, 0) + number
    return found


def _alike(seen: Seen) -> Iterator[tuple[list[str], datetime | None]]:
    """Stations whose pushes looked about the same time, with the earliest of these moments."""
    never = [station for station, moment in seen.items() if moment is None]
    if never:
        yield never, None
    together: list[str] = []
    first: datetime | None = None
    for moment, station in sorted((moment, station) for station, moment in seen.items() if moment is not None):
        if first is None or moment - first > _APART or len(together) >= _AT_ONCE:
            if together:
                yield together, first
            together, first = [], moment
        together.append(station)
    if together:
        yield together, first


def _tables(options: TableOptions) -> tuple[sa.TableClause, sa.TableClause, sa.ColumnElement[bool]]:
    names = (*options.key, *options.stamps)
    name = str(options.control_table)
    control = sa.table(name, *map(sa.column, names))
    base = sa.table(bookkeeping.base_name(name), *map(sa.column, (*names, STATION, PENDING)))
    return control, base, sa.and_(*(base.c[one] == control.c[one] for one in options.key))


def _stamp(table: sa.TableClause, options: TableOptions) -> sa.ColumnElement[Any]:
    first, *others = (table.c[name] for name in options.stamps)
    return sa.func.coalesce(first, *others) if others else first


def _pending(conn: sa.Connection, options: TableOptions, stations: Sequence[str]) -> dict[str, int]:
    control, base, same = _tables(options)
    found: dict[str, int] = {}
    for start in range(0, len(stations), _AT_ONCE):
        some = stations[start : start + _AT_ONCE]
        query = (
            sa.select(base.c[STATION], sa.func.count())
            .select_from(base.join(control, same))
            .where(base.c[STATION].in_(some), base.c[PENDING] > 0)
            .group_by(base.c[STATION])
        )
        found |= {station: int(number) for station, number in conn.execute(query)}
    return found


def _stamped(
    conn: sa.Connection, options: TableOptions, stations: Sequence[str], since: datetime | None
) -> Iterable[tuple[str, int]]:
    control, base, same = _tables(options)
    own, known = (_stamp(table, options) for table in (control, base))
    where = [
        base.c[STATION].in_(stations),
        pending.says(base, 0),
        known.is_distinct_from(own),
    ]
    if since is not None:
        where.append(own >= since.isoformat(sep=" "))
    query = sa.select(base.c[STATION], sa.func.count()).select_from(base.join(control, same)).where(*where)
    return [(station, int(number)) for station, number in conn.execute(query.group_by(base.c[STATION]))]


_Key = tuple[str, str]


@dataclass(frozen=True)
class DirectionStatus:
    """One direction of a table. `up_to`: everything stamped before it was seen, on the source's own clock.
    `message` is what the last run said when it did not come to its end. `without_key`: the station's rows with NULL in
    the key, which are not carried; `without_date`: those that only a reconcile brings."""

    status: str | None = None
    up_to: datetime | None = None
    run_at: datetime | None = None
    done_at: datetime | None = None
    message: str = ""
    without_key: int = 0
    without_date: int = 0
    # Rows that control has of before, and that the station's filter lets through no more.
    outside: int = 0


@dataclass(frozen=True)
class TableStatus:
    """`waiting`: edits of control's that have not gone down yet; None where the table was not initialised, or is
    `locked` and could not be read.
    `proof`: what the last reconcile found equal. `sweep`: what the last one said where it failed. Moments are UTC on
    control's clock, but for `up_to` and what is proved."""

    station: str
    table: str
    up: DirectionStatus
    down: DirectionStatus
    waiting: int | None
    quarantined: int
    conflicts: int
    fresh: Freshness
    proof: Proof | None = None
    # Fingerprints of both tables in the last good run, and since when; None before the first.
    schema: dict[str, Any] | None = None
    sweep: str = ""
    pause: Pause | None = None
    # Why its waiting edits cannot be counted.
    error: str = ""
    locked: bool = False
    # Rows in quarantine that go in by themselves once another row has come, or made way.
    held: int = 0

    @property
    def state(self) -> State:
        ended = {self.up.status, self.down.status}
        return state_of(
            paused=self.pause is not None,
            initialised=self.waiting is not None or self.locked,
            failed=Ended.FAILED in ended or bool(self.sweep or self.error),
            offline=Ended.OFFLINE in ended,
            never=self.fresh.why is Why.NEVER,
            stale=self.fresh.stale,
            waiting=(self.waiting or 0) + self.held,
        )

    @property
    def equal_up_to(self) -> datetime | None:
        return self.proof.up_to if self.proof else None

    @property
    def lag(self) -> timedelta | None:
        """How old is what was seen; None where nothing ever was."""
        return self.fresh.lag

    @property
    def last_run(self) -> datetime | None:
        return max((way.run_at for way in (self.up, self.down) if way.run_at), default=None)

    @property
    def last_error(self) -> str:
        """In one line; empty where the last runs came to their end."""
        ways = [way.message for way in (self.up, self.down)]
        told = [message for message in (*ways, self.sweep, self.error) if message]
        return " ".join(told[0].split()) if told else ""


def status(control: Database, topology: Topology, stations: Sequence[str] | None = None) -> list[TableStatus]:
    """One for each table of these stations, or of all, in the topology's order. Raises NotInitialised, and where
    control does not answer."""
    fresh = {(one.station, one.table): one for one in freshness(control, topology)}
    chosen = [name for name in topology.stations if stations is None or name in stations]
    pairs = {(name, table): options for name in chosen for table, options in topology.station(name).tables.items()}
    with control.begin() as conn:
        ways = _ways(conn)
        in_quarantine = _counts(conn, quarantine, quarantine.c.state == books.OPEN)
        with bookkeeping.of_this_version():
            held = _counts(conn, quarantine, books.waits_for_another()) if in_quarantine else {}
            conflicts = _counts(conn, conflict, conflict.c.answer.is_(None))
        proofs, shapes, paused = read_proofs(conn), known_shapes.fingerprints(conn), pauses.lasting(conn)
        sweeps = _failed_sweeps(conn)
        control.dialect.wait_briefly(conn)
        waiting, errors, locked = _waiting(control, conn, pairs, ways)
    return [
        TableStatus(
            *key,
            ways.get((*key, Direction.UP), DirectionStatus()),
            ways.get((*key, Direction.DOWN), DirectionStatus()),
            waiting.get(key),
            in_quarantine.get(key, 0),
            conflicts.get(key, 0),
            fresh[key],
            proofs.get(key),
            shapes.get(key),
            sweeps.get(key, ""),
            paused.get(key[0]),
            errors.get(key, ""),
            key in locked,
            held.get(key, 0),
        )
        for key in pairs
    ]


def worst_first(found: Iterable[TableStatus]) -> list[TableStatus]:
    """By state, then the oldest data first."""
    return sorted(found, key=lambda one: (URGENCY.index(one.state), -(one.lag or timedelta.max).total_seconds()))


def _ways(conn: sa.Connection) -> Mapping[tuple[str, str, str], DirectionStatus]:
    names: tuple[str, ...] = ("station", "table_name", "direction", "status", "watermark", "run_at", "done_at")
    names += ("message", "without_key", "without_date", "outside")
    return {
        (station, table, direction): DirectionStatus(
            ended, up_to, run_at, done_at, message or "", *(rows or 0 for rows in left_out)
        )
        for station, table, direction, ended, up_to, run_at, done_at, message, *left_out in books.read_state(
            conn, sa.select(*(state.c[name] for name in names))
        )
    }


def _failed_sweeps(conn: sa.Connection) -> dict[_Key, str]:
    columns = (proof.c.station, proof.c.table_name, proof.c.message)
    rows = conn.execute(sa.select(*columns).where(proof.c.status == str(Ended.FAILED)))
    return {(station, table): message or "the last reconcile failed" for station, table, message in rows}


def _counts(conn: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> dict[_Key, int]:
    key = (table.c.station, table.c.table_name)
    rows: Iterable[Any] = conn.execute(sa.select(*key, sa.func.count()).where(where).group_by(*key))
    return {(station, name): int(number) for station, name, number in rows}


def _waiting(
    control: Database,
    conn: sa.Connection,
    pairs: Mapping[_Key, TableOptions],
    ways: Mapping[tuple[str, str, str], DirectionStatus],
) -> tuple[dict[_Key, int], dict[_Key, str], set[_Key]]:
    """Of tables that are initialised, why it is not known of a table, and which are locked. Nothing goes down where a
    table only goes up."""
    present = set(sa.inspect(conn).get_table_names())
    found: dict[_Key, int] = {}
    errors: dict[_Key, str] = {}
    locked: set[_Key] = set()
    sharing: dict[tuple[Any, ...], dict[_Key, TableOptions]] = {}
    for key, options in pairs.items():
        name = str(options.control_table)
        if not all(bookkeeping.is_among(one, present) for one in (name, bookkeeping.base_name(name))):
            continue
        found[key] = 0
        if options.direction is not TableDirection.UP:
            sharing.setdefault((name, options.key, options.stamps), {})[key] = options
    for alike in sharing.values():
        tables = dict(alike.keys())
        seen = {
            station: ways.get((station, table, Direction.DOWN), DirectionStatus()).up_to for station, table in alike
        }
        options = next(iter(alike.values()))
        try:
            with guarded(f"control/{options.control_table}"), control.errors():
                counted = count_waiting_edits(conn, options, seen)
        except LockWait:
            locked |= alike.keys()
        except TryAgain:
            raise
        except StationSyncError as error:
            errors |= dict.fromkeys(alike, str(error))
        else:
            found |= {(station, tables[station]): number for station, number in counted.items()}
    return {key: number for key, number in found.items() if key not in locked}, errors, locked
