"""Every combination of a station's row S, control's C and the base's B, written straight to the three tables: what
one pull makes of each must be what `decide` says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from stationsync.model.changes import Policy
from stationsync.pairing.decide import Action, Decision, Rule, decide
from stationsync.topology.model import TableDirection
from support.databases import Databases
from support.fleet import Fleet

NAMES = ("id", "code", "text", "note", "m")
BASE = "stationsync_base_t"
_DDL = (
    "CREATE TABLE t (id INTEGER NOT NULL, code VARCHAR(20) NOT NULL, text VARCHAR(20), note VARCHAR(20),"
    " m DATETIME NOT NULL, PRIMARY KEY (id, code))"
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Combination:
    """The values (text, note, second of `m`) of each version; `owner` owns the base row."""

    s: tuple[str | None, str | None, int]
    c: tuple[str | None, str | None, int] | None
    b: tuple[str | None, str | None, int] | None
    pending: int
    owner: str

    def rows(self, number: int) -> tuple[Row, Row | None, Row | None]:
        return _row(number, self.s), self.c and _row(number, self.c), self.b and _row(number, self.b)


def _row(number: int, values: tuple[str | None, str | None, int]) -> Row:
    text, note, second = values
    stamp = f"2024-01-01 00:00:{second:02}"
    return {"id": number, "code": "x", "text": text, "note": note, "m": stamp}


def combinations() -> st.SearchStrategy[Combination]:
    values = st.sampled_from([None, "", "a", "A", "a ", "한"])
    version = st.tuples(values, values, st.integers(0, 2))
    owner = st.sampled_from(["station-1"] * 9 + ["station-2"])

    @st.composite
    def one(draw: st.DrawFn) -> Combination:
        s = draw(version)
        # Independent draws are hardly ever equal, and that is what the cases turn on.
        c = draw(st.one_of(st.none(), st.just(s), version))
        b = draw(st.one_of(st.none(), st.just(s), st.just(c), version))
        return Combination(s, c, b, draw(st.integers(0, 1)), draw(owner))

    return one()


@dataclass(frozen=True)
class Setting:
    policy: Policy
    direction: TableDirection
    editable: tuple[str, ...] | None

    @staticmethod
    def all() -> list[Setting]:
        ways = [(TableDirection.BOTH, None), (TableDirection.BOTH, ("text",)), (TableDirection.BOTH, ())]
        ways += [(TableDirection.UP, None), (TableDirection.DOWN, None)]
        return [Setting(policy, *way) for policy, way in itertools.product(Policy, ways)]

    @property
    def rule(self) -> Rule:
        editable = () if self.direction is TableDirection.UP else self.editable
        named = None if editable is None else frozenset({"id", "code", *editable, *(["m"] if editable else [])})
        return Rule(self.policy, "m", direction=self.direction, editable=named)


class MergeStage:
    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        for where in ("control", 1):
            databases.execute(where, _DDL)
            databases.execute(where, "CREATE INDEX t_modified ON t (m, id, code)")
        self.fleet = Fleet(databases, tables={"t": {"key": ["id", "code"], "modified": "m"}})
        self.fleet.init()

    def holds(self, rows: Sequence[Combination], setting: Setting) -> None:
        self._write(rows)
        options: dict[str, Any] = {"conflicts": str(setting.policy), "direction": str(setting.direction)}
        self.fleet.options(**options, editable=None if setting.editable is None else list(setting.editable))
        self.fleet.pull()
        station, control, base, conflicts, quarantined = self._found()
        for number, combination in enumerate(rows):
            s, c, b = combination.rows(number)
            found = control.get(number), base.get(number), conflicts.get(number), quarantined.get(number, 0)
            told = f"{combination} {setting}"
            assert station[number] == s
            if b and combination.owner != "station-1":
                assert found == (c, (b, combination.owner, combination.pending), None, 1), told
                continue
            decision = decide(s, c, b, setting.rule)
            after = _base_after(combination, number, decision)
            assert found == (decision.row, after, _loss(decision, s, c, b), 0), told

    def _write(self, rows: Sequence[Combination]) -> None:
        books = ("state", "conflict", "quarantine", "before")
        for table in ("t", BASE, *(f"stationsync_{name}" for name in books)):
            self.databases.execute("control", f"DELETE FROM {table}")
        self.databases.execute(1, "DELETE FROM t")
        versions = [combination.rows(number) for number, combination in enumerate(rows)]
        self.databases.put(1, [s for s, _, _ in versions], "t")
        self.databases.put("control", [c for _, c, _ in versions if c], "t")
        ours = [
            {**b, "stationsync_station": combination.owner, "stationsync_pending": combination.pending}
            for combination, (_, _, b) in zip(rows, versions, strict=True)
            if b
        ]
        self.databases.put("control", ours, BASE)

    def _found(self) -> tuple[dict[int, Any], ...]:
        """By number: the station's row, control's, the base's with owner and pending, the loss, foreign entries."""
        names = ", ".join(NAMES)
        owned = f"{names}, stationsync_station, stationsync_pending"
        station, control = (self.databases.rows(where, "t", names, "id") for where in (1, "control"))
        base = self.databases.rows("control", BASE, owned, "id")
        query = "SELECT COUNT(*), key_text FROM stationsync_quarantine WHERE reasons LIKE %s GROUP BY key_text"
        foreign = self.databases.query("control", query, ["%station-2 owns this key%"])
        return (
            *({row[0]: dict(zip(NAMES, row, strict=True)) for row in rows} for rows in (station, control)),
            {row[0]: (dict(zip(NAMES, row, strict=False)), *row[-2:]) for row in base},
            self._losses(),
            {_number(key): int(count) for count, key in foreign},
        )

    def _losses(self) -> dict[int, Any]:
        names = ["loser", "reason", "columns", "station_row", "control_row", "base_row", "result_row"]
        found = self.databases.query("control", f"SELECT key_text, {', '.join(names)} FROM stationsync_conflict")
        assert len({key for key, *_ in found}) == len(found)
        return {_number(key): (*row[:2], *(v and json.loads(v) for v in row[2:])) for key, *row in found}


def _number(key_text: str) -> int:
    return int(json.loads(key_text)[0])


def _base_after(combination: Combination, number: int, decision: Decision) -> tuple[Row, str, int] | None:
    s, _, b = combination.rows(number)
    if decision.action is Action.UNCHANGED and b:
        return b, "station-1", combination.pending
    if decision.action is Action.LEAVE:
        return b and (b, "station-1", combination.pending)
    goes_down = decision.action in (Action.KEEP, Action.COMBINE)
    return s, "station-1", int(goes_down)


def _loss(decision: Decision, s: Row, c: Row | None, b: Row | None) -> tuple[Any, ...] | None:
    if decision.loser is None:
        return None
    return (decision.loser, decision.reason, list(decision.lost_columns), s, c, b, decision.row)
