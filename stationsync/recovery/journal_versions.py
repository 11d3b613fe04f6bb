"""What the journal last told of each row of a pair, put together from all its files, whatever their order.

Kept meanwhile in a file of this machine, so that memory does not grow with the journal. Files that control's books do
not name are read too: they lost them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.errors import JournalUnavailable
from stationsync.journal import catalog
from stationsync.journal.catalog import DOOMED, File
from stationsync.journal.format import folder_of
from stationsync.journal.place import place_of
from stationsync.journal.read import JournalQuery, where_it_is
from stationsync.model.wire import key_text
from stationsync.pairing.pair import Pair
from stationsync.recovery.base_pages import PAGE
from stationsync.recovery.reseed_control_rule import JournalState, JournalVersion, Key, told
from stationsync.store.bookkeeping import journal, journal_file, require_books

_BATCH, _AT_ONCE = 5_000, 500
_READ = ["written_at", "run", "flow_run", "direction", "decision", "before", "after", "came", "rule", "reason"]
# The maintenance merges files meanwhile: looked for anew, so many times.
_TIMES = 3

_states = sa.Table(
    "states",
    sa.MetaData(),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("chosen", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class Sources:
    """The files of a pair: those that control's books name, and those that they do not; and when the last chunk was
    that is known to be lost (microseconds, 0: none)."""

    named: tuple[File, ...] = ()
    unnamed: tuple[str, ...] = ()
    gap: int = 0


def sources(pair: Pair) -> Sources:
    """Raises NotInitialised, JournalUnavailable."""
    with pair.control.begin() as conn:
        require_books(conn)
        c = journal.c
        of = (c.station == pair.name, c.table_name == pair.table, c.lost.is_not(None))
        last_gap = conn.scalar(sa.select(sa.func.max(c.at)).where(*of))
        f = journal_file.c
        files = catalog.files(conn, f.station == pair.name, f.table_name == pair.table)
    known = {file.path for file in files}
    unnamed: list[str] = []
    if pair.journal.url is not None:
        found = place_of(pair.journal.url).files(folder_of(pair.table, pair.name))
        unnamed = [path for path, _ in found if path not in known and path.endswith(".parquet")]
    present = tuple(file for file in files if file.state != DOOMED)
    return Sources(present, tuple(unnamed), micros(last_gap) if last_gap else 0)


class Gathered:
    """What was read. `gap` as in Sources, with files that are not there; `records` of how many `files`."""

    def __init__(self, conn: sa.Connection, key: Sequence[str], chosen: Callable[[Mapping[str, Any]], bool]) -> None:
        self._conn = conn
        self._key = key
        self._chosen = chosen
        self.gap = 0
        self.files = 0
        self.unnamed = 0
        self.records = 0
        # Of another key than the table has now.
        self.of_other_key = 0
        self.missing: list[str] = []
        # Why nothing was read at all.
        self.unavailable = ""

    def add(self, rows: pa.Table) -> None:
        new: dict[str, JournalState] = {}
        moments = rows["written_at"].cast(pa.int64()).to_pylist()
        rows = rows.drop_columns(["written_at"])
        for at, record in zip(moments, rows.to_pylist(), strict=True):
            self.records += 1
            record["at"] = at
            key = self._key_of(record)
            if key is None:
                self.of_other_key += 1
                continue
            state = told(key, at, record)
            if self._chosen(record) and (state.control or state.station):
                state = JournalState(key, state.control, state.station, state.flagged, chosen=True)
            text = key_text(key)
            new[text] = new[text].after(state) if text in new else state
        self._store(new)

    def _key_of(self, record: Mapping[str, Any]) -> tuple[Any, ...] | None:
        version = next(record[name] for name in ("after", "came", "before") if record[name] is not None)
        key = tuple(version.get(name) for name in self._key)
        return None if None in key else key

    def _store(self, new: Mapping[str, JournalState]) -> None:
        texts = list(new)
        entries = []
        for start in range(0, len(texts), _AT_ONCE):
            some = texts[start : start + _AT_ONCE]
            query = sa.select(_states.c.key, _states.c.state).where(_states.c.key.in_(some))
            before = {text: _parsed(state) for text, state in self._conn.execute(query)}
            for text in some:
                state = before[text].after(new[text]) if text in before else new[text]
                entries.append({"key": text, "chosen": int(state.chosen), "state": _text(state)})
        if entries:
            self._conn.execute(sa.insert(_states).prefix_with("OR REPLACE"), entries)
        self._conn.commit()

    def forget(self, why: JournalUnavailable) -> None:
        """What was read is not all that there is: it tells nothing."""
        self._conn.execute(sa.delete(_states))
        self._conn.commit()
        self.unavailable = why.what

    def tells_of(self, keys: Sequence[Key]) -> set[Key]:
        """Those of these rows that `pages` has."""
        texts = {key_text(key): key for key in keys}
        query = sa.select(_states.c.key).where(_states.c.key.in_(list(texts)), _states.c.chosen == 1)
        return {texts[text] for (text,) in self._conn.execute(query)}

    def pages(self) -> Iterator[list[JournalState]]:
        """The rows that the range is about, in any order."""
        after = ""
        while True:
            query = sa.select(_states.c.key, _states.c.state).where(_states.c.key > after, _states.c.chosen == 1)
            found = self._conn.execute(query.order_by(_states.c.key).limit(PAGE)).all()
            if not found:
                return
            yield [_parsed(state) for _, state in found]
            after = found[-1].key


@contextmanager
def gathered(pair: Pair, key: Sequence[str], wanted: JournalQuery) -> Iterator[Gathered]:
    """All that the journal tells of the pair; `wanted` says which rows a range is about. What a row is to get is the
    last that is known of it, whether that is of the range or not.

    A journal that cannot be asked tells nothing (`unavailable`). Raises JournalUnavailable where a range of it is asked
    for."""
    # Without a name: a file that is gone with us, killed or not.
    engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(""), poolclass=sa.pool.NullPool)
    with engine.connect() as conn:
        for quick in ("journal_mode = OFF", "synchronous = OFF"):
            conn.exec_driver_sql(f"PRAGMA {quick}")
        conn.commit()
        _states.create(conn)
        found = Gathered(conn, key, _chooser(wanted))
        try:
            _gather(pair, found)
        except JournalUnavailable as error:
            if is_range(wanted):
                raise
            found.forget(error)
        yield found


def is_range(wanted: JournalQuery) -> bool:
    return (wanted.since, wanted.until, wanted.run) != (None, None, None)


def _gather(pair: Pair, found: Gathered) -> None:
    done: set[str] = set()
    for _ in range(_TIMES):
        all_of = sources(pair)
        named = {file.path: partial(where_it_is, file) for file in all_of.named}
        unnamed = {path: partial(_below, str(pair.journal.url), path) for path in all_of.unnamed}
        todo = {path: where for path, where in (named | unnamed).items() if path not in done}
        done |= {path for path, where in todo.items() if _read(found, where)}
        missing = [file for file in all_of.named if file.path not in done]
        found.files, found.unnamed = len(done), len(done & unnamed.keys())
        found.missing = [path for path in (*named, *unnamed) if path not in done]
        found.gap = max([all_of.gap, *(micros(file.last_at) for file in missing)])
        if not found.missing:
            return


def _below(root: str, path: str) -> tuple[Any, str]:
    store, base = place_of(root).filesystem()
    return store, f"{base}/{path}"


def _read(found: Gathered, where: Callable[[], tuple[Any, str]]) -> bool:
    """False for a file that is not there, or cannot be read. What was read of it before does no harm."""
    import pyarrow.parquet as pq

    try:
        store, path = where()
        with pq.ParquetFile(path, filesystem=store) as file:
            for batch in file.iter_batches(_BATCH, columns=_READ):
                found.add(pa.Table.from_batches([batch]))
    except (JournalUnavailable, OSError, pa.ArrowException):
        return False
    return True


def _chooser(wanted: JournalQuery) -> Callable[[Mapping[str, Any]], bool]:
    since = micros(wanted.since) if wanted.since else None
    until = micros(wanted.until) if wanted.until else None
    run = wanted.run

    def chosen(record: Mapping[str, Any]) -> bool:
        if since is not None and record["at"] < since:
            return False
        if until is not None and record["at"] >= until:
            return False
        return run is None or any((record[name] or "").startswith(run) for name in ("run", "flow_run"))

    return chosen


def micros(moment: datetime) -> int:
    """Of a moment in UTC, without a zone."""
    whole = moment.replace(tzinfo=UTC)
    return int(whole.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


def _text(state: JournalState) -> str:
    sides = [None if one is None else [one.at, _row_text(one.row)] for one in (state.control, state.station)]
    key = [_plain(part) for part in state.key]
    return json.dumps([key, *sides, state.flagged, state.chosen], ensure_ascii=False)


def _row_text(row: Mapping[str, Any] | None) -> Any:
    return None if row is None else {name: _plain(value) for name, value in row.items()}


def _parsed(text: str) -> JournalState:
    key, control, station, flagged, chosen = json.loads(text)
    return JournalState(tuple(map(_value, key)), _told(control), _told(station), flagged, chosen)


def _told(found: Any) -> JournalVersion | None:
    if found is None:
        return None
    at, row = found
    return JournalVersion(at, None if row is None else {name: _value(value) for name, value in row.items()})


def _plain(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _value(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
