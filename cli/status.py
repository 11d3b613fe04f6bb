"""`status`: how every table stands, from control's books."""

from __future__ import annotations

import dataclasses

import typer

from cli.common import Json, MaybeStation, print_json, print_table, settings, shown
from stationsync.reconciled import proof_in_words
from stationsync.status import TableStatus, Way
from stationsync.status import status as read_status

_HEADERS = (
    "station", "table", "way", "last run", "result", "last good run", "up to", "waiting", "quarantine", "conflicts",
)  # fmt: skip


def status(ctx: typer.Context, station: MaybeStation = None, json: Json = False) -> None:
    """What was synchronised up to when, what is waiting, in quarantine and in conflict.

    Reads control's books only, so it works while stations are off-line."""
    given = settings(ctx)
    found = read_status(given.control, given.pairs(station) if station else given.all_pairs())
    if json:
        print_json({"ok": True, "tables": [dataclasses.asdict(one) for one in found]})
        return
    print_table(_HEADERS, (line for one in found for line in _lines(one)))
    for one in found:
        for way, name in ((one.up, "up"), (one.down, "down")):
            if way.message:
                typer.echo(f"{one.station}/{one.table} {name}, last message: {way.message}")
        if one.proof:
            proof = one.proof
            said = proof_in_words(shown(proof.up_to), proof.rows, proof.digest, proof.exceptions)
            typer.echo(f"{one.station}/{one.table}: {said}")
        if one.waiting is None:
            typer.echo(f"{one.station}/{one.table}: not initialised. Run: stationsync init")


def _lines(one: TableStatus) -> list[tuple[object, ...]]:
    up = (one.station, one.table, "up", *_way(one.up), "", one.quarantined, one.conflicts)
    return [up, ("", "", "down", *_way(one.down), one.waiting, "", "")]


def _way(way: Way) -> tuple[object, ...]:
    return way.run_at, way.status or "never ran", way.done_at, way.up_to
