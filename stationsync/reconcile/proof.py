"""The books of sweeps: how far one is, what the last one proved, the deletes it found. In the caller's transaction.

And what a reconcile tells of it: what it found, and what it proved, for the report's details."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stationsync.model.changes import Status
from stationsync.model.details import ReconcileDetails
from stationsync.model.stored_text import told
from stationsync.model.wire import key_text, parse_key_text
from stationsync.pairing.keys import Key
from stationsync.pairing.pair import Pair
from stationsync.reconcile.compare import KINDS, Difference, Sum
from stationsync.reconcile.scan import Scan
from stationsync.store.bookkeeping import key_hash, planned_delete, proof

# A sweep that was cut off longer ago begins anew: what it compared is too old to be a proof.
_WORTH_RESUMING = timedelta(days=1)
_AT_ONCE = 1_000


@dataclass(frozen=True)
class Proof:
    """Equal up to this moment of the station's clock, but for `exceptions` (kind -> rows)."""

    up_to: datetime
    at: datetime
    rows: int
    digest: str
    exceptions: Mapping[str, int]


def read_proofs(conn: sa.Connection) -> dict[tuple[str, str], Proof]:
    """(station, table) -> what its last complete sweep proved."""
    found = conn.execute(sa.select(proof).where(proof.c.equal_at.is_not(None))).mappings()
    return {(row["station"], row["table_name"]): _proof(row) for row in found}


def _proof(row: Any) -> Proof:
    exceptions = json.loads(row["exceptions"] or "{}")
    return Proof(row["equal_up_to"], row["equal_at"], row["equal_rows"], row["equal_digest"], exceptions)


def _is(pair: Pair) -> sa.ColumnElement[bool]:
    return sa.and_(proof.c.station == pair.name, proof.c.table_name == pair.table)


def begin(conn: sa.Connection, pair: Pair, about: str, now: datetime, bound: datetime) -> tuple[Scan, datetime]:
    """Where to go on, and the moment up to which the sweep will prove: a sweep that was cut off is gone on with."""
    row = conn.execute(sa.select(proof).where(_is(pair))).mappings().first()
    resumable = row is not None and row["place"] is not None and row["about"] == about
    if row is not None and resumable and now - row["begun_at"] < _WORTH_RESUMING:
        return Scan.from_json(row["place"], row["found"]), row["bound"]
    values = {"about": about, "begun_at": now, "bound": bound, "place": None, "found": None}
    _write(conn, pair, {**values, "run_at": now, "status": str(Status.UNDER_WAY), "message": ""})
    return Scan(), bound


def remember(conn: sa.Connection, pair: Pair, scan: Scan) -> None:
    if scan.place is not None:
        _write(conn, pair, {"place": key_text(scan.place), "found": scan.to_json()})


def end(
    conn: sa.Connection, pair: Pair, now: datetime, up_to: datetime, total: Sum, exceptions: Mapping[str, int]
) -> None:
    values = {"status": str(Status.DONE), "message": "", "run_at": now, "place": None, "found": None}
    values |= {"equal_up_to": up_to, "equal_at": now, "equal_rows": total.rows, "equal_digest": hexadecimal(total)}
    _write(conn, pair, {**values, "exceptions": json.dumps({k: n for k, n in exceptions.items() if n})})


def stop(conn: sa.Connection, pair: Pair, now: datetime, status: Status, message: str, *, anew: bool) -> None:
    """The sweep did not come to its end. `anew`: the next one begins again; else it goes on from its place."""
    values: dict[str, Any] = {"status": str(status), "message": message, "run_at": now}
    _write(conn, pair, values | ({"place": None, "found": None} if anew else {}))


def hexadecimal(total: Sum) -> str:
    return f"{total.digest & (1 << 64) - 1:016x}"


def _write(conn: sa.Connection, pair: Pair, values: dict[str, Any]) -> None:
    if conn.execute(sa.update(proof).where(_is(pair)).values(values)).rowcount:
        return
    if conn.scalar(sa.select(sa.func.count()).select_from(proof).where(_is(pair))) == 0:
        conn.execute(sa.insert(proof).values({"station": pair.name, "table_name": pair.table, **values}))


def _planned(pair: Pair, side: str) -> sa.ColumnElement[bool]:
    same = (planned_delete.c.station == pair.name, planned_delete.c.table_name == pair.table)
    return sa.and_(*same, planned_delete.c.side == side)


def plan_deletes(conn: sa.Connection, pair: Pair, side: str, keys: Iterable[Key]) -> None:
    """What a refused sweep would have deleted at this side; replaces what was planned before."""
    conn.execute(sa.delete(planned_delete).where(_planned(pair, side)))
    common = {"station": pair.name, "table_name": pair.table, "side": side}
    entries = [{**common, "key_hash": key_hash(text), "key_text": text} for text in map(key_text, keys)]
    for start in range(0, len(entries), _AT_ONCE):
        conn.execute(sa.insert(planned_delete), entries[start : start + _AT_ONCE])


def planned_deletes(conn: sa.Connection, pair: Pair, side: str) -> tuple[Key, ...]:
    texts = conn.scalars(sa.select(planned_delete.c.key_text).where(_planned(pair, side))).all()
    return tuple(parse_key_text(text) for text in texts)


def forget_plan(conn: sa.Connection, pair: Pair) -> None:
    where = (planned_delete.c.station == pair.name, planned_delete.c.table_name == pair.table)
    conn.execute(sa.delete(planned_delete).where(*where))


# Why a row is not equal although everything was done.
EXCEPTIONS = {
    "quarantined": "in quarantine",
    "differing": "changed meanwhile",
    "gone": "gone at the station, kept at control",
    "vanished": "gone at control",
    "waiting": "control's edits that did not go down",
}
_SAMPLES = 10


def details_of(
    found: Difference, total: Sum | None, exceptions: Mapping[str, int], ranges: int, *, dry_run: bool
) -> ReconcileDetails:
    """`total` is None where nothing was proved: a dry run, or one that did not come to its end."""
    return ReconcileDetails(
        dry_run,
        ranges,
        found={kind: found.count(kind) for kind in KINDS},
        samples={kind: _samples(getattr(found, kind)) for kind in KINDS if getattr(found, kind)},
        rows=total.rows if total else None,
        checksum=hexadecimal(total) if total else None,
        exceptions={kind: n for kind, n in exceptions.items() if n},
    )


def _samples(keys: Sequence[Key]) -> list[list[str]]:
    return [
        [told(part, whole=True) if isinstance(part, str) else part.hex() for part in key] for key in keys[:_SAMPLES]
    ]


def found_in_words(details: ReconcileDetails) -> str:
    parts = [f"{KINDS[kind]} {n:,}" for kind, n in details.found.items() if n]
    return ", ".join(parts) or "nothing differs"


def proved_in_words(up_to: object, details: ReconcileDetails) -> str:
    """Empty where nothing was proved."""
    if details.rows is None or details.checksum is None:
        return ""
    return proof_in_words(up_to, details.rows, details.checksum, details.exceptions)


def proof_in_words(up_to: object, rows: int, checksum: str, exceptions: Mapping[str, int]) -> str:
    """ "equal up to T, n rows, checksum c", and what is not."""
    but = ", ".join(f"{EXCEPTIONS.get(kind, kind)} {n:,}" for kind, n in exceptions.items())
    return f"equal up to {up_to}, {rows:,} rows, checksum {checksum}" + (f"; but for: {but}" if but else "")
