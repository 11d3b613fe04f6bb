"""After all tables of a station: rows that wait for rows of other tables, as long as some go in; and rows of several
tables that refer to each other in a circle, which go in together."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import sqlalchemy as sa

from stationsync.database.statements import once_more
from stationsync.errors import GrantMissing, RowRefused, SchemaRefused, StationSyncError, guarded
from stationsync.journal.recorder import new_run
from stationsync.keeping import books
from stationsync.keeping.blocked import Blocked, Key
from stationsync.model.changes import Checked, Counts, Direction, Report, Status
from stationsync.pairing.pair import Pair
from stationsync.session.lease import leases, with_retries
from stationsync.session.session import Session
from stationsync.store.bookkeeping import of_this_version, quarantine
from stationsync.sync import beginning, merge, runs
from stationsync.sync.runs import Steps
from stationsync.topology.model import TableDirection
from stationsync.writing import unique_order, waiting

T = TypeVar("T")


def take_in(pairs: Sequence[Pair], steps: Steps, failed: Callable[[Pair, StationSyncError], T]) -> Iterator[Report | T]:
    """Reports of the runs in which rows went in, and what `failed` makes of those that could not be done. `pairs` are
    tables of one station."""
    left = [pair for pair in pairs if pair.options.direction is not TableDirection.DOWN]
    while len(left) > 1:
        went_in = False
        try:
            waiting = _waiting(left)
        except StationSyncError as error:
            yield failed(left[0], error)
            return
        for pair in waiting:
            try:
                with guarded(pair.place):
                    report = runs.take_in_waiting(pair, steps)
            except StationSyncError as error:
                yield failed(pair, error)
                left.remove(pair)
                continue
            if report.status is Status.DONE and report.counts.applied:
                went_in = True
                yield report
        if not went_in and len(waiting) > 1:
            try:
                with guarded(waiting[0].place):
                    reports = take_in_together(waiting, steps)
            except StationSyncError as error:
                yield failed(waiting[0], error)
                return
            went_in = bool(reports)
            yield from reports
        if not went_in:
            return


def _waiting(pairs: Sequence[Pair]) -> list[Pair]:
    """Tables with rows that wait for another row."""
    control, station = pairs[0].control, pairs[0].name
    query = sa.select(quarantine.c.table_name).where(quarantine.c.station == station, books.waits_for_another())
    query = query.where(quarantine.c.direction == str(Direction.UP)).distinct()
    with control.begin() as conn, of_this_version():
        tables = set(conn.scalars(query))
    return [pair for pair in pairs if pair.table in tables]


# A row of one of the tables: the table's number, and the row's.
_Node = tuple[int, int]
_Rows = list[list[tuple[Key, str]]]


def take_in_together(pairs: Sequence[Pair], steps: Steps) -> list[Report]:
    """What went in. `pairs` are tables of one station that have rows which wait for others. Nothing where another run
    is at work on one of them: the next run does it."""
    begun, run = time.monotonic(), steps.run or new_run()
    with leases(pairs) as sessions:
        if sessions is None:
            return []
        for session in sessions:
            session.journal.run, session.journal.flow_run = run, steps.flow_run
            steps.open(session)
            beginning.recall(session)
        done = _take_in(sessions, steps)
        seconds = time.monotonic() - begun
        return [
            Report(s.pair.name, s.pair.table, Direction.UP, Status.DONE, counts, 1, None, seconds, run=run)
            for s, counts in zip(sessions, done, strict=True)
            if counts.applied
        ]


def _take_in(sessions: Sequence[Session], steps: Steps) -> list[Counts]:
    first = sessions[0]
    try:
        with first.transaction():
            rows, circles = _circles(sessions)
    except (RowRefused, SchemaRefused, GrantMissing):  # a column was changed since; a table that we may not read
        return [Counts()] * len(sessions)
    if not circles:
        return [Counts()] * len(sessions)
    counts = _merge(sessions, steps, rows, [node for circle in circles for node in circle])
    if counts is None:
        # Something in one of them is refused: each by itself.
        each = [one for circle in circles if (one := _merge(sessions, steps, rows, circle)) is not None]
        counts = [sum((one[i] for one in each), Counts()) for i in range(len(sessions))]
    return counts


def _merge(sessions: Sequence[Session], steps: Steps, rows: _Rows, nodes: Iterable[_Node]) -> list[Counts] | None:
    """None, with nothing written, where a row is refused."""
    chosen = set(nodes)
    parts: dict[str, tuple[Session, Checked]] = {}
    for i, session in enumerate(sessions):
        keys = tuple(key for n, (key, _) in enumerate(rows[i]) if (i, n) in chosen)
        checked = steps.validate(runs.validator_of(session), steps.extract_keys(session, keys))
        parts[session.pair.place] = session, checked
    while all(len(checked.chunk) for _, checked in parts.values()):
        try:
            return with_retries(merge.merge_together)(list(parts.values()))
        except Blocked as blocked:
            # What the station has by now is not what waits: without it, and what hangs on it, the others may go in.
            session, checked = parts[blocked.place]
            rest = merge.without(session, checked, blocked)
            if rest is None:
                return None
            parts[blocked.place] = session, merge.only_good(rest, checked)
        except RowRefused:
            return None
    return None


def _circles(sessions: Sequence[Session]) -> tuple[_Rows, list[list[_Node]]]:
    """The rows that wait, by table; and those of them that refer to nothing that is missing but to each other."""
    rows = [waiting.for_rows(session) for session in sessions]
    references = [waiting.references(session) for session in sessions]
    number = {session.fit.control.name: i for i, session in enumerate(sessions)}
    staged = []
    for i, session in enumerate(sessions):
        names = {name for one in references[i] for name in one.columns}
        for other in references:
            names |= {name for one in other if number.get(one.parent or "") == i for name in one.theirs}
        names &= set(session.fit.names)
        kept = [json.loads(row) | dict(zip(session.fit.key, key, strict=True)) for key, row in rows[i]]
        staged.append(waiting.fill(session, sorted(names), kept, f"stationsync_waiting_{i}"))
    wants: dict[_Node, set[_Node]] = {}
    lacking: set[_Node] = set()
    for i, session in enumerate(sessions):
        for one in references[i]:
            unmet = {int(n) for n in session.control.scalars(one.unmet(staged[i]))}
            j = number.get(one.parent or "")
            if unmet and j is not None and set(one.theirs) <= set(staged[j].c.keys()):
                rows_there = once_more(session.control, staged[j], "stationsync_waiting_too")
                for n, other_row in session.control.execute(one.among(staged[i], rows_there)):
                    unmet.discard(int(n))
                    wants.setdefault((i, int(n)), set()).add((j, int(other_row)))
            lacking |= {(i, n) for n in unmet}
    return rows, _together(wants, lacking)


def _together(wants: Mapping[_Node, set[_Node]], lacking: set[_Node]) -> list[list[_Node]]:
    """Pure: rows that hang together, of those that refer to nothing that is missing."""
    nodes = {*wants, *(other for others in wants.values() for other in others)}
    ids: dict[_Node, int] = {node: n for n, node in enumerate(sorted(nodes | lacking))}
    refused = {ids[node] for node in lacking}
    held = (
        refused | unique_order.cannot({ids[n]: {ids[o] for o in others} for n, others in wants.items()}, refused).keys()
    )
    near: dict[_Node, set[_Node]] = {}
    for node, others in wants.items():
        for other in others:
            if ids[node] not in held:
                near.setdefault(node, set()).add(other)
                near.setdefault(other, set()).add(node)
    found: list[list[_Node]] = []
    seen: set[_Node] = set()
    for start in near:
        if start in seen:
            continue
        todo, group = [start], []
        seen.add(start)
        while todo:
            node = todo.pop()
            group.append(node)
            fresh = near[node] - seen
            seen |= fresh
            todo += fresh
        if len({i for i, _ in group}) > 1:
            found.append(sorted(group))
    return found
