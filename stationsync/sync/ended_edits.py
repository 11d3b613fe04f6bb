"""Control's edits that wait for nothing any more: taken back, lost against the station's version, or of a row that the
station has no longer. Their marks and quarantine entries are brought up to date at the end of each push."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from stationsync.keeping import books
from stationsync.model.changes import Counts, Direction
from stationsync.model.wire import key_texts, parse_key_text
from stationsync.pairing.keys import among
from stationsync.session import extract, stage
from stationsync.session.session import Session
from stationsync.store import pending
from stationsync.store.bookkeeping import PENDING, STATION


def settle(session: Session) -> Counts:
    """In the caller's transaction."""
    _forget(session)
    return _release(session)


def _forget(session: Session) -> None:
    """Rows that waited with an edit that was taken back wait for nothing more."""
    fit, c, b = session.fit, session.control_table, session.base
    equal = sa.exists().where(stage.same_key(fit, c, b), stage.Comparing(session).same(c, b))
    waiting = sa.update(b).where(b.c[STATION] == session.pair.name, sa.not_(pending.says(b, 0)), equal)
    session.control.execute(waiting.values({b.c[PENDING]: pending.becomes(b, 0)}))


def _release(session: Session) -> Counts:
    """Entries of edits that are no more, because the station's version won or control's was taken back."""
    fit, c, b = session.fit, session.control_table, session.base
    entries = books.open_entries(session, Direction.DOWN).items()
    waiting = (parse_key_text(text) for text, (_, why) in entries if books.NOT_BACK not in why)
    keys = [key for key in waiting if len(key) == len(fit.key)]  # an old entry may be of an old key
    kinds = {name: fit.by_name[name].control for name in fit.key}
    families = {name: kind.family for name, kind in kinds.items()}
    query = (
        sa.select(*(session.dialect.readable(c.c[name], kind).label(name) for name, kind in kinds.items()))
        .select_from(c.join(b, stage.same_key(fit, c, b)))
        .where(b.c[STATION] == session.pair.name, stage.Comparing(session).unedited(c, b))
    )
    counts = Counts()
    for start in range(0, len(keys), extract.KEYS_A_QUERY):
        part = among(keys[start : start + extract.KEYS_A_QUERY], [(c.c[n], kind) for n, kind in kinds.items()])
        rows, _ = session.dialect.read(session.control, query.where(part), families, extract.MAX_BYTES)
        counts += books.release(session, Direction.DOWN, rows)
    return counts + _keep_newest(session, keys, {text: json.loads(why) for text, (_, why) in entries})


def _keep_newest(session: Session, keys: Sequence[tuple[str | bytes, ...]], reasons: Mapping[str, list[str]]) -> Counts:
    """Rows that control has alone since their station deleted them: no base tells of their next edit, so that the entry
    of the first that could not go down is kept up to date."""
    fit, c, b = session.fit, session.control_table, session.base
    columns = [session.dialect.readable(c.c[x.name], x.control).label(x.name) for x in fit.columns]
    query = sa.select(*columns).select_from(c.outerjoin(b, stage.same_key(fit, c, b))).where(b.c[STATION].is_(None))
    own = [(c.c[name], fit.by_name[name].control) for name in fit.key]
    families = {x.name: x.control.family for x in fit.columns}
    counts = Counts()
    for start in range(0, len(keys), extract.KEYS_A_QUERY):
        alone = query.where(among(keys[start : start + extract.KEYS_A_QUERY], own))
        rows = session.read(alone, families)
        why = [reasons[text] for text in key_texts(rows, fit.key)]
        counts += books.quarantine_rows(session, Direction.DOWN, rows, why)
    return counts
