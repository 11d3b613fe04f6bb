"""Versions that a row of a station had before, and that no stamp tells from a newer edit.

A version that is older than the base's is known for one (`decide.is_older`). But an edit may be stamped no later than
the version that it was made on: control's, under a clock that is behind, of a long transaction, or one that leaves the
stamp as it is; or the station's own, made by hand. Where the base goes on to such a version, a digest of the one that
it leaves is remembered. Nobody writes that very version again, with its old stamp, on top of the newer one: if it
comes, it is out of a backup, and what it replaces at control is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.statements import insert_ignore
from stationsync.model.wire import key_texts, parse_key_text
from stationsync.pairing import stamp
from stationsync.pairing.decide import Action, is_older
from stationsync.pairing.keys import among, sameness
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.session.stage import ACTION
from stationsync.store.bookkeeping import before as table
from stationsync.store.bookkeeping import key_hash, of_this_version

# What is decided of such a row, in the merge, and why what it replaces is kept.
BEFORE = "before"
CAME_AGAIN = "the station has a version again that it had before this one: it may be out of a backup"
_AT_ONCE = 500
# As many are read at once, instead of asking for those of a chunk.
_FEW = 20_000


def remember(
    session: Session, old: pa.Table, new: pa.Table, indexes: Iterable[int], *, at_station: bool = False
) -> None:
    """Of these rows the base goes on from `old` to `new` (wire rows under control's names; `at_station`: the old ones
    as the station prints them), in the caller's transaction."""
    was, now = (stamp.of_rows(session.fit, rows).to_pylist() for rows in (old, new))
    _write(session, old, [i for i in indexes if not is_older(was[i], now[i])], at_station=at_station)


def remember_replaced(session: Session, staged: sa.Table, written: sa.ColumnElement[bool]) -> None:
    """The same of a chunk that is merged, before the base gets what is `written`."""
    fit, base = session.fit, session.base
    columns = [session.dialect.readable(base.c[c.name], c.control).label(c.name) for c in fit.columns]
    now, was = stamp.of(fit, staged), stamp.of(fit, base)
    query = (
        sa.select(*columns)
        .select_from(staged.join(base, stage.same_key(fit, staged, base)))
        .where(written, sa.or_(now <= was, now.is_(None)))
    )
    rows = session.read(query, {c.name: c.control.family for c in fit.columns})
    _write(session, rows, range(rows.num_rows), at_station=False)


def mark(session: Session, staged: sa.Table, decided: sa.Table, rows: pa.Table) -> None:
    """Mark rows of a chunk, which are to replace control's, that are as they were before."""
    texts = key_texts(rows, session.fit.key)
    known = _known(session, texts)
    if not known:
        return
    hashes = {key_hash(text) for text in texts} & known.keys()
    there = [i for i, text in enumerate(texts) if key_hash(text) in hashes]
    versions = _digests(session, rows, there, at_station=True)
    again = [texts[i] for i, version in zip(there, versions, strict=True) if version in known[key_hash(texts[i])]]
    keys = [(decided.c[name], session.fit.by_name[name].staged) for name in session.fit.key]
    for start in range(0, len(again), extract.KEYS_A_QUERY):
        some = [parse_key_text(text) for text in again[start : start + extract.KEYS_A_QUERY]]
        where = (decided.c[ACTION].in_([str(Action.UPDATE), "conflict"]), among(some, keys))
        session.control.execute(sa.update(decided).where(*where).values({ACTION: BEFORE}))


def _known(session: Session, texts: Sequence[str]) -> dict[str, set[str]]:
    """Versions by key hash, of these rows at least."""
    pair = session.pair
    of = (table.c.station == pair.name, table.c.table_name == pair.table)
    query = sa.select(table.c.key_hash, table.c.version).where(*of)
    with of_this_version():
        found = session.control.execute(query.limit(_FEW)).all()
    if len(found) == _FEW:
        hashes = [key_hash(text) for text in texts]
        parts = (hashes[start : start + _AT_ONCE] for start in range(0, len(hashes), _AT_ONCE))
        found = [row for some in parts for row in session.control.execute(query.where(table.c.key_hash.in_(some)))]
    known: dict[str, set[str]] = {}
    for digest, version in found:
        known.setdefault(digest, set()).add(version)
    return known


def _write(session: Session, rows: pa.Table, indexes: Sequence[int], *, at_station: bool) -> None:
    if not indexes:
        return
    texts = key_texts(rows, session.fit.key)
    common = {"station": session.pair.name, "table_name": session.pair.table, "at": session.now}
    versions = _digests(session, rows, indexes, at_station=at_station)
    entries = [
        {**common, "key_hash": key_hash(texts[i]), "version": version}
        for i, version in zip(indexes, versions, strict=True)
    ]
    with of_this_version():
        session.control.execute(insert_ignore(table), entries)


def _digests(session: Session, rows: pa.Table, indexes: Sequence[int], *, at_station: bool) -> list[str]:
    """Of these rows, alike for values that both databases mean alike."""
    fit, some = session.fit, rows.take(pa.array(indexes, pa.int64()))
    same: dict[str, Callable[[Any], Any]] = {}
    for c in fit.columns:
        same[c.name] = sameness(c.station, c.control) if at_station else sameness(c.control, c.station)
    names = sorted(same)
    values = zip(*(map(same[name], some[name].to_pylist()) for name in names), strict=True)
    return [_digest([names, *map(_plain, row)]) for row in values]


def _plain(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _digest(row: list[Any]) -> str:
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()
