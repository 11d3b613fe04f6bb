"""What both tables of a pair looked like in its last good run, as our books remember it, and what changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from stationsync.database.statements import names_no_table
from stationsync.errors import ColumnLost, NotInitialised, SchemaRefused
from stationsync.model.schema import Side, TableShape, folded
from stationsync.pairing.drift import Description, alarming, column_names, describe, difference, lost, meaning, told
from stationsync.pairing.fit import Fit
from stationsync.pairing.pair import Pair
from stationsync.store.bookkeeping import schema

# In the place of a side: the columns that the base is about (`adopt_columns`).
CARRIED = "base"
_PAUSED = "Nothing was synchronised for this table; the others go on."


@dataclass(frozen=True)
class KnownShape:
    """A table as it was; `before`: as it was until `since`, None where it was never otherwise."""

    description: Description
    since: datetime
    before: Description | None = None


_Key = tuple[str, str, Side]


def fingerprints(conn: sa.Connection) -> dict[tuple[str, str], dict[str, Any]]:
    """(station, table) -> the fingerprint of each side, and since when both are as they are."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    columns = (schema.c.station, schema.c.table_name, schema.c.side, schema.c.fingerprint, schema.c.since)
    for station, table, side, fingerprint, since in conn.execute(sa.select(*columns).where(schema.c.side != CARRIED)):
        one = found.setdefault((station, table), {"since": since})
        one |= {side: fingerprint, "since": max(since, one["since"])}
    return found


def read_all(conn: sa.Connection, *where: sa.ColumnElement[bool]) -> dict[_Key, KnownShape] | None:
    rows = _rows(conn, schema.c.side != CARRIED, *where)
    if rows is None:
        return None
    return {(row["station"], row["table_name"], Side(row["side"])): _known(row) for row in rows}


def _rows(conn: sa.Connection, *where: sa.ColumnElement[bool]) -> Sequence[Mapping[Any, Any]] | None:
    """None where the books have no place for it."""
    try:
        return conn.execute(sa.select(schema).where(*where)).mappings().all()
    except sa.exc.DBAPIError as error:
        if names_no_table(error):
            return None
        raise


def carried_lines(description: str) -> tuple[str, ...]:
    """Older versions wrote names as they are spelled."""
    return tuple(sorted(folded(description).split("\n")))


def _known(row: Mapping[Any, Any]) -> KnownShape:
    before = row["before"]
    return KnownShape(
        Description.parse(row["description"]), row["since"], None if before is None else Description.parse(before)
    )


@dataclass
class SeenShapes:
    """What one run saw of both tables, beside what is remembered: nothing yet, or None where the books have no place
    for it. A side that was not looked at is not in `shapes`. `carried`: the columns that the base is about."""

    pair: Pair
    known: dict[Side, KnownShape] | None = None
    carried: tuple[str, ...] | None = None
    shapes: dict[Side, TableShape | None] = field(default_factory=dict)
    # How both fit, once they were compared, whatever became of the run.
    fit: Fit | None = None

    def read(self, conn: sa.Connection) -> None:
        """What is remembered of the pair."""
        rows = _rows(conn, schema.c.station == self.pair.name, schema.c.table_name == self.pair.table)
        if rows is None:
            return
        self.known = {Side(row["side"]): _known(row) for row in rows if row["side"] != CARRIED}
        carried = [row["description"] for row in rows if row["side"] == CARRIED]
        self.carried = carried_lines(carried[0]) if carried else None

    def columns_of(self, side: Side) -> tuple[str, ...] | None:
        """Its columns as the last good run saw them."""
        known = (self.known or {}).get(side)
        return None if known is None else column_names(known.description)

    def changes(self) -> dict[Side, tuple[str, ...]]:
        """Side -> how its table differs from the one of the last good run."""
        found = {}
        for side, shape in self.shapes.items():
            known = (self.known or {}).get(side)
            if known and (lines := difference(known.description, describe(shape))):
                found[side] = lines
        return found

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """A refusal inside the block tells what changed since the last good run, and that it is about this table
        only."""
        try:
            yield
        except (SchemaRefused, NotInitialised) as error:
            changes = [
                f"Changed at {side.owner} since the last good run: {told(lines)}."
                for side, lines in self.changes().items()
            ]
            what = error.what if error.what.endswith(".") or not changes else f"{error.what}."
            raise type(error)(
                error.place, " ".join([what, *changes]), not_done=_PAUSED, next_step=error.next_step
            ) from error

    def require(self) -> None:
        """Raises NotInitialised where the books have no place for it."""
        if self.known is None:
            raise NotInitialised("control", f"the bookkeeping table {schema.name} is not there.")

    def refuse_lost(self, fit: Fit) -> None:
        """Raises ColumnLost where a column that was synchronised is gone at one side."""
        self.fit = fit
        for side, shape in self.shapes.items():
            known = (self.known or {}).get(side)
            if known and (names := lost(known.description, describe(shape), side, fit, self.pair.options)):
                columns = ", ".join(names)
                raise ColumnLost(
                    self.pair.place,
                    f"column {columns} was synchronised and is gone at {side.owner}.",
                    next_step=f"Put it back with its values, or give it up: exclude: [{columns}] in the topology.",
                )

    def unknown(self) -> list[Side]:
        """The sides that are not remembered as they are now."""
        known = self.known or {}
        return [s for s, shape in self.shapes.items() if s not in known or known[s].description != describe(shape)]

    def remember(self, conn: sa.Connection, at: datetime) -> None:
        """Write down what changed, in the caller's transaction."""
        for side in self.unknown():
            self._write(conn, side, describe(self.shapes[side]), (self.known or {}).get(side), at)

    def warnings(self, fit: Fit) -> list[str]:
        """What changed and what that means, where it can do harm."""
        found = []
        for side, lines in self.changes().items():
            if worth_telling := alarming(lines):
                meant = [meaning(line, side, fit, self.pair.options.rename) for line in worth_telling]
                whose = "the station's" if side is Side.STATION else "control's"
                found.append(f"{whose} table changed: {told(meant)}")
        return found

    def _write(self, conn: sa.Connection, side: Side, now: Description, last: KnownShape | None, at: datetime) -> None:
        # The lease keeps runs of one pair apart, so there is no race.
        identity = {"station": self.pair.name, "table_name": self.pair.table, "side": str(side)}
        values = {"fingerprint": now.fingerprint, "description": now.text, "since": at}
        if last is None:
            conn.execute(sa.insert(schema).values(identity | values))
            return
        same = sa.and_(*(schema.c[name] == value for name, value in identity.items()))
        conn.execute(sa.update(schema).where(same).values(**values, before=last.description.text))
