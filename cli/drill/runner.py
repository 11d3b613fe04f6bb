"""The process in which the engine runs: it can be killed, or stopped, at any statement that it sends.

The engine knows nothing of this: what is wrapped here are the drivers below it, and the clocks of its dialects."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import logging
import os
import signal
import sqlite3
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import pymysql

from cli.drill.history import Key
from stationsync.database.dialect import Clock
from stationsync.database.mariadb import dialect, settings
from stationsync.database.mariadb.bulk import BufferConnection
from stationsync.database.mariadb.dialect import MariaDB
from stationsync.database.sqlite.dialect import SQLite
from stationsync.errors import BrakePulled, ControlWentBack, Refused, StationSyncError, StationWentBack
from stationsync.health import conflict_list
from stationsync.health.conflict_list import ConflictFilter
from stationsync.keeping import trash
from stationsync.model.changes import Report
from stationsync.pairing.pair import Pair, pairs
from stationsync.reconcile import compare
from stationsync.reconcile.reconcile import reconcile
from stationsync.recovery import backfill, reseed_control, take
from stationsync.recovery.backfill_range import BackfillRange
from stationsync.recovery.reseed import reseed, trust
from stationsync.recovery.take_rule import TakeOrder
from stationsync.session import extract, lease
from stationsync.session.lease import with_retries
from stationsync.sync import merge, push, runs
from stationsync.topology.topology_file import from_mapping

_DELAYS = (0.02, 0.05)
_TIMEOUT = 1.5
_ERRORS = {
    "deadlock": (1213, "Deadlock found when trying to get lock; try restarting transaction"),
    "lock wait": (1205, "Lock wait timeout exceeded; try restarting transaction"),
    "full": (1114, "The table is full"),
}
_MOMENT = threading.Lock()


@dataclass(frozen=True)
class Job:
    """One run. `points`: statement number -> a fault of the run itself, or "pause", where the director goes on.
    `offsets` and `held`, per side: how far its clock is off, and how long its oldest open transaction has been open
    by the history's clocks, in seconds."""

    topology: Mapping[str, Any]
    station: str
    what: str
    points: Mapping[int, str] = field(default_factory=dict)
    offsets: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, float] = field(default_factory=dict)
    threaded: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    sabotage: str = ""
    answer: str = "trust"
    key: Key | None = None


class _Now:
    """What goes on in this process."""

    job: Job | None = None
    statements = 0
    pause: Callable[[int], None]


def _statement(lose: Callable[[], None], undo: Callable[[], None]) -> str | None:
    """Called before each statement is sent; "sent" is for the caller to do."""
    job = _Now.job
    if job is None:
        return None
    with _MOMENT:
        _Now.statements += 1
        what = job.points.get(_Now.statements)
        if what == "pause":
            _Now.pause(_Now.statements)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "lost":
        lose()
    if what == "deadlock":
        undo()
    if what in _ERRORS:
        raise pymysql.err.OperationalError(*_ERRORS[what])
    return what


class _MariaDBConnection(BufferConnection):
    """Counts what it sends, and waits for no answer for long."""

    def __init__(self, **options: Any) -> None:
        options |= {"connect_timeout": _TIMEOUT, "read_timeout": _TIMEOUT, "write_timeout": _TIMEOUT}
        super().__init__(**options)

    def _execute_command(self, command: int, sql: Any) -> None:
        what = _statement(self._force_close, self._undo)  # type: ignore[attr-defined]
        super()._execute_command(command, sql)  # type: ignore[misc]
        if what == "sent":
            os.kill(os.getpid(), signal.SIGKILL)

    def _undo(self) -> None:
        """As the server does with the victim of a deadlock."""
        super()._execute_command(3, b"ROLLBACK")  # type: ignore[misc]
        self._read_ok_packet()  # type: ignore[attr-defined]


class _SQLiteConnection(sqlite3.Connection):
    place = ""


def _sqlite_connect(real: Callable[..., Any]) -> Callable[..., Any]:
    def connect(path: str, **options: Any) -> Any:
        connection = real(path, factory=_SQLiteConnection, **options)
        connection.place = path.rpartition("/")[2].partition(".db")[0]
        connection.execute("PRAGMA synchronous = OFF")
        connection.set_trace_callback(_traced)
        return connection

    return connect


def _traced(_: str) -> None:
    # What is raised in here would be lost: on SQLite a run is killed or stopped only.
    if _statement(lambda: None, lambda: None) in ("sent", "lost"):
        os.kill(os.getpid(), signal.SIGKILL)


class _Inline:
    """In place of the thread that reads ahead, so that a history happens in the same order every time."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> _Inline:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def shutdown(self, **_: Any) -> None: ...

    def submit(self, call: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args))
        except Exception as error:  # noqa: BLE001 - the future hands it on
            future.set_exception(error)
        return future


def _ahead(*args: Any, **kwargs: Any) -> Any:
    threaded = _Now.job is not None and _Now.job.threaded
    return (ThreadPoolExecutor if threaded else _Inline)(*args, **kwargs)


def _clock(real: Callable[..., Clock], place: Callable[[Any], str]) -> Callable[..., Clock]:
    """A dialect's clock, as far off as the history says."""

    def clock(*args: Any) -> Clock:
        clock, job, conn = real(*args), _Now.job, args[1]
        if job is None:
            return clock
        side = place(conn.connection.dbapi_connection)
        off = timedelta(seconds=job.offsets.get(side, 0))
        oldest = clock.oldest_open
        if oldest is not None:
            oldest = max(oldest, timedelta(seconds=job.held.get(side, 0)))
        server = clock.server and clock.server + off
        return dataclasses.replace(clock, now=clock.now + off, utc=clock.utc + off, oldest_open=oldest, server=server)

    return clock


def _wrap() -> None:
    patched: Any = dialect
    patched.BufferConnection = _MariaDBConnection
    waits: Any = settings
    waits.LOCK_WAIT_CONTROL = waits.LOCK_WAIT_STATION = 1
    sqlite: Any = sqlite3
    sqlite.connect = _sqlite_connect(sqlite3.connect)
    threaded: tuple[Any, ...] = (runs, push, compare)
    for module in threaded:
        module.ThreadPoolExecutor = _ahead
    # A run inside of another would wait for it; and chunks are to be cut between.
    waiting: tuple[Any, ...] = (lease, backfill)
    for module in waiting:
        module._PATIENCE = 0.1
    waiting[0].PATIENCE = 5.0
    waiting[1]._MOST, waiting[1]._AGAIN = 3, _DELAYS
    # So that a push has several parts, too.
    threaded[1]._FIRST, threaded[1]._AT_ONCE = 1, 2
    dialects: tuple[Any, Any] = (MariaDB, SQLite)
    dialects[0].clock = _clock(MariaDB.clock, lambda driver: bytes(driver.db).decode())
    dialects[1].clock = _clock(SQLite.clock, lambda driver: str(driver.place))


def steps() -> runs.Steps:
    """As `runs.plain_steps`, with less patience."""
    return runs.Steps(
        with_retries(runs.extract_page, _DELAYS),
        with_retries(extract.read_keys, _DELAYS),
        runs.validate,
        with_retries(merge.merge_chunk, _DELAYS),
        with_retries(push.push_page, _DELAYS),
    )


def perform(pair: Pair, job: Job) -> list[dict[str, Any]]:
    """What the command of that name does; its reports."""
    what, found = job.what, []
    if what in ("pull", "sync"):
        found.append(_trusting(pair, job, lambda: runs.pull(pair, steps())))
    if what in ("push", "sync"):
        found.append(_trusting(pair, job, lambda: runs.push_edits(pair, steps())))
    if what == "reconcile":
        found.append(_trusting(pair, job, lambda: _reconciled(pair)))
    if what == "backfill":
        found.append(
            _trusting(pair, job, lambda: backfill.backfill(pair, steps(), backfill.BackfillOrder(BackfillRange())))
        )
    if what == "reseed-control":
        found.append(reseed_control.reseed(pair))
    if what in ("trust", "reseed"):
        found.append(_answered(pair, what))
    if what == "trash restore" and job.key:
        _brought_back(pair, job.key)
    if what == "conflicts take":
        found += _taken(pair, job.key)
    return [report.as_dict() for report in found]


def _taken(pair: Pair, key: tuple[int, str] | None) -> list[Report]:
    """What lost in the newest open conflict of this row, or of any."""
    wanted = ConflictFilter(pair.name, pair.table, open_only=True)
    found, _ = conflict_list.find(pair.control, wanted)
    chosen = [one for one in found if key is None or [*map(str, one.key)] == [*map(str, key)]]
    return [take.take(pair, chosen[:1], TakeOrder())] if chosen else []


def _brought_back(pair: Pair, key: tuple[int, str]) -> None:
    """The newest row of this key in the trash."""
    found, _ = trash.find(pair.control, pair.name, pair.table)
    item = next((one for one in found if [*map(str, json.loads(one.key_text))] == [*map(str, key)]), None)
    if item is not None:
        with contextlib.suppress(Refused):
            trash.restore(pair.control, pair, item)


def _answered(pair: Pair, answer: str) -> Report:
    if answer == "trust":
        return trust(pair)
    (result,) = reseed([pair]).values()
    if isinstance(result, StationSyncError):
        raise result
    return result


def _trusting(pair: Pair, job: Job, run: Callable[[], Report]) -> Report:
    """As a person does it who knows which side is right; what is older at control was written so late."""
    try:
        return run()
    except StationWentBack:
        _answered(pair, job.answer)
        return run()
    except ControlWentBack:
        reseed_control.trust(pair)
        return run()


def _reconciled(pair: Pair) -> Report:
    """As a person does it: what the brake refuses is looked at, and allowed."""
    try:
        return reconcile(pair, steps())
    except BrakePulled:
        return reconcile(pair, steps(), allow_deletes=True)


def work(job: Job) -> dict[str, Any]:
    """Do it; what came of it, always as an answer."""
    os.environ.update(job.environment)
    if job.sabotage:
        module, _, name = job.sabotage.partition(":")
        getattr(importlib.import_module(module), name)()
    (pair,) = pairs(from_mapping(job.topology), job.station)
    _Now.job, _Now.statements = job, 0
    try:
        return {"reports": perform(pair, job), "statements": _Now.statements}
    except StationSyncError as error:
        return {"error": type(error).__name__, "message": str(error), "statements": _Now.statements}
    except Exception:  # noqa: BLE001 - whatever it is, it is a find
        return {"unexpected": traceback.format_exc(), "statements": _Now.statements}
    finally:
        _Now.job = None


def main(pipe: Connection) -> None:
    """The process: a job at a time, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # it tells of each connection that was cut
    _wrap()

    def pause(statement: int) -> None:
        pipe.send({"at": statement})
        pipe.recv()

    _Now.pause = staticmethod(pause)
    try:
        while True:
            pipe.send(work(pipe.recv()))
    except (EOFError, BrokenPipeError):
        return
