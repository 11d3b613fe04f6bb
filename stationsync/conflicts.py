"""Conflicts of a chunk: decided row by row by the rule, both versions kept, in the chunk's own transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from stationsync import bookkeeping, stage
from stationsync.bookkeeping import PENDING, STATION, key_hash
from stationsync.changes import Counts
from stationsync.decide import Action, Decision, Row, Rule, decide
from stationsync.extract import native
from stationsync.session import Session
from stationsync.stage import ACTION
from stationsync.wire import key_text

_SIDES = ("s", "c", "b")


def settle_conflicts(session: Session, staged: sa.Table, decided: sa.Table, marked: str) -> Counts:
    """Decide the rows that `decided` marks, write down what lost, and put the action into `decided`."""
    rule = rule_of(session)
    conflicts = applied = 0
    records, actions, combined = [], [], []
    for keys, s, c, b in _versions(session, staged, decided, marked):
        decision = decide(s, c, b, rule)
        actions.append({**keys, "action": str(decision.action), "pending": int(_goes_down(decision, s))})
        applied += decision.action in (Action.UPDATE, Action.COMBINE)
        if decision.action is Action.COMBINE:
            combined.append({**keys, **_prefixed("v", decision.row or {})})
        if decision.loser:
            conflicts += 1
            records.append(_record(session, keys, (s, c, b), decision, rule))
    _write_actions(session, decided, actions)
    _write_combined(session, combined)
    if records:
        session.control.execute(sa.insert(bookkeeping.conflict), records)
    return Counts(conflicts=conflicts, applied=applied)


def rule_of(session: Session) -> Rule:
    options = session.pair.options
    return Rule(options.conflicts, session.fit.modified, session.clock_offset, options.direction, session.fit.editable)


def _goes_down(decision: Decision, s: Row) -> bool:
    return decision.action in (Action.KEEP, Action.COMBINE) and decision.row != s


def _prefixed(prefix: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{i}": value for i, value in enumerate(row.values())}


def _versions(
    session: Session, staged: sa.Table, decided: sa.Table, marked: str
) -> list[tuple[dict[str, Any], Row, Row, Row | None]]:
    """(key, S, C, B) of each marked row, as the driver's values of one and the same server."""
    fit, base, control = session.fit, session.base, session.control_table
    tables = dict(zip(_SIDES, (staged, control, base), strict=True))
    columns = [
        session.dialect.readable(t.c[c.name], c.station if t is staged else c.control).label(f"{side}{i}")
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


def _write_combined(session: Session, rows: list[dict[str, Any]]) -> None:
    if rows:
        control = session.control_table
        values: dict[Any, Any] = {control.c[n]: sa.bindparam(f"v{i}") for i, n in enumerate(session.fit.names)}
        update = sa.update(control).where(_key_is(session, control)).values(values)
        for row in rows:  # one by one: the server only tells about the last statement
            session.control.execute(update, row)
            session.dialect.refuse_changed_values(session.control, session.pair.place)


def _record(
    session: Session, keys: dict[str, Any], rows: tuple[Row, Row, Row | None], decision: Decision, rule: Rule
) -> dict[str, Any]:
    text = key_text([value if isinstance(value, bytes) else str(value) for value in keys.values()])
    s, c, b = rows
    return {
        "at": session.now,
        "station": session.pair.name,
        "table_name": session.pair.table,
        "key_hash": key_hash(text),
        "key_text": text,
        "policy": str(rule.policy),
        "loser": decision.loser,
        "reason": decision.reason,
        "columns": json.dumps(decision.lost_columns, ensure_ascii=False),
        "clock_offset": int(rule.clock_offset.total_seconds()),
        "station_row": as_json(s),
        "control_row": as_json(c),
        "base_row": None if b is None else as_json(b),
        "result_row": None if decision.row is None else as_json(decision.row),
    }


def as_json(row: Row) -> str:
    return json.dumps(dict(row), default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"hex": value.hex()}
    return _time_text(value) if isinstance(value, timedelta) else str(value)


def _time_text(value: timedelta) -> str:
    """MariaDB's TIME, which may exceed a day."""
    sign, size = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(size // timedelta(seconds=1), 60)
    fraction = f".{size.microseconds:06}" if size.microseconds else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"
