"""Writing the journal: what a transaction of control changed, in a file that is there exactly if it was committed.

The file is written whole, in a second thread while the SQL goes on, to where no reader of the journal looks
(`_staging/`); the transaction itself writes the row that names it; once that is committed, the file is moved to its
place. Cut off before the commit, a file is left that no row names: the next run of the pair removes it. Cut off
behind it, the next run moves the file; our own readers find it in either place."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import IO, Any, Protocol

import pyarrow as pa
import sqlalchemy as sa

from stationsync.errors import JournalUnavailable, StationSyncError
from stationsync.journal import catalog as books
from stationsync.journal.catalog import PLACED, STAGED, File
from stationsync.journal.format import DICTIONARY, STATISTICS, Records, Stamp, schema, staging_folder, table_of
from stationsync.journal.place import JournalPlace, place_of
from stationsync.model.changes import Direction
from stationsync.pairing.fit import Fit
from stationsync.pairing.pair import Pair
from stationsync.pairing.watermark import Reading

_TICK = timedelta(microseconds=1)
# How the warning of a run begins whose journal is not whole.
_GAP = "the journal has a gap"


def new_run() -> str:
    return str(uuid.uuid4())


class Recorded(Protocol):
    """What the journal needs of a session: its pair and control connection, how the tables fit once they are known,
    and control's clock, `now` as it was at `clocks_read` (time.monotonic)."""

    @property
    def pair(self) -> Pair: ...
    @property
    def control(self) -> sa.Connection: ...
    @property
    def fit(self) -> Fit: ...
    @property
    def now(self) -> datetime: ...
    @property
    def clocks_read(self) -> float: ...


class Recorder:
    """A session's journal. `run` names the run in it; `warnings`: gaps, where the journal need not be whole."""

    def __init__(self, session: Recorded) -> None:
        self._session = session
        self._options = session.pair.journal
        self._place: JournalPlace | None = place_of(self._options.url) if self._options.url else None
        self._page: _Page | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._last: datetime | None = None
        self._tidied = False
        self._placed: list[File] = []
        self.run = new_run()
        self.flow_run: str | None = None
        self.warnings: list[str] = []

    @property
    def on(self) -> bool:
        return self._place is not None

    @contextmanager
    def transaction(self, direction: Direction, reading: Reading | None = None) -> Iterator[None]:
        """One transaction of control, or what is left of the one under way; what is added meanwhile is in the journal
        exactly if it is committed."""
        control = self._session.control
        if self._place is None:
            with _begun(control):
                yield
            return
        page = self._page = _Page(self, self._place, direction, reading)
        stored = False
        try:
            with _begun(control):
                yield
                stored = page.store(control)
        except BaseException:
            # Behind `store`, only the database knows whether it was committed: the next run asks it.
            if not stored:
                page.discard()
            raise
        finally:
            self._page = None
        if stored:
            self.put(page.file)

    def begin_page(self, direction: Direction) -> _Page | None:
        """None where there is no journal."""
        if self._place is not None:
            self._page = _Page(self, self._place, direction, None)
        return self._page

    def end_page(self) -> None:
        self._page = None

    def add(self, records: Records) -> None:
        """Part of the transaction under way."""
        if self._page is not None and len(records):
            self._page.add(records)

    def unchanged(self, rows: int) -> None:
        """Rows that were left out, because nothing is new about them."""
        if self._page is not None:
            self._page.unchanged += rows

    def tidy(self) -> None:
        """Place what a run that was cut off had committed. Held by the lease; a place that does not answer has time."""
        if self._place is None:
            return
        pair, control = self._session.pair, self._session.control
        with pair.control.errors(), control.begin():
            found = books.staged(control, pair.name, pair.table)
        for file in found:
            self.put(file)

    def finish(self) -> None:
        """Note which files were placed. What fails here has time: they are found where they are."""
        placed, self._placed = self._placed, []
        if not placed:
            return
        with suppress(StationSyncError, sa.exc.SQLAlchemyError):
            for root in {file.root for file in placed}:
                place_of(root).settle([file.path for file in placed if file.root == root])
            with self._session.control.begin():
                books.set_state(self._session.control, [file.id for file in placed], PLACED, of=STAGED)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def put(self, file: File) -> None:
        with suppress(JournalUnavailable):
            place_of(file.root).move(file.staging, file.path)
            self._placed.append(file)

    # --- for the page under way

    def stamp(self, direction: Direction, reading: Reading | None) -> Stamp:
        """The moment on control's clock, as we know it; behind every chunk of the pair before."""
        session = self._session
        self._begin()
        now = session.now + timedelta(seconds=time.monotonic() - session.clocks_read)
        self._last = now if self._last is None else max(now, self._last + _TICK)
        start, bound = (reading.start, reading.bound) if reading else (None, None)
        return Stamp(self._last, self.run, self.flow_run, direction, start, bound)

    def _begin(self) -> None:
        """Before a run's first chunk: which one is the newest, and what was left behind by a run that was cut off."""
        if self._tidied:
            return
        pair, control = self._session.pair, self._session.control
        self._last = books.last_at(control, pair.name, pair.table)
        known = {file.id for file in books.staged(control, pair.name, pair.table)}
        assert self._place is not None
        folder = self._folder
        with suppress(JournalUnavailable):
            for name in self._place.names(folder):
                if name.partition(".")[0] not in known:
                    self._place.delete(f"{folder}/{name}")
        self._tidied = True

    def submit(self, work: Any, *args: Any) -> Future[None]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="journal")
        return self._pool.submit(work, *args)

    def schema(self) -> pa.Schema:
        pair = self._session.pair
        return schema(self._session.fit, pair.name, pair.table)

    def new_file(self, at: datetime) -> File:
        pair = self._session.pair
        assert self._place is not None
        return File.new(uuid.uuid4().hex, pair.name, pair.table, self._place.root, at, self._folder)

    @property
    def _folder(self) -> str:
        pair = self._session.pair
        return staging_folder(books.owner_of(pair.control), pair.table, pair.name)

    @property
    def key(self) -> tuple[str, ...]:
        return self._session.fit.key

    @property
    def required(self) -> bool:
        return self._options.required


def _begun(control: sa.Connection) -> AbstractContextManager[Any]:
    return control.get_transaction() or control.begin()


@contextmanager
def together(recorders: Sequence[Recorder], control: sa.Connection, direction: Direction) -> Iterator[None]:
    """One transaction of control's that changes several tables: as `Recorder.transaction`, with a file for each."""
    pages = [(recorder, page) for recorder in recorders if (page := recorder.begin_page(direction)) is not None]
    stored: list[tuple[Recorder, _Page]] = []
    try:
        with control.begin():
            yield
            stored = [(recorder, page) for recorder, page in pages if page.store(control)]
    except BaseException:
        for recorder, page in pages:
            if (recorder, page) not in stored:
                page.discard()
        raise
    finally:
        for recorder, _ in pages:
            recorder.end_page()
    for recorder, page in stored:
        recorder.put(page.file)


class _Page:
    """The file of one transaction. Nothing is opened before there is a record."""

    def __init__(self, recorder: Recorder, place: JournalPlace, direction: Direction, reading: Reading | None) -> None:
        self._recorder = recorder
        self._place = place
        self._about = direction, reading
        self._stamp: Stamp | None = None
        self._writer: _Writer | None = None
        self._under_way: list[Future[None]] = []
        self._decisions: Counter[str] = Counter()
        self.unchanged = 0
        self.file: File

    def add(self, records: Records) -> None:
        if self._stamp is None:
            self._stamp = self._recorder.stamp(*self._about)
            self.file = self._recorder.new_file(self._stamp.at)
            self._writer = _Writer(self._place, self.file.staging, self._recorder.schema())
        assert self._writer is not None
        self._decisions[str(records.decided)] += len(records)
        self._under_way.append(self._recorder.submit(self._writer.write, records, self._stamp, self._recorder.key))

    def store(self, conn: sa.Connection) -> bool:
        """The file is whole, and the transaction names it. False where there is nothing to be placed."""
        if self._stamp is None:
            return False
        try:
            written = self._seal()
        except JournalUnavailable as error:
            if self._recorder.required:
                raise
            self.discard()
            self._note(conn, lost=error.what)
            self._recorder.warnings.append(f"{_GAP}: {error.what}")
            return False
        self.file = replace(self.file, rows=sum(self._decisions.values()), bytes=written)
        books.write_file(conn, self.file)
        self._note(conn)
        return True

    def _note(self, conn: sa.Connection, lost: str | None = None) -> None:
        assert self._stamp is not None
        pair = self.file.station, self.file.table
        file = None if lost else self.file.id
        books.write_chunk(conn, self.file.id, pair, self._stamp, self._decisions, self.unchanged, file=file, lost=lost)

    def _seal(self) -> int:
        assert self._writer is not None
        for one in self._under_way:
            one.result()
        return self._writer.seal()

    def discard(self) -> None:
        if self._writer is None:
            return
        for one in self._under_way:
            # Whatever it met, what goes on is told instead.
            with suppress(Exception):
                one.result()
        with suppress(JournalUnavailable):
            self._writer.discard()


class _Writer:
    """One Parquet file; used by the recorder's thread."""

    def __init__(self, place: JournalPlace, path: str, kind: pa.Schema) -> None:
        self._place = place
        self._path = path
        self._kind = kind
        self._file: IO[bytes] | None = None
        self._parquet: Any = None

    def write(self, records: Records, stamp: Stamp, key: tuple[str, ...]) -> None:
        table = table_of(records, stamp, self._kind, key)
        if self._file is None:
            self._file = self._place.create(self._path)
            self._parquet = parquet_writer(self._file, self._kind)
        with self._told():
            self._parquet.write_table(table)

    def seal(self) -> int:
        assert self._file is not None
        with self._told():
            self._parquet.close()
            written = int(self._file.tell())
        self._place.seal(self._path, self._file)
        return written

    def discard(self) -> None:
        with suppress(OSError, pa.ArrowException, ValueError):
            if self._parquet is not None:
                self._parquet.close()
            if self._file is not None:
                self._file.close()
        self._place.delete(self._path)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"cannot write {self._path}: {error.strerror or error}"
            raise JournalUnavailable(f"journal {self._place.root}", what) from error


def parquet_writer(file: IO[bytes], kind: pa.Schema, compression: str = "snappy") -> Any:
    """Quick to write while a run waits; what is merged later has time to be small."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(file, kind, compression=compression, use_dictionary=DICTIONARY, write_statistics=STATISTICS)
