"""Which conflicts a command is about: by number, or all open ones that are so."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cli.common import settings
from cli.journal.options import moment
from stationsync.errors import UsageError
from stationsync.health.conflict_list import ConflictFilter


class ConflictLoser(StrEnum):
    STATION = "station"
    CONTROL = "control"
    BOTH = "both"


Loser = Annotated[
    ConflictLoser | None, typer.Option("--where-loser", help="Only where this side's version lost.", show_default=False)
]
Ids = Annotated[list[int] | None, typer.Argument(help="Numbers of conflicts, as list prints them.")]
OfStation = Annotated[str | None, typer.Option("--station", help="All open ones of this station.", show_default=False)]


def filter_of(
    ctx: typer.Context,
    station: str | None,
    table: str | None,
    since: str | None,
    loser: ConflictLoser | None,
    *,
    open_only: bool,
) -> ConflictFilter:
    settings(ctx).require_known(station, table)
    return ConflictFilter(station, table, moment(since, "--since"), loser and loser.value, open_only)


def chosen_filter(
    ctx: typer.Context,
    verb: str,
    ids: list[int] | None,
    station: str | None,
    table: str | None,
    since: str | None,
    loser: ConflictLoser | None,
) -> ConflictFilter | None:
    """None where they are named by number. UsageError for both, or for neither: never all by mistake."""
    by_filter = station is not None or since is not None or loser is not None
    if bool(ids) == by_filter or (ids and table):
        what = "name conflicts by number, or --station, --since or --where-loser."
        step = "See: stationsync conflicts list"
        raise UsageError(f"conflicts {verb}", what, not_done="Nothing was answered.", next_step=step)
    return None if ids else filter_of(ctx, station, table, since, loser, open_only=True)
