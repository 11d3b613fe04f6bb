"""`journal`: what passed, chunk by chunk and row by row; and keeping it small."""

from __future__ import annotations

import json as json_module
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from cli.common import (
    Json,
    Limit,
    MaybeStation,
    Table,
    print_entries,
    print_error,
    print_json,
    print_table,
    say,
    settings,
)
from cli.journal.lines import CHUNK, FIELDS, VERSIONS, chunk, chunk_line, line, part_line, plain, said, stream
from cli.journal.options import Run, Since, Until, wanted_of
from cli.recovery.reseed_control import replay
from stationsync.errors import JournalUnavailable
from stationsync.journal import read
from stationsync.journal.format import Decided
from stationsync.journal.prune import prune as prune_journal
from stationsync.journal.read import JournalChunk, JournalQuery
from stationsync.model.amounts import format_duration, format_size
from stationsync.model.wire import key_text

app = typer.Typer(no_args_is_help=True, help="What passed, in either direction: list, show, describe, replay, prune.")
app.command("replay")(replay)

Key = Annotated[list[str] | None, typer.Option(help='Only this row: 7, or a whole key as ["7","A"]; again for more.')]
Decision = Annotated[list[Decided] | None, typer.Option(help="Only rows of which this was decided.")]
Csv = Annotated[bool, typer.Option("--csv", help="Comma-separated values; versions of rows as JSON.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")]
_POLL = 1.0
# A chunk's moment is taken before its commit: so far behind the newest one another may still appear.
_BEHIND = timedelta(seconds=60)
_NONE = "The journal has nothing of this."


@app.command("list")
def list_(
    ctx: typer.Context,
    station: MaybeStation = None,
    table: Table = None,
    run: Run = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    follow: Follow = False,
    as_csv: Csv = False,
    json: Json = False,
) -> None:
    """Chunks, the newest last: what one transaction changed, with its run."""
    wanted = wanted_of(ctx, station, table, run, since, until)
    if follow:
        _follow(ctx, wanted, lambda found: stream(map(chunk, found), CHUNK, json, as_csv))
        return
    found, total = read.chunks(settings(ctx).control, wanted, limit=limit or None, oldest_first=False)
    if json:
        print_json({"ok": True, "total": total, "chunks": [chunk(entry) for entry in found]})
    elif as_csv:
        stream(map(chunk, found), CHUNK, json, as_csv, header=True)
    else:
        print_entries(CHUNK, [chunk_line(entry) for entry in found], total, _NONE)


@app.command()
def show(
    ctx: typer.Context,
    station: MaybeStation = None,
    table: Table = None,
    key: Key = None,
    run: Run = None,
    since: Since = None,
    until: Until = None,
    decision: Decision = None,
    limit: Limit = 100,
    follow: Follow = False,
    as_csv: Csv = False,
    json: Json = False,
) -> None:
    """Rows that passed, the newest last: what was there before, what is there after, and what was decided."""
    wanted = replace(
        wanted_of(ctx, station, table, run, since, until),
        keys=tuple(_key(text) for text in key or ()),
        decisions=tuple(map(str, decision or ())),
    )
    if follow:

        def passed(found: list[JournalChunk]) -> None:
            stream(_records(ctx, wanted, found), FIELDS, json, as_csv)

        _follow(ctx, wanted, passed)
        return
    found, cut = _newest(ctx, wanted, limit)
    if json:
        print_json({"ok": True, "complete": not cut, "records": found})
    elif as_csv:
        stream(iter(found), FIELDS, json, as_csv, header=True)
    elif not found:
        say(_NONE)
    else:
        headers = ("written_at", "station", "table", "direction", "decision", "key", "what", "run")
        print_table(headers, [line(record) for record in found])
        if cut:
            say(f"the newest {len(found):,}; --limit 0 shows all")


@app.command()
def describe(ctx: typer.Context, station: MaybeStation = None, table: Table = None, json: Json = False) -> None:
    """Where the journal is, and what it has of each table."""
    options = settings(ctx).topology.journal
    parts = read.describe(settings(ctx).control, wanted_of(ctx, station, table, None, None, None))
    if json:
        about = {"url": options.url, "retention_seconds": options.retention.total_seconds()}
        about |= {"max_size": options.max_size, "required": options.required}
        print_json({"ok": True, **about, "parts": [vars(part) for part in parts]})
        return
    size = f", at most {format_size(options.max_size)}" if options.max_size else ""
    kept = f"kept for {format_duration(options.retention)}{size}"
    say(f"journal: {options.url} ({kept})" if options.url else "journal: off")
    headers = ("station", "table", "chunks", "rows", "runs", "gaps", "files", "bytes", "first", "last")
    print_entries(headers, [part_line(part) for part in parts], len(parts), _NONE)


@app.command()
def prune(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    json: Json = False,
) -> None:
    """Merge small files, and delete what is older than the retention or more than `max_size`."""
    given = settings(ctx)
    done = prune_journal(given.control, given.topology.journal, dry_run=dry_run)
    if json:
        print_json({"ok": True, "dry_run": dry_run, **vars(done)})
        return
    say(*said(done, dry_run).split("\n"))


def _key(text: str) -> str:
    """As the journal has it. One word is the whole key of a table whose key is one column."""
    try:
        parts = json_module.loads(text)
    except ValueError:
        parts = None
    if not isinstance(parts, list):
        return key_text([text])
    return key_text([bytes.fromhex(part["hex"]) if isinstance(part, dict) else str(part) for part in parts])


def _follow(ctx: typer.Context, wanted: JournalQuery, told: Callable[[list[JournalChunk]], None]) -> None:
    """What is committed from now on, or since the moment that was asked for."""
    control = settings(ctx).control
    seen: set[str] = set()
    if wanted.since is None:
        newest, _ = read.chunks(control, wanted, limit=1, oldest_first=False)
        wanted = replace(wanted, since=newest[0].at - _BEHIND if newest else None)
        seen = {entry.id for entry in read.chunks(control, wanted)[0]}
    while True:
        found = [entry for entry in read.chunks(control, wanted)[0] if entry.id not in seen]
        told(found)
        sys.stdout.flush()
        if found:
            seen |= {entry.id for entry in found}
            since = max(found[-1].at - _BEHIND, wanted.since or datetime.min)
            wanted = replace(wanted, since=since)
        time.sleep(_POLL)


def _newest(ctx: typer.Context, wanted: JournalQuery, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """The newest records, in order; and whether there are more."""
    entries, _ = read.chunks(settings(ctx).control, wanted)
    found: list[dict[str, Any]] = []
    for entry in reversed(entries):
        found = [*_records(ctx, wanted, [entry]), *found]
        if limit and len(found) > limit:
            return found[-limit:], True
    return found, False


def _records(ctx: typer.Context, wanted: JournalQuery, entries: list[JournalChunk]) -> Iterator[dict[str, Any]]:
    def missing(error: JournalUnavailable) -> None:
        print_error(error)

    control = settings(ctx).control
    for entry, rows in read.records(control, wanted, entries=entries, missing=missing):
        for record in rows.to_pylist():
            version = {name: plain(record[name]) for name in VERSIONS}
            whole = record | version | {"station": entry.station, "table": entry.table, "written_at": entry.at}
            yield {name: whole[name] for name in FIELDS}
