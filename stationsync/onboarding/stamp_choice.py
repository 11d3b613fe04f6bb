"""Which column says when a row was changed, which when it was made, and in which zone? Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from stationsync.database.dialect import Clock
from stationsync.errors import SchemaRefused
from stationsync.model.schema import Column, TableShape, sql_name
from stationsync.model.wire import Family, typed
from stationsync.pairing import stamp_zone
from stationsync.pairing.fit import MODIFIED_FAMILIES, looks_created, paired
from stationsync.pairing.stamp_zone import StampsSeen
from stationsync.topology.model import TableOptions
from stationsync.topology.zones import SERVER

_WHEN = r"(?:_?(?:at|on|date|time|datetime|day|dt|dttm|ts|timestamp|stamp))?(?:_utc)?"
_CHANGED = r"(?:modif(?:y|ied|ication)|updat(?:e|ed)|chang(?:e|ed)|edit(?:ed)?|mod|upd|chg)"
_MODIFIED = re.compile(
    rf"(?:row_?|rec_?|record_?)?(?:last_?|lst_?)?{_CHANGED}{_WHEN}"
    rf"|(?:date|time|dt|ts)_?(?:last_?)?{_CHANGED}|mtime|(?:최종_?)?(?:수정|변경|갱신)_?(?:일시|일자|일|시각|시간)?",
    re.IGNORECASE,
)
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# How far behind UTC the newest of stamps may be that are taken for UTC.
_FRESH, _CLOCKS = timedelta(minutes=10), timedelta(minutes=2)
_QUARTER = timedelta(minutes=15)


@dataclass(frozen=True)
class StampChoice:
    columns: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class ZoneChoice:
    """`zone` as the topology writes it; `why` and `warning` are empty where there is nothing to say."""

    zone: str = SERVER
    why: str = ""
    warning: str = ""


def stamps(shape: TableShape) -> list[Column]:
    """The columns that seem to say when a row was changed, the best first."""
    found = [column for column in _dated(shape) if column.on_update or looks_modified(column.name)]
    return sorted(found, key=lambda one: (not (one.on_update and looks_modified(one.name)), not one.on_update))


def looks_modified(name: str) -> bool:
    return _MODIFIED.fullmatch(_WORDS.sub("_", name)) is not None


def modified(place: str, shape: TableShape, rows: pa.Table, wanted: Sequence[str] = ()) -> StampChoice:
    """The column, or columns, that stamp a row: those that a person names, else what seems to. Raises SchemaRefused."""
    if wanted:
        return StampChoice(_named(place, shape, wanted), "as it was said")
    found = stamps(shape)
    if not found:
        raise _none(place, shape)
    best = found[0]
    why = "the server sets it at every change (ON UPDATE)" if best.on_update else "by its name; set at every change?"
    if _has_null(rows, best.name) and (made := _made(shape, best)):
        return StampChoice((best.name, made), f"{why}; it is NULL in some rows, which {made} stamps")
    return StampChoice((best.name,), why)


def created(shape: TableShape, rows: pa.Table, options: TableOptions) -> tuple[str | None, str]:
    """A column that a row seems to keep for life, and why; or why none is proposed."""
    name = looks_created(paired("", shape, shape, options))
    if name is None:
        return None, ""
    if rows.num_rows and shape[name].family is shape[options.modified].family:
        both = typed(rows.select([name, options.modified]), {one: shape[one].family for one in rows.column_names})
        later = pc.sum(pc.greater(both[name], both[options.modified])).as_py() or 0
        if later:
            return None, f"{name} is later than {options.modified} in {later:,} rows: it says something else"
        return name, f"a row keeps it for life? it was never later than {options.modified}"
    return name, "a row keeps it for life? by its name"


def zone(newest: Sequence[datetime], clock: Clock, family: Family) -> ZoneChoice:
    """In which zone the application stamps, by its newest stamps and the clock of its server."""
    seen = StampsSeen().with_stamps(newest, clock.now, None, None)
    evidence = stamp_zone.judge(None, seen, clock, None)
    if family is Family.TIMESTAMP:
        words = stamp_zone.warning(evidence, clock, "the newest stamps", SERVER, instants=True)
        return ZoneChoice(warning=f"{words}." if words else "")
    if evidence is not None and evidence.enough:
        off = abs(evidence.off) / timedelta(hours=1)
        line = stamp_zone.line(clock, evidence.off, SERVER)
        why = f"the newest stamps are {off:g} h ahead of the clock of their server"
        return ZoneChoice(line.partition(": ")[2], why)
    ahead = round((clock.now - clock.utc) / _QUARTER) * _QUARTER
    # As many hours behind as UTC is, to the minute: a station that wrote nothing for so long would be an accident.
    as_utc = [at for at in newest if ahead - _CLOCKS <= clock.now - at <= ahead + _FRESH]
    if ahead > timedelta(0) and len(as_utc) > 1 and max(newest) in as_utc:
        off = ahead / timedelta(hours=1)
        return ZoneChoice("UTC", f"the newest stamps are {off:g} h behind the clock of their server, as UTC is")
    return ZoneChoice()


def _dated(shape: TableShape) -> list[Column]:
    return [c for c in shape.columns if c.family in MODIFIED_FAMILIES and not c.generated and c.supported]


def _named(place: str, shape: TableShape, names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in shape:
            raise SchemaRefused(place, f"there is no column {name}.", next_step=f"It has: {', '.join(shape.names)}.")
        if shape[name].family not in MODIFIED_FAMILIES:
            what = f"column {name} is {shape[name].type}; what stamps a row must be DATETIME or TIMESTAMP."
            raise SchemaRefused(place, what, next_step="Name another one with --modified.")
    return tuple(shape.spelled(name) for name in names)


def _none(place: str, shape: TableShape) -> SchemaRefused:
    """A column that only says when a row was made would lose every edit."""
    what = "no column seems to say when a row was changed"
    dated = ", ".join(column.name for column in _dated(shape))
    if dated:
        return SchemaRefused(place, f"{what} (dates: {dated}).", next_step="Name the one that does, with --modified.")
    now = "datetime(6) NOT NULL DEFAULT current_timestamp(6) ON UPDATE current_timestamp(6)"
    add = f"ALTER TABLE {sql_name(shape.name)} ADD COLUMN updated_at {now};"
    return SchemaRefused(place, f"{what}.", next_step=f"Add one that is set at every change: {add}")


def _has_null(rows: pa.Table, name: str) -> bool:
    return name in rows.column_names and rows[name].null_count > 0


def _made(shape: TableShape, modified: Column) -> str | None:
    options = TableOptions(key=("?",), modified=modified.name)
    name = looks_created(paired("", shape, shape, options), nullable=True)
    return name if name and shape[name].family is modified.family else None
