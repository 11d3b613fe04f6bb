"""Random histories of a table with a filter of rows, which rows pass in and out of and which is changed on the way: no
version is lost that control had, and what goes through is equal at the end."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.databases import Databases, MariaDBDatabases, SQLiteDatabases
from support.fleet import Fleet
from support.inject import ago
from support.sample import row
from support.share import share
from support.sweeps import found, sweep

from stationsync.setup.row_filters import take_filters

_SETTINGS: dict[str, Any] = {
    "suppress_health_check": [HealthCheck.too_slow],
    "database": None,
    "phases": [Phase.generate],  # a seed does not shrink
}
FILTERS = {
    "state = 'on'": lambda it: it[1] == "on",
    "state = 'on' AND id <> 2": lambda it: it[1] == "on" and it[0] != 2,
}
_BOOKS = ("base_kafka_test", "state", "conflict", "trash", "quarantine", "proof", "schema", "planned_delete", "before")
TABLES = ("kafka_test", *(f"stationsync_{name}" for name in _BOOKS))


class History:
    """One station with rows 1 to 5, and control. Each write has a text of its own."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        databases.create_kafka_test("control", control=True)
        databases.create_kafka_test(1)
        databases.execute(1, "ALTER TABLE kafka_test ADD state VARCHAR(10) DEFAULT 'on'")
        self.fleet = Fleet(databases, where=next(iter(FILTERS)), max_deletes="100%")
        self.fleet.init()

    def play(self, random: Random, steps: int) -> None:
        self._begin(random)
        for _ in range(steps):
            random.choice([self._station, self._station, self._control, self._sync, self._sweep, self._filter])()
        self._end()

    def _begin(self, random: Random) -> None:
        for table in TABLES:
            self.databases.execute("control", f"DELETE FROM {table}")
        self.databases.execute(1, "DELETE FROM kafka_test")
        self.random, self.written, self.seen = random, 0, set[str]()
        self.of_control, self.of_station = dict[int, str](), dict[int, str]()
        self.where = next(iter(FILTERS))
        self.fleet.options(where=self.where)
        self.clock = datetime.fromisoformat(ago(7000))

    def _stamp(self) -> str:
        """Later than any before; at times one that no watermark will see."""
        self.clock += timedelta(seconds=2)
        return str(self.clock)

    def _text(self, where: Any, id: int) -> str:
        """A new one for this row. Who writes it has seen the one that stands there."""
        self.written += 1
        self.seen.add(dict(self._rows(where)).get(id, ""))
        of, name = (self.of_station, "s") if where == 1 else (self.of_control, "c")
        of[id] = f"{name} {self.written}."
        return of[id]

    def _station(self) -> None:
        id, here = self.random.randint(1, 5), dict(self._rows(1))
        state = self.random.choice(["on", "on", "off"])
        if id not in here:
            self.databases.put(1, [{**row(id, text=self._text(1, id), at=self._stamp()), "state": state}])
            return
        values = {"state": state} if self.random.random() < 0.5 else {"state": state, "text": self._text(1, id)}
        if self.random.random() < 0.8:
            values["modify_date"] = self._stamp()
        sets = ", ".join(f"{name} = %s" for name in values)
        self.databases.execute(1, f"UPDATE kafka_test SET {sets} WHERE id = %s", [*values.values(), id])

    def _control(self) -> None:
        id = self.random.choice([*dict(self._rows("control")), 0])
        if id:
            self.fleet.edit("control", id, text=self._text("control", id), at=self._stamp())

    def _sync(self) -> None:
        self.fleet.sync()

    def _sweep(self) -> None:
        sweep(self.fleet)

    def _filter(self) -> None:
        self.where = self.random.choice(list(FILTERS))
        self.fleet.options(where=self.where)
        taken = take_filters(self.fleet.pairs(), allow_leaving=True)
        assert taken.errors == ()

    def _rows(self, where: Any) -> list[tuple[Any, ...]]:
        return self.databases.query(where, "SELECT id, text FROM kafka_test ORDER BY id")

    def _end(self) -> None:
        for _ in range(3):
            sweep(self.fleet)
            self.fleet.sync()
        self.fleet.require_nothing_to_do()
        assert found(sweep(self.fleet)) == {}
        at_control = dict(self._rows("control"))
        rows = self.databases.query(1, "SELECT id, state, text FROM kafka_test")
        carried = {id: text for id, state, text in rows if FILTERS[self.where]((id, state))}
        assert {id: at_control.get(id) for id in carried} == carried
        # What either side wrote last is there, or its successor had seen it, or it was kept.
        kept = str(self.databases.query("control", "SELECT station_row, control_row FROM stationsync_conflict"))
        at_station = {id: text for id, _, text in rows}
        for written, now in ((self.of_control, at_control), (self.of_station, at_station)):
            for id, text in written.items():
                assert now[id] == text or text in self.seen or f'"{text}"' in kept, (id, text, at_control, at_station)


def test_no_history_with_a_filter_loses_a_version_on_sqlite(tmp_path: Path) -> None:
    history = History(SQLiteDatabases(tmp_path))

    @settings(max_examples=share(12, 200), **_SETTINGS)
    @given(seed=st.integers(0, 2**32 - 1))
    def holds(seed: int) -> None:
        history.play(Random(seed), steps=14)

    holds()


def test_no_history_with_a_filter_loses_a_version_on_mariadb(mariadb_databases: MariaDBDatabases) -> None:
    history = History(mariadb_databases)

    @settings(max_examples=share(4, 60), **_SETTINGS)
    @given(seed=st.integers(0, 2**32 - 1))
    def holds(seed: int) -> None:
        history.play(Random(seed), steps=14)

    holds()
