"""Values of unique indexes that are handed on among the rows of one write: swapped, rotated, shifted.

Called where a plain write met a duplicate key, inside its transaction. What stands in the way is asked of the database,
so that its own notion of sameness counts; then the rows whose values others want are parked, on NULL or on a value that
is free, and all are written. Where too few values are free, row after row moves in the order that frees them; where
none is, the rows are taken out of the table and put back (`reinserting`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, product
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from stationsync.database.dialect import Dialect
from stationsync.database.statements import TEMPORARY, once_more, referred_columns
from stationsync.errors import DuplicateKey, ParentMissing, RowRefused
from stationsync.keeping.blocked import Blocked, BlockedRow, Key
from stationsync.model.reasons import Code
from stationsync.model.schema import Column, RawType, UniqueIndex
from stationsync.model.wire import Family, key_text
from stationsync.session import stage
from stationsync.store.bookkeeping import STATION, station_of
from stationsync.writing import free_values, reinserting, unique_order
from stationsync.writing.free_values import Wire
from stationsync.writing.target import N, Target, keeping

_VALUE = "value"
# Ways to park the rows of several indexes that are tried at most.
_TRIES = 12
_NO_VALUE = "its value of a unique index is handed on among rows, and there is none free to move them through"

Only = sa.ColumnElement[bool] | None


@dataclass
class _Found:
    wants: dict[int, set[int]] = field(default_factory=dict)
    # By index: the rows that are in the way of others.
    in_the_way: dict[UniqueIndex, set[int]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    # By (row, the one whose value it is to have): of which index.
    by: dict[tuple[int, int], UniqueIndex] = field(default_factory=dict)
    holders: set[Key] = field(default_factory=set)


class Moves:
    """The rows of one write. `rows(names)` selects their number (`N`) and these columns, under the target's names."""

    def __init__(self, target: Target, rows: Callable[[Sequence[str]], sa.Select[Any]]) -> None:
        self._to = self.target = target
        self._rows = rows
        self._expressions = _expressions(target)
        self.final = self._table()
        # The database let us park a row: what it refuses then is something else.
        self._parked = False
        self._fill()

    # --- what is in the way

    def require_free(self) -> None:
        """Raises Blocked where rows cannot have their values."""
        self._require(self._look())

    def held(self) -> set[int]:
        """The numbers of rows that cannot have their values."""
        found = self._look()
        return {*found.refused, *unique_order.cannot(found.wants, found.refused.keys())}

    def make_way(self, write: Callable[[Only], None]) -> bool:
        """Write all rows by `write`, or some of them in its turn, so that no value is taken when it is needed. False,
        with nothing written, where no row stands in another's way. Raises Blocked, RowRefused."""
        found = self._look()
        self._require(found)
        if not found.wants:
            return False
        options = {index: self._options(index, rows) for index, rows in found.in_the_way.items()}
        for chosen in self._choices(options):
            if self._try(lambda chosen=chosen: self._all_at_once(found, chosen, write)):  # type: ignore[misc]
                return True
        for chosen in self._choices({index: self._options(index, {0}) for index in found.in_the_way}):
            if self._try(lambda chosen=chosen: self._one_by_one(found, chosen, write)):  # type: ignore[misc]
                return True
        circles = unique_order.on_circles(found.wants)
        if (why := reinserting.why_not(self._to, self.final)) is None:
            if self._try(lambda: self._out_and_in(found, write)):
                return True
        elif circles and not self._parked:
            keys = self._keys(circles)
            held = [BlockedRow(n, keys[n], f"{_NO_VALUE}; {why}") for n in sorted(circles)]
            raise Blocked(self._to.place, held, Code.WAITS_FOR_VALUE)
        raise RowRefused(self._to.place, _NO_VALUE)

    def _require(self, found: _Found) -> None:
        behind = unique_order.cannot(found.wants, found.refused.keys())
        if not found.refused:
            return
        keys = self._keys([*found.refused, *behind, *behind.values()])
        why = found.refused | {n: self._why(found.by[n, other], keys[other]) for n, other in behind.items()}
        held = [BlockedRow(n, keys[n], text) for n, text in sorted(why.items())]
        raise Blocked(self._to.place, held, Code.WAITS_FOR_VALUE, found.holders)

    def _why(self, index: UniqueIndex, key: Sequence[Wire | None], owner: str | None = None) -> str:
        """In the same words whether the row that has the value is part of this write or not."""
        text = f"unique index {index.name} ({', '.join(index.columns)}): row "
        text += key_text(["NULL" if value is None else value for value in key])
        return f"{text}{'' if owner is None else f' of {owner}'} has its value"

    def _look(self) -> _Found:
        found = _Found()
        for index in self._to.indexes:
            if all(name in self.final.c for name in index.columns):
                self._in_the_way(index, found)
                self._twice(index, found)
        for n in found.refused:
            found.wants.setdefault(n, set())
        return found

    def _in_the_way(self, index: UniqueIndex, found: _Found) -> None:
        """Other rows of the table that have the values."""
        to, f, t = self._to, self.final, self._to.table
        h = once_more(to.conn, f, "stationsync_final_too")
        joined = f.join(t, self._equal(index, f, t)).outerjoin(h, self._same_key(h, t))
        owner: sa.ColumnElement[Any] = sa.literal("")
        if to.base is not None:
            joined = joined.outerjoin(to.base, sa.and_(*(to.base.c[name] == t.c[name] for name in to.key)))
            owner = to.base.c[STATION]
        keys = [to.dialect.readable(t.c[name], to.shape[name]).label(f"k{i}") for i, name in enumerate(to.key)]
        query = sa.select(f.c[N].label("n"), h.c[N].label("h"), owner.label("owner"), *keys).select_from(joined)
        query = query.where(sa.case((self._same_key(f, t), 0), else_=1) == 1)
        families = {"n": Family.INTEGER, "h": Family.INTEGER, "owner": Family.TEXT}
        families |= {f"k{i}": to.shape[name].family for i, name in enumerate(to.key)}
        read = to.dialect.read_all(to.conn, query, families)
        for row in read.to_pylist():
            n, key = int(row["n"]), tuple(row[f"k{i}"] for i in range(len(to.key)))
            if row["h"] is not None:
                found.wants.setdefault(n, set()).add(int(row["h"]))
                found.in_the_way.setdefault(index, set()).add(int(row["h"]))
                found.by[n, int(row["h"])] = index
                continue
            ours = row["owner"] == to.owner
            whose = station_of(row["owner"]) if row["owner"] else "control"  # a row that no base knows
            found.refused.setdefault(n, self._why(index, key, None if ours else whose))
            if None not in key and ours:
                found.holders.add(key)

    def _twice(self, index: UniqueIndex, found: _Found) -> None:
        """Values that several of the rows are to have: one may, that which has it already before any other."""
        f, t, h = self.final, self._to.table, once_more(self._to.conn, self.final, "stationsync_final_too")
        parts = [_part(h.c[name], length).label(f"g{i}") for i, (name, length) in enumerate(index.parts)]
        grouped = sa.select(sa.func.min(h.c[N]).label("first"), *parts).where(
            *(h.c[n].is_not(None) for n in index.columns)
        )
        groups = grouped.group_by(*parts).having(sa.func.count() > 1).subquery()
        same = sa.and_(*(_part(f.c[n], length) == groups.c[f"g{i}"] for i, (n, length) in enumerate(index.parts)))
        keeps = sa.case((t.c[self._to.key[0]].is_not(None), 1), else_=0)
        joined = f.join(groups, same).outerjoin(t, sa.and_(self._same_key(f, t), self._equal(index, f, t)))
        query = sa.select(groups.c.first, f.c[N], keeps).select_from(joined)
        members: dict[int, list[tuple[int, int]]] = {}
        for first, n, kept in self._to.conn.execute(query):
            members.setdefault(int(first), []).append((-int(kept), int(n)))
        for group in members.values():
            (_, winner), *others = sorted(group)
            key = self._keys([winner])[winner]
            for _, n in others:
                found.refused.setdefault(n, self._why(index, key))

    def _keys(self, numbers: Collection[int]) -> dict[int, Key]:
        names, families = (
            self._to.key,
            {N: Family.INTEGER} | {name: self._to.shape[name].family for name in self._to.key},
        )
        query = sa.select(*(self.final.c[name] for name in (N, *names))).where(
            self.final.c[N].in_(sorted(set(numbers)))
        )
        read = self._to.dialect.read_all(self._to.conn, query, families)
        return {int(row[N]): tuple(row[name] for name in names) for row in read.to_pylist()}

    # --- making way

    def _choices(self, options: Mapping[UniqueIndex, Iterator[_Option]]) -> Iterator[dict[UniqueIndex, _Option]]:
        if len(options) == 1:
            ((index, some),) = options.items()
            yield from ({index: one} for one in some)
            return
        tried = product(*(list(islice(some, _TRIES)) for some in options.values()))
        yield from (dict(zip(options, chosen, strict=True)) for chosen in islice(tried, _TRIES))

    def _options(self, index: UniqueIndex, rows: Collection[int]) -> Iterator[_Option]:
        """Columns, with values enough to park these rows: NULL first. A reference of other rows would follow to NULL,
        and be lost."""
        to = self._to
        names = dict.fromkeys(
            name for own in index.columns for name in self._expressions.get(own, (own, ()))[1] or (own,)
        )
        usable = [name for name in names if name in to.written and name not in to.key and name in self.final.c]
        for name in usable:
            if to.shape[name].nullable and name not in self._referred:
                yield _Option(name, None)
        lengths = dict(index.parts)
        for name in usable:
            column, length = to.shape[name], lengths.get(name)
            low, high = self._range(column)
            for group in free_values.groups(column, low, high, len(rows), length):
                free = self._free(column, length, group)
                if len(free) >= len(rows):
                    yield _Option(name, free)

    def _range(self, column: Column) -> tuple[Wire | None, Wire | None]:
        if column.family in (
            Family.TEXT,
            Family.BINARY,
            Family.ENUM,
            Family.SET,
            Family.JSON,
            Family.UUID,
            Family.OTHER,
        ):
            return None, None
        to, found = self._to, list[Wire]()
        for table in (to.table, self.final):
            of = table.c[column.name]
            ends = [sa.func.min(of).label("low"), sa.func.max(of).label("high")]
            read = to.dialect.read_all(to.conn, sa.select(*ends), dict.fromkeys(("low", "high"), column.family))
            found += [value for value in read.to_pylist()[0].values() if value is not None]
        if not found:
            return None, None
        counted = free_values.counted(column)
        return (min(found, key=counted), max(found, key=counted))

    def _free(self, column: Column, length: int | None, values: Sequence[Wire]) -> list[Wire]:
        candidates = list(dict.fromkeys(values))
        parking = self._park_on(column, dict(enumerate(candidates)))
        own = _part(parking.c[_VALUE], length)
        taken: set[int] = set()
        for table in (self._to.table, self.final):
            join = parking.join(table, _part(table.c[column.name], length) == own)
            taken |= {int(n) for n in self._to.conn.scalars(sa.select(parking.c[N]).select_from(join))}
        return [value for n, value in enumerate(candidates) if n not in taken]

    def _all_at_once(self, found: _Found, chosen: Mapping[UniqueIndex, _Option], write: Callable[[Only], None]) -> None:
        for index, option in chosen.items():
            self._park(option, sorted(found.in_the_way[index]))
        write(None)

    def _one_by_one(self, found: _Found, chosen: Mapping[UniqueIndex, _Option], write: Callable[[Only], None]) -> None:
        used: dict[int, list[tuple[_Option, Wire | None]]] = {}
        moved: set[int] = set()
        free = {index: None if one.values is None else list(one.values) for index, one in chosen.items()}
        for step in unique_order.steps(found.wants):
            if isinstance(step, unique_order.Park):
                for index, option in chosen.items():
                    if step.row in found.in_the_way[index]:
                        values = free[index]
                        if values is not None and not values:
                            raise RowRefused(self._to.place, _NO_VALUE)
                        value = None if values is None else values.pop()
                        self._park(_Option(option.column, None if value is None else [value]), [step.row])
                        used.setdefault(step.row, []).append((option, value))
                continue
            write(self.final.c[N].in_(sorted(step.rows)))
            moved |= step.rows
            for row in step.rows:
                for option, value in used.pop(row, ()):
                    index = next(i for i, one in chosen.items() if one is option)
                    if value is not None and (values := free[index]) is not None:
                        values.append(value)
        write(self.final.c[N].not_in(sorted(moved)))

    def _out_and_in(self, found: _Found, write: Callable[[Only], None]) -> None:
        rows = sorted(set().union(*found.in_the_way.values()))
        reinserting.reinsert(self._to, self.final, rows, checked=bool(self._referring & set(self.final.c.keys())))
        write(None)

    def _park(self, option: _Option, rows: Sequence[int]) -> None:
        to, final = self._to, self.final
        column = to.shape[option.column]
        values = option.values or [None] * len(rows)
        parking = self._park_on(column, dict(zip(rows, values, strict=False)))
        own: dict[Any, Any] = {to.table.c[option.column]: parking.c[_VALUE]}
        # Columns that stamp themselves must not tell of it.
        own |= keeping(to, option.column)
        where = (self._same_key(final, to.table), final.c[N] == parking.c[N])
        # A value that no row that it refers to has, for a moment; what refers to this one must follow it.
        refers = option.column in self._referring - self._referred
        with to.dialect.unchecked(to.conn) if refers else nullcontext():
            to.conn.execute(sa.update(to.table).values(own).where(*where))
        to.dialect.refuse_changed_values(to.conn, to.place)
        self._parked = True

    def _park_on(self, column: Column, values: Mapping[int, Wire | None]) -> sa.Table:
        to = self._to
        kind = RawType(_ddl(to.dialect, column))
        parking = sa.Table(
            "stationsync_parking",
            sa.MetaData(),
            sa.Column(N, sa.Integer, primary_key=True, autoincrement=False),
            sa.Column(_VALUE, kind, nullable=True),
            **TEMPORARY,
        )
        stage.recreate(to.conn, parking)
        binary = column.family in (Family.BINARY, Family.BIT)
        rows = pa.table(
            {
                N: pa.array([str(n) for n in values], pa.string()),
                _VALUE: pa.array(list(values.values()), pa.binary() if binary else pa.string()),
            }
        )
        to.dialect.fill(to.conn, parking, rows, {N: Family.INTEGER, _VALUE: column.family}, to.place)
        return parking

    def _try(self, work: Callable[[], None]) -> bool:
        """False, with nothing done, where the database refuses it."""
        tried = self._to.conn.begin_nested()
        try:
            work()
        except Exception as error:
            refused = self._to.dialect.explain_error(error, self._to.place, station=False)
            refused = error if isinstance(error, RowRefused) else refused
            if not isinstance(refused, RowRefused) or isinstance(refused, ParentMissing):
                raise
            tried.rollback()
            return False
        tried.commit()
        return True

    @cached_property
    def _referred(self) -> set[str]:
        return referred_columns(self._to.conn, self._to.table.name)

    @cached_property
    def _referring(self) -> set[str]:
        keys = sa.inspect(self._to.conn).get_foreign_keys(self._to.table.name)
        return {name for one in keys for name in one["constrained_columns"]}

    # --- the rows as they are to be

    def _table(self) -> sa.Table:
        to = self._to
        names = dict.fromkeys(name for index in to.indexes for name in index.columns)
        needed = dict.fromkeys(name for own in names for name in (*self._expressions.get(own, ("", ()))[1], own))
        columns = [
            sa.Column(name, RawType(kind), primary_key=True, quote=True)
            for name, kind in zip(to.key, to.key_types, strict=True)
        ]
        columns += [
            sa.Column(name, RawType(_ddl(to.dialect, to.shape[name])), nullable=True, quote=True)
            for name in needed
            if name not in to.key and (not to.shape[name].generated or name in self._expressions)
        ]
        number = sa.Column(N, sa.Integer, nullable=False)
        return sa.Table("stationsync_final", sa.MetaData(), number, *columns, **TEMPORARY)

    def _fill(self) -> None:
        to, final = self._to, self.final
        stage.recreate(to.conn, final)
        plain = [c.name for c in final.c if c.name != N and not to.shape[c.name].generated]
        ours = [name for name in plain if name in to.synced]
        own = [name for name in plain if name not in to.synced]
        rows = self._rows(ours).subquery("rows_to_be")
        columns = [rows.c[N], *(rows.c[name] for name in ours)]
        source: sa.FromClause = rows
        if own:
            # A new row has its own values from the table's defaults: NULL stands for what is not known.
            source = rows.outerjoin(to.table, sa.and_(*(to.table.c[name] == rows.c[name] for name in to.key)))
            columns += [to.table.c[name] for name in own]
        query = sa.select(*columns).select_from(source)
        to.conn.execute(sa.insert(final).from_select([N, *ours, *own], query))
        to.dialect.refuse_changed_values(to.conn, to.place)
        made = {name: text for name, (text, _) in self._expressions.items() if name in final.c}
        if made:
            values: dict[Any, Any] = {final.c[name]: sa.literal_column(f"({text})") for name, text in made.items()}
            to.conn.execute(sa.update(final).values(values))

    def _same_key(self, left: sa.FromClause, right: sa.FromClause) -> sa.ColumnElement[bool]:
        return sa.and_(*(left.c[name] == right.c[name] for name in self._to.key))

    @staticmethod
    def _equal(index: UniqueIndex, left: sa.FromClause, right: sa.FromClause) -> sa.ColumnElement[bool]:
        pairs = ((_part(left.c[name], length), _part(right.c[name], length)) for name, length in index.parts)
        return sa.and_(*(a == b for a, b in pairs))


@dataclass(frozen=True, eq=False)
class _Option:
    """A column to park on, and values that are free in it; None: NULL."""

    column: str
    values: Sequence[Wire | None] | None


def is_duplicate(dialect: Dialect, place: str, error: BaseException) -> bool:
    """Whether a write failed because of a value that another row has."""
    known = error if isinstance(error, RowRefused) else dialect.explain_error(error, place, station=False)
    return isinstance(known, DuplicateKey)


def _part(column: sa.ColumnElement[Any], length: int | None) -> sa.ColumnElement[Any]:
    return column if length is None else sa.func.left(column, length)


def _ddl(dialect: Dialect, column: Column) -> str:
    return dialect.key_type(column, column) if column.is_text else dialect.stage_type(column)


def _expressions(target: Target) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Of generated columns that the indexes have: the expression, and the plain columns that it is made of."""
    wanted = {name for index in target.indexes for name in index.columns if target.shape[name].generated}
    found = target.dialect.generated_from(target.conn, target.table.name) if wanted else {}
    plain = [c.name for c in target.shape.columns if not c.generated]
    known = {}
    for name in wanted & found.keys():
        parts = tuple(other for other in plain if f"`{other}`" in found[name])
        if not any(f"`{c.name}`" in found[name] for c in target.shape.columns if c.generated):
            known[name] = found[name], parts
    return known
