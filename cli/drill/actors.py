"""The applications at all sides: they write rows with connections of their own, and remember what they were told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cli.drill.history import CONTROL, Applied, Delete, Key, Link, Own, Permute, Setting, Write
from cli.drill.ledger import Fact, Ledger, token
from cli.drill.reading import based_columns, columns
from cli.drill.tables import BASE, COLUMNS, CREATED, EXTRA, LONGEST, MARK, PARENT, SEAT, TABLE, TEXTS
from cli.drill.world import FAILED, World

# A write that waits for locks does so at most that long, in seconds.
PATIENCE = 2
_Done = Callable[[bool], None]


@dataclass
class Open:
    """An open transaction and what it has done so far."""

    side: str
    connection: Any
    since: datetime
    done: list[_Done] = field(default_factory=list)


class WriteRefused(Exception):
    """The database did not do it; nothing was acknowledged."""


class Actors:
    def __init__(self, world: World, setting: Setting) -> None:
        self.world = world
        self.setting = setting
        self.ledger = Ledger()
        self.offsets: dict[str, int] = {}
        self.open: dict[int, Open] = {}
        self.refused = 0
        self._count = 0
        self._lock = threading.Lock()
        self._connections: dict[str, Any] = {}
        self._threads: list[threading.Thread] = []

    def now(self, side: str) -> datetime:
        moment = datetime.now(UTC).replace(tzinfo=None)
        if not (self.setting.fraction and self.world.kind == "mariadb"):
            moment = moment.replace(microsecond=0)
        return moment + timedelta(seconds=self.offsets.get(side, 0))

    def do(self, step: Applied) -> None:
        """What the database refuses is not acknowledged, and that is that."""
        if isinstance(step, Write) and step.waits:
            thread = threading.Thread(target=self._tried, args=(step,), daemon=True)
            self._threads.append(thread)
            thread.start()
            return
        self._tried(step)

    def join(self) -> None:
        """Wait for those who wait."""
        for thread in self._threads:
            thread.join(PATIENCE * 6)
        self._threads.clear()

    def end(self, tx: int, *, commit: bool) -> None:
        transaction = self.open.pop(tx, None)
        if transaction is None:
            return
        if commit:
            with contextlib.suppress(WriteRefused):
                self._commit(transaction.connection, transaction.done)
        with contextlib.suppress(*FAILED):
            if not commit:
                transaction.connection.rollback()
            transaction.connection.close()

    def close(self) -> None:
        for tx in list(self.open):
            self.end(tx, commit=False)
        for connection in self._connections.values():
            with contextlib.suppress(*FAILED):
                connection.close()
        self._connections.clear()

    def held(self) -> dict[str, float]:
        """Per side, how long its oldest open transaction has been open by the history's clocks, in seconds."""
        ages: dict[str, float] = {}
        for transaction in self.open.values():
            age = (self.now(transaction.side) - transaction.since).total_seconds()
            ages[transaction.side] = max(age, ages.get(transaction.side, 0.0))
        return ages

    # --- inside

    def _tried(self, step: Applied) -> None:
        try:
            self._do(step)
        except (WriteRefused, *FAILED):
            self.refused += 1

    def _do(self, step: Applied) -> None:
        side = CONTROL if isinstance(step, Own) else step.side
        tx = step.tx if isinstance(step, Write | Delete) else 0
        if tx:
            self._in_transaction(tx, side, step)
            return
        waits = isinstance(step, Write) and step.waits
        with self._connection(side, alone=waits) as connection:
            self.world.begin(connection)
            try:
                done = self._work(connection, step)
            except FAILED:
                connection.rollback()
                raise
            if isinstance(step, Write) and step.cut and done:
                self.world.cut_commit(side, step.cut)
            self._commit(connection, [done] if done else [])

    def _in_transaction(self, tx: int, side: str, step: Applied) -> None:
        with self._lock:
            transaction = self.open.get(tx)
            if transaction is None:
                connection = self.world.open(side)
                try:
                    self.world.begin(connection)
                except FAILED:
                    connection.close()
                    raise
                transaction = self.open[tx] = Open(side, connection, self.now(side))
        if transaction.side != side:
            return
        try:
            done = self._work(transaction.connection, step)
        except FAILED:
            # Whether only the statement or all of it is undone: an application gives it up here.
            self.end(tx, commit=False)
            raise
        if done:
            transaction.done.append(done)

    @contextlib.contextmanager
    def _connection(self, side: str, *, alone: bool) -> Any:
        """One is kept for each side; a new one after any trouble."""
        connection = None if alone else self._connections.pop(side, None)
        if connection is None:
            connection = self.world.open(side, PATIENCE if alone else 0)
        try:
            yield connection
        except BaseException:
            with contextlib.suppress(*FAILED):
                connection.close()
            raise
        if alone:
            connection.close()
        else:
            self._connections[side] = connection

    def _commit(self, connection: Any, done: list[_Done]) -> None:
        try:
            connection.commit()
        except FAILED as error:
            # Whether it was done is not known.
            for tell in done:
                tell(False)
            raise WriteRefused from error
        for tell in done:
            tell(True)

    def _work(self, connection: Any, step: Applied) -> _Done | None:
        """Do it inside the transaction; what is to be remembered once it is committed."""
        match step:
            case Own():
                return self._own(connection, step.key)
            case Delete():
                return self._delete(connection, step)
            case Write():
                return self._write(connection, step)
            case Permute():
                return self._permute(connection, step)
            case Link():
                return self._link(connection, step)

    def _look(self, connection: Any, side: str, key: Key) -> dict[str, Any] | None:
        """The row, locked."""
        names = columns(self.world, side)
        more = ("master_id", "own") if side == CONTROL else ()
        sql = f"SELECT {', '.join((*names, *more))} FROM {TABLE} WHERE id = %s AND code = %s {{lock}}"
        row = self._execute(connection, sql, key).fetchone()
        return None if row is None else dict(zip((*names, *more), row, strict=True))

    def _based(self, connection: Any, key: Key) -> dict[str, str]:
        names = [name for name in (*TEXTS, EXTRA) if name in based_columns(self.world)]
        found = self._execute(connection, f"SELECT {', '.join(names)} FROM {BASE} WHERE id = %s AND code = %s", key)
        return self._tokens(dict(zip(names, found.fetchone() or (), strict=False)))

    def _execute(self, connection: Any, sql: str, params: tuple[Any, ...]) -> Any:
        cursor = connection.cursor()
        cursor.execute(self.world.sql(sql), params)
        return cursor

    def _own(self, connection: Any, key: Key) -> _Done | None:
        row = self._look(connection, CONTROL, key)
        if row is None:
            return None
        value = self._next(CONTROL)
        self._execute(connection, f"UPDATE {TABLE} SET own = %s WHERE id = %s AND code = %s", (value, *key))

        def done(certain: bool) -> None:
            self.ledger.numbers.setdefault(key, set()).add(int(row["master_id"]))
            self.ledger.own[key] = {value} if certain else {value, *self.ledger.own.get(key, {row["own"]})}

        return done

    def _delete(self, connection: Any, step: Delete) -> _Done | None:
        row = self._look(connection, step.side, step.key)
        if row is None:
            return None
        replaced = self._tokens({name: row[name] for name in columns(self.world, step.side)})
        if step.side == CONTROL:
            # The station has its row, which comes again: only what the station never had is gone with this one.
            known = self._based(connection, step.key)
            replaced = {name: one for name, one in replaced.items() if known.get(name) != one}
        self._execute(connection, f"DELETE FROM {TABLE} WHERE id = %s AND code = %s", step.key)
        remembered = self._remembered(Fact(step.side, step.key, {}, replaced))

        def done(certain: bool) -> None:
            remembered(certain)
            if step.side == CONTROL and step.key in self.ledger.own:
                # Control's own columns go with its row: what comes again is a new one.
                self.ledger.own[step.key].add(None)

        return done

    def _write(self, connection: Any, step: Write) -> _Done | None:
        row = self._look(connection, step.side, step.key)
        if row is None and step.side == CONTROL:
            return None
        texts = [name for name in columns(self.world, step.side) if name in (*TEXTS, EXTRA)]
        written = [name for name in texts if row is None or name in step.columns]
        if not written:
            return None
        values = {name: self._value(step) if name == "text" else self._next(step.side) for name in written}
        stamp = {"modify_date": str(self.now(step.side) - timedelta(seconds=step.late))} if step.stamped else {}
        self._put(connection, step.key, {**values, **stamp, **self._for_life(step.side, row)}, new=row is None)
        replaced = self._tokens({name: row[name] for name in written} if row else {})
        return self._remembered(Fact(step.side, step.key, self._tokens(values), replaced))

    def _for_life(self, side: str, row: object | None) -> dict[str, str]:
        """What a new row gets once: no other row has the same."""
        if row is not None:
            return {}
        with self._lock:
            self._count += 1
            count = self._count
        found = {}
        if self.setting.created:
            found[CREATED] = str(self.now(side).replace(microsecond=0) + timedelta(seconds=count))
        if self.setting.seats:
            found[SEAT] = f"s{count}"
        return found

    def _permute(self, connection: Any, step: Permute) -> _Done | None:
        """Each row is written: its text says so."""
        rows = [(key, row) for key in step.keys if (row := self._look(connection, step.side, key))]
        if not self.setting.seats or len(rows) < 2 or (step.how == "close up" and step.side == CONTROL):
            return None
        seats = [row[SEAT] for _, row in rows]
        done = []
        if step.how == "close up":
            (first, _), *rows = rows
            done += [self._delete(connection, Delete(step.side, first))]
        else:
            seats = [*seats[1:], seats[0] if step.how == "rotate" else self._next("s")]
        for key, _ in rows:
            self._put(connection, key, {SEAT: None}, new=False)
        for (key, _), seat in zip(rows, seats, strict=False):
            done += [self._write(connection, Write(step.side, key))]
            self._put(connection, key, {SEAT: seat}, new=False)
        return _all(done)

    def _link(self, connection: Any, step: Link) -> _Done | None:
        if not self.setting.links:
            return None
        done = [self._write(connection, Write(step.side, key)) for key in step.keys]
        keys = [key for key, wrote in zip(step.keys, done, strict=True) if wrote]
        if not keys:
            return None
        last = keys[0][0] if step.circle else None
        for key, parent in zip(keys, [*(key[0] for key in keys[1:]), last], strict=True):
            self._put(connection, key, {PARENT: parent}, new=False)
        return _all(done)

    def _put(self, connection: Any, key: Key, values: Mapping[str, Any], *, new: bool) -> None:
        if new:
            row = {**dict(zip(COLUMNS, key, strict=False)), **values}
            marks = ", ".join(["%s"] * len(row))
            self._execute(connection, f"INSERT INTO {TABLE} ({', '.join(row)}) VALUES ({marks})", (*row.values(),))
            return
        sets = ", ".join(f"{name} = %s" for name in values)
        sql = f"UPDATE {TABLE} SET {sets} WHERE id = %s AND code = %s"
        self._execute(connection, sql, (*values.values(), *key))

    def _remembered(self, fact: Fact) -> _Done:
        return lambda certain: self.ledger.facts.append(replace(fact, certain=certain))

    def _value(self, step: Write) -> str:
        return self._next(step.side) + {"long": " " + "x" * LONGEST, "marked": f" {MARK}"}.get(step.form, "")

    def _next(self, side: str) -> str:
        with self._lock:
            self._count += 1
            return f"{'c' if side == CONTROL else side[-1]}.{self._count}"

    @staticmethod
    def _tokens(values: Mapping[str, Any]) -> dict[str, str]:
        found = ((name, token(value)) for name, value in values.items() if name in (*TEXTS, EXTRA))
        return {name: one for name, one in found if one is not None}


def _all(done: list[_Done | None]) -> _Done | None:
    those = [one for one in done if one]

    def told(certain: bool) -> None:
        for one in those:
            one(certain)

    return told if those else None
