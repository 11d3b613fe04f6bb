"""`check`: what is missing for runs, with the statement or command to type."""

from __future__ import annotations

import dataclasses

import typer

from cli.common import Json, MaybeStation, print_json, say, settings, shown
from stationsync.health.check import check as check_all
from stationsync.health.check_matrix import Group, Matrix, matrices
from stationsync.health.check_notes import CheckedDatabase
from stationsync.model.changes import Level, Note
from stationsync.pairing.drift import told


def check(ctx: typer.Context, station: MaybeStation = None, json: Json = False) -> None:
    """Connections, logins, grants, charsets, clocks, schemas and suites of control and the stations.

    Writes nothing. Exit code 1 where there is a problem, 0 with warnings, 3 where the one station asked for is
    off-line."""
    given = settings(ctx)
    names = [station] if station else list(given.topology.stations)
    found = check_all(given.control, [given.pairs(name) for name in names])
    code = _code(found, only=station)
    schemas = matrices(shape for one in found for shape in one.shapes)
    if json:
        tables = [dataclasses.asdict(schema) for schema in schemas]
        print_json({"ok": code == 0, "databases": [_object(one) for one in found], "schemas": tables})
    else:
        for one in found:
            _tell(one)
        for schema in schemas:
            _tell_schema(schema)
        say(_summary(found))
    if code:
        raise typer.Exit(code)


def _code(found: list[CheckedDatabase], *, only: str | None) -> int:
    if any(one.has(Level.PROBLEM) for one in found):
        return 1
    return 3 if only and any(one.has(Level.OFFLINE) for one in found) else 0


def _state(one: CheckedDatabase) -> str:
    return next((str(level) for level in Level if level is not Level.INFO and one.has(level)), "ok")


def _object(one: CheckedDatabase) -> dict[str, object]:
    return {
        "place": one.place,
        "server": one.about,
        "state": _state(one),
        "notes": [vars(note) for note in one.notes],
    }


def _tell(one: CheckedDatabase) -> None:
    say(f"{one.place}: {', '.join(part for part in (_state(one), one.about) if part)}")
    for note in one.notes:
        say(_line(note, one.place))
        if note.next_step:
            say(f"    {note.next_step}")


def _line(note: Note, place: str) -> str:
    where = note.place.removeprefix(place).lstrip("/, ")
    return f"  {note.level}: {f'{where}: ' if where else ''}{note.what}"


def _tell_schema(schema: Matrix) -> None:
    say(f"table {schema.table}: control {schema.control.fingerprint}")
    _tell_change(schema.control)
    for group in schema.stations:
        number = len(group.names)
        say(f"  {group.fingerprint}: {number:,} station{'s' if number > 1 else ''}: {group.shown_names}")
        if group.difference:
            say(f"    differs from most: {told(group.difference)}")
        _tell_change(group)


def _tell_change(group: Group) -> None:
    if group.changed:
        say(f"    changed {shown(group.since)}: {told(group.changed)}")


def _summary(found: list[CheckedDatabase]) -> str:
    counts = [(level, sum(note.level is level for one in found for note in one.notes)) for level in Level]
    said = ", ".join(f"{n} {level}{'s' if n > 1 and level is not Level.OFFLINE else ''}" for level, n in counts if n)
    return f"Nothing was written. {said or 'All is well'}."
