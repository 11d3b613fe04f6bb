"""Random histories of edits at both sides, runs, and answers to conflicts between any two of them: whatever a run or an
answer replaces was seen by its writer, or is kept; and in the end both sides are equal."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from support.databases import Databases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row
from support.share import share

from stationsync.health import conflict_list
from stationsync.health.conflict_list import ConflictFilter
from stationsync.model.details import TakeDetails
from stationsync.recovery import take
from stationsync.recovery.take_rule import TakeOrder

KEYS = (1, 2, 3)
STEPS = 40
Texts = dict[int, str]


class World:
    """Three rows at both sides; every write of an application has a text of its own."""

    def __init__(self, databases: Databases, random: Random) -> None:
        databases.create_kafka_test(1)
        databases.create_kafka_test("control", control=True)
        databases.put(1, [row(number) for number in KEYS])
        self.databases, self.random = databases, random
        self.fleet = Fleet(databases, conflicts=random.choice(["newest", "station", "control", "merge"]))
        self.fleet.init()
        self.fleet.sync()
        self.written = self.answered = 0

    def texts(self, where: Any, table: str = "kafka_test") -> Texts:
        return dict(self.databases.query(where, f"SELECT id, text FROM `{table}` WHERE code = 'A'"))  # type: ignore[arg-type]

    def kept(self, side: str) -> set[str]:
        found = self.databases.query("control", f"SELECT {side}_row FROM stationsync_conflict")
        return {json.loads(text)["text"] for (text,) in found if text is not None}

    def edit(self, where: Any) -> None:
        self.written += 1
        number, at = self.random.choice(KEYS), ago(self.random.randrange(40))
        self.fleet.edit(where, number, at=at, text=f"{where} wrote {self.written}")

    def run(self, direction: str) -> None:
        before = self.texts(1), self.texts("control"), self.texts("control", "stationsync_base_kafka_test")
        getattr(self.fleet, direction)()
        for side, was, now in (
            ("station", before[0], self.texts(1)),
            ("control", before[1], self.texts("control")),
        ):
            for number in KEYS:
                if was[number] != now[number]:
                    seen = was[number] == before[2][number]
                    assert seen or was[number] in self.kept(side), (side, was[number], now[number])

    def answer(self) -> None:
        (pair,) = self.fleet.pairs()
        found, _ = conflict_list.find(pair.control, ConflictFilter(open_only=True))
        if not found:
            return
        one, mine = self.random.choice(found), self.random.random() < 0.3
        self.written += mine
        values: dict[str, str | None] = {"text": f"a person wrote {self.written}"} if mine else {}
        before, there = self.texts("control"), self.texts(1)
        details = take.take(pair, [one], TakeOrder(values)).details
        assert isinstance(details, TakeDetails)
        now, number = self.texts("control"), int(one.key[0])
        assert self.texts(1) == there
        if details.taken:
            self.answered += 1
            result, lost = one.result_row or {}, one.station_row if one.loser == "station" else one.control_row
            assert before[number] == result["text"]
            if one.loser != "both" or mine:
                assert now[number] == (values or lost or {})["text"]
            assert {**before, number: now[number]} == now
        else:
            assert now == before

    def play(self) -> None:
        does = {"station": 5, "control": 5, "pull": 3, "push": 3, "answer": 6}
        for what in self.random.choices(list(does), list(does.values()), k=STEPS):
            if what in ("station", "control"):
                self.edit(1 if what == "station" else "control")
            elif what == "answer":
                self.answer()
            else:
                self.run(what)
        while not self.answered:
            self.edit(1)
            self.edit("control")
            self.run("pull")
            self.answer()
        for _ in range(2):
            self.run("pull")
            self.run("push")
        assert self.texts(1) == self.texts("control")
        self.fleet.require_nothing_to_do()


@pytest.mark.parametrize("seed", range(share(6, 100)))
def test_nothing_is_replaced_unseen(databases: Databases, seed: int) -> None:
    World(databases, Random(seed)).play()
