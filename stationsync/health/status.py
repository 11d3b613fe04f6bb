"""How each station's tables stand, from control's books alone: stations may be off-line.

A few statements however many stations there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import LockWait, StationSyncError, TryAgain, guarded
from stationsync.health import waiting_edits
from stationsync.health.freshness import Freshness, Why, freshness
from stationsync.health.status_rule import URGENCY, State, state_of
from stationsync.keeping import books
from stationsync.model.changes import Direction
from stationsync.model.changes import Status as Ended
from stationsync.reconcile.proof import Proof, read_proofs
from stationsync.store import bookkeeping, known_shapes, pauses
from stationsync.store.bookkeeping import conflict, proof, quarantine, state
from stationsync.store.pauses import Pause
from stationsync.topology.model import TableDirection, TableOptions, Topology

_Key = tuple[str, str]


@dataclass(frozen=True)
class Way:
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


@dataclass(frozen=True)
class TableStatus:
    """`waiting`: edits of control's that have not gone down yet; None where the table was not initialised, or is
    `locked` and could not be read.
    `proof`: what the last reconcile found equal. `sweep`: what the last one said where it failed. Moments are UTC on
    control's clock, but for `up_to` and what is proved."""

    station: str
    table: str
    up: Way
    down: Way
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
        held = _counts(conn, quarantine, books.waits_for_another()) if in_quarantine else {}
        conflicts = _counts(conn, conflict, sa.true())
        proofs, shapes, paused = read_proofs(conn), known_shapes.fingerprints(conn), pauses.lasting(conn)
        sweeps = _failed_sweeps(conn)
        control.dialect.wait_briefly(conn)
        waiting, errors, locked = _waiting(control, conn, pairs, ways)
    return [
        TableStatus(
            *key,
            ways.get((*key, Direction.UP), Way()),
            ways.get((*key, Direction.DOWN), Way()),
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


def _ways(conn: sa.Connection) -> Mapping[tuple[str, str, str], Way]:
    names: tuple[str, ...] = ("station", "table_name", "direction", "status", "watermark", "run_at", "done_at")
    names += ("message", "without_key", "without_date")
    return {
        (station, table, direction): Way(ended, up_to, run_at, done_at, message or "", *(rows or 0 for rows in without))
        for station, table, direction, ended, up_to, run_at, done_at, message, *without in books.read_state(
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
    ways: Mapping[tuple[str, str, str], Way],
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
        seen = {station: ways.get((station, table, Direction.DOWN), Way()).up_to for station, table in alike}
        options = next(iter(alike.values()))
        try:
            with guarded(f"control/{options.control_table}"), control.errors():
                counted = waiting_edits.count(conn, options, seen)
        except LockWait:
            locked |= alike.keys()
        except TryAgain:
            raise
        except StationSyncError as error:
            errors |= dict.fromkeys(alike, str(error))
        else:
            found |= {(station, tables[station]): number for station, number in counted.items()}
    return {key: number for key, number in found.items() if key not in locked}, errors, locked
