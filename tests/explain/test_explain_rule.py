"""The rule of `explain`: from what is known of a row to its story and to one sentence. Pure."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationsync.errors import UsageError
from stationsync.explain.facts import Books, JournalReach, Passed, RowFacts, Trouble, fitted, key_of, same, typed
from stationsync.explain.verdict import Explained, explain
from stationsync.explain.words import by_stamps
from stationsync.journal.format import Decided
from stationsync.model.changes import Direction, Policy
from stationsync.model.schema import Column
from stationsync.model.wire import Family, key_text, parse_key_text
from stationsync.pairing.decide import Action, Row, Rule, decide
from stationsync.recovery.quarantine import QuarantineEntry
from stationsync.topology.model import ControlDeletes, Deletes, TableDirection, TableOptions

NOON = datetime(2026, 11, 23, 12)
FAMILIES = {"id": Family.INTEGER, "v": Family.TEXT, "m": Family.DATETIME}
UP, DOWN = Direction.UP, Direction.DOWN


def at(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


def version(v: str, seconds: int = 0) -> dict[str, Any]:
    return {"id": "7", "v": v, "m": f"{at(seconds):%Y-%m-%d %H:%M:%S}"}


OLD, THEIRS, OURS = version("old"), version("theirs", 1), version("ours", 5)
READ = Books("s", starts={UP: at(-60), DOWN: at(-60)})


def facts(
    station: Row | None = OLD, control: Row | None = OLD, base: Row | None = OLD, books: Books = READ, **more: Any
) -> RowFacts:
    own = {name: more.pop(name) for name in [*more] if name in TableOptions.model_fields}
    options = TableOptions(key=("id",), modified="m", **own)
    books = replace(books, owner=books.owner if base is not None else None)
    return RowFacts(
        "s", "t", '["7"]', "7", at(100), options, FAMILIES, station, control, base, books=books, **more
    )  # fmt: skip


def entry(direction: Direction, state: str = "open") -> QuarantineEntry:
    return QuarantineEntry(17, "s", "t", direction, '["7"]', state, 1, ("too long",), at(50), at(50), dict(THEIRS))


SYNC, SWEEP = "stationsync sync s --table t", "stationsync reconcile s --table t"
RETRY = "stationsync quarantine retry 17"
LATE = version("late", -9999)
NO_DATE = version("none") | {"m": "0000-00-00 00:00:00"}
CASES: dict[str, tuple[RowFacts, str, str]] = {
    "nobody": (facts(None, None, None), "Nobody has a row", "stationsync journal show s --table t"),
    "equal": (facts(), "The same row stands at both sides.", ""),
    "station edited": (facts(THEIRS), "s has changed `v`, and control has not got it yet.", SYNC),
    "station edited, late": (facts(LATE), "so only a reconcile finds it", SWEEP),
    "station edited, no date": (facts(NO_DATE), "(0000-00-00 00:00:00) is no date", SWEEP),
    "station edited, goes down only": (facts(THEIRS, direction=TableDirection.DOWN), "lets control win", SYNC),
    "station edited, refused": (facts(THEIRS, quarantine=(entry(UP),)), "cannot be applied at control: too", RETRY),
    "control edited": (facts(control=OURS), "Control has edited `v`, which waits to go down.", SYNC),
    "control edited, late": (facts(control=LATE), "so only a reconcile finds it", SWEEP),
    "control edited, late, marked": (facts(control=LATE, books=replace(READ, pending=True)), "waits to go down.", SYNC),
    "control edited, goes up only": (facts(control=OURS, direction=TableDirection.UP), "it stays at control", ""),
    "control edited, refused": (facts(control=OURS, quarantine=(entry(DOWN),)), "cannot go down: too long", RETRY),
    "control edited, given up": (facts(control=OURS, quarantine=(entry(DOWN, "discarded"),)), "discarded it", RETRY),
    "both edited": (facts(THEIRS, OURS), "the next pull decides by rule newest, and keeps what loses", SYNC),
    "both edited alike": (facts(THEIRS, THEIRS), "changed the row to the same", SYNC),
    "both edited, refused": (facts(THEIRS, OURS, quarantine=(entry(UP),)), "s's version cannot be applied", RETRY),
    "never came": (facts(THEIRS, None, None), "it is not at control yet.", SYNC),
    "never came, no date": (facts(NO_DATE, None, None), "is no date", SWEEP),
    "never came, refused": (facts(THEIRS, None, None, quarantine=(entry(UP),)), "s's row is not at control", RETRY),
    "never came, given up": (facts(THEIRS, None, None, quarantine=(entry(UP, "discarded"),)), "discarded it", RETRY),
    "never compared": (facts(THEIRS, OURS, None), "were never compared: the next pull decides", SYNC),
    "control alone": (facts(None, OURS, None), "it never travelled. s does not have it.", ""),
    "station deleted": (facts(None, deletes=Deletes.ARCHIVE), "A reconcile carries the delete over", SWEEP),
    "station deleted, ignored": (facts(None), "deletes are ignored, so control keeps it", ""),
    "control deleted": (facts(control=None), "A reconcile brings it back from s", SWEEP),
    "control deleted, sent": (facts(control=None, control_deletes=ControlDeletes.SEND), "deletes s's too", SWEEP),
    "control deleted, goes down only": (facts(control=None, direction=TableDirection.DOWN), "it stays away", ""),
    "control deleted, station edited": (facts(THEIRS, None), "since it had: that version comes back.", SYNC),
    "control deleted, station edited late": (facts(LATE, None), "so only a reconcile finds it", SWEEP),
    "station deleted, control edited": (facts(None, OURS, deletes=Deletes.ARCHIVE), "control keeps the row", SWEEP),
    "station deleted, control edited, station wins": (
        facts(None, OURS, deletes=Deletes.ARCHIVE, conflicts=Policy.STATION), "carries the delete over", SWEEP,
    ),
    "not initialised": (facts(base=None, books=Books(ready=False)), "not initialised", "stationsync init"),
    "both deleted": (facts(None, None), "Both sides have lost the row", SWEEP),
    "another's": (facts(None, books=replace(READ, owner="z")), "The key belongs to z", "stationsync explain z t 7"),
    "off-line": (facts(None, unknown="s: away"), "s could not be asked: this is what it is known to have.", ""),
    "off-line, edited": (facts(None, OURS, unknown="s: away"), "s cannot be asked now", SYNC),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_stands_and_what_waits(name: str) -> None:
    known, said, step = CASES[name]
    found = explain(known)
    assert said in found.standing
    assert bool(found.next_steps) == bool(step)
    assert not step or any(step in one for one in found.next_steps), found.next_steps


def test_what_holds_the_table_up_comes_first() -> None:
    troubles = (Trouble("push", False, "refused: too old", at(1)), Trouble("pull", True, "away", at(2)))
    books = replace(READ, paused="paused since noon by x", troubles=troubles)
    steps = explain(facts(control=OURS, books=books)).next_steps
    assert [step.partition(":")[0] for step in steps[:2]] == ["First", "First"]
    assert "stationsync resume s" in steps[0]
    assert "refused: too old" in steps[1]
    assert SYNC in steps[2]
    assert explain(facts(books=books)).next_steps == (), "nothing waits"


def test_who_set_a_column_is_said_only_where_the_journal_tells() -> None:
    kept = Passed(at(10), "r", None, UP, Decided.KEPT, OURS, OURS, THEIRS, "newest", "station", "why")
    pushed = Passed(at(11), "r", None, DOWN, Decided.UPDATED, THEIRS, OURS)
    flagged = Passed(at(12), "r", None, UP, Decided.FLAGGED, OURS, OURS, rule="newest")
    for passed in ((kept,), (pushed,), (kept, pushed), (pushed, flagged)):
        authors = explain(facts(OURS, OURS, OURS, passed=passed)).authors
        assert {name: who for name, (_, who) in authors.items()} == {"v": "control", "m": "control"}
        assert authors["v"][0] == passed[0].at
    assert explain(facts(OURS, OURS, OURS, passed=(flagged,))).authors == {}


def test_a_journal_that_begins_later_says_so() -> None:
    later = JournalReach(begins=at(3))
    assert "which begins at 2026-11-23 12:00:03" in explain(facts(journal=later)).standing
    assert "there is no journal" in explain(facts(journal=JournalReach(on=False))).standing


@pytest.mark.parametrize(
    ("station", "control", "offset", "said"),
    [
        (THEIRS, OURS, 0, "control's stamp 2026-11-23 12:00:05 was later than the station's 2026-11-23 12:00:01"),
        (OURS, THEIRS, 0, "the station's stamp 2026-11-23 12:00:05 was later than control's 2026-11-23 12:00:01"),
        (OURS, OURS, 0, "control wins a tie"),
        (OURS, THEIRS, 10, "than the station's 2026-11-23 12:00:05, corrected by -10 s for its clock"),
        (NO_DATE, OURS, 0, "the station's row has no date, which counts as the oldest"),
    ],
)
def test_why_the_newest_won(station: Row, control: Row, offset: int, said: str) -> None:
    assert said in by_stamps("newest", (station, control), "m", offset)
    assert by_stamps("station", (station, control), "m", offset) == ""


@pytest.mark.parametrize(
    ("a", "b", "family", "alike"),
    [
        ("1.50", "1.5", Family.DECIMAL, True),
        ("1.50", "1.5", Family.TEXT, False),
        ("2026-01-01 00:00:00.000000", "2026-01-01 00:00:00", Family.DATETIME, True),
        ("2026-01-10", "2026-01-1", Family.DATE, False),
        ("10:00:00.100", "10:00:00.1", Family.TIME, True),
        (None, "", Family.TEXT, False),
        (b"1", "1", Family.BINARY, False),
    ],
)
def test_one_value_may_be_printed_in_two_ways(a: Any, b: Any, family: Family, alike: bool) -> None:
    assert same(a, b, family) is alike


# --- keys


COLUMNS = {"a": Column("a", "bigint", Family.INTEGER), "b": Column("b", "bit(10)", Family.BIT)}


def test_a_key_as_it_is_typed() -> None:
    assert key_of("s/t", ["7", "A"], ["a", "b"]) == ("7", "A")
    assert key_of("s/t", ['["7",{"hex":"00ff"}]'], ["a", "b"]) == ("7", b"\x00\xff")
    assert key_of("s/t", ["x", '{"hex":""}'], ["a", "b"]) == ("x", b"")
    assert key_of("s/t", ["[7, 1.10]"], ["a", "b"]) == ("7", "1.10")
    assert key_of("s/t", ['{"v":1}'], ["a"]) == ('{"v":1}',)
    assert key_of("s/t", ["7"], ["a"]) == ("7",)
    assert fitted("s/t", ("007", "513"), COLUMNS) == ("7", b"\x02\x01")
    for key in (("x", b"\x01"), ("7", "1024")):
        with pytest.raises(UsageError, match="is no value of key column"):
            fitted("s/t", key, COLUMNS)
    for words in (["7"], ["7", "A", "B"], ["null"], ['["7",null]'], ['["7",{"hex":"x"}]']):
        with pytest.raises(UsageError):
            key_of("s/t", words, ["a", "b"])


@given(st.lists(st.text() | st.binary(), min_size=1, max_size=3))
def test_a_key_that_is_printed_can_be_typed_again(parts: list[str | bytes]) -> None:
    words = shlex.split(typed(tuple(parts)))
    assert key_of("s/t", words, [f"c{i}" for i in range(len(parts))]) == tuple(parts)
    assert parse_key_text(key_text(parts)) == tuple(parts)


# --- any history


class History:
    """One row at both sides, with a base, and what a journal would tell: by the rule that the merge follows."""

    def __init__(self, policy: Policy) -> None:
        self.rule = Rule(policy, "m")
        self.s: Row = version("first")
        self.c: Row = self.s
        self.b: Row = self.s
        self.now = 0
        # What the station had changed, as (old, new): of each conflict.
        self.conflicts: list[tuple[str, str]] = []
        self.passed = [Passed(at(0), "r0", None, UP, Decided.INSERTED, None, self.s)]

    def edit(self, side: str) -> None:
        self.now += 1
        row = version(f"{side} {self.now}", self.now)
        if side == "station":
            self.s = row
        else:
            self.c = row

    def pull(self) -> None:
        decision = decide(self.s, self.c, self.b, self.rule)
        done = {
            Action.SETTLE: Decided.SETTLED,
            Action.UPDATE: Decided.UPDATED,
            Action.KEEP: Decided.KEPT,
            Action.COMBINE: Decided.COMBINED,
        }.get(decision.action)
        if done is None:
            return
        before, after = self.c, decision.row
        conflict = before != self.b and done is not Decided.SETTLED
        if conflict:
            self.conflicts.append((self.b["v"], self.s["v"]))
        came = self.s if done in (Decided.KEPT, Decided.COMBINED) else None
        about = (str(self.rule.policy), decision.loser, decision.reason) if conflict else (None, None, None)
        self._tell(UP, done, before if done is not Decided.SETTLED else self.b, after, came, *about)
        self.c, self.b = after or {}, self.s

    def push(self) -> None:
        if self.s == self.b and self.c != self.b:
            self._tell(DOWN, Decided.UPDATED, self.b, self.c)
            self.s = self.b = self.c

    def _tell(self, direction: Direction, decided: Decided, *versions: Any) -> None:
        self.now += 1
        self.passed.append(Passed(at(self.now), f"r{self.now}", None, direction, decided, *versions))

    def told(self) -> Explained:
        return explain(facts(self.s, self.c, self.b, passed=tuple(self.passed), journal=JournalReach(begins=at(0))))


@given(
    st.sampled_from(list(Policy)),
    st.lists(st.sampled_from(["station", "control", "pull", "push"]), max_size=12),
)
def test_who_is_said_to_have_won_is_who_wrote_what_stands(policy: Policy, steps: list[str]) -> None:
    history = History(policy)
    for step in steps:
        if step in ("pull", "push"):
            getattr(history, step)()
        else:
            history.edit(step)
    waits = history.told()
    assert bool(waits.next_steps) == (not history.s == history.c == history.b)
    history.pull()
    history.push()
    assert history.s == history.c == history.b
    found = history.told()
    author = history.c["v"].partition(" ")[0]
    assert found.next_steps == ()
    edits = [(c.old, c.new) for event in found.events for c in event.changes if (c.whose, c.column) == ("station", "v")]
    assert edits == history.conflicts
    assert [event.at for event in found.events] == sorted(event.at for event in found.events)
    if author == "first":
        return
    assert found.authors["v"][1] == author
    whose = {"station": "The station's ", "control": "Control's "}[author]
    assert found.standing.startswith(
        (whose, f"A row with `v` of {'the station' if author == 'station' else 'control'}")
    )
    assert f"{found.authors['v'][0]:%H:%M:%S}" <= found.standing.partition("since ")[2][11:19]
