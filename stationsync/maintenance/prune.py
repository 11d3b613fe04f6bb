"""Maintenance of control: what is over and old goes, what is unresolved or young stays; space is given back. So do
old log files.

One at a time, in short transactions, so that live runs are not held up; a table that they hold is left for next time.
Cut off anywhere, the next one goes on."""

from __future__ import annotations

import fnmatch
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from stationsync.database.connection import Database
from stationsync.errors import DatabaseBusy, StationSyncError, TryAgain, Unexpected, guarded
from stationsync.health.freshness import freshness
from stationsync.journal import prune as journal_prune
from stationsync.maintenance import tables
from stationsync.maintenance import tables as values
from stationsync.maintenance.rule import Ages, Maintained, PrunedPart, ages
from stationsync.model.wire import Family
from stationsync.pairing.pair import Blocks, control_of, pairs
from stationsync.session.lease import is_any_held
from stationsync.store.bookkeeping import (
    PENDING,
    STATION,
    base_name,
    is_among,
    metadata,
    planned_delete,
    require_books,
    station_of,
    value,
)
from stationsync.topology.model import Topology

_LEASE = "maintenance"


def prune(topology: Topology, blocks: Blocks | None = None, *, dry_run: bool = False) -> Maintained:
    """All of it but what Prefect has. On a dry run nothing is changed.

    Raises NotInitialised, DatabaseBusy where another maintenance is under way, and where control does not answer."""
    control = control_of(topology, blocks)
    with control.connect() as conn, control.errors(), _alone(control, conn):
        parts = [*_books(control, conn, topology, dry_run), _journal(control, topology, dry_run)]
        before = _size(control, conn)
        note = "" if dry_run else _recover(control, conn, topology, blocks)
        parts.append(PrunedPart("control database", before=before, after=_size(control, conn), note=note))
    options = topology.maintenance
    parts += [prune_logs(folder, options.log_retention, dry_run=dry_run) for folder in options.logs]
    return Maintained(tuple(parts), dry_run)


def what_is_old(topology: Topology, control: Database) -> Ages:
    """How old what goes has to be, by control's clock."""
    with control.begin() as conn:
        now = control.dialect.clock(conn, Family.TIMESTAMP).utc
    return ages(now, freshness(control, topology))


@contextmanager
def _alone(control: Database, conn: sa.Connection) -> Iterator[None]:
    with conn.begin():
        require_books(conn)
        free = control.dialect.try_lease(conn, _LEASE)
    if not free:
        what, step = "another maintenance is under way.", "Run the command again when it is over."
        raise DatabaseBusy("maintenance", what, not_done="Nothing was pruned.", next_step=step)
    try:
        yield
    finally:
        with suppress(sa.exc.SQLAlchemyError), conn.begin():
            control.dialect.free_lease(conn, _LEASE)


def _books(control: Database, conn: sa.Connection, topology: Topology, dry_run: bool) -> Iterator[PrunedPart]:
    old, options = what_is_old(topology, control), topology.maintenance
    known = [(station, table) for station in topology.stations for table in topology.tables_of(station)]
    for kind in tables.over(options, _waiting(conn, topology)):
        where = kind.where(old)
        delete = (lambda kind=kind: tables.delete_over(conn, kind, old)) if not dry_run else None
        yield _part(control, conn, kind.what, kind.table, where, delete, kind.note)
    plans = tables.forgotten_plans(known, old, options.trash)
    forget = None if dry_run else lambda: _delete(conn, planned_delete, plans)
    yield _part(control, conn, "planned deletes", planned_delete, plans, forget, "only of pairs that are no more")
    yield _values(control, conn, old, dry_run)
    yield _strangers(conn, topology)


def _part(
    control: Database,
    conn: sa.Connection,
    what: str,
    table: sa.Table,
    where: sa.ColumnElement[bool],
    delete: Callable[[], int] | None,
    note: str = "",
) -> PrunedPart:
    before, all_rows = _sizes(control, conn).get(table.name), _count(conn, table)
    if delete is None:
        n = _count(conn, table, where)
        return PrunedPart(what, n, all_rows - n, before, before, note)
    try:
        with guarded("control"), control.errors():
            gone = delete()
    except (TryAgain, Unexpected) as error:
        note = f"left for next time: {error.what}"
        return PrunedPart(what, 0, all_rows, before, before, note, failed=isinstance(error, Unexpected))
    return PrunedPart(what, gone, _count(conn, table), before, _sizes(control, conn).get(table.name), note)


def _values(control: Database, conn: sa.Connection, old: Ages, dry_run: bool) -> PrunedPart:
    digests = values.ownerless(conn, old.now)
    part = _part(
        control, conn, "long values", value, value.c.sha256.in_(digests),
        None if dry_run else lambda: values.delete_values(conn, digests, old.now),
        "those that no kept row refers to",
    )  # fmt: skip
    return part if not dry_run else replace(part, pruned=len(digests))


def _waiting(conn: sa.Connection, topology: Topology) -> set[tuple[str, str]]:
    """Pairs with edits that did not go down yet."""
    found = set()
    with conn.begin():
        present = set(sa.inspect(conn).get_table_names())
        for table, options in topology.tables.items():
            if is_among(name := base_name(options.control_table or table), present):
                base = sa.table(name, sa.column(STATION), sa.column(PENDING))
                query = sa.select(base.c[STATION]).where(base.c[PENDING] > 0).distinct()
                found |= {(str(station), table) for station in conn.scalars(query)}
    return found


def _strangers(conn: sa.Connection, topology: Topology) -> PrunedPart:
    """Base rows of stations that the topology no longer has are told, and never deleted."""
    names: set[str] = set()
    with conn.begin():
        present = set(sa.inspect(conn).get_table_names())
        for table, options in topology.tables.items():
            if is_among(name := base_name(options.control_table or table), present):
                base = sa.table(name, sa.column(STATION))
                names.update(map(station_of, conn.scalars(sa.select(base.c[STATION]).distinct())))
    gone = sorted(names - topology.stations.keys())
    note = f"stations that are no more: {', '.join(gone[:20])}" if gone else ""
    return PrunedPart("base rows", note=f"never pruned{'; ' + note if note else ''}")


def _journal(control: Database, topology: Topology, dry_run: bool) -> PrunedPart:
    if topology.journal.url is None:
        return PrunedPart("journal files", note="there is no journal")
    try:
        with guarded("journal"):
            done = journal_prune.prune(control, topology.journal, dry_run=dry_run)
    except StationSyncError as error:
        return PrunedPart(
            "journal files", note=f"left for next time: {error.what}", failed=not isinstance(error, TryAgain)
        )
    before = done.kept_bytes if dry_run else done.kept_bytes + done.deleted_bytes
    note = f"{done.merged:,} small ones merged into {done.into:,}" if done.merged else ""
    kept = done.kept - (done.deleted if dry_run else 0)
    return PrunedPart("journal files", done.deleted, kept, before, done.kept_bytes, note)


def _recover(control: Database, conn: sa.Connection, topology: Topology, blocks: Blocks | None) -> str:
    """Give free space back, where there is much and nobody is at work."""
    every = [pair for station in topology.stations for pair in pairs(topology, station, None, blocks)]
    if is_any_held(every):
        return "free space is given back when no run is under way"
    try:
        with guarded("control"), control.errors():
            done = control.dialect.recover(conn, [table.name for table in metadata.sorted_tables])
    except StationSyncError as error:
        return f"free space was not given back: {error.what}"
    return f"space given back: {', '.join(done)}" if done else ""


def _count(conn: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool] | None = None) -> int:
    query = sa.select(sa.func.count()).select_from(table)
    with conn.begin():
        return int(conn.scalar(query if where is None else query.where(where)) or 0)


def _delete(conn: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
    with conn.begin():
        return int(conn.execute(sa.delete(table).where(where)).rowcount)


def _sizes(control: Database, conn: sa.Connection) -> Mapping[str, int]:
    with conn.begin():
        return control.dialect.table_sizes(conn)


def _size(control: Database, conn: sa.Connection) -> int:
    with conn.begin():
        return control.dialect.sizes(conn).data


_PATTERN = "*.log*"


def prune_logs(folder: str, retention: timedelta, *, dry_run: bool = False) -> PrunedPart:
    what = f"log files in {folder}"
    if Path(folder).is_symlink():
        return PrunedPart(what, note="left alone: the folder is a link; name the folder itself", failed=True)
    try:
        # Names are looked up below this descriptor, whatever becomes of the path meanwhile.
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return PrunedPart(what, note="there is no such folder")
    except OSError as error:
        return PrunedPart(what, note=f"left alone: {error.strerror}", failed=True)
    try:
        return _prune(what, opened, time.time() - retention.total_seconds(), dry_run)
    finally:
        os.close(opened)


def _prune(what: str, folder: int, before: float, dry_run: bool) -> PrunedPart:
    old, size, kept, gone, refused = 0, 0, 0, 0, ""
    for name in sorted(os.listdir(folder)):
        found = _stat(name, folder) if fnmatch.fnmatch(name, _PATTERN) else None
        if found is None:
            continue
        size += found.st_size
        if found.st_mtime >= before:
            kept += 1
            continue
        try:
            if not dry_run:
                os.unlink(name, dir_fd=folder)
        except OSError as error:
            kept, refused = kept + 1, f"{name}: {error.strerror}"
            continue
        old, gone = old + 1, gone + found.st_size
    return PrunedPart(what, old, kept, size, size if dry_run else size - gone, refused, bool(refused))


def _stat(name: str, folder: int) -> os.stat_result | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:  # gone meanwhile
        return None
    return found if stat.S_ISREG(found.st_mode) else None
