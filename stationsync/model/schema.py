"""What a table looks like: frozen values that a dialect reflects, and the SQLAlchemy tables built from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from stationsync.model.wire import Family

# SQLAlchemy finds a compiled statement again only if it is about the very same table objects; so tables are made once
# for each shape, of which a process meets few.
SHAPES = 256


T = TypeVar("T")

_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Side(StrEnum):
    STATION = "station"
    CONTROL = "control"

    @property
    def owner(self) -> str:
        return "the station" if self is Side.STATION else "control"


def sql_name(name: str) -> str:
    """A name in a statement that a person is to type."""
    return name if _PLAIN_NAME.fullmatch(name) else "`" + name.replace("`", "``") + "`"


def folded(name: str) -> str:
    """A column's name without its case. (SQLAlchemy's own quoted names have another `lower`.)"""
    return str.lower(name)


class ByName(dict[str, T]):
    """By a column's name, however it is spelled: servers compare these names without case. Iterates the names as they
    were given."""

    def __init__(self, items: Iterable[tuple[str, T]] = ()) -> None:
        super().__init__(items)
        self._spelled = {folded(name): name for name in self}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and folded(name) in self._spelled

    def __missing__(self, name: str) -> T:
        if (known := self._spelled.get(folded(name))) is None:
            raise KeyError(name)
        return super().__getitem__(known)

    def get(self, name: str, default: Any = None) -> Any:
        known = self._spelled.get(folded(name))
        return default if known is None else super().get(known, default)


class RawType(UserDefinedType[Any]):
    """A column type in the database's own words, so that no type is lost in translation."""

    cache_ok = True

    def __init__(self, ddl: str) -> None:
        self.ddl = ddl

    def get_col_spec(self, **_: Any) -> str:
        return self.ddl


@dataclass(frozen=True)
class Column:
    """One reflected column. `type` is the database's own text; `scale` is DECIMAL's scale or a time's
    fractional digits; `required` means that an INSERT must name it."""

    name: str
    type: str
    family: Family
    nullable: bool = True
    charset: str | None = None
    collation: str | None = None
    generated: bool = False
    auto_increment: bool = False
    on_update: bool = False
    required: bool = False
    scale: int = 0
    supported: bool = True

    @property
    def is_text(self) -> bool:
        return self.charset is not None


@dataclass(frozen=True)
class UniqueIndex:
    """Its columns in order, each with the length of its prefix (None: the whole value)."""

    name: str
    parts: tuple[tuple[str, int | None], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parts)


@dataclass(frozen=True)
class TableShape:
    """A reflected table. Index and key column lists keep their order; `unique` holds whole-column keys only.

    `unique_prefixes` are the columns of unique keys over the beginning of a column: they bind whole values too.
    `kind`: "table" of a real one, else what the server calls it (a view, a sequence). `engine` is empty where the
    database has no choice of them."""

    name: str
    columns: tuple[Column, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    triggers: tuple[str, ...] = ()
    unique_prefixes: tuple[tuple[str, ...], ...] = ()
    kind: str = "table"
    engine: str = ""
    transactional: bool = True
    # A statistic, no part of the shape.
    row_bytes: int = field(default=0, compare=False)
    # What the server is, in its maker's word: two print some values of one type in two ways.
    server: str = field(default="", compare=False)
    # All of them, those over prefixes and generated columns too; `unique` says what the shape is.
    unique_indexes: tuple[UniqueIndex, ...] = field(default=(), compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @cached_property
    def _by_name(self) -> ByName[Column]:
        return ByName((column.name, column) for column in self.columns)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    def spelled(self, name: str) -> str:
        """A column's name as the table spells it; of one that it does not have, as it is given."""
        return self[name].name if name in self else name

    def own_stamps(self, table: sa.Table, names: Iterable[str]) -> dict[sa.Column[Any], sa.Column[Any]]:
        """Assignments that keep those of these columns as they are that the server would stamp at any UPDATE."""
        return {table.c[name]: table.c[name] for name in names if self[name].on_update}

    def table(self) -> sa.Table:
        """A Core table of its real columns, without constraints: for SELECT, UPDATE and INSERT only."""
        return _table(self)


@lru_cache(SHAPES)
def _table(shape: TableShape) -> sa.Table:
    columns = (sa.Column(c.name, RawType(c.type), quote=True) for c in shape.columns)
    return sa.Table(shape.name, sa.MetaData(), *columns, quote=True)
