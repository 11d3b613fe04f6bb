"""Versions that a station's table lacks while somebody takes it as it is (`trust`, `reseed`): whoever writes their rows
there from now on has not seen them. Of those that control has, the base remembers it (`pending`), so that the merge
keeps what it replaces (`unseen`); those that stand in quarantine only are kept at once."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from stationsync.keeping import books, replaced
from stationsync.keeping.replaced import Replaced
from stationsync.model.changes import Direction
from stationsync.model.wire import key_texts, parse_key_text, wire_row
from stationsync.pairing.keys import Key, among
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store import kept, pending
from stationsync.store.bookkeeping import PENDING, STATION

_REASON = "the station's table was taken as it is, and lacks this version, which control never had"


def mark(session: Session, keys: Sequence[Key], present: sa.Table | None = None) -> None:
    """Rows of these keys that are not `present`, by default all; in the caller's transaction."""
    fit, base = session.fit, session.base
    for first in range(0, len(keys), extract.KEYS_A_QUERY):
        some = keys[first : first + extract.KEYS_A_QUERY]
        chosen = among(some, [(base.c[name], fit.by_name[name].control) for name in fit.key])
        where = [base.c[STATION] == session.pair.name, sa.not_(pending.is_lacked(base)), chosen]
        if present is not None:
            where.append(sa.not_(sa.exists().where(stage.same_key(fit, base, present)).correlate(base)))
        session.control.execute(sa.update(base).where(*where).values({base.c[PENDING]: pending.lacked(base)}))


def any_marked(session: Session) -> bool:
    base = session.base
    query = sa.select(sa.literal(1)).where(base.c[STATION] == session.pair.name, pending.is_lacked(base)).limit(1)
    return session.control.execute(query).first() is not None


def came_back(session: Session, staged: sa.Table) -> None:
    """Rows of a chunk that are as the base has them: what the station has, it lacks no more."""
    if session.known.remembered is None or not session.known.remembered.lacks:
        return
    base = session.base
    same = sa.and_(stage.same_key(session.fit, staged, base), stage.Comparing(session).same(staged, base))
    where = (base.c[STATION] == session.pair.name, pending.is_lacked(base), same)
    session.control.execute(sa.update(base).where(*where).values({base.c[PENDING]: pending.not_lacked(base)}))


def keep_quarantined(session: Session, policy: str) -> int:
    """Versions that stand nowhere but in quarantine, of rows that the station has otherwise, or not; by whose word
    (`policy`) it is right so. How many were not kept yet."""
    fit = session.fit
    with session.transaction():
        entries = {text: row for text, (row, _) in books.open_entries(session, Direction.UP).items()}
    keys = {text: key for text in entries if len(key := parse_key_text(text)) == len(fit.key)}
    texts, counted = list(keys), 0
    for first in range(0, len(texts), extract.KEYS_A_QUERY):
        some = texts[first : first + extract.KEYS_A_QUERY]
        there = extract.read_keys(session, [keys[text] for text in some])
        tables = [there.rows, *([] if there.unreadable_rows is None else [there.unreadable_rows])]
        now = {text: wire_row(rows, i) for rows in tables for i, text in enumerate(key_texts(rows, fit.key))}
        gone = [text for text in some if text not in now or kept.keep(now[text]).text != entries[text]]
        with session.transaction():
            old = {text: kept.load(session.control, json.loads(entries[text])) for text in gone}
            rows = [
                Replaced(text, replaced.STATION, _REASON, old[text], None, None, now.get(text), policy=policy)
                for text in gone
            ]
            counted += replaced.keep(session, rows, once=True)
    return counted
