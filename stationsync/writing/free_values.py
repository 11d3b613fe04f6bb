"""Values of a column that may be free, to park a row with for the length of a transaction. Pure; the database says
which of them are taken."""

from __future__ import annotations

import random
import re
import string
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import combinations

from stationsync.model.schema import Column
from stationsync.model.wire import Family

Wire = str | bytes
# Candidates of one group beyond the number that is needed, and the widest range that is tried value by value.
_SPARE, _WIDE = 64, 20_000
_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32}
_FIRST, _SECOND, _DAY = datetime(1, 1, 1), timedelta(seconds=1), timedelta(days=1)
_ALPHABET = string.ascii_lowercase + string.digits


def groups(
    column: Column, low: Wire | None, high: Wire | None, number: int, length: int | None
) -> Iterator[list[Wire]]:
    """Groups of candidates, each to be tried by itself, since a CHECK may allow only some: beyond the values that the
    column has (`low` to `high`), between them, below them. `length`: the prefix that counts."""
    kind = column.type.lower()
    if column.family in (Family.ENUM, Family.SET):
        yield _labelled(column)
    elif column.family in (Family.TEXT, Family.BINARY, Family.JSON, Family.UUID, Family.OTHER):
        yield _random(column, number + _SPARE, length)
    elif (counted := _counted(column, kind)) is not None:
        yield from _numbered(counted, low, high, number + _SPARE, above=not column.auto_increment)


def counted(column: Column) -> Callable[[Wire], int]:
    """By which the values of a numeric or dated column are ordered; what no calendar has comes first."""
    of = _counted(column, column.type.lower())

    def units(value: Wire) -> int:
        try:
            return 0 if of is None else of.units(value)
        except (ValueError, ArithmeticError):
            return -1 << 70

    return units


def _labelled(column: Column) -> list[Wire]:
    labels = [label.replace("''", "'") for label in re.findall(r"'((?:[^']|'')*)'", column.type)]
    if column.family is Family.ENUM:
        return list(labels)
    sets = (",".join(some) for n in range(len(labels) + 1) for some in combinations(labels, n))
    return [one for one, _ in zip(sets, range(4_096), strict=False)]


def _random(column: Column, number: int, length: int | None) -> list[Wire]:
    kind = column.type.lower()
    if column.family is Family.UUID:
        return [str(uuid.uuid4()) for _ in range(number)]
    if column.family is Family.JSON:
        return [f'"{uuid.uuid4()}"' for _ in range(number)]
    if kind.startswith("inet4"):
        return [".".join(str(random.randrange(1, 255)) for _ in range(4)) for _ in range(number)]
    if kind.startswith("inet6"):
        return [":".join(f"{random.randrange(1 << 16):x}" for _ in range(8)) for _ in range(number)]
    declared = re.search(r"\((\d+)\)", kind)
    size = min(16, int(declared[1]) if declared else 16, length or 16)
    if column.family is Family.BINARY:
        return [bytes([n]) for n in range(256)] if size == 1 else [random.randbytes(size) for _ in range(number)]
    if size == 0:
        return []
    if size == 1:
        return list(_ALPHABET + "!#$&()*+,-./:;<=>?@^_{|}~")
    return ["".join(random.choices(_ALPHABET, k=size)) for _ in range(number)]


@dataclass(frozen=True)
class _Counted:
    """Values that are whole numbers of a unit: `units` of a value in wire form, and back; from `least` to `most`."""

    family: Family
    least: int
    most: int
    scale: int = 0
    size: int = 0

    def units(self, value: Wire) -> int:
        if isinstance(value, bytes):
            return int.from_bytes(value)
        if self.family is Family.DATE:
            return date.fromisoformat(value).toordinal()
        if self.family in (Family.DATETIME, Family.TIMESTAMP):
            return (datetime.fromisoformat(value).replace(microsecond=0) - _FIRST) // _SECOND
        if self.family is Family.TIME:
            hours, minutes, seconds = value.lstrip("-").split(":")
            total = int(hours) * 3600 + int(minutes) * 60 + int(float(seconds))
            return -total if value.startswith("-") else total
        return int(Decimal(value).scaleb(self.scale))

    def value(self, units: int) -> Wire:
        if self.family is Family.BIT:
            return units.to_bytes(self.size)
        if self.family is Family.DATE:
            return date.fromordinal(units).isoformat()
        if self.family in (Family.DATETIME, Family.TIMESTAMP):
            return (_FIRST + units * _SECOND).isoformat(sep=" ")
        if self.family is Family.TIME:
            minutes, seconds = divmod(abs(units), 60)
            return f"{'-' if units < 0 else ''}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
        return f"{Decimal(units).scaleb(-self.scale):f}"


def _counted(column: Column, kind: str) -> _Counted | None:
    family = column.family
    if family in (Family.INTEGER, Family.UNSIGNED):
        bits = next(
            (bits for name, bits in _BITS.items() if kind.startswith(name + "(") or kind.split()[0] == name), 64
        )
        if kind == "integer":  # SQLite's
            bits = 64
        return _Counted(
            family, *((0, (1 << bits) - 1) if family is Family.UNSIGNED else (-1 << bits - 1, (1 << bits - 1) - 1))
        )
    if family is Family.DECIMAL:
        found = re.search(r"\((\d+)", kind)
        most = 10 ** int(found[1]) - 1 if found else 10**9
        return _Counted(family, 0 if "unsigned" in kind else -most, most, column.scale)
    if family is Family.FLOAT:
        return _Counted(family, 0 if "unsigned" in kind else -(1 << 22), 1 << 22)
    if family is Family.BIT:
        found = re.search(r"\((\d+)", kind)
        bits = int(found[1]) if found else 1
        return _Counted(family, 0, (1 << bits) - 1, size=(bits + 7) // 8)
    if family is Family.YEAR:
        return _Counted(family, 1901, 2155)
    if family is Family.DATE:
        return _Counted(family, date(1000, 1, 1).toordinal(), date(9999, 12, 31).toordinal())
    if family is Family.TIME:
        return _Counted(family, -838 * 3600, 838 * 3600)
    if family in (Family.DATETIME, Family.TIMESTAMP):
        first, last = (datetime(1000, 1, 1), datetime(9999, 12, 31))
        if family is Family.TIMESTAMP:
            first, last = datetime(1970, 1, 2), datetime(2038, 1, 18)
        return _Counted(family, (first - _FIRST) // _SECOND, (last - _FIRST) // _SECOND)
    return None


def _numbered(of: _Counted, low: Wire | None, high: Wire | None, number: int, *, above: bool) -> Iterator[list[Wire]]:
    try:
        least, most = (of.least if low is None else of.units(low)), (of.least if high is None else of.units(high))
    except (ValueError, ArithmeticError):  # a zero date, say
        least, most = of.least, of.most
    inside = range(least + 1, most)
    if len(inside) > _WIDE:
        inside = sorted({random.randrange(least + 1, most) for _ in range(number)})  # type: ignore[assignment]
    ranges = [range(most + 1, min(most + number, of.most) + 1)] if above else []
    ranges += [inside, range(min(least, of.most + 1) - 1, max(least - number, of.least) - 1, -1)]
    for one in ranges:
        if values := [of.value(units) for units in one if of.least <= units <= of.most]:
            yield values
