"""Reading the journal: what control's books name, and nothing else, in the order of `at`.

    found, total = chunks(control, Wanted(station="station-1"))
    for chunk, rows in records(control, Wanted(table="kafka_test", keys=('["7","A"]',))): ...

A file is read where it is: a run that was cut off may have left it where it was staged."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import JournalUnavailable
from stationsync.journal import catalog as books
from stationsync.journal.catalog import DOOMED, File
from stationsync.journal.place import place_of
from stationsync.store.bookkeeping import journal, journal_file, require_books

_AT_ONCE = 500
_OPEN_FILES = 16


@dataclass(frozen=True)
class JournalQuery:
    """Which chunks, and which of their records. Moments are UTC, without a zone: from `since` on, before `until`.
    `run`: the beginning of a run's id, or of a Prefect flow run's. `keys` as `wire.key_text` has them."""

    station: str | None = None
    table: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    run: str | None = None
    keys: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class JournalChunk:
    """A chunk: what one transaction changed. `file` is None where the journal has a gap: `lost` says why."""

    id: str
    at: datetime
    station: str
    table: str
    direction: str
    run: str
    flow_run: str | None
    window_from: datetime | None
    window_to: datetime | None
    rows: int
    unchanged: int
    decisions: Mapping[str, int]
    lost: str | None
    file: File | None


@dataclass(frozen=True)
class JournalPart:
    """What the journal has of one table of a station."""

    station: str
    table: str
    chunks: int
    rows: int
    gaps: int
    runs: int
    first_at: datetime
    last_at: datetime
    files: int
    bytes: int


def chunks(
    control: Database, wanted: JournalQuery, *, limit: int | None = None, oldest_first: bool = True
) -> tuple[list[JournalChunk], int]:
    """In the order of `at`, the newest `limit` of them, or the oldest; and how many there are without it."""
    with control.begin() as conn:
        require_books(conn)
        total = int(conn.scalar(sa.select(sa.func.count()).select_from(journal).where(*_where(wanted))) or 0)
        return chunks_in(conn, wanted, limit=limit, oldest_first=oldest_first), total


def chunks_in(
    conn: sa.Connection, wanted: JournalQuery, *, limit: int | None = None, oldest_first: bool = True
) -> list[JournalChunk]:
    """The same in the caller's transaction."""
    order = [journal.c.at, journal.c.station, journal.c.table_name]
    query = sa.select(journal).where(*_where(wanted)).limit(limit)
    query = query.order_by(*(order if oldest_first else [column.desc() for column in order]))
    rows = conn.execute(query).mappings().all()
    files = _files(conn, sorted({row["file"] for row in rows if row["file"]}))
    found = [_entry(row, files) for row in rows]
    return found if oldest_first else found[::-1]


def describe(control: Database, wanted: JournalQuery) -> list[JournalPart]:
    """What there is, per station and table."""
    c, f = journal.c, journal_file.c
    with control.begin() as conn:
        require_books(conn)
        counts = (sa.func.count(), sa.func.sum(c.row_count), sa.func.count(c.lost), sa.func.count(c.run.distinct()))
        query = sa.select(c.station, c.table_name, *counts, sa.func.min(c.at), sa.func.max(c.at))
        query = query.where(*_where(wanted)).group_by(c.station, c.table_name).order_by(c.station, c.table_name)
        found = conn.execute(query).all()
        sizes = sa.select(f.station, f.table_name, sa.func.count(), sa.func.sum(f.byte_count))
        sizes = sizes.where(f.state != DOOMED).group_by(f.station, f.table_name)
        held = {(station, table): (int(n), int(size)) for station, table, n, size in conn.execute(sizes)}
    return [
        JournalPart(
            station, table, int(n), int(rows), int(gaps), int(runs), first, last, *held.get((station, table), (0, 0))
        )
        for station, table, n, rows, gaps, runs, first, last in found
    ]


def records(
    control: Database,
    wanted: JournalQuery,
    *,
    entries: Sequence[JournalChunk] | None = None,
    missing: Callable[[JournalUnavailable], None] | None = None,
) -> Iterator[tuple[JournalChunk, pa.Table]]:
    """Chunk after chunk, in the order of `at`, the records that are wanted; chunks with none are left out.

    A file that is not there raises JournalUnavailable, or is told to `missing` and passed over."""
    opened: OrderedDict[str, pa.Table] = OrderedDict()
    for entry in chunks(control, wanted)[0] if entries is None else entries:
        if entry.file is None:
            continue
        if entry.file.id not in opened:
            try:
                opened[entry.file.id] = _read(entry.file, wanted)
            except JournalUnavailable as error:
                if missing is None:
                    raise
                missing(error)
                continue
            if len(opened) > _OPEN_FILES:
                opened.popitem(last=False)
        rows = opened[entry.file.id]
        moment = pa.scalar(entry.at, pa.timestamp("us", "UTC"))
        own = rows.filter(pc.equal(rows["written_at"], moment)) if rows.num_rows else rows
        if own.num_rows:
            yield entry, own


def dataset(control: Database, wanted: JournalQuery) -> Any:
    """A pyarrow dataset of the files that have what is wanted, with `table`, `station` and `day`; None where there are
    none. It may have more than is wanted: filter it by its columns."""
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    files = {entry.file.id: entry.file for entry in chunks(control, wanted)[0] if entry.file}
    fragments, kinds = [], []
    kind = ds.ParquetFileFormat()
    for file in files.values():
        store, path = where_it_is(file)
        kinds.append(pq.read_schema(path, filesystem=store))
        of = {"table": file.table, "station": file.station, "day": file.day}
        expression = ds.scalar(True)
        for name, value in of.items():
            expression = expression & (ds.field(name) == value)
        fragments.append(kind.make_fragment(path, store, expression))
    if not fragments:
        return None
    schema = pa.unify_schemas([one.remove_metadata() for one in kinds], promote_options="permissive")
    for name in ("table", "station", "day"):
        schema = schema.append(pa.field(name, pa.string()))
    return ds.FileSystemDataset(fragments, schema, kind)


def _where(wanted: JournalQuery) -> list[sa.ColumnElement[bool]]:
    c = journal.c
    pairs = ((c.station, wanted.station), (c.table_name, wanted.table))
    where = [column == value for column, value in pairs if value is not None]
    if wanted.since is not None:
        where.append(c.at >= wanted.since)
    if wanted.until is not None:
        where.append(c.at < wanted.until)
    if wanted.run is not None:
        begins = (column.startswith(wanted.run, autoescape=True) for column in (c.run, c.flow_run))
        where.append(sa.or_(*begins))
    return where


def _files(conn: sa.Connection, ids: Sequence[str]) -> dict[str, File]:
    found: dict[str, File] = {}
    for start in range(0, len(ids), _AT_ONCE):
        some = books.files(conn, journal_file.c.id.in_(ids[start : start + _AT_ONCE]))
        found |= {file.id: file for file in some}
    return found


def _entry(row: Mapping[Any, Any], files: Mapping[str, File]) -> JournalChunk:
    return JournalChunk(
        row["id"],
        row["at"],
        row["station"],
        row["table_name"],
        row["direction"],
        row["run"],
        row["flow_run"],
        row["window_from"],
        row["window_to"],
        row["row_count"],
        row["unchanged"],
        json.loads(row["decisions"]),
        row["lost"],
        files.get(row["file"] or ""),
    )


def _read(file: File, wanted: JournalQuery) -> pa.Table:
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    expression = ds.scalar(True)
    if wanted.keys:
        expression = expression & ds.field("key").isin(list(wanted.keys))
    if wanted.decisions:
        expression = expression & ds.field("decision").isin(list(wanted.decisions))
    store, path = where_it_is(file)
    try:
        return pq.read_table(path, filesystem=store, partitioning=None, filters=expression)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file, str(error).partition("\n")[0]) from error


def where_it_is(file: File) -> tuple[Any, str]:
    """Placed, or still staged; a run may move it meanwhile."""
    place = place_of(file.root)
    store, base = place.filesystem()
    for path in (file.path, file.staging, file.path):
        if place.exists(path):
            return store, f"{base}/{path}"
    raise unreadable(file, "it is not there")


def unreadable(file: File, why: str) -> JournalUnavailable:
    step = "Where workers run on several machines, give them one place: journal.url in stations.yaml."
    return JournalUnavailable(
        f"journal {file.root}", f"{file.path} cannot be read: {why}", not_done="Nothing was changed.", next_step=step
    )


_READERS = 8
_KEY = "key"
Record = dict[str, Any]


def records_of(
    entries: Sequence[JournalChunk], keys: Sequence[str]
) -> tuple[list[tuple[JournalChunk, Record]], list[JournalUnavailable]]:
    """The records of these keys (texts, as `wire.key_text` has them) in these chunks, in their order; and the files
    that could not be read."""
    files = {entry.file.id: entry.file for entry in entries if entry.file}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="journal") as readers:
        read = readers.map(lambda file: _records(file, keys), files.values())
        found = dict(zip(files, read, strict=True))
    missing = [one for one in found.values() if isinstance(one, JournalUnavailable)]
    rows: list[tuple[JournalChunk, Record]] = []
    for entry in entries:
        of_file = found.get(entry.file.id) if entry.file else None
        if isinstance(of_file, list):
            rows += [(entry, record) for record in of_file if record["written_at"].replace(tzinfo=None) == entry.at]
    return rows, missing


def _records(file: File, keys: Sequence[str]) -> list[Record] | JournalUnavailable:
    try:
        store, path = where_it_is(file)
        return [record for part in _parts(store, path, keys) for record in part.to_pylist()]
    except JournalUnavailable as error:
        return error
    except (OSError, pa.ArrowException) as error:
        return unreadable(file, str(error).partition("\n")[0])


def _parts(store: Any, path: str, keys: Sequence[str]) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    values = pa.array(keys, pa.string())
    with pq.ParquetFile(path, filesystem=store) as file:
        for number in range(file.metadata.num_row_groups):
            if not _may_have(file.metadata.row_group(number), keys):
                continue
            which = pc.is_in(file.read_row_group(number, columns=[_KEY])[_KEY], value_set=values)
            if pc.any(which).as_py():
                yield file.read_row_group(number).filter(which)


def _may_have(group: Any, keys: Sequence[str]) -> bool:
    """As Parquet sorts text: by its bytes, which is the order of code points."""
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema == _KEY:
            known = column.statistics
            return known is None or not known.has_min_max or any(known.min <= key <= known.max for key in keys)
    return True
