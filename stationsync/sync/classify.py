"""Comparing a chunk with the base and control, in SQL: what the rule says of each row (`decide.decide`), and what a
backfill leaves as it is."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.statements import in_order
from stationsync.keeping import before, unseen
from stationsync.keeping.unseen import UNSEEN
from stationsync.model.changes import Origin
from stationsync.model.reasons import Reason, foreign
from stationsync.model.wire import key_texts
from stationsync.pairing import stamp
from stationsync.pairing.decide import Action
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.session.stage import ACTION, HAS_BASE
from stationsync.store.bookkeeping import RESTAMPED, STATION, station_of
from stationsync.sync import given_again
from stationsync.topology.model import ControlDeletes, TableDirection

FOREIGN = "foreign"
OLDER = "older"
# Control's own database stamped the row when we wrote it, and nothing else is new: only the base moves.
STAMPED = "stamped"
CONFLICT = "conflict"


class Classifier:
    """The comparison of stage, base and control: what the rule says, for all rows of a chunk at once.

    After `classify`, `based` is how many of the decided rows the base knows, `vanished` how many of those control
    lacks."""

    based = 0
    vanished = 0
    # Every row is one that the station's application edited, and nobody else: what was decided need not be looked up.
    all_updates = False

    def __init__(self, session: Session, staged: sa.Table, origin: Origin) -> None:
        self.session = session
        self.origin = origin
        self.staged = staged
        self.decided = stage.decided_table(session)
        self._fit = session.fit
        self._same = stage.Comparing(session).same
        self._unedited = stage.Comparing(session).unedited

    def all_new(self) -> bool:
        """Neither control nor the base has any of these keys."""
        for known in (self.session.base, self.session.control_table):
            join = self.staged.join(known, stage.same_key(self._fit, self.staged, known))
            if self.session.control.execute(sa.select(sa.literal(1)).select_from(join).limit(1)).first():
                return False
        return self.session.pair.options.direction is not TableDirection.DOWN

    @property
    def news(self) -> sa.ColumnElement[bool]:
        """The row is not as the base has it."""
        base = self.session.base
        as_known = sa.and_(base.c[STATION] == self.session.pair.name, self._same(self.staged, base))
        return sa.or_(base.c[STATION].is_(None), sa.not_(as_known), self._lost())

    def classify(self, rows: pa.Table) -> dict[str, int]:
        """Fill `decided` with every row that is not as the base has it, locking control's rows; rows per action.
        `rows`: those that are staged."""
        conn = self.session.control
        stage.recreate(conn, self.decided)
        keys = [self.staged.c[name] for name in self._fit.key]
        base, control = self.session.base, self.session.control_table
        has_base = base.c[STATION].is_not(None)
        query = (
            sa.select(*keys, self._action(), sa.case((has_base, 1), else_=0), self._pending())
            .select_from(
                self.staged.outerjoin(base, stage.same_key(self._fit, self.staged, base)).outerjoin(
                    control, stage.same_key(self._fit, self.staged, control)
                )
            )
            .where(self.news)
            .with_for_update()
        )
        # The base first: rows that are as known are not looked at at control, and not locked there.
        conn.execute(sa.insert(self.decided).from_select(list(self.decided.c), in_order(query)))
        if self.origin is not Origin.OURS:
            before.mark(self.session, self.staged, self.decided, rows)
        based = sa.func.sum(self.decided.c[HAS_BASE])
        per_action = sa.select(self.decided.c[ACTION], sa.func.count(), based).group_by(self.decided.c[ACTION])
        found = conn.execute(per_action).all()
        self.based = sum(int(n) for _, _, n in found)
        self.vanished = sum(int(n) for name, _, n in found if name == Action.INSERT)
        per = {str(name): int(n) for name, n, _ in found}
        self.all_updates = self.origin is not Origin.OURS and per == {str(Action.UPDATE): rows.num_rows}
        return per

    def _pending(self) -> sa.ColumnElement[int]:
        stamped = [(condition, RESTAMPED) for condition, _ in self._stamped()]
        return sa.case(*stamped, else_=0) if stamped else sa.literal(0)

    def _action(self) -> sa.ColumnElement[str]:
        """The easy cases of `decide.decide`; everything else is a conflict, decided there row by row."""
        s, c, b = self.staged, self.session.control_table, self.session.base
        same = self._same
        here, there = c.c[self._fit.key[0]].is_(None), b.c[STATION]
        down = self.session.pair.options.direction is TableDirection.DOWN
        return sa.case(
            (there != self.session.pair.name, FOREIGN),
            *((sa.and_(other, sa.not_(same(s, c))), what) for other, what in given_again.action(self.session, s)),
            *self._older(),
            (here, str(Action.LEAVE if down else Action.INSERT)),
            (same(s, c), str(Action.SETTLE)),
            *self._stamped(),
            *((sa.and_(there.is_not(None), other), UNSEEN) for other in unseen.cases(self.session, s)),
            (self._may_be_older(stamp.of(self._fit, s), stamp.of(self._fit, b)), CONFLICT),
            (sa.and_(there.is_not(None), self._unedited(c, b)), CONFLICT if down else str(Action.UPDATE)),
            else_=CONFLICT,
        )

    def _stamped(self) -> list[tuple[sa.ColumnElement[bool], str]]:
        """What we wrote to the station, and its database stamped: control's would do so as well, and again."""
        if self.origin is not Origin.OURS or not self._fit.control.triggers:
            return []
        s, c, b = self.staged, self.session.control_table, self.session.base
        values = [name for name in self._fit.names if name not in self._fit.stamps]
        return [(sa.and_(b.c[STATION].is_not(None), self._same(s, c, values)), STAMPED)]

    def _may_be_older(self, now: sa.ColumnElement[Any], known: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """What it replaces is kept then (`decide.is_older`). What we wrote ourselves replaces nothing."""
        if self.origin is Origin.OURS:
            return sa.false()
        return sa.or_(now < known, sa.and_(now.is_(None), known.is_not(None)))

    def _lost(self) -> sa.ColumnElement[bool]:
        """A row that the base knows and control lacks, where nobody is to carry that delete to the station."""
        options = self.session.pair.options
        if self.origin is not Origin.BACKFILL or options.direction is TableDirection.DOWN:
            return sa.false()
        if options.control_deletes is ControlDeletes.SEND and options.direction is TableDirection.BOTH:
            return sa.false()
        return self.session.control_table.c[self._fit.key[0]].is_(None)

    def _older(self) -> list[tuple[sa.ColumnElement[bool], str]]:
        """A row that went back: a restore, or an application that sets its dates back. Reconcile judges those."""
        older = stamp.of(self._fit, self.staged) < stamp.of(self._fit, self.session.base)
        return [(older, OLDER)] if self.origin is Origin.BACKFILL else []


def foreign_rows(session: Session, staged: sa.Table, decided: sa.Table) -> tuple[pa.Table, list[Reason]]:
    """Rows whose key another station owns: kept, with the owner named; nothing of the owner's is touched."""
    base, fit = session.base, session.fit
    readable = session.dialect.readable
    columns = [readable(staged.c[c.name], c.staged).label(c.name) for c in fit.columns]
    joined = staged.join(decided, stage.same_key(fit, staged, decided)).join(base, stage.same_key(fit, staged, base))
    order = [staged.c[name] for name in fit.key]
    where = decided.c[ACTION] == FOREIGN
    query = sa.select(*columns).select_from(joined).where(where).order_by(*order)
    rows = session.read(query, fit.families)
    owners = session.control.scalars(sa.select(base.c[STATION]).select_from(joined).where(where).order_by(*order)).all()
    return rows, [foreign(station_of(owner)) for owner in owners]


def older_keys(session: Session, staged: sa.Table, decided: sa.Table) -> set[str]:
    """The texts of the keys of the rows that were left."""
    fit = session.fit
    columns: list[sa.ColumnElement[Any]] = [
        session.dialect.readable(staged.c[name], fit.by_name[name].staged).label(name) for name in fit.key
    ]
    query = (
        sa.select(*columns)
        .select_from(staged.join(decided, stage.same_key(fit, staged, decided)))
        .where(decided.c[stage.ACTION] == OLDER)
    )
    rows = session.read(query, {n: fit.families[n] for n in fit.key})
    return set(key_texts(rows, fit.key))
