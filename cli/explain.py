"""`explain`: why a row looks as it does: what each side has, all that passed, who won and what waits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli.common import Json, Station, print_json, say, settings, shown, table_lines
from cli.journal.lines import plain
from stationsync.explain import explain as engine
from stationsync.explain.facts import Row, RowFacts, key_of
from stationsync.explain.story import ColumnChange, Event
from stationsync.explain.verdict import Explained
from stationsync.model import stored_text
from stationsync.store import kept

# A value on the page; all of it is in --json.
_WIDE, _NARROW = 60, 32
_FEW = 12
_HEADS = {
    "station": "the station's",
    "control": "control's",
    "came": "what came",
    "differs": "station's | control's",
    "gone": "it was",
}


def explain(
    ctx: typer.Context,
    station: Station,
    table: Annotated[str, typer.Argument(help="A table's name in the topology.")],
    key: Annotated[
        list[str],
        typer.Argument(help="""The row's key: 7 A; or whole as JSON: '["7","A"]'.""", metavar="KEY..."),
    ],
    json: Json = False,
) -> None:
    """Why a row looks as it does: what both sides and the base have now, every version that passed with what was
    decided and why, in one sentence who won, and what to do where something waits.

    Writes nothing, and goes on without a station that is off-line. Negative values go behind --, bytes as
    {"hex":"00ff"}."""
    given = settings(ctx)
    (pair,) = given.pairs(station, table)
    found = engine.explain(pair, key_of(pair.place, key, pair.options.key))
    if json:
        print_json(_object(found))
        return
    for line in _page(found):
        say(line)


# --- for people


def _page(found: Explained) -> Iterator[str]:
    facts = found.facts
    yield f"{facts.station}/{facts.table} {facts.key_text}, as of {shown(facts.at)} UTC"
    yield from _notes(found)
    if found.known:
        yield ""
        yield from _now(found)
        yield ""
        yield from _passed(found)
    yield ""
    yield "Who won and why:" if found.known else "What is known:"
    yield f"  {found.standing}"
    if found.next_steps:
        yield "What to do:"
        yield from (f"  {step}" for step in found.next_steps)
    if _is_cut(found):
        command = f"stationsync explain {facts.station} {facts.table} {facts.typed} --json"
        yield f"Long values are cut (…); all of them: {command}"


def _notes(found: Explained) -> Iterator[str]:
    facts = found.facts
    if facts.unknown:
        yield f"{facts.station} could not be asked ({facts.unknown.rstrip('.')}): only what control knows of it."
    if facts.books.under_way:
        yield "A run of this table is under way: look again when it is done."
    for one in facts.books.troubles:
        if one.offline:
            yield f"The last {one.what}, {shown(one.at)}, did not reach {facts.station}."
        elif not found.next_steps:  # they tell it too
            yield f"The last {one.what}, {shown(one.at)}, failed: {one.message}"
    if facts.books.paused:
        yield f"{facts.station} is {facts.books.paused}."


def _now(found: Explained) -> Iterator[str]:
    """Column by column; a star where the versions differ."""
    facts = found.facts
    if facts.at_station is facts.at_control is facts.base is None:
        yield "No side has the row now."
        return
    versions = {facts.station: facts.at_station, "control": facts.at_control, "base": facts.base}
    if facts.unknown:
        del versions[facts.station]
    rows = []
    for name in facts.columns:
        cells = [_cell(version, name) for version in versions.values()]
        at, who = found.authors.get(name, (None, ""))
        rows.append(("*" if _differs(facts, name) else "", name, *cells, f"{shown(at)} {who}" if at else "-"))
    yield from table_lines(("", "column", *versions, "set"), rows)
    if facts.books.owner:
        waits = ", marked to go down" if facts.books.pending else ""
        yield f"known as a row of {facts.books.owner}{waits}"


def _differs(facts: RowFacts, name: str) -> bool:
    rows = [facts.at_control, facts.base, *(() if facts.unknown else (facts.at_station,))]
    there = [row for row in rows if row is not None]
    return len(there) != len(rows) or any(
        (name in row) != (name in there[0]) or bool(facts.differing({name: there[0].get(name)}, {name: row.get(name)}))
        for row in there[1:]
    )


def _cell(row: Row | None, name: str) -> str:
    if row is None:
        return "(no row)"
    return _brief(row[name], _NARROW) if name in row else "(no column)"


def _passed(found: Explained) -> Iterator[str]:
    journal = found.facts.journal
    begins = (
        f"the journal begins at {shown(journal.begins)}" if journal.begins else "the journal has nothing of the table"
    )
    off = "" if journal.on else "; it is off now"
    yield f"What passed, the oldest first (UTC; {begins}{off}):"
    for gap in journal.gaps:
        yield f"  {shown(gap)}  the journal has a gap: what moved then is not known"
    for unreadable in journal.unreadable:
        yield f"  not read: {unreadable}"
    for event in found.events:
        run = f"run {event.run[:8]}" if event.run else "-"
        way = str(event.direction or "-")
        yield f"  {shown(event.at)}  {way:<4}  {run:<12}  {event.what}: {event.says}"
        yield from (f"      {line}" for line in _changes(event))
    if not found.events:
        yield "  nothing"


def _changes(event: Event) -> Iterator[str]:
    whose = list(dict.fromkeys(change.whose for change in event.changes))
    for side in whose:
        lines = [_change(event, change) for change in event.changes if change.whose == side]
        more = [f"and {len(lines) - _FEW} more columns"] if len(lines) > _FEW else []
        head = f"{_HEADS[side]}: " if side in _HEADS else ""
        yield head + "; ".join([*lines[:_FEW], *more])


def _change(event: Event, change: ColumnChange) -> str:
    new = _brief(change.new, _WIDE)
    if change.whose == "differs":
        return f"{change.column} {_brief(change.old, _WIDE)} | {new}"
    if change.whose == "gone":
        return f"{change.column} {_brief(change.old, _WIDE)}"
    if event.first and change.whose in ("", "came"):
        return f"{change.column} {new}"
    return f"{change.column} {_brief(change.old, _WIDE)} → {new}"


def _brief(value: Any, width: int) -> str:
    text = kept.brief(_plain(value))
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _plain(value: Any) -> Any:
    return stored_text.as_json(value)


def _is_cut(found: Explained) -> bool:
    facts = found.facts
    shown_now = [v for row in (facts.at_station, facts.at_control, facts.base) if row for v in row.values()]
    passed = [value for event in found.events for change in event.changes for value in (change.old, change.new)]
    return any(len(kept.brief(_plain(v))) > _NARROW for v in shown_now) or any(
        len(kept.brief(_plain(v))) > _WIDE for v in passed
    )


# --- for programs


def _object(found: Explained) -> dict[str, Any]:
    facts = found.facts
    now = {"station": facts.at_station, "control": facts.at_control, "base": facts.base}
    return {
        "ok": True,
        "station": facts.station,
        "table": facts.table,
        "key": facts.key_text,
        "at": facts.at,
        "known": found.known,
        "now": {side: plain(dict(row)) if row is not None else None for side, row in now.items()},
        "differing": [name for name in facts.columns if _differs(facts, name)],
        "set": {name: {"at": at, "by": who} for name, (at, who) in found.authors.items()},
        "station_not_asked": facts.unknown or None,
        "initialised": facts.books.ready,
        "owner": facts.books.owner,
        "pending": facts.books.pending,
        "paused": facts.books.paused or None,
        "troubles": [dataclasses.asdict(one) for one in facts.books.troubles],
        "under_way": facts.books.under_way,
        "journal": dataclasses.asdict(facts.journal),
        "passed": [_event(event) for event in found.events],
        "standing": found.standing,
        "next_steps": list(found.next_steps),
    }


def _event(event: Event) -> dict[str, Any]:
    numbers = {
        name: one.id if one is not None else None
        for name, one in (("conflict", event.conflict), ("trash", event.trash), ("quarantine", event.quarantine))
    }
    names = ("at", "what", "direction", "run", "flow_run", "says", "rule", "loser", "reason", "first")
    changes = [
        {"column": c.column, "old": _plain(c.old), "new": _plain(c.new), "whose": c.whose} for c in event.changes
    ]
    return {name: getattr(event, name) for name in names} | numbers | {"changes": changes}
