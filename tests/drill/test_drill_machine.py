"""The drill's steps under hypothesis' stateful testing: after every quiet sync, both sides and the base are exactly
what the rule (`stationsync.pairing.decide`) says of what stood there before; and at the end nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from support.share import share

from cli.drill import reading
from cli.drill.director import Director
from cli.drill.history import CONTROL, Delete, Fault, Jump, Key, Own, Pass, Point, Run, Setting, Write
from cli.drill.invariants import Based, Seen
from cli.drill.ledger import Row
from cli.drill.loop import directing
from stationsync.model.changes import Policy
from stationsync.pairing.decide import Action, Rule, decide

STATIONS = st.sampled_from(["station-1", "station-2"])
COLUMNS = st.sampled_from([("text",), ("note",), ("text", "note")])
NUMBERS = st.integers(1, 3)
# (1, X) may be wanted by both stations.
CODES = st.sampled_from(["own", "own", "own", "X"])


def key_of(number: int, code: str, station: str) -> Key:
    return (1, "X") if code == "X" else (number, f"S{station[-1]}")


@st.composite
def writes(draw: Any) -> Write:
    station = draw(STATIONS)
    side = draw(st.sampled_from([CONTROL, station, station]))
    key = key_of(draw(NUMBERS), draw(CODES), station)
    return Write(side, key, draw(COLUMNS), late=draw(st.sampled_from([0, 0, 1, 2])))


def after_sync(seen: Seen, station: str, rule: Rule) -> tuple[dict[Key, Row], dict[Key, Row], dict[Key, Row]]:
    """What one quiet sync of a station makes of its rows, control's rows and the base's rows of that station."""
    own, control = dict(seen.stations[station]), dict(seen.control)
    base = {key: based.row for key, based in seen.base.items() if based.station == station}
    for key, row in own.items():
        if key in seen.base and key not in base:
            continue  # another station's key: kept in quarantine
        decision = decide(row, control.get(key), base.get(key), rule)
        if decision.action is not Action.UNCHANGED:
            assert decision.row is not None
            control[key], base[key] = decision.row, row
    for key in base:
        if key in own and key in control and own[key] == base[key]:
            own[key] = base[key] = control[key]
    return own, control, base


class Drill(RuleBasedStateMachine):
    director: Director

    @initialize(policy=st.sampled_from(list(Policy)), skew=st.sampled_from([0, 0, 600, -600]))
    def begin(self, policy: Policy, skew: int) -> None:
        self.rule = {name: Rule(policy, "modify_date", timedelta(seconds=skew)) for name in ("station-1", "station-2")}
        self.rule["station-2"] = Rule(policy, "modify_date")
        self.director.begin(Setting(str(policy), stations=2, deletes="archive", sweeps=True))
        self.director.step(Jump("station-1", skew))
        for station in self.rule:
            for number in (1, 2):
                self.director.step(Write(station, key_of(number, "own", station)))
            self.director.step(Run(station, "sync"))

    @rule(number=NUMBERS, station=STATIONS, columns=st.tuples(COLUMNS, COLUMNS), late=st.integers(0, 2))
    def both_sides_write_a_row(self, number: int, station: str, columns: tuple[Any, Any], late: int) -> None:
        key = key_of(number, "own", station)
        self.director.step(Write(CONTROL, key, columns[0]))
        self.director.step(Write(station, key, columns[1], late))

    @rule(write=writes())
    def an_application_writes(self, write: Write) -> None:
        self.director.step(write)

    @rule(number=NUMBERS, station=STATIONS)
    def deletes(self, number: int, station: str) -> None:
        self.director.step(Delete(station, key_of(number, "own", station)))

    @rule(number=NUMBERS, station=STATIONS)
    def writes_an_own_column(self, number: int, station: str) -> None:
        self.director.step(Own(key_of(number, "own", station)))

    @rule(seconds=st.sampled_from([1, 10, 600]))
    def time_goes_by(self, seconds: int) -> None:
        self.director.step(Pass(seconds))

    @rule(
        station=STATIONS,
        what=st.sampled_from(["pull", "push", "sync"]),
        points=st.lists(st.tuples(st.integers(35, 130), st.one_of(writes(), st.just(Fault("kill")))), max_size=2),
    )
    def a_run_with_something_in_between(self, station: str, what: str, points: list[tuple[int, Any]]) -> None:
        self.director.step(Run(station, what, tuple(Point(at, do) for at, do in sorted(points, key=lambda p: p[0]))))

    @rule(station=STATIONS)
    def a_quiet_sync_does_what_the_rule_says(self, station: str) -> None:
        before = self._read()
        self.director.step(Run(station, "sync"))
        after = self._read()
        expected = after_sync(before, station, self.rule[station])
        base = {key: based.row for key, based in after.base.items() if based.station == station}
        assert (after.stations[station], after.control, base) == expected
        other = {key: based for key, based in before.base.items() if based.station != station}
        assert {key: based for key, based in after.base.items() if based.station != station} == other

    def _read(self) -> Seen:
        return reading.read(self.director.world, self.director.setting)

    def teardown(self) -> None:
        try:
            assert self.director.finish().problems == []
        finally:
            self.director.end()


@pytest.fixture(scope="module")
def director() -> Iterator[Director]:
    with directing("sqlite", suites=False) as one:
        yield one


def run_machine(director: Director, max_examples: int, **options: Any) -> None:
    class Machine(Drill):
        pass

    Machine.director = director
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=max_examples,
            stateful_step_count=14,
            deadline=None,
            database=None,
            suppress_health_check=checks,
            **options,
        ),
    )


def test_every_quiet_sync_does_what_the_rule_says(director: Director) -> None:
    run_machine(director, share(5, 12))


def test_an_engine_that_does_not_do_what_the_rule_says_is_found() -> None:
    with directing("sqlite", "support.sabotage:blind_merge", suites=False) as spoilt, pytest.raises(AssertionError):
        run_machine(spoilt, 12, phases=[Phase.generate], derandomize=True)


ROW = {"id": "1", "code": "S1", "text": "1.1", "note": "1.2", "modify_date": "2026-01-01 00:00:00"}


def test_the_oracle_sends_up_and_down_and_leaves_other_stations_keys() -> None:
    edited, other = {**ROW, "text": "c.3"}, {**ROW, "id": "2"}
    seen = Seen(
        {"station-1": {(1, "S1"): ROW, (2, "S1"): other, (1, "X"): ROW}},
        {(1, "S1"): edited, (1, "X"): other},
        {(1, "S1"): Based("station-1", False, ROW), (1, "X"): Based("station-2", False, other)},
    )
    own, control, base = after_sync(seen, "station-1", Rule(Policy.NEWEST, "modify_date"))
    assert own == {(1, "S1"): edited, (2, "S1"): other, (1, "X"): ROW}
    assert control == {(1, "S1"): edited, (2, "S1"): other, (1, "X"): other}
    assert base == {(1, "S1"): edited, (2, "S1"): other}
