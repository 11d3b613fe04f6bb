"""The next page of new rows, loaded on a second connection while the run's own session loads the one before.

What holds all the same:

- Each page is one transaction: its rows at control and in the base, its entry in the journal, its mark. The second
  connection only begins it. The run's thread ends it (`merge.merge_chunk`), when the page before is committed: so pages
  are committed in their order, and the watermark passes none that is not.
- Cut off, killed, refused: nothing of the page was committed; it is read again and merged.
- It adds rows and changes none (`straight`). A row that stands in both pages has to be merged in their order: then the
  second page is left to the run's session. And so it is where the first page has to be merged the long way, which must
  not wait for what the second connection has locked.
- Nobody else gets the lease while the second connection is there, even where the run's own is lost (`lease.second`)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pymysql
import sqlalchemy as sa

from stationsync.errors import StationSyncError
from stationsync.journal.format import key_column
from stationsync.model.changes import Checked, Chunk
from stationsync.session.lease import second
from stationsync.session.session import Session
from stationsync.sync import straight

_FAILED = (StationSyncError, sa.exc.SQLAlchemyError, pymysql.err.Error)


class Beside:
    """For one run. The second connection is opened when it is needed first."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stack = ExitStack()
        self._conn: sa.Connection | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._loading: Future[bool] | None = None
        self._following: Future[Checked | None] | None = None
        self._refused = False
        session.ahead = self

    def begin(self, before: Chunk, following: Future[Checked | None]) -> None:
        """Load the page that follows, once it is read, while the one `before` is merged; where both are new."""
        if self._loading is not None and self._is_of(before):
            return  # this one itself is being loaded
        self.drop()
        if not before.more or not straight.is_possible(self._session, before):
            return
        if self._pool is None:
            self._conn = self._stack.enter_context(second(self._session))
            self._pool = self._stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="load-beside"))
        if self._conn is not None:
            self._loading = self._pool.submit(self._load, self._conn, before, following)
            self._following = following

    def _load(self, conn: sa.Connection, before: Chunk, following: Future[Checked | None]) -> bool:
        """Whether all rows of the page are in the transaction that the connection is in; else nothing is."""
        try:
            checked = following.result()
        except Exception:  # noqa: BLE001 - the run meets it, in its turn
            return False
        if checked is None or _have_common(self._session, before.rows, checked.chunk.rows):
            return False
        other = self._session.on(conn)
        try:
            conn.begin()
            if straight.is_possible(other, checked.chunk):
                straight.load(other, checked.chunk.rows, base_first=True)
                return True
        except straight.NotNew as known:
            self._refused = not known.guessed
        except _FAILED:
            self._refused = True
        _roll_back(conn)
        return False

    def take(self, chunk: Chunk) -> sa.Connection | None:
        if self._loading is None or not self._is_of(chunk):
            return None
        loading, self._loading = self._loading, None
        if loading.result():
            return self._conn
        if self._refused:
            self._session.known = replace(self._session.known, all_new=False)
        return None

    def _is_of(self, chunk: Chunk) -> bool:
        """Whether what is being loaded is this page, and not the one behind it."""
        following = self._following
        if following is None or not following.done() or following.exception() is not None:
            return False
        checked = following.result()
        return checked is not None and checked.chunk.last == chunk.last

    def drop(self) -> None:
        loading, self._loading = self._loading, None
        if loading is not None and self._conn is not None and not loading.cancel():
            wait([loading])
            _roll_back(self._conn)

    def close(self) -> None:
        self._session.ahead = None
        self.drop()
        self._stack.close()


def _roll_back(conn: sa.Connection) -> None:
    with suppress(StationSyncError, sa.exc.SQLAlchemyError):
        conn.rollback()


def _have_common(session: Session, some: pa.Table, others: pa.Table) -> bool:
    key = session.fit.key
    return bool(pc.any(pc.is_in(key_column(others, key), value_set=key_column(some, key))).as_py())


@contextmanager
def beside(session: Session) -> Iterator[Beside]:
    found = Beside(session)
    try:
        yield found
    finally:
        found.close()
