"""New rows on the short way: a page is loaded straight into control's table and the base, without being staged first.

Whether all of its rows are new is guessed by some of them, and decided by the server: LOAD DATA leaves out what a
unique index has already, and warns of every value that it would have to change. If a table takes a row less than there
are, or the server warns of anything at all, nothing of it stays, and the page is merged as any other (`merge`), which
finds the rows that are refused. So tables that cannot tell (no unique index on the key, types that are not the same,
triggers) are never written like this."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pymysql
import sqlalchemy as sa

from stationsync.journal.format import Decided, Records
from stationsync.keeping import books
from stationsync.model import stored_text
from stationsync.model.changes import Checked, Chunk, Counts, Direction, Origin
from stationsync.pairing.fitting import keys_may_clash
from stationsync.pairing.keys import among
from stationsync.pairing.watermark import Reading
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import PENDING, STATION
from stationsync.sync import restamped
from stationsync.sync.page_books import move_mark, quarantine_bad
from stationsync.topology.model import TableDirection
from stationsync.writing.target import at_control

# Fewer rows gain nothing.
LEAST = 5_000
# So many rows of a page are looked for, and so many are compared with what control made of them.
_LOOKED_FOR, _COMPARED = 60, 200


class NotNew(Exception):
    """Some row is known already, or was not taken as it is: to be rolled back. `guessed`: nothing was loaded yet."""

    def __init__(self, *, guessed: bool) -> None:
        super().__init__()
        self.guessed = guessed


def merge_new(session: Session, checked: Checked, reading: Reading) -> Counts | None:
    """A page of rows that are all new; None where it is to be merged as any other, with nothing of it written."""
    second = session.ahead.take(checked.chunk) if session.ahead else None
    if second is None and not is_possible(session, checked.chunk):
        return None
    try:
        with session.writing_on(second or session.control):
            return _insert_page(session, checked, reading, loaded=second is not None)
    except NotNew as known:
        if not known.guessed:
            session.known = replace(session.known, all_new=False)
    except (sa.exc.DBAPIError, pymysql.err.Error) as error:
        if second is None and getattr(error, "connection_invalidated", False):
            raise  # used once more, it would be opened anew, without the lease
        # Whatever else it is, the merge meets it again and knows what it is.
        session.known = replace(session.known, all_new=False)
    return None


def _insert_page(session: Session, checked: Checked, reading: Reading, *, loaded: bool) -> Counts:
    rows = checked.chunk.rows
    with session.journal.transaction(Direction.UP, reading):
        session.journal.add(Records(Decided.INSERTED, after=rows))
        counts = quarantine_bad(session, checked, reading)
        if not loaded:
            load(session, rows)
        counts += Counts(read=rows.num_rows, applied=rows.num_rows) + books.release(session, Direction.UP, rows)
        move_mark(session, checked.chunk, reading)
        return counts


def is_possible(session: Session, chunk: Chunk) -> bool:
    """Whether it is worth while to `load` the page if all of it is new, and safe."""
    options, fit = session.pair.options, session.fit
    if len(chunk) < LEAST or chunk.origin is not Origin.STATION or options.direction is TableDirection.DOWN:
        return False
    if not session.known.all_new or session.care.on or keys_may_clash(fit):
        return False
    alike = all((c.staged.type, c.staged.charset) == (c.control.type, c.control.charset) for c in fit.columns)
    told = any(set(index) <= set(fit.key) for index in fit.control.unique)
    if not (alike and told) or fit.control.triggers or at_control(session).indexes:
        return False
    return not any(stored_text.found_in(column) for column in chunk.rows.columns)


def _looks_new(session: Session, rows: pa.Table) -> bool:
    """None of some rows is known: the first ones, which a run before may have read, and others."""
    if not session.dialect.loads(session.control):
        return False
    fit, number = session.fit, rows.num_rows
    first, step = min(_LOOKED_FOR // 2, number), max(1, number // (_LOOKED_FOR // 2))
    at = sorted({*range(first), *range(0, number, step), number - 1})
    some = rows.select(list(fit.key)).take(pa.array(at, pa.int64()))
    keys = list(zip(*(some[name].to_pylist() for name in fit.key), strict=True))
    for table in (session.base, session.control_table):
        known = among(keys, [(table.c[name], fit.by_name[name].control) for name in fit.key])
        if session.control.execute(sa.select(sa.literal(1)).select_from(table).where(known).limit(1)).first():
            return False
    return True


def load(session: Session, rows: pa.Table, *, base_first: bool = False) -> None:
    """In the caller's transaction. `base_first`: two sessions that load at the same time do not wait for each other's
    AUTO_INCREMENT values then. Raises NotNew."""
    if not _looks_new(session, rows):
        raise NotNew(guessed=True)
    into: list[tuple[sa.Table, dict[str, str | int]]]
    into = [(session.control_table, {}), (session.base, {STATION: session.pair.name, PENDING: 0})]
    if not session.dialect.load_new(session.control, rows, into[::-1] if base_first else into):
        raise NotNew(guessed=False)
    # A trigger that our user may not see.
    staged = stage.stage_table(session)
    stage.recreate(session.control, staged)
    stage.fill(session, staged, rows.slice(0, _COMPARED))
    if restamped.is_any(session, staged):
        raise NotNew(guessed=False)
