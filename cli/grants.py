"""`grants`: the SQL of a least-privilege user for one database."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.common import Json, print_json, say, settings
from stationsync.health.grants import PASSWORD, Granted, When
from stationsync.health.grants import grants as grants_of
from stationsync.topology import topology_file

_COMMENTED = (When.RESEED,)


def grants(
    ctx: typer.Context,
    place: Annotated[str, typer.Argument(metavar="STATION|control", help="A station's name, or control.")],
    user: Annotated[str | None, typer.Option(help="The user, instead of the URL's.", show_default=False)] = None,
    host: Annotated[str, typer.Option(help="From where it logs in.")] = "%",
    json: Json = False,
) -> None:
    """Print the SQL of a user that has just the rights that stationsync needs there. Connects to nothing.

    Give it to whoever runs that database. `stationsync check` tries the same rights afterwards."""
    found = grants_of(topology_file.load(settings(ctx).topology_file, unfinished=True), place, user, host)
    if json:
        print_json(_object(found))
    else:
        _tell(found)


def _object(found: Granted) -> dict[str, object]:
    statements = [{**vars(one), "statement": found.statement(one)} for one in found.grants]
    return {"ok": True, "place": found.place, "user": found.account, "create": found.create, "grants": statements}


def _tell(found: Granted) -> None:
    say(f"-- {found.place}: what stationsync needs in database {found.database}, and nothing else.")
    behind = f", the one that {found.secret} refers to" if found.secret else ""
    say(f"-- Put the password in place of {PASSWORD}{behind}.")
    say(found.create)
    why = ""
    for one in found.grants:
        if one.why != why:
            said = "" if one.when is When.ALWAYS else f"{one.when}: "
            say(f"-- {said}{one.why}")
            why = one.why
        say(f"{'-- ' if one.when in _COMMENTED else ''}{found.statement(one)}")
