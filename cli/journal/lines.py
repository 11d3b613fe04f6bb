"""How `journal` shows chunks, rows and what pruning did: as JSON, as CSV, and for people."""

from __future__ import annotations

import csv
import json as json_module
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cli.common import print_json, say
from stationsync.journal.prune import Pruned
from stationsync.journal.read import JournalChunk, JournalPart
from stationsync.model import stored_text
from stationsync.model.printable import json_text, printable

VERSIONS = ("before", "after", "came")
FIELDS = ("written_at", "station", "table", "direction", "decision", "key", *VERSIONS, "rule", "loser", "reason", "run")
CHUNK = ("at", "station", "table", "direction", "rows", "decisions", "unchanged", "run")


def said(done: Pruned, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    lines = [
        f"{done.deleted:,} files {would}deleted ({done.deleted_rows:,} rows, {done.deleted_bytes:,} bytes)",
        f"{done.merged:,} small files {would}merged into {done.into:,}",
        f"{done.kept:,} files, {done.kept_bytes:,} bytes",
        *([f"{done.leavings:,} leavings cleared away"] if done.leavings else []),
        *(["Nothing was changed."] if dry_run else []),
    ]
    return "\n".join(lines)


def plain(version: dict[str, Any] | None) -> dict[str, Any] | None:
    if version is None:
        return None
    return {name: stored_text.as_json(value) for name, value in version.items()}


def chunk(entry: JournalChunk) -> dict[str, Any]:
    return vars(entry) | {"decisions": dict(entry.decisions), "file": entry.file.path if entry.file else None}


def chunk_line(entry: JournalChunk) -> tuple[object, ...]:
    decided = ", ".join(f"{name} {number:,}" for name, number in entry.decisions.items())
    decided += f" - NOT KEPT: {entry.lost}" if entry.lost else ""
    where = (entry.at, entry.station, entry.table, entry.direction)
    return *where, entry.rows, decided, entry.unchanged, entry.run[:8]


def line(record: dict[str, Any]) -> tuple[object, ...]:
    told = "; ".join(filter(None, (_changed(record), record["reason"] or "")))
    return (*(record[name] for name in FIELDS[:6]), told, record["run"][:8])


def _changed(record: dict[str, Any]) -> str:
    """The columns that differ between what was there and what is, or came."""
    old, new = record["before"] or {}, record["after"] or record["came"] or {}
    if not old:
        return ", ".join(f"{name} {_short(value)}" for name, value in new.items())
    pairs = ((name, old.get(name), value) for name, value in new.items() if old.get(name) != value)
    return ", ".join(f"{name} {_short(before)} → {_short(after)}" for name, before, after in pairs)


def _short(value: object) -> str:
    text = json_module.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


def part_line(part: JournalPart) -> tuple[object, ...]:
    counts = (part.chunks, part.rows, part.runs, part.gaps, part.files, part.bytes)
    return part.station, part.table, *counts, part.first_at, part.last_at


def stream(
    found: Iterator[dict[str, Any]], fields: tuple[str, ...], as_json: bool, as_csv: bool, *, header: bool = False
) -> None:
    """One after the other: a line of JSON each, of CSV, or for people."""
    writer = csv.writer(sys.stdout)
    if header:
        writer.writerow(fields)
    for record in found:
        if as_json:
            print_json(record)
        elif as_csv:
            writer.writerow([_cell(record[name]) for name in fields])
        else:
            say("  ".join(_cell(record[name]) for name in fields if record[name] is not None))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, dict):
        return json_text(json_module.dumps(value, ensure_ascii=False))
    return printable(str(value))
