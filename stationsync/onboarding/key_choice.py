"""Which columns know a row, in the whole fleet? Pure.

A unique index of the station is not enough: numbers that every station counts up by itself come twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from stationsync.errors import SchemaRefused
from stationsync.model.schema import TableShape, sql_name
from stationsync.model.wire import Family

_PLACES = (
    "station|site|store|shop|plant|branch|location|loc|depot|ship|vessel|terminal|kiosk|machine|device|node|center|centre"
    "|company|tenant|org|organi[sz]ation|office|region|area|warehouse|factory|unit"
)
# Columns of these names tell where a row comes from, if all rows of a station have one value.
_TELLS_PLACE = re.compile(rf"(?:{_PLACES})s?(?:_?(?:id|no|nr|num|number|code|cd|key|name))?|code|origin", re.IGNORECASE)
_CODES = (Family.TEXT, Family.INTEGER, Family.UNSIGNED, Family.ENUM, Family.UUID)
_UNIVERSAL = re.compile(r"(?:.*_)?(?:uuid|guid|ulid)", re.IGNORECASE)


@dataclass(frozen=True)
class KeyChoice:
    """`why` in words; `counted`: each station counts it up by itself."""

    columns: tuple[str, ...]
    why: str
    counted: bool = False
    nullable: bool = False

    @property
    def warning(self) -> str:
        if self.counted:
            return (
                f"the key ({', '.join(self.columns)}) is a number that each station counts up by itself: a second"
                " station gives the same ones, and its rows would end in quarantine. Name a key that tells the station"
                " as well."
            )
        if self.nullable:
            return f"a column of the key ({', '.join(self.columns)}) may be NULL: such rows are not carried."
        return ""


def choices(shape: TableShape, rows: pa.Table, control: TableShape | None = None) -> list[KeyChoice]:
    """The best first. `rows`: those that were looked at; `control`: its table, where there is one."""
    found: dict[frozenset[str], KeyChoice] = {}
    for columns, why in _candidates(shape, rows, control):
        if not all(name in shape and not shape[name].generated and shape[name].supported for name in columns):
            continue
        if control is not None and not _is_unique(control, columns):
            continue
        counted = all(shape[name].auto_increment for name in columns)
        nullable = any(shape[name].nullable for name in columns)
        found.setdefault(frozenset(columns), KeyChoice(columns, why, counted, nullable))
    primary = _primary(shape)
    return sorted(found.values(), key=lambda one: _rank(one, shape, primary))


def named(place: str, shape: TableShape, columns: Sequence[str]) -> KeyChoice:
    """The key that a person names. Raises SchemaRefused."""
    for name in columns:
        if name not in shape:
            raise SchemaRefused(place, f"there is no column {name} for the key.", next_step=_columns_of(shape))
    names = tuple(shape.spelled(name) for name in columns)
    if not _is_unique(shape, names):
        ddl = f"ALTER TABLE {sql_name(shape.name)} ADD UNIQUE ({', '.join(map(sql_name, names))});"
        what = f"the key ({', '.join(names)}) is not unique at the station."
        raise SchemaRefused(place, what, next_step=f"Make it so, or name another one with --key: {ddl}")
    counted = all(shape[name].auto_increment for name in names)
    return KeyChoice(names, "as it was said", counted, any(shape[name].nullable for name in names))


def required(place: str, found: Sequence[KeyChoice], shape: TableShape, control: TableShape | None) -> KeyChoice:
    """The best choice. Raises SchemaRefused where there is none."""
    if found:
        return found[0]
    if control is not None and any(shape.unique):
        what = "no key is unique at both sides"
        columns = ", ".join(map(sql_name, next(iter(shape.unique))))
        step = f"Make one so, such as: ALTER TABLE {sql_name(control.name)} ADD UNIQUE ({columns});"
        raise SchemaRefused(place, f"{what}: at control there is none on the columns of the station's.", next_step=step)
    what = "it has no unique index, so that nothing tells its rows apart."
    step = f"Give it a key that is unique in the whole fleet: ALTER TABLE {sql_name(shape.name)} ADD UNIQUE (…);"
    raise SchemaRefused(place, what, next_step=step)


def _columns_of(shape: TableShape) -> str:
    return f"It has: {', '.join(shape.names)}."


def _primary(shape: TableShape) -> tuple[str, ...]:
    return next((index.columns for index in shape.unique_indexes if index.name in ("PRIMARY", "PRIMARY KEY")), ())


def _is_unique(shape: TableShape, columns: Sequence[str]) -> bool:
    names = {name.lower() for name in columns}
    return any({name.lower() for name in unique} <= names for unique in (*shape.unique, *shape.unique_prefixes))


def _candidates(shape: TableShape, rows: pa.Table, control: TableShape | None) -> Iterator[tuple[tuple[str, ...], str]]:
    primary = _primary(shape)
    names = {index.columns: index.name for index in shape.unique_indexes}
    for unique in dict.fromkeys([*([primary] if primary else []), *shape.unique]):
        why = "its primary key" if unique == primary else f"its unique index {names.get(unique, '')}".rstrip()
        yield unique, why
        if all(name in shape and shape[name].auto_increment for name in unique):
            for column, value in _telling(shape, rows):
                if column not in unique:
                    yield (*unique, column), f"{why}, and the column that tells the station: {value!r} in all rows seen"
    for unique in control.unique if control else ():
        if all(name in shape for name in unique) and _is_unique(shape, unique):
            yield tuple(shape.spelled(name) for name in unique), "unique at control as well"


def _telling(shape: TableShape, rows: pa.Table) -> Iterator[tuple[str, str]]:
    """Columns that have one and the same value in all rows, which seems to be the station's."""
    for column in shape.columns:
        if column.nullable or column.family not in _CODES or not _TELLS_PLACE.fullmatch(column.name):
            continue
        values = set(rows[column.name].unique().to_pylist()) if column.name in rows.column_names else set()
        if len(values) == 1 and None not in values:
            yield column.name, str(values.pop())


def _rank(choice: KeyChoice, shape: TableShape, primary: tuple[str, ...]) -> tuple[bool, int, int]:
    universal = len(choice.columns) == 1 and (
        shape[choice.columns[0]].family is Family.UUID or bool(_UNIVERSAL.fullmatch(choice.columns[0]))
    )
    whole = bool(primary) and set(primary) <= set(choice.columns)
    if whole and not choice.counted:
        kind = 0 if choice.columns[: len(primary)] == primary else 1
    elif universal:
        kind = 2
    else:
        # What is unique beside the primary key is mostly what a person may edit: an address, a name.
        kind = 3 if whole else 4
    return choice.nullable, kind, len(choice.columns)
