"""What the journal's chunks and records say for `explain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.explain.facts import Passed
from stationsync.explain.words import GIVE_BACK
from stationsync.journal import read
from stationsync.journal.format import Decided
from stationsync.journal.read import Entry, Wanted
from stationsync.model.changes import Direction
from stationsync.pairing.pair import Pair
from stationsync.store.backfill_table import backfill
from stationsync.store.bookkeeping import proof

_SLACK = timedelta(seconds=1)
_BY_KEY = "its key: a reconcile, a backfill, a retry or init"


@dataclass(frozen=True)
class Chunks:
    """All of a pair, and when its last sweep and its backfills ran."""

    entries: Sequence[Entry]
    sweeps: Sequence[tuple[datetime, datetime]]
    backfills: Sequence[tuple[datetime, datetime]]


def chunks(pair: Pair, conn: sa.Connection) -> Chunks:
    entries = read.chunks_in(conn, Wanted(pair.name, pair.table))
    sweeps = sa.select(proof.c.begun_at, proof.c.run_at).where(
        proof.c.station == pair.name, proof.c.table_name == pair.table
    )
    backfills = sa.select(backfill.c.begun_at, backfill.c.moved_at).where(
        backfill.c.station == pair.name, backfill.c.table_name == pair.table
    )
    swept, filled = ([(a, b) for a, b in conn.execute(query) if a and b] for query in (sweeps, backfills))
    return Chunks(entries, swept, filled)


def passed(entry: Entry, record: Mapping[str, Any], of: Chunks) -> Passed:
    return Passed(
        entry.at,
        entry.run,
        entry.flow_run,
        Direction(record["direction"]),
        Decided(record["decision"]),
        record["before"],
        record["after"],
        record["came"],
        record["rule"],
        record["loser"],
        record["reason"],
        _by(entry, record, of),
    )


def _by(entry: Entry, record: Mapping[str, Any], chunks: Chunks) -> str:
    """What read the row, where it was not a pull in its turn: told by the time, for the journal does not say."""
    adopted = record["decision"] == Decided.SETTLED and record["before"] is None
    if entry.direction != Direction.UP or entry.window_to is not None or record["rule"] in GIVE_BACK:
        return ""
    gone = record["after"] is None or record["decision"] in (Decided.FLAGGED, Decided.KEPT)
    if gone and record["came"] is None:
        return "a reconcile"  # which alone finds deletes
    if adopted:
        return ""
    if any(begun <= entry.at <= ended + _SLACK for begun, ended in chunks.backfills):
        return "a backfill"
    if any(begun <= entry.at <= ended + _SLACK for begun, ended in chunks.sweeps):
        return "a reconcile"
    if any(one.run == entry.run and one.window_to is not None for one in chunks.entries):
        return "its key: the run met it changed"
    return _BY_KEY
