"""All that the databases hold, read by plain drivers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from cli.drill.history import CONTROL, Key, Setting
from cli.drill.invariants import Based, Held, Lost, Seen
from cli.drill.ledger import Row
from cli.drill.tables import BASE, COLUMNS, EXTRA, TABLE
from cli.drill.world import World
from stationsync.recovery.reseed_control_rule import NO_OWNER
from stationsync.recovery.reseed_rule import POLICY


def read(world: World, setting: Setting) -> Seen:
    stations = {name: _rows(world, name) for name in setting.names}
    own = world.query(CONTROL, f"SELECT id, code, own, master_id, gone FROM {TABLE}")
    return Seen(
        stations,
        _rows(world, CONTROL),
        _base(world),
        _conflicts(world),
        _held(world),
        _trash(world),
        own={(int(i), str(c)): value for i, c, value, *_ in own},
        numbers={(int(i), str(c)): int(number) for i, c, _, number, _ in own},
        flagged=frozenset((int(i), str(c)) for i, c, *_, gone in own if gone is not None),
        told=_told(world),
        unplaced=_unplaced(world),
    )


def _told(world: World) -> dict[Key, Row | None]:
    """What the journal's files say that the stations have, one record after the other."""
    found: list[dict[str, Any]] = []
    for path in world.journal.glob("table=*/**/*.parquet"):
        found += pq.read_table(path, partitioning=None).to_pylist()
    now: dict[Key, Row | None] = {}
    for record in sorted(found, key=lambda one: one["written_at"]):
        if record["decision"] != "quarantined":
            now[_key(record["key"])] = at_station(record)
    return now


def at_station(record: Mapping[str, Any]) -> Row | None:
    """What the station has according to a record (docs/JOURNAL.md): of a conflict in which control's version won, or
    went into a mixture, that is what came, until control's has gone down."""
    if record["direction"] == "up" and record["decision"] in ("kept", "combined"):
        row: Row | None = record["came"]
    elif record["direction"] == "both":
        # An answer to a conflict: control alone has it so far.
        row = record["before"] if record["came"] is None else record["came"]
    elif record["decision"] == "flagged" or record["reason"] == NO_OWNER:
        row = None
    else:
        # Of what control got back with an edit that had not gone down, it is what came.
        row = record["came"] if record["rule"] == POLICY and record["came"] is not None else record["after"]
    return row


def _unplaced(world: World) -> tuple[str, ...]:
    """Files without a row that names them, and rows without their file."""
    there = {path.relative_to(world.journal).as_posix() for path in world.journal.glob("table=*/**/*.parquet")}
    named = {path for (path,) in world.query(CONTROL, "SELECT path FROM stationsync_journal_file")}
    return tuple(sorted(there ^ named))


def columns(world: World, side: str) -> tuple[str, ...]:
    return (*COLUMNS, *world.more, *([EXTRA] if side in world.altered else []))


def _texts(names: Sequence[str], values: Sequence[Any]) -> Row:
    return {name: None if value is None else str(value) for name, value in zip(names, values, strict=True)}


def _rows(world: World, side: str) -> dict[Key, Row]:
    names = columns(world, side)
    found = world.query(side, f"SELECT {', '.join(names)} FROM {TABLE}")
    return {(int(row[0]), str(row[1])): _texts(names, row) for row in found}


def _base(world: World) -> dict[Key, Based]:
    names = based_columns(world)
    sql = f"SELECT stationsync_station, stationsync_pending, {', '.join(names)} FROM {BASE}"
    return {
        (int(row[0]), str(row[1])): Based(station, bool(pending), _texts(names, row))
        for station, pending, *row in world.query(CONTROL, sql)
    }


def based_columns(world: World) -> list[str]:
    """The base has a column more only after an `init`."""
    return [name for name in columns(world, CONTROL) if name != EXTRA or _has_extra(world)]


def _has_extra(world: World) -> bool:
    if CONTROL not in world.altered:
        return False
    if world.kind == "sqlite":
        return bool(world.query(CONTROL, f"SELECT 1 FROM pragma_table_info('{BASE}') WHERE name = '{EXTRA}'"))
    sql = "SELECT 1 FROM information_schema.columns WHERE table_schema = %s AND table_name = %s AND column_name = %s"
    return bool(world.query(CONTROL, sql, [CONTROL, BASE, EXTRA]))


def _conflicts(world: World) -> tuple[Lost, ...]:
    versions = "station_row, control_row, CASE answer WHEN 'taken' THEN result_row END"
    sql = f"SELECT station, key_text, loser, columns, {versions} FROM stationsync_conflict ORDER BY id"
    return tuple(
        Lost(station, _key(key), loser, tuple(json.loads(names)), {"station": _row(s), "control": _row(c)}, _row(seen))
        for station, key, loser, names, s, c, seen in world.query(CONTROL, sql)
    )


def _trash(world: World) -> tuple[tuple[str, Key, Row], ...]:
    sql = "SELECT station, key_text, row_json FROM stationsync_trash"
    return tuple((station, _key(key), _row(row)) for station, key, row in world.query(CONTROL, sql))


def _held(world: World) -> tuple[Held, ...]:
    sql = "SELECT station, direction, key_text, row_json, reasons FROM stationsync_quarantine WHERE state = 'open'"
    return tuple(Held(s, d, _key(k), _row(r), reasons) for s, d, k, r, reasons in world.query(CONTROL, sql))


def _key(text: str) -> Key:
    number, code = json.loads(text)
    return int(number), str(code)


def _row(text: str | None) -> Row:
    data = json.loads(text) if text else {}
    return {name: None if value is None else str(value) for name, value in data.items()}
