"""All that the journal has of one row, however many files there are: those whose statistics rule the row out are not
read beyond their ends, and of the others first the keys only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stationsync.errors import JournalUnavailable
from stationsync.journal.catalog import File
from stationsync.journal.read import Entry, unreadable, where_it_is

_READERS = 8
_KEY = "key"
Record = dict[str, Any]


def records_of(
    entries: Sequence[Entry], keys: Sequence[str]
) -> tuple[list[tuple[Entry, Record]], list[JournalUnavailable]]:
    """The records of these keys (texts, as `wire.key_text` has them) in these chunks, in their order; and the files
    that could not be read."""
    files = {entry.file.id: entry.file for entry in entries if entry.file}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="journal") as readers:
        read = readers.map(lambda file: _records(file, keys), files.values())
        found = dict(zip(files, read, strict=True))
    missing = [one for one in found.values() if isinstance(one, JournalUnavailable)]
    rows: list[tuple[Entry, Record]] = []
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
