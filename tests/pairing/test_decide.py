"""The rule: a table of cases that a person can read, what always holds, and the merge's SQL held to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.combinations import Combination, MergeStage, Setting, combinations
from support.databases import Databases

from stationsync.model.changes import Policy
from stationsync.pairing.decide import OLDER, Action, Decision, Row, Rule, decide, station_is_newer
from stationsync.topology.model import TableDirection

UP, DOWN, BOTH = TableDirection.UP, TableDirection.DOWN, TableDirection.BOTH
TEXT_ONLY = frozenset({"text", "m"})
NOTHING: frozenset[str] = frozenset()


def a_row(text: str | None = "old", note: str | None = "old", minute: int = 0) -> dict[str, object]:
    return {"text": text, "note": note, "m": datetime(2024, 1, 1, 12, minute)}


BASE = a_row()
# Both changed `text`; S5 is the newer one. Both changed other columns: N (note) at control.
S1, S5 = a_row("station", minute=1), a_row("station", minute=5)
C3 = a_row("control", minute=3)
N1, N3 = a_row(note="control", minute=1), a_row(note="control", minute=3)

CASES: list[tuple[str, Row, Row | None, Row | None, Rule, Action, Row | None, str | None]] = []


def case(
    name: str,
    s: Row,
    c: Row | None,
    b: Row | None,
    action: Action,
    row: Row | None,
    loser: str | None = None,
    policy: Policy = Policy.NEWEST,
    direction: TableDirection = BOTH,
    editable: frozenset[str] | None = None,
    ahead: int = 0,
) -> None:
    rule = Rule(policy, "m", timedelta(minutes=ahead), direction, editable)
    CASES.append((name, s, c, b, rule, action, row, loser))


case("nobody changed anything", BASE, BASE, BASE, Action.UNCHANGED, BASE)
case("only control edited: a push's business", BASE, C3, BASE, Action.UNCHANGED, C3)
case("control lost the row, the station did nothing", BASE, None, BASE, Action.UNCHANGED, None)
case("control lost the row, the station edited it", S1, None, BASE, Action.INSERT, S1)
case("a new row", S1, None, None, Action.INSERT, S1)
case("only the station edited", S1, BASE, BASE, Action.UPDATE, S1)
case("both made the same edit", S1, S1, BASE, Action.SETTLE, S1)
case("the same row, unknown so far", S1, S1, None, Action.SETTLE, S1)
case("NULL equals NULL", a_row(None), a_row(None), a_row(None), Action.UNCHANGED, a_row(None))
case("NULL is a value", a_row(None, minute=5), C3, BASE, Action.UPDATE, a_row(None, minute=5), "control")

case("newest: the station", S5, C3, BASE, Action.UPDATE, S5, "control")
case("newest: control", S1, C3, BASE, Action.KEEP, C3, "station")
case("newest: a tie is control's", a_row("station", minute=3), C3, BASE, Action.KEEP, C3, "station")
case("newest: the station's clock is 4 minutes ahead", S5, C3, BASE, Action.KEEP, C3, "station", ahead=4)
case("newest: the station's clock is 4 minutes behind", S1, C3, BASE, Action.UPDATE, S1, "control", ahead=-4)
case("newest: corrected to a tie", S5, C3, BASE, Action.KEEP, C3, "station", ahead=2)
case("newest: a row control had before us", S5, C3, None, Action.UPDATE, S5, "control")
case("newest: a zero date is the older one", {**S5, "m": "0000-00-00 00:00:00"}, C3, BASE, Action.KEEP, C3, "station")
case("newest: NULL at control is the older one", S1, {**C3, "m": None}, BASE, Action.UPDATE, S1, "control")

case("station: although older", S1, C3, BASE, Action.UPDATE, S1, "control", Policy.STATION)
case("station: an edit of control's alone still goes down", BASE, C3, BASE, Action.UNCHANGED, C3, None, Policy.STATION)
case("control: although older", S5, C3, BASE, Action.KEEP, C3, "station", Policy.CONTROL)
case("control: the station's edit alone still goes up", S5, BASE, BASE, Action.UPDATE, S5, None, Policy.CONTROL)

S_AND_N = {"text": "station", "note": "control", "m": N3["m"]}
case("merge: different columns", S1, N3, BASE, Action.COMBINE, S_AND_N, "both", Policy.MERGE)
AT_ONCE = {**S1, "note": "control"}
case("merge: different columns in one second", S1, N1, BASE, Action.COMBINE, AT_ONCE, None, Policy.MERGE)
case("merge: the same column, the station's newer", S5, C3, BASE, Action.UPDATE, S5, "both", Policy.MERGE)
case("merge: the same column, control's newer", S1, C3, BASE, Action.KEEP, C3, "both", Policy.MERGE)
BOTH_COLUMNS = a_row("station", "station", 5)
MIXED = {**BOTH_COLUMNS, "m": BOTH_COLUMNS["m"]}
case("merge: one common column", BOTH_COLUMNS, N3, BASE, Action.UPDATE, MIXED, "both", Policy.MERGE)
case("merge: no base to compare with", S5, N3, None, Action.UPDATE, S5, "both", Policy.MERGE)

N5 = a_row(note="control", minute=5)
case("control edited a column that it may not", BASE, N3, BASE, Action.UNCHANGED, N3, editable=TEXT_ONLY)
case("… the station's next edit undoes that", S1, N5, BASE, Action.UPDATE, S1, "control", editable=TEXT_ONLY)
C_BOTH = a_row("control", "control", 5)
ONLY_TEXT = {**C_BOTH, "note": "old"}
case("control wins, but for a fixed column", S1, C_BOTH, BASE, Action.COMBINE, ONLY_TEXT, "both", editable=TEXT_ONLY)
case(
    "… whatever the policy",
    S1, C_BOTH, BASE, Action.COMBINE, ONLY_TEXT, "both", Policy.CONTROL, editable=TEXT_ONLY,
)  # fmt: skip
NOTE_S1 = a_row(note="station", minute=1)
case(
    "control wins, a fixed column that the station edited is still the station's",
    NOTE_S1, C3, BASE, Action.COMBINE, {**C3, "note": "station"}, "station", editable=TEXT_ONLY,
)  # fmt: skip
SAME_STAMP = a_row(minute=1)
case("control only stamped the row", NOTE_S1, SAME_STAMP, BASE, Action.UPDATE, NOTE_S1, None, editable=TEXT_ONLY)
case(
    "merge: control's fixed column does not count",
    NOTE_S1, C_BOTH, BASE, Action.COMBINE, {**C_BOTH, "note": "station"}, "both", Policy.MERGE, editable=TEXT_ONLY,
)  # fmt: skip
case("a fixed column differs, unknown so far", S1, {**S1, "note": "x"}, None, Action.UPDATE, S1, "control",
     editable=TEXT_ONLY)  # fmt: skip
case("control is newer, unknown so far, but for a fixed column", S1, C_BOTH, None, Action.COMBINE, ONLY_TEXT, "both",
     editable=TEXT_ONLY)  # fmt: skip

case("up only: control's edit counts for nothing", S1, C3, BASE, Action.UPDATE, S1, "control", Policy.CONTROL, UP,
     NOTHING)  # fmt: skip
case("up only: also where nothing is known", S1, C3, None, Action.UPDATE, S1, "control", Policy.CONTROL, UP, NOTHING)
case("down only: the station's edit is undone", S5, BASE, BASE, Action.KEEP, BASE, "station", direction=DOWN)
case("down only: whatever the policy", S5, C3, BASE, Action.KEEP, C3, "station", Policy.STATION, DOWN)
case("down only: a row of the station's own is left", S5, None, None, Action.LEAVE, None, direction=DOWN)
case("down only: equal rows", S5, S5, BASE, Action.SETTLE, S5, direction=DOWN)


@pytest.mark.parametrize(
    ("s", "c", "b", "rule", "action", "row", "loser"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_the_rule(
    s: Row, c: Row | None, b: Row | None, rule: Rule, action: Action, row: Row | None, loser: str | None
) -> None:
    decision = decide(s, c, b, rule)
    assert (decision.action, decision.row, decision.loser) == (action, row, loser)


def test_an_edit_of_now_under_a_clock_that_is_behind_control_s_is_no_restored_copy() -> None:
    """What is known was stamped at control, ten minutes ahead."""
    known, edited = a_row("known", minute=12), a_row("edited", minute=5)
    fresh = a_row(minute=4)["m"]
    assert isinstance(fresh, datetime)
    behind = Rule(Policy.NEWEST, "m", timedelta(minutes=-10), fresh=fresh)
    assert decide(edited, known, known, behind).loser is None
    for rule in (
        Rule(Policy.NEWEST, "m", timedelta(minutes=-10)),  # the station's clock was set back
        Rule(Policy.NEWEST, "m", fresh=fresh),  # clocks that are equal
        Rule(Policy.NEWEST, "m", timedelta(minutes=-5), fresh=fresh),  # older than the clocks can explain
        replace(behind, until=a_row(minute=12)["m"]),  # what is known may be the station's own
    ):
        decision = decide(edited, known, known, rule)
        assert (decision.action, decision.loser, decision.reason) == (Action.UPDATE, "control", OLDER)
    assert decide(a_row("old", minute=3), known, known, behind).loser == "control"


def test_a_merge_names_what_was_lost() -> None:
    decision = decide(a_row("station", "station", 5), a_row("control", minute=3), BASE, Rule(Policy.MERGE, "m"))
    assert decision.lost_columns == ("text", "m")
    assert decision.reason == "both changed text, m: the station's version is newer"


def test_a_date_at_the_end_of_time_is_compared_as_it_is() -> None:
    rule = Rule(Policy.NEWEST, "m", timedelta(minutes=-10))
    assert station_is_newer({"m": datetime.max}, a_row(), rule)
    assert not station_is_newer({"m": datetime.min}, a_row(), Rule(Policy.NEWEST, "m", timedelta(minutes=10)))


VALUES = st.sampled_from([None, "", "a", "A", "b"])
ROWS = st.fixed_dictionaries(
    {"text": VALUES, "note": VALUES, "m": st.integers(0, 3).map(lambda m: a_row(minute=m)["m"])}
)
RULES = st.builds(
    Rule,
    st.sampled_from(Policy),
    st.just("m"),
    st.sampled_from([timedelta(0), timedelta(minutes=1), timedelta(minutes=-1)]),
    st.sampled_from([BOTH, BOTH, DOWN]),
    st.sampled_from([None, None, TEXT_ONLY, NOTHING]),
)


@given(ROWS, st.none() | ROWS, st.none() | ROWS, RULES)
def test_whatever_is_decided_every_value_is_in_the_result_or_kept_or_was_known(
    s: Row, c: Row | None, b: Row | None, rule: Rule
) -> None:
    """No edit of either side may vanish: it is in the result, or in a version that is kept, or it is no edit."""
    decision = decide(s, c, b, rule)
    assert decision == decide(s, c, b, rule)
    kept: list[Any] = {"station": [s], "control": [c], "both": [s, c], None: []}[decision.loser]
    for side, row in (("station", s), ("control", c)):
        if row is None or (side == "station" and decision.action in (Action.UNCHANGED, Action.LEAVE)):
            continue
        edits = {name for name in row if b is None or row[name] != b[name]}
        gone = {name for name in edits if decision.row is None or decision.row[name] != row[name]}
        assert not gone or any(row is one for one in kept), decision
        assert gone - set(decision.lost_columns) == set(), decision


@given(ROWS, ROWS, st.none() | ROWS, RULES)
def test_deciding_again_after_the_decision_was_carried_out_changes_nothing(
    s: Row, c: Row, b: Row | None, rule: Rule
) -> None:
    """Control has the decided row, the base has S; so the next pull finds nothing, whatever still has to go down."""
    first = decide(s, c, b, rule)
    again = decide(s, first.row, s, rule)
    assert (again.action, again.row, again.loser) == (Action.UNCHANGED, first.row, None)


@given(ROWS, ROWS, st.none() | ROWS, RULES)
def test_once_control_s_row_went_down_both_sides_are_equal(s: Row, c: Row, b: Row | None, rule: Rule) -> None:
    """What a decision leaves to go down is only ever what control may edit."""
    decision = decide(s, c, b, rule)
    if decision.action in (Action.KEEP, Action.COMBINE) and rule.direction is BOTH:
        assert decision.row is not None
        fixed = {n for n in s if rule.editable is not None and n not in rule.editable}
        assert {n for n in s if decision.row[n] != s[n]} & fixed == set()


def test_decisions_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Decision(Action.KEEP, None, "").reason = "x"  # type: ignore[misc]


def test_the_merge_s_sql_does_exactly_what_the_rule_says(databases: Databases) -> None:
    """Random S, C and B, written straight to the three tables; then one pull."""
    stage = MergeStage(databases)
    examples = 40 if databases.kind == "sqlite" else 25

    phases = (Phase.generate, Phase.shrink)

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None, phases=phases)
    @given(st.lists(combinations(), min_size=1, max_size=25), st.sampled_from(Setting.all()))
    def holds(rows: list[Combination], setting: Setting) -> None:
        stage.holds(rows, setting)

    holds()


def test_where_columns_are_merged_what_an_older_row_of_control_s_replaces_is_kept() -> None:
    """Control's row was put back by hand: its old value goes over one that the station has not touched."""
    b = {"id": 1, "m": "2024-01-02 00:00:00", "x": "new", "y": "known"}
    c = b | {"m": "2024-01-01 00:00:00", "x": "old"}
    s = b | {"m": "2024-01-03 00:00:00", "y": "edited"}
    decision = decide(s, c, b, Rule(Policy.MERGE, "m"))
    assert decision.row is not None
    assert (decision.row["x"], decision.row["y"]) == ("old", "edited")
    assert decision.loser in ("station", "both")
    assert "x" in decision.lost_columns
