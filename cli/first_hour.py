"""`new`, `add-station`, `add-table`: a fleet of one's own, from the databases as they are.

Without questions where the options say everything; on a terminal, what they leave open is asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.common import DryRun, Json, agrees, ask, confirm, print_json, say, settings
from cli.prefect_api import read_block
from stationsync.errors import UsageError
from stationsync.model.changes import Level, Note
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.onboarding import adding, new_folder
from stationsync.onboarding.adding import AddedTable, LookedAt, StationsFile
from stationsync.onboarding.look import SeenControl, SeenTable
from stationsync.onboarding.proposal import TableProposal, WantedTable, propose
from stationsync.onboarding.suite_draft import number_of_rules
from stationsync.topology.notation import check_identifier
from stationsync.topology.secrets import FORMS, as_reference
from stationsync.topology.topology_file import topology_path
from stationsync.topology.zones import SERVER, parse_zone

_REFERENCE = f"Where its password is, never the password itself: {FORMS}, or env:NAME, file:/path, secret:block."
Password = Annotated[str | None, typer.Option("--password", metavar="REFERENCE", help=_REFERENCE, show_default=False)]
Offline = Annotated[bool, typer.Option("--offline", help="Do not connect: write it as it is given.")]
Url = Annotated[
    str | None, typer.Argument(metavar="URL", help="mysql+pymysql://user@host:port/database", show_default=False)
]


def new(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="A folder of your own, outside of the checkout; made where it is not there.")
    ],
    control: Annotated[
        str | None,
        typer.Option(
            "--control",
            metavar="URL",
            help="Control's database: mysql+pymysql://user@host:port/database",
            show_default=False,
        ),
    ] = None,
    password: Password = None,
    offline: Offline = False,
    json: Json = False,
) -> None:
    """Begin a fleet of your own: a folder with a commented stations.yaml, an example of a suite, and its settings.

    Looks at control's database first, and says what is missing there. No file is written over."""
    url = adding.database_url(_asked(ctx, control, "control's database (URL)", "--control URL"), "control", folder)
    found = adding.new(
        folder, url, _reference(ctx, password, "control", "CONTROL_PASSWORD"), read_block, offline=offline
    )
    names = [str(name) for name in new_folder.texts(folder, url, None)]
    steps = [*_enter(folder), "stationsync add-station NAME URL --password REFERENCE"]
    if json:
        print_json({"ok": True, "folder": str(folder), "files": names, **_looked_object(found), "next_steps": steps})
        return
    for name in names:
        say(f"written: {name}")
    _tell_looked("control", found)
    _tell_steps(steps)


def _enter(folder: Path) -> list[str]:
    return [] if folder.absolute() == Path.cwd() else [f"cd {folder}"]


def add_station(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens.")],
    url: Url = None,
    password: Password = None,
    group: Annotated[str | None, typer.Option(help="A word for status and alerts.", show_default=False)] = None,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", help="Only this table; again for more. Without it, all.", show_default=False),
    ] = None,
    offline: Offline = False,
    json: Json = False,
) -> None:
    """Add a station to the topology, after a look at its database and at its tables; everything else in the file stays.

    Says what is missing there, as SQL for whoever runs that database."""
    file = adding.opened(topology_path(settings(ctx).topology_file))
    adding.require_station_name(name, file.topology)
    asked = _asked(ctx, url, f"the database of {name} (URL)", "URL")
    given = adding.database_url(asked, name, file.path.absolute().parent)
    secret = _reference(ctx, password, name, f"{name.upper().replace('-', '_')}_PASSWORD")
    found = adding.add_station(file, name, given, secret, read_block, group=group, tables=table or (), offline=offline)
    first = not file.topology.tables
    steps = [f"stationsync add-table TABLE --from {name}"] if first else _sync_steps(name)
    if json:
        print_json({"ok": True, "station": name, "file": str(file.path), **_looked_object(found), "next_steps": steps})
        return
    say(f"written: {file.path}, station {name}")
    _tell_looked(name, found)
    _tell_steps(steps)


def add_table(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(help="Its name in the station's database, and in the topology from then on.")],
    station: Annotated[str, typer.Option("--from", metavar="STATION", help="The station that is looked at.")],
    create: Annotated[bool, typer.Option("--create", help="Make control's table, where there is none.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: take what is proposed.")] = False,
    key: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="What tells a row in the whole fleet: id,code", show_default=False),
    ] = None,
    modified: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="What stamps every change; of several, the first that is not NULL.",
            show_default=False,
        ),
    ] = None,
    created: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="What a row keeps for life; none: no such column.", show_default=False),
    ] = None,
    modified_zone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE", help="In which zone the application stamps: server, UTC, +09:00 …", show_default=False
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Leave a column out; again for more.", show_default=False)
    ] = None,
    control_table: Annotated[
        str | None, typer.Option(metavar="NAME", help="Control's table, where it has another name.", show_default=False)
    ] = None,
    suite: Annotated[bool, typer.Option("--suite/--no-suite", help="Draft an expectation suite from the rows.")] = True,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Add a table to the topology, after a look at it: proposes key, `modified` and `created`, control's table, and a
    suite from its rows.

    Says what is missing, as SQL for whoever runs those databases. Without --create, control's CREATE TABLE is printed.
    Everything else in the file stays as it is."""
    file = adding.opened(topology_path(settings(ctx).topology_file))
    wanted = _wanted(key, modified, created, modified_zone, exclude or [], control_table, suite=suite)
    stamps = wanted.modified or ()
    seen, control = adding.see_table(file, table, station, wanted.control_table or table, stamps, read_block)
    proposal = propose(table, seen, control, wanted)
    asks = _may_ask(ctx) and not yes and not dry_run
    if not json:
        _tell_proposal(proposal, station, control)
    if asks:
        proposal, create = _questions(seen, control, wanted, proposal, create=create)
    elif not (yes or dry_run or (wanted.key and wanted.modified)):
        what = "there is no terminal to ask on, and the options do not say everything."
        step = "Type it again with --yes to take what is proposed (--dry-run shows it), or with --key and --modified."
        raise UsageError("add-table", what, not_done="Nothing was changed.", next_step=step)
    added = adding.add_table(file, station, proposal, read_block, create=create, dry_run=dry_run)
    steps = _table_steps(station, added, created=create or not added.statements)
    if json:
        print_json(
            {"ok": True, "dry_run": dry_run, **_table_object(file, station, proposal, added), "next_steps": steps}
        )
        return
    _tell_added(file, proposal, added, dry_run=dry_run)
    if dry_run:
        say(NOTHING_CHANGED)
    else:
        _tell_steps(steps)


# --- what the options say


def _wanted(
    key: str | None, modified: str | None, created: str | None, zone: str | None, exclude: Sequence[str],
    control_table: str | None, *, suite: bool,
) -> WantedTable:  # fmt: skip
    try:
        parsed = None if zone is None else parse_zone(zone)
        if control_table is not None:
            check_identifier(control_table)
    except ValueError as error:
        place = "--modified-zone" if "zone" in str(error) else "--control-table"
        raise UsageError(place, f"{error}.", not_done="Nothing was changed.") from None
    made = "" if created is not None and created.lower() == "none" else created
    return WantedTable(_columns(key), _columns(modified), made, parsed, tuple(exclude), control_table, suite)


def _columns(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None


def _reference(ctx: typer.Context, given: str | None, place: str, name: str) -> str | None:
    if given is None and _may_ask(ctx):
        question = f"where the password of {place} is: env:NAME, file:/path or secret:block; - for none"
        given = ask(question, f"env:{name}")
        given = None if given == "-" else given
    return None if given is None else as_reference(given, f"the password of {place}")


def _asked(ctx: typer.Context, given: str | None, what: str, option: str) -> str:
    if given:
        return given
    if not _may_ask(ctx):
        raise UsageError(what, "is missing.", not_done="Nothing was changed.", next_step=f"Say it: {option}.")
    return ask(what, None)


def _may_ask(ctx: typer.Context) -> bool:
    return sys.stdin.isatty() and not settings(ctx).json


def _questions(
    seen: SeenTable, control: SeenControl, wanted: WantedTable, proposal: TableProposal, *, create: bool
) -> tuple[TableProposal, bool]:
    """What the options leave open, one after the other, each with what is proposed."""
    if wanted.key is None:
        others = [",".join(one.columns) for one in proposal.keys[1:]]
        beside = f" (or {'; '.join(others)})" if others else ""
        wanted = replace(wanted, key=_columns(ask(f"key{beside}", ",".join(proposal.key.columns))))
    if wanted.modified is None:
        wanted = replace(wanted, modified=_columns(ask("modified", ",".join(proposal.modified.columns))))
    if wanted.created is None:
        answer = ask("created (none: no column)", proposal.created or "none")
        wanted = replace(wanted, created="" if answer == "none" else answer)
    if wanted.zone is None and proposal.zone.zone != SERVER:
        wanted = _wanted_zone(wanted, ask("modified_zone", proposal.zone.zone))
    proposal = propose(proposal.table, seen, control, wanted)
    if proposal.new and not create:
        create = agrees("Make control's table now?")
    confirm(f"Write table {proposal.table} into the topology?")
    return proposal, create


def _wanted_zone(wanted: WantedTable, answer: str) -> WantedTable:
    try:
        return replace(wanted, zone=parse_zone(answer))
    except ValueError as error:
        raise UsageError("modified_zone", f"{error}.", not_done="Nothing was changed.") from None


# --- what is told


def _tell_proposal(proposal: TableProposal, station: str, control: SeenControl) -> None:
    shape = proposal.fit.station
    say(f"{station}: table {shape.name}, {len(shape.columns):,} columns, {proposal.rows:,} rows looked at")
    for line in proposal.entry.block(2):
        say(line)
    if control.shape is not None:
        say(f"control: table {control.shape.name} is there")
    elif control.hidden:
        say(f"control: {control.hidden.what} {control.hidden.next_step}")


def _tell_added(file: StationsFile, proposal: TableProposal, added: AddedTable, *, dry_run: bool) -> None:
    name = proposal.options.control_table
    if added.created:
        say(f"control: table {name} was created")
    elif added.statements:
        say(f"-- There is no table {name} at control. For whoever runs that database, or with --create:")
        for statement in added.statements:
            say(*f"{statement};".split("\n"))
    _tell_missing(added.notes)
    if not dry_run:
        say(f"written: {file.path}, table {proposal.table}")
        if added.suite:
            said = "was there already, and is left as it is" if added.suite_there else _rules(proposal)
            say(f"{'suite' if added.suite_there else 'written'}: {added.suite}, {said}")
    if added.others:
        names = ", ".join(added.others[:5]) + (f" and {len(added.others) - 5:,} more" if len(added.others) > 5 else "")
        say(f"These stations have it as well, since they name no tables of their own: {names}")


def _rules(proposal: TableProposal) -> str:
    return f"{number_of_rules(proposal.rules):,} rules from {proposal.rows:,} rows"


def _tell_looked(place: str, found: LookedAt) -> None:
    if found.about:
        say(f"{place}: {found.about}")
    _tell_missing(found.notes)


def _tell_missing(notes: Sequence[Note]) -> None:
    """As `check` says it: the statements are for whoever runs that database."""
    for note in notes:
        if note.level is Level.INFO:
            continue
        say(f"{note.level}: {note.place}: {note.what}")
        if note.next_step:
            say(f"    {note.next_step}")


def _tell_steps(steps: Sequence[str]) -> None:
    say(f"Next: {steps[0]}", *(f"      {step}" for step in steps[1:]))


def _sync_steps(station: str) -> list[str]:
    return [f"stationsync check {station}", "stationsync init", f"stationsync sync {station}"]


def _table_steps(station: str, added: AddedTable, *, created: bool) -> list[str]:
    first = [] if created else ["make control's table, as printed above"]
    return [*first, *_sync_steps(station)]


def _looked_object(found: LookedAt) -> dict[str, Any]:
    return {"server": found.about, "missing": _missing(found.notes)}


def _missing(notes: Sequence[Note]) -> list[dict[str, str]]:
    return [{**vars(note), "level": str(note.level)} for note in notes]


def _table_object(file: StationsFile, station: str, proposal: TableProposal, added: AddedTable) -> dict[str, Any]:
    options = proposal.options
    return {
        "table": proposal.table,
        "station": station,
        "file": str(file.path),
        "entry": {one.name: one.value for one in proposal.entry.lines if one.name},
        "why": {one.name: one.comment for one in proposal.entry.lines if one.name},
        "keys": [list(one.columns) for one in proposal.keys],
        "warnings": proposal.warnings,
        "rows": proposal.rows,
        "control": {
            "table": options.control_table,
            "created": added.created,
            "statements": [f"{statement};" for statement in added.statements],
        },
        "suite": None if added.suite is None else str(added.suite),
        "rules": 0 if added.suite is None or added.suite_there else number_of_rules(proposal.rules),
        "missing": _missing(added.notes),
        "others": list(added.others),
    }
