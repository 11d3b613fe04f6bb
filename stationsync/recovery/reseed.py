"""A lost station: control's rows written back into a station's empty or old table (`reseed`), or the station taken as
it is (`trust`). Both hold the lease of the pair, so that no run sees half of it; cut off, they are simply run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from stationsync.database.mariadb import trials
from stationsync.errors import GrantMissing, LockWait, RowRefused, StationOffline, StationSyncError, guarded
from stationsync.journal.recorder import new_run
from stationsync.keeping import lacked
from stationsync.model.changes import Counts, Direction, Report, Status
from stationsync.model.details import ReseedDetails
from stationsync.model.stored_text import told
from stationsync.pairing.keys import Key
from stationsync.pairing.pair import Pair
from stationsync.recovery import base_pages, reseed_compare, reseed_page, trust_page
from stationsync.recovery.base_pages import PAGE
from stationsync.recovery.reseed_page import RefusedRow
from stationsync.recovery.reseed_rule import POLICY, StationOutcome
from stationsync.rollback import older_control, remembered
from stationsync.session.lease import held, leases, with_retries
from stationsync.session.session import Session
from stationsync.sync import adopt_columns, beginning
from stationsync.topology.model import TableDirection
from stationsync.writing import locked

_SAMPLES = 10
# Rows of a table that go in together with others, in one transaction.
_TOGETHER = 20_000

T = TypeVar("T")
Result = Report | StationSyncError


def plan(pair: Pair) -> Report:
    """What a reseed would do. Nothing is written."""
    begun = time.monotonic()
    found = ReseedTally()
    with held(pair) as session:
        older_control.require_current(session)
        for keys in _pages(session):
            compared = with_retries(reseed_compare.look)(session, keys)
            found.add(zip(compared.keys, compared.fates, strict=True), len(compared.kept))
    return found.report(pair, begun, dry_run=True)


def require_rights(pair: Pair) -> None:
    """Raises GrantMissing, naming what to grant, where the station would not let us write whole rows."""
    if not pair.station.dialect.is_server:
        return
    with held(pair) as session, session.station() as conn, conn.begin():
        columns = [c for c in session.fit.columns if not c.station.generated]
        names = [c.station.name for c in columns]
        others = [c.station.name for c in columns if c.name not in session.fit.key]
        table = session.station_table.name
        for note in trials.reseed_rights(conn, pair.name, table, names, others):
            raise GrantMissing(pair.place, note.what, not_done="Nothing was changed.", next_step=note.next_step)


def reseed(pairs: Sequence[Pair], told: Callable[[Pair, Report], None] | None = None) -> dict[str, Result]:
    """Write control's rows back, table after table in the given order; what was refused is tried again at the end,
    when the rows that it refers to are there. Results by table; `told` hears of each table as it is done."""
    results: dict[str, Result] = {}
    refused: dict[str, list[RefusedRow]] = {}
    run = new_run()
    for pair in pairs:
        try:
            with guarded(pair.place):
                results[pair.table], refused[pair.table] = _reseed(pair, run)
        except StationSyncError as error:
            results[pair.table] = error
            if isinstance(error, StationOffline):
                break
    _try_again(pairs, results, refused)
    for pair in pairs:
        if told and isinstance(report := results.get(pair.table), Report):
            told(pair, report)
    return results


def trust(pair: Pair) -> Report:
    """Take the station's table as it is: its newest rows are remembered, and the next pull reads everything. Versions
    of control's that it will replace are kept; cut off, all that is not kept yet is compared again."""
    begun, kept = time.monotonic(), 0
    with held(pair) as session:
        adopt_columns.adopt(session)
        if pair.options.direction is not TableDirection.DOWN:  # there nothing goes up
            kept = sum(with_retries(trust_page.keep)(session, keys) for keys in _pages(session))
            kept += with_retries(lacked.keep_quarantined)(session, trust_page.POLICY)
        remembered.accept(session)
    found = ReseedTally()
    found.keep(kept)
    return replace(found.report(pair, begun), direction=Direction.UP, status=Status.DONE)


def _try_again(pairs: Sequence[Pair], results: dict[str, Result], refused: dict[str, list[RefusedRow]]) -> None:
    """As long as something more goes in: a row may refer to one that was refused at first itself."""
    waiting = sum(map(len, refused.values()))
    while waiting:
        for pair in pairs:
            before = results.get(pair.table)
            if not refused.get(pair.table) or not isinstance(before, Report):
                continue
            try:
                with guarded(pair.place):
                    keys = [one.key for one in refused[pair.table]]
                    again, refused[pair.table] = _reseed(pair, before.run, keys, others_locked=before.counts.locked > 0)
                    results[pair.table] = _joined(before, again)
            except StationSyncError as error:
                results[pair.table] = error
                refused[pair.table] = []
        left = sum(map(len, refused.values()))
        if left == waiting and not _together(pairs, results, refused):
            return
        waiting = sum(map(len, refused.values()))


def _together(pairs: Sequence[Pair], results: dict[str, Result], refused: dict[str, list[RefusedRow]]) -> bool:
    """Rows of several tables that refer to each other. Whether any went in; not, where another run has a lease."""
    waiting = {table: [one.key for one in some if one.waits][:_TOGETHER] for table, some in refused.items()}
    parts = [pair for pair in pairs if waiting.get(pair.table) and isinstance(results.get(pair.table), Report)]
    if len(parts) < 2:
        return False
    begun = time.monotonic()
    try:
        with guarded(parts[0].place), leases(parts) as sessions:
            if sessions is None:
                return False
            for session in sessions:
                _open(session, results)
            keys = [waiting[pair.table] for pair in parts]
            given = with_retries(reseed_page.give_together)(list(zip(sessions, keys, strict=True)))
            for session, one in zip(sessions, given, strict=True):
                table, before = session.pair.table, results[session.pair.table]
                there = {key for key, _ in one.fates}
                refused[table] = [row for row in refused[table] if row.key not in there]
                found = ReseedTally()
                found.add(one.fates, one.kept)
                found.refused = len(refused[table])
                assert isinstance(before, Report)
                if not before.counts.locked:
                    remembered.accept(session)
                results[table] = _joined(before, found.report(session.pair, begun))
            return any(one.fates for one in given)
    except (RowRefused, LockWait):
        return False
    except StationSyncError as error:
        results[parts[0].table] = error
        return False


def _open(session: Session, results: Mapping[str, Result]) -> None:
    session.open()
    before = results[session.pair.table]
    if isinstance(before, Report):
        session.journal.run = before.run
    beginning.recall(session)


def _joined(first: Report, again: Report) -> Report:
    before, now = _details(first), _details(again)
    details = replace(
        before,
        found={kind: n + now.found[kind] for kind, n in before.found.items()},
        kept=before.kept + now.kept,
        refused=now.refused,
        locked_keys=(*before.locked_keys, *now.locked_keys),
    )
    counts = replace(first.counts, quarantined=now.refused) + replace(again.counts, read=0, quarantined=0)
    joined = replace(first, counts=counts, details=details, seconds=first.seconds + again.seconds)
    return replace(joined, warnings=_locked(joined))


def _reseed(
    pair: Pair, run: str, only: list[Key] | None = None, *, others_locked: bool = False
) -> tuple[Report, list[RefusedRow]]:
    """`only` these rows; `others_locked`: of the others, some were left."""
    begun = time.monotonic()
    found = ReseedTally()
    refused: list[RefusedRow] = []
    with held(pair) as session:
        adopt_columns.adopt(session)
        session.journal.run = run
        session.journal.tidy()
        older_control.require_current(session)
        beginning.recall(session)
        for keys in _pages(session) if only is None else cut(only):
            given = with_retries(reseed_page.give)(session, keys)
            found.add(given.fates, given.kept)
            found.locked += given.locked
            refused += given.refused
            vanished = [key for key, fate in given.fates if fate is StationOutcome.VANISHED]
            with_retries(reseed_page.lacks)(session, [*vanished, *(one.key for one in given.refused)])
        found.refused = len(refused)
        reseed_page.quarantine(session, refused)
        found.keep(with_retries(lacked.keep_quarantined)(session, POLICY))
        if not (found.locked or others_locked):
            # Otherwise a pull would take what the station has in the locked rows for its edits.
            remembered.accept(session)
    report = replace(found.report(pair, begun), run=run)
    return replace(report, warnings=_locked(report)), refused


def _details(report: Report) -> ReseedDetails:
    assert isinstance(report.details, ReseedDetails)
    return report.details


def _locked(report: Report) -> tuple[str, ...]:
    keys = _details(report).locked_keys
    again = f"stationsync reseed {report.station} --table {report.table}"
    return tuple(locked.note(keys, "at the station or at control", again))


def _pages(session: Session) -> Iterator[list[Key]]:
    after: Key | None = None
    while keys := with_retries(base_pages.next_keys)(session, after):
        yield keys
        after = keys[-1]


def cut(rows: Sequence[T]) -> Iterator[list[T]]:
    return (list(rows[start : start + PAGE]) for start in range(0, len(rows), PAGE))


def _sample(key: Key) -> list[str]:
    return [told(part, whole=True) if isinstance(part, str) else part.hex() for part in key]


class ReseedTally:
    """What became of the rows so far."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(StationOutcome, 0)
        self._samples: dict[StationOutcome, list[Key]] = {fate: [] for fate in StationOutcome}
        self._kept = 0
        self._chunks = 0
        self.refused = 0
        self.locked: tuple[Key, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.refused or sum(self._counts.values()))

    def add(self, fates: Any, kept: int) -> None:
        self._chunks += 1
        self.keep(kept)
        for key, fate in fates:
            self._counts[fate] += 1
            if len(self._samples[fate]) < _SAMPLES:
                self._samples[fate].append(key)

    def keep(self, kept: int) -> None:
        self._kept += kept

    def report(self, pair: Pair, begun: float, *, dry_run: bool = False) -> Report:
        n = self._counts
        written = n[StationOutcome.INSERT] + n[StationOutcome.REWRITE]
        counts = Counts(
            read=sum(n.values()) + self.refused + len(self.locked),
            applied=0 if dry_run else written,
            unchanged=n[StationOutcome.EQUAL],
            conflicts=0 if dry_run else self._kept,
            quarantined=self.refused,
            changed=n[StationOutcome.NEWER],
            locked=len(self.locked),
        )
        details = ReseedDetails(
            dry_run,
            found={str(fate): number for fate, number in n.items()},
            samples={str(fate): [_sample(key) for key in keys] for fate, keys in self._samples.items() if keys},
            kept=self._kept,
            refused=self.refused,
            locked_keys=[_sample(key) for key in self.locked],
        )
        status = Status.DONE if written or self.refused else Status.NOTHING
        seconds = time.monotonic() - begun
        return Report(
            pair.name, pair.table, Direction.DOWN, status, counts, self._chunks, None, seconds, (), "", details
        )
