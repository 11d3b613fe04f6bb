"""One station of a continuous run: what is known of it between two looks, and a visit, which looks at it and runs what
is due."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stationsync.continuous import look, rule
from stationsync.continuous.look import Baseline, ControlLook, OpenedPair, PairBooks, Place, RowSum
from stationsync.continuous.rule import Due
from stationsync.database.connection import LastingSession
from stationsync.errors import StationSyncError, guarded
from stationsync.model.changes import Direction, Report, Status
from stationsync.pairing.pair import Pair
from stationsync.session.session import Session
from stationsync.sync import runs
from stationsync.sync.tables import BOTH_WAYS, Run, failure, run_tables


@dataclass(frozen=True)
class Visit:
    """What came of one. `reports` of the runs that were due, none where a look said that there is nothing to do;
    `seconds` of it."""

    station: str
    reports: tuple[Report, ...]
    seconds: float
    # Places of tables about which a look said that nothing is to be done.
    equal: tuple[Place, ...] = ()
    due: Due = Due.NOT
    # Of the station, after it: its last run, or that of one of its tables, failed.
    failing: bool = False

    @property
    def offline(self) -> bool:
        return any(report.status is Status.OFFLINE for report in self.reports)

    @property
    def moved(self) -> bool:
        return any(report.counts.moved for report in self.reports)


@dataclass
class _Table:
    """What the last whole run left: `handled` is None where a look can say nothing. One that failed is left alone until
    `next`, and the station's others are not."""

    pair: Pair
    opened: OpenedPair | None = None
    handled: Baseline | None = None
    begun: float = field(default=float("-inf"))
    failures: int = 0
    next: float = 0.0


class WatchedStation:
    """Visited by one thread at a time. Its connection to the station stays open between two visits."""

    def __init__(self, pairs: Sequence[Pair], every: float, whole_every: float) -> None:
        self.name = pairs[0].name
        self.failures = 0
        # Of our own monotonic clock: not before then.
        self.next = 0.0
        self._every = every
        self._whole_every = whole_every
        self._tables = {pair.table: _Table(pair) for pair in pairs}
        self._session = LastingSession(pairs[0].station, brief=True)

    @property
    def opened(self) -> list[OpenedPair]:
        return [table.opened for table in self._tables.values() if table.opened and table.handled]

    @property
    def failing(self) -> bool:
        """The last run of it, or of one of its tables, failed."""
        return self.failures > 0 or any(table.failures for table in self._tables.values())

    def visit(self, control: ControlLook, round_begun: float) -> Visit:
        """Look at it, and run what is due. Raises nothing: what fails is in the reports."""
        begun = time.monotonic()
        reports: list[Report] = []
        due, equal, by_table = Due.NOT, tuple[Place, ...](), True
        try:
            with guarded(self.name):
                due_now = self._due(control, begun)
            due = next(iter(due_now.values()), Due.NOT)
            equal = tuple(
                (self.name, name) for name, table in self._tables.items() if table.handled and name not in due_now
            )
            reports = self._run(list(due_now), begun) if due_now else []
        except StationSyncError as error:
            self.close()
            pair = next(iter(self._tables.values())).pair
            reports, equal, by_table = [failure(pair, Direction.UP, error)], (), False
        offline = any(report.status is Status.OFFLINE for report in reports)
        self.failures = self.failures + 1 if offline or not by_table else 0
        if self.failures:
            self.next = time.monotonic() + rule.pause_after(self.failures, self._every)
        else:
            self.next = rule.next_round(round_begun, self._every)
        return Visit(self.name, tuple(reports), time.monotonic() - begun, equal, due, self.failing)

    def _due(self, control: ControlLook, at: float) -> dict[str, Due]:
        """The tables of which a whole run is due, and why."""
        due: dict[str, Due] = {}
        to_ask: list[tuple[OpenedPair, Baseline]] = []
        for name, table in self._tables.items():
            place = self.name, name
            why = rule.due_by_books(
                table.handled,
                control.books.get(place, PairBooks()),
                control.edits.get(place, (RowSum(), RowSum())),
                age=at - table.begun,
                whole_every=self._whole_every,
            )
            if at < table.next:
                continue
            if why is not Due.NOT:
                due[name] = why
            elif table.opened is not None and table.handled is not None:
                to_ask.append((table.opened, table.handled))
        try:
            seen = self._look(to_ask)
        except StationSyncError:
            # It is off-line, or a look is no small thing there: the run will tell.
            self.close()
            return due | {opened.pair.table: Due.STATION for opened, _ in to_ask}
        for (opened, handled), now_there in zip(to_ask, seen, strict=True):
            if (why := rule.due_by_station(handled, now_there)) is not Due.NOT:
                due[opened.pair.table] = why
        return {name: due[name] for name in self._tables if name in due}

    def _look(self, to_ask: Sequence[tuple[OpenedPair, Baseline]]) -> list[look.StationLook]:
        if not to_ask:
            return []
        tables = [opened for opened, _ in to_ask]
        starts = {opened.place: handled.start for opened, handled in to_ask if handled.start is not None}
        with guarded(self.name), self._session.transaction() as conn:
            found = look.at_station(conn, tables, starts)
        return [found[opened.place] for opened in tables]

    def _run(self, tables: Sequence[str], now: float) -> list[Report]:
        """Whole runs of these tables, and of rows of all that wait for each other."""
        some = [self._tables[name] for name in tables]
        for table in some:
            # Whatever happens below, without a look before it nothing is handled.
            table.handled, table.begun = None, now
        steps = runs.plain_steps()
        first = replace(steps, open=self._open)

        def run(pair: Pair, work: Run) -> Report:
            return work(pair, first if work is BOTH_WAYS[Direction.UP] else steps)

        reports = list(
            run_tables([table.pair for table in some], BOTH_WAYS, lambda: steps, waiting=False, run=run, failed=failure)
        )
        if len(self._tables) > 1:
            every = [table.pair for table in self._tables.values()]
            reports += run_tables(every, {}, lambda: steps, failed=failure)
        for table in some:
            own = [one for one in reports if one.table == table.pair.table]
            failed = any(one.status is Status.FAILED for one in own)
            table.failures = table.failures + 1 if failed else 0
            table.next = time.monotonic() + rule.pause_after(table.failures, self._every) if failed else 0.0
            if len(own) < len(BOTH_WAYS) or not rule.is_settled(own):
                table.handled = None
        return reports

    def _open(self, session: Session) -> None:
        session.open()
        table = self._tables[session.pair.table]
        table.opened, table.handled = look.before_a_run(session)

    def close(self) -> None:
        """Its session; the next visit opens another."""
        self._session.drop()
