"""Looking up all that is known of one row: `explain STATION TABLE KEY…`. Writes nothing and takes no lease.

Control's rows and books are of one moment (a read-only snapshot), the station's row is read right behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import StationSyncError
from stationsync.explain import sources
from stationsync.explain.facts import Books, JournalReach, Key, RowFacts, Trouble, typed
from stationsync.explain.sources import AtControl
from stationsync.explain.verdict import Explained
from stationsync.explain.verdict import explain as judged
from stationsync.health.conflict_list import conflict_of
from stationsync.journal import read as rows
from stationsync.keeping import books
from stationsync.keeping.trash import item_of
from stationsync.model.changes import Direction, Status
from stationsync.model.wire import Family, key_text
from stationsync.pairing.pair import Pair
from stationsync.recovery.quarantine import entry_of
from stationsync.session.lease import is_any_held
from stationsync.store import bookkeeping, pauses
from stationsync.store.bookkeeping import (
    PENDING,
    STATION,
    conflict,
    key_hash,
    of_this_version,
    proof,
    quarantine,
    state,
    trash,
)


def explain(pair: Pair, key: Key) -> Explained:
    """Raises SchemaRefused, NotInitialised, and where control does not answer. A station that does not is told."""
    found, missing = _look(pair, key)
    if missing:
        # Maintenance may just have merged or deleted these files.
        found, _ = _look(pair, key)
    return judged(found)


def _look(pair: Pair, key: Key) -> tuple[RowFacts, bool]:
    with ExitStack() as stack:
        station, unknown = _open(stack, pair.station)
        conn = stack.enter_context(snapshot_of(pair.control))
        at_control = sources.at_control(pair, conn, key)
        pair = pair.spelled(at_control.shape)
        facts = _of_books(pair, conn, at_control)
        chunks = sources.chunks(pair, conn)
        if station is not None:
            row, unknown = sources.at_station(pair, station, at_control)
            facts = replace(facts, at_station=row, outside=sources.is_outside(pair, station, at_control))
        facts = replace(facts, unknown=unknown)
        texts = sources.spellings(at_control, facts.at_station, pair.options.key)
        facts = _of_row(conn, pair, facts, texts)
    running = is_any_held([pair])
    read, missing = rows.records_of(chunks.entries, texts)
    passed = tuple(sources.passed(entry, record, chunks) for entry, record in read)
    begins = chunks.entries[0].at if chunks.entries else None
    gaps = tuple(entry.at for entry in chunks.entries if entry.lost)
    kept = JournalReach(
        pair.journal.url is not None, begins, gaps, tuple(f"{one.place}: {one.what}" for one in missing)
    )
    books = replace(facts.books, under_way=running)
    return replace(facts, passed=passed, journal=kept, books=books), bool(missing)


def _open(stack: ExitStack, station: Database) -> tuple[sa.Connection | None, str]:
    """Before the snapshot, for it may take a while."""
    try:
        return stack.enter_context(station.connect()), ""
    except StationSyncError as error:
        return None, f"{error.place}: {error.what}"


@contextmanager
def snapshot_of(control: Database) -> Iterator[sa.Connection]:
    """A transaction that reads all of one moment, and cannot write."""
    with control.connect() as conn, control.errors():
        conn.execution_options(stationsync_read=True, stationsync_snapshot=True)
        with conn.begin():
            bookkeeping.require_books(conn)
            yield conn


# --- our books


def _of_books(pair: Pair, conn: sa.Connection, there: AtControl) -> RowFacts:
    options, base = pair.options, dict(there.base or {})
    owner, pending = base.pop(STATION, None), int(base.pop(PENDING, None) or 0) > 0
    pause = pauses.read(conn, pair.name)
    starts, troubles = _runs(conn, pair)
    paused = str(pause) if pause and pause.lasts else ""
    books = Books(owner, pending, starts, paused, tuple(troubles), ready=there.ready)
    row = there.row or base or None
    shown: Key = tuple(row[name] for name in options.key) if row else there.key
    return RowFacts(
        pair.name,
        pair.table,
        key_text(shown),
        typed(shown),
        pair.control.dialect.clock(conn, Family.DATETIME).utc,
        options,
        {name: column.family for name, column in there.columns.items()},
        at_control=there.row,
        base=base or None,
        books=books,
    )


def _runs(conn: sa.Connection, pair: Pair) -> tuple[dict[Direction, datetime | None], list[Trouble]]:
    starts: dict[Direction, datetime | None] = {}
    troubles = []
    of = (state.c.station == pair.name, state.c.table_name == pair.table)
    for row in conn.execute(sa.select(state).where(*of)).mappings():
        direction = Direction(row["direction"])
        start = row["watermark"] and row["watermark"] - pair.options.lookback
        seen = books.newest_stamp(row["newest"]) if direction is Direction.UP else None
        starts[direction] = min(start, seen + timedelta(microseconds=1)) if start and seen else start
        if row["status"] in (Status.FAILED, Status.OFFLINE):
            kind = "pull" if direction is Direction.UP else "push"
            troubles.append(Trouble(kind, row["status"] == Status.OFFLINE, _line(row["message"]), row["run_at"]))
    swept = sa.select(proof.c.status, proof.c.message, proof.c.run_at)
    swept = swept.where(proof.c.station == pair.name, proof.c.table_name == pair.table)
    for status, message, run_at in conn.execute(swept):
        if status == Status.FAILED:
            troubles.append(Trouble("reconcile", False, _line(message), run_at))
    return starts, troubles


def _line(message: str | None) -> str:
    return " ".join((message or "").split())


def _of_row(conn: sa.Connection, pair: Pair, facts: RowFacts, texts: Sequence[str]) -> RowFacts:
    hashes = [key_hash(text) for text in texts]

    def entries(table: sa.Table) -> Any:
        of = (table.c.station == pair.name, table.c.table_name == pair.table, table.c.key_hash.in_(hashes))
        with of_this_version():
            return conn.execute(sa.select(table).where(*of).order_by(table.c.id)).mappings()

    return replace(
        facts,
        conflicts=tuple(map(conflict_of, entries(conflict))),
        quarantine=tuple(map(entry_of, entries(quarantine))),
        trash=tuple(map(item_of, entries(trash))),
    )
