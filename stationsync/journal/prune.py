"""Keeping the journal small: small files merged, old ones deleted, leavings of runs that were cut off cleared away.

Safe at any moment, by the same order as in writing: the new file is whole before the transaction that names it and
dooms the old ones; it is moved to its place, and only then are they deleted; their rows go last. Between the two a
reader of the folder meets a record twice: `written_at` and `key` tell it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import DatabaseBusy, JournalUnavailable
from stationsync.journal import catalog as books
from stationsync.journal.catalog import DOOMED, PLACED, STAGED, File
from stationsync.journal.format import STAGING, merging_folder
from stationsync.journal.place import JournalPlace, place_of
from stationsync.journal.recorder import parquet_writer
from stationsync.model.wire import Family
from stationsync.store.bookkeeping import journal, journal_file, require_books
from stationsync.topology.options import Journal

_LEASE = "journal/maintenance"
# Files below this are small, and none is made larger; a row group of so many rows.
_SMALL, _LARGE, _GROUP = 8 * 1024 * 1024, 128 * 1024 * 1024, 100_000
# Of today's files, only so many are merged: readers follow them.
_MANY = 200
# A file that no row names after so long is nobody's.
_LEFT = timedelta(days=1)


@dataclass(frozen=True)
class Pruned:
    """`merged` files became `into` larger ones; `deleted` files were too old, or too much; `leavings` were nobody's."""

    merged: int = 0
    into: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    deleted_rows: int = 0
    leavings: int = 0
    kept: int = 0
    kept_bytes: int = 0


def prune(control: Database, options: Journal, *, dry_run: bool = False) -> Pruned:
    """All of it. On a dry run nothing is changed, and `leavings` are not looked for.

    Raises DatabaseBusy where another one is under way, JournalUnavailable."""
    with control.connect() as conn, control.errors(), _alone(control, conn):
        now = _now(control, conn)
        if not dry_run:
            _finish(conn)
        present = _present(conn)
        old = too_old(present, options, now)
        left = [file for file in present if file not in set(old)]
        groups = list(to_merge(left, f"{now:%Y-%m-%d}"))
        done = Pruned(sum(map(len, groups)), len(groups), len(old), sum(f.bytes for f in old), sum(f.rows for f in old))
        leavings = 0
        if not dry_run:
            _drop(conn, old)
            _forget_gaps(conn, now - options.retention)
            for group in groups:
                _merge(conn, group, merging_folder(books.owner_of(control)))
            leavings = _clear(conn, options, now, merging_folder(books.owner_of(control)))
            left = _present(conn)
        return replace(done, leavings=leavings, kept=len(left), kept_bytes=sum(f.bytes for f in left))


def too_old(files: Sequence[File], options: Journal, now: datetime) -> list[File]:
    """Pure: whose last record is older than the retention; then the oldest, until the rest fits `max_size`."""
    doomed = [file for file in files if file.last_at < now - options.retention]
    if options.max_size is not None:
        rest = sorted((file for file in files if file not in set(doomed)), key=lambda file: (file.last_at, file.id))
        size = sum(file.bytes for file in rest)
        for file in rest:
            if size <= options.max_size:
                break
            doomed.append(file)
            size -= file.bytes
    return doomed


def to_merge(files: Sequence[File], today: str) -> Iterator[list[File]]:
    """Pure: small files of one pair and day, in their order, as many as make a large one. Today's wait until there
    are many."""

    def home(file: File) -> tuple[str, str, str, str]:
        return file.root, file.table, file.station, file.day

    small = [file for file in files if file.bytes < _SMALL and file.state == PLACED]
    for (*_, day), grouped in groupby(sorted(small, key=lambda file: (home(file), file.first_at, file.id)), home):
        of_day = list(grouped)
        if len(of_day) < (_MANY if day >= today else 2):
            continue
        part: list[File] = []
        for file in of_day:
            if part and sum(one.bytes for one in part) + file.bytes > _LARGE:
                if len(part) > 1:
                    yield part
                part = []
            part.append(file)
        if len(part) > 1:
            yield part


@contextmanager
def _alone(control: Database, conn: sa.Connection) -> Iterator[None]:
    with conn.begin():
        require_books(conn)
        free = control.dialect.try_lease(conn, _LEASE)
    if not free:
        step = "Run the command again."
        raise DatabaseBusy("journal", "it is being pruned already.", not_done="Nothing was done.", next_step=step)
    try:
        yield
    finally:
        with suppress(sa.exc.SQLAlchemyError), conn.begin():
            control.dialect.free_lease(conn, _LEASE)


def _now(control: Database, conn: sa.Connection) -> datetime:
    with conn.begin():
        return control.dialect.clock(conn, Family.DATETIME).utc


def _present(conn: sa.Connection) -> list[File]:
    with conn.begin():
        return books.files(conn, journal_file.c.state != DOOMED)


def _finish(conn: sa.Connection) -> None:
    """What was cut off: committed files that are not placed, doomed ones that are not deleted."""
    with conn.begin():
        staged = books.files(conn, journal_file.c.state == STAGED)
        doomed = books.files(conn, journal_file.c.state == DOOMED)
    placed = []
    for file in staged:
        # A run may be at it as well, or it is on another machine: both will do it.
        with suppress(JournalUnavailable):
            place_of(file.root).move(file.staging, file.path)
            place_of(file.root).settle([file.path])
            placed.append(file.id)
    with conn.begin():
        books.set_state(conn, placed, PLACED, of=STAGED)
    _delete(conn, doomed)


def _drop(conn: sa.Connection, files: Sequence[File]) -> None:
    """Files with the chunks that are in them."""
    ids = [file.id for file in files]
    with conn.begin():
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            conn.execute(sa.delete(journal).where(journal.c.file.in_(some)))
            conn.execute(sa.update(journal_file).where(journal_file.c.id.in_(some)).values(state=DOOMED))
    _delete(conn, files)


def _forget_gaps(conn: sa.Connection, before: datetime) -> None:
    with conn.begin():
        conn.execute(sa.delete(journal).where(journal.c.file.is_(None), journal.c.at < before))


def _delete(conn: sa.Connection, files: Sequence[File]) -> None:
    gone = []
    try:
        for file in files:
            place = place_of(file.root)
            place.delete(file.path)
            place.delete(file.staging)
            gone.append(file.id)
    finally:
        with conn.begin():
            books.forget(conn, gone)


def _merge(conn: sa.Connection, files: Sequence[File], folder: str) -> None:
    first = files[0]
    place = place_of(first.root)
    new = File.new(uuid.uuid4().hex, first.station, first.table, first.root, first.first_at, folder)
    size = _write(place, new.staging, [file.path for file in files])
    rows, last = sum(file.rows for file in files), max(file.last_at for file in files)
    new = replace(new, rows=rows, bytes=size, last_at=last)
    ids = [file.id for file in files]
    with conn.begin():
        books.write_file(conn, new)
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            conn.execute(sa.update(journal).where(journal.c.file.in_(some)).values(file=new.id))
        books.set_state(conn, ids, DOOMED, of=PLACED)
    place.move(new.staging, new.path)
    place.settle([new.path])
    with conn.begin():
        books.set_state(conn, [new.id], PLACED, of=STAGED)
    _delete(conn, files)


def _write(place: JournalPlace, path: str, old: Sequence[str]) -> int:
    """The records of these files, one after the other, in one file; a column that came later is null before."""
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    store, base = place.filesystem()
    full = [f"{base}/{one}" for one in old]
    try:
        kinds = [pq.read_schema(one, filesystem=store) for one in full]
        kind = pa.unify_schemas(kinds, promote_options="permissive").with_metadata(kinds[-1].metadata)
        # One by one: in the order that they are named.
        batches = (b for one in full for b in ds.dataset(one, schema=kind, filesystem=store).to_batches())
        file = place.create(path)
        writer = parquet_writer(file, kind, "zstd")
        for table in _grouped(batches, kind):
            writer.write_table(table, row_group_size=_GROUP)
        writer.close()
        size = int(file.tell())
    except (OSError, pa.ArrowException) as error:
        what = f"cannot merge its files: {str(error).partition(chr(10))[0]}"
        raise JournalUnavailable(f"journal {place.root}", what) from error
    place.seal(path, file)
    return size


def _grouped(batches: Iterator[Any], kind: pa.Schema) -> Iterator[pa.Table]:
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        if sum(one.num_rows for one in held) >= _GROUP or sum(one.nbytes for one in held) >= _LARGE:
            yield pa.Table.from_batches(held, kind)
            held = []
    if held:
        yield pa.Table.from_batches(held, kind)


def _clear(conn: sa.Connection, options: Journal, now: datetime, merging: str) -> int:
    """Files that no row names: of a merge that was cut off; staged by runs of pairs that run no more; and those of
    which a control that was restored from a backup knows nothing, once they are too old."""
    if options.url is None:
        return 0
    place = place_of(options.url)
    with conn.begin():
        found = books.files(conn)
    named = {path for file in found for path in (file.staging, file.path)}
    ages = {f"{merging}/": timedelta(0), f"{STAGING}/": _LEFT, "table=": max(options.retention, _LEFT)}
    left = []
    for path, changed in place.files(""):
        age = next((age for begin, age in ages.items() if path.startswith(begin)), None)
        if age is not None and path not in named and changed <= now - age:
            left.append(path)
    for path in left:
        place.delete(path)
    return len(left)
