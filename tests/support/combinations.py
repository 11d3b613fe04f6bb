"""Every combination of a station's row S, control's C and the base's B, written straight to the three tables: what
one pull makes of each must be what `decide` says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from stationsync.changes import Policy
from stationsync.decide import Action, Decision, Rule, decide
from stationsync.topology import TableDirection
from support.databases import Databases, Where
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
        for number, combination in enumerate(rows):
            self._require(number, combination, setting)

    def _write(self, rows: Sequence[Combination]) -> None:
        for table in ("t", BASE, "stationsync_state", "stationsync_conflict", "stationsync_quarantine"):
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

    def _require(self, number: int, combination: Combination, setting: Setting) -> None:
        s, c, b = combination.rows(number)
        assert self._row(1, number) == s
        found = self._row("control", number), self._base(number), self._conflicts(number), self._quarantined(number)
        if b and combination.owner != "station-1":
            assert found == (c, (b, combination.owner, combination.pending), [], 1)
            return
        decision = decide(s, c, b, setting.rule)
        assert found == (decision.row, _base_after(combination, number, decision), _losses(decision, s, c, b), 0)

    def _row(self, where: Where, number: int, table: str = "t") -> Row | None:
        found = self.databases.rows(where, table, ", ".join(NAMES), "id")
        return next((dict(zip(NAMES, row, strict=True)) for row in found if row[0] == number), None)

    def _base(self, number: int) -> tuple[Row, str, int] | None:
        row = self._row("control", number, BASE)
        query = f"SELECT stationsync_station, stationsync_pending FROM {BASE} WHERE id = %s"
        return row and (row, *self.databases.query("control", query, [number])[0])

    def _conflicts(self, number: int) -> list[dict[str, Any]]:
        names = ["loser", "reason", "columns", "station_row", "control_row", "base_row", "result_row"]
        query = f"SELECT {', '.join(names)} FROM stationsync_conflict WHERE key_text = %s"
        found = self.databases.query("control", query, [f'["{number}","x"]'])
        records = [dict(zip(names, row, strict=True)) for row in found]
        return [{n: json.loads(v) if v and v[0] in "[{" else v for n, v in record.items()} for record in records]

    def _quarantined(self, number: int) -> int:
        query = "SELECT COUNT(*) FROM stationsync_quarantine WHERE key_text = %s AND reasons LIKE %s"
        return int(self.databases.query("control", query, [f'["{number}","x"]', "%station-2 owns this key%"])[0][0])


def _base_after(combination: Combination, number: int, decision: Decision) -> tuple[Row, str, int] | None:
    s, _, b = combination.rows(number)
    if decision.action is Action.UNCHANGED and b:
        return b, "station-1", combination.pending
    if decision.action is Action.LEAVE:
        return b and (b, "station-1", combination.pending)
    goes_down = decision.action in (Action.KEEP, Action.COMBINE)
    return s, "station-1", int(goes_down)


def _losses(decision: Decision, s: Row, c: Row | None, b: Row | None) -> list[dict[str, Any]]:
    if decision.loser is None:
        return []
    record = {"loser": decision.loser, "reason": decision.reason, "columns": list(decision.lost_columns)}
    versions = {"station_row": s, "control_row": c, "base_row": b, "result_row": decision.row}
    texts = {name: row and {n: None if v is None else str(v) for n, v in row.items()} for name, row in versions.items()}
    return [{**record, **texts}]
