"""Conflicts of a chunk: decided row by row by the rule, both versions kept, in the chunk's own transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import sqlalchemy as sa

from stationsync.keeping import replaced
from stationsync.keeping.replaced import Replaced
from stationsync.model.changes import Counts
from stationsync.model.wire import key_text
from stationsync.pairing.decide import OLDER, Action, Decision, Row, Rule, decide, offset_of
from stationsync.pairing.keys import native
from stationsync.session import stage
from stationsync.session.session import Session
from stationsync.session.stage import ACTION
from stationsync.store.bookkeeping import PENDING, STATION
from stationsync.sync import journal_rows
from stationsync.sync.given_again import AGAIN

_SIDES = ("s", "c", "b")


class Combined(NamedTuple):
    """A row that is a mixture: its key, and which version (of `_SIDES`) each column is to have."""

    keys: dict[str, Any]
    sources: dict[str, str]


def settle_conflicts(
    session: Session,
    staged: sa.Table,
    decided: sa.Table,
    marked: str,
    combined: list[Combined],
    why: str | None = None,
) -> Counts:
    """Decide the rows that `decided` marks, write down what lost, and put the action into `decided`; of mixtures,
    `combined` is told what they are to be. `why`: what they replace is kept, whatever is decided."""
    rule = replace(rule_of(session), unseen=why)
    applied = 0
    actions: list[dict[str, Any]] = []
    lost: list[Replaced] = []
    told: list[tuple[Decision, dict[str, str] | None]] = []
    for keys, s, c, b in versions_of(session, staged, decided, marked):
        decision = decide(s, c, b, rule)
        actions.append({**keys, "action": str(decision.action), "pending": int(_goes_down(decision, s))})
        applied += decision.action in (Action.UPDATE, Action.COMBINE)
        sources = _sources(decision.row or {}, s, c) if decision.action is Action.COMBINE else None
        told.append((decision, sources))
        if sources is not None:
            combined.append(Combined(keys, sources))
        if decision.loser:
            row, offset = (s, c, b, decision.row), offset_of(c, b, rule)
            lost.append(
                Replaced(_text(keys), decision.loser, decision.reason, *row, decision.lost_columns, None, offset)
            )
    journal_rows.conflicts(session, staged, decided, marked, told)
    _write_actions(session, decided, actions)
    decided_here = [one for one in lost if one.reason not in (OLDER, why)]
    replaced.keep(session, decided_here)
    # Whoever trusted the station as it is has kept what it replaces.
    kept = len(decided_here) + replaced.keep(session, [one for one in lost if one.reason in (OLDER, why)], once=True)
    return Counts(conflicts=kept, applied=applied)


def rule_of(session: Session) -> Rule:
    options = session.pair.options
    fit, known = session.fit, session.known
    fresh = known.window.since if known.window.steady else None
    rule = Rule(options.conflicts, fit.modified, known.clock_offset, options.direction, fit.editable, fresh=fresh)
    return replace(rule, otherwise=fit.modified_else, until=known.window.until)


def _goes_down(decision: Decision, s: Row) -> bool:
    return decision.action in (Action.KEEP, Action.COMBINE) and decision.row != s


def _sources(row: Row, s: Row, c: Row) -> dict[str, str]:
    return {name: "c" if row[name] == c[name] else "s" if row[name] == s[name] else "b" for name in row}


def _text(keys: dict[str, Any]) -> str:
    return key_text([value if isinstance(value, bytes) else str(value) for value in keys.values()])


def versions_of(
    session: Session, staged: sa.Table, decided: sa.Table, marked: str
) -> list[tuple[dict[str, Any], Row, Row, Row | None]]:
    """(key, S, C, B) of each marked row in the order of the key, as the driver's values of one and the same server."""
    fit, base, control = session.fit, session.base, session.control_table
    tables = dict(zip(_SIDES, (staged, control, base), strict=True))
    columns = [
        session.dialect.readable(t.c[c.name], c.staged if t is staged else c.control).label(f"{side}{i}")
        for side, t in tables.items()
        for i, c in enumerate(fit.columns)
    ]
    query = (
        sa.select(*columns, base.c[STATION].label("owner"))
        .select_from(
            staged.join(decided, stage.same_key(fit, staged, decided))
            .join(control, stage.same_key(fit, staged, control))
            .outerjoin(base, stage.same_key(fit, staged, base))
        )
        .where(decided.c[ACTION] == marked)
        .order_by(*(staged.c[name] for name in fit.key))
    )
    found: list[tuple[dict[str, Any], Row, Row, Row | None]] = []
    for row in session.control.execute(query).mappings().all():
        s, c, b = ({n: row[f"{side}{i}"] for i, n in enumerate(fit.names)} for side in _SIDES)
        found.append(
            (
                {f"k{i}": native(s[n], fit.by_name[n].station) for i, n in enumerate(fit.key)},
                s,
                c,
                b if row["owner"] else None,
            )
        )
    return found


def _key_is(session: Session, table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(*(table.c[name] == sa.bindparam(f"k{i}") for i, name in enumerate(session.fit.key)))


def _write_actions(session: Session, decided: sa.Table, actions: list[dict[str, Any]]) -> None:
    if actions:
        values: dict[Any, Any] = {
            decided.c[ACTION]: sa.bindparam("action"),
            decided.c[PENDING]: sa.bindparam("pending"),
        }
        session.control.execute(sa.update(decided).where(_key_is(session, decided)).values(values), actions)


def to_be(session: Session, staged: sa.Table, decided: sa.Table, combined: list[Combined]) -> sa.Table:
    """The rows of the chunk as control is to have them: those as they came, and the mixtures. Together, since values of
    a unique index may be handed on among them."""
    fit, control, base = session.fit, session.control_table, session.base
    table = stage.to_be_table(session)
    stage.recreate(session.control, table)
    assigned = {c.name: session.dialect.assigned(staged.c[c.name], c.staged, c.control) for c in fit.columns}
    plain = sa.select(*(assigned[name] for name in fit.names)).join(decided, stage.same_key(fit, staged, decided))
    plain = plain.where(decided.c[ACTION].in_([str(Action.UPDATE), str(Action.INSERT), AGAIN]))
    session.control.execute(sa.insert(table).from_select(list(fit.names), plain))
    session.dialect.refuse_changed_values(session.control, session.pair.place)
    joined = staged.join(control, stage.same_key(fit, staged, control))
    joined = joined.outerjoin(base, stage.same_key(fit, base, control))
    for row in combined:  # one by one: each its own mixture
        # Each value from the table that has it: sent by us, a long one would not fit into a packet.
        own: dict[str, Any] = {"c": control.c, "b": base.c, "s": assigned}
        mixed = sa.select(*(assigned[n] if n in fit.key else own[row.sources[n]][n] for n in fit.names))
        query = mixed.select_from(joined).where(_key_is(session, staged))
        session.control.execute(sa.insert(table).from_select(list(fit.names), query), row.keys)
        session.dialect.refuse_changed_values(session.control, session.pair.place)
    return table
