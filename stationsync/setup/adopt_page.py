"""One page of station rows next to control's, for adopting: what each row is, before anything is decided."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from stationsync.model.changes import Checked, Chunk
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.store.bookkeeping import STATION

# As in `Adopted`: same at both sides or not, not at control, of a key that another station or this one owns.
EQUAL, DIFFERENT, ONLY_HERE, FOREIGN, KNOWN = "equal", "different", "only_here", "foreign", "known"


class Page:
    """A page of station rows next to control's, and what each row is."""

    def __init__(self, session: Session, owners: sa.Table, chunk: Chunk) -> None:
        self._session = session
        self._chunk = chunk
        self._owners = owners
        self._staged = stage.stage_table(session, "stationsync_page")
        self._kind = self._kinds()
        with session.transaction():
            stage.recreate(session.control, self._staged)
            stage.fill(session, self._staged, chunk.rows)
            query = self._select(self._kind, sa.func.count()).group_by(self._kind)
            self.counts = {str(kind): int(rows) for kind, rows in session.control.execute(query)}

    def _kinds(self) -> sa.ColumnElement[str]:
        session, owner = self._session, self._owners.c[STATION]
        control = session.control_table
        return sa.case(
            (owner == session.pair.name, KNOWN),
            (owner.is_not(None), FOREIGN),
            (control.c[session.fit.key[0]].is_(None), ONLY_HERE),
            (stage.Comparing(session).same(self._staged, control), EQUAL),
            else_=DIFFERENT,
        )

    def _select(self, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        fit, control, owners = self._session.fit, self._session.control_table, self._owners
        joined = self._staged.outerjoin(control, stage.same_key(fit, self._staged, control)).outerjoin(
            owners, stage.same_key(fit, self._staged, owners)
        )
        return sa.select(*columns).select_from(joined)

    def rows_of(self, kind: str) -> Checked | None:
        """These rows, to be merged; None where there are none."""
        if not self.counts.get(kind):
            return None
        rows = self._chunk.rows
        if self.counts[kind] < rows.num_rows:
            session, dialect = self._session, self._session.dialect
            columns = [dialect.readable(self._staged.c[c.name], c.staged).label(c.name) for c in session.fit.columns]
            query = self._select(*columns).where(self._kind == kind)
            with session.transaction():
                rows = dialect.read_all(session.control, query, session.fit.families)
        return Checked(Chunk(rows, None, more=False), (), rows.slice(0, 0))

    def own(self, kind: str) -> None:
        """On a dry run: these rows would have an owner now."""
        session, key = self._session, self._session.fit.key
        query = self._select(
            *(self._staged.c[name] for name in key), sa.literal(session.pair.name), sa.literal(0)
        ).where(self._kind == kind)
        with session.transaction():
            names = [column.name for column in self._owners.columns]
            # A snapshot first: MySQL cannot name a temporary table twice in one statement.
            taken = [dict(zip(names, row, strict=True)) for row in session.control.execute(query)]
            if taken:
                session.control.execute(sa.insert(self._owners), taken)
