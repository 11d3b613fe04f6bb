"""Which entries a command is about: the same words for conflicts, quarantine and trash. Lists take a station, a moment,
and whether only open ones are wanted; what answers them takes numbers, or all open ones that are so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
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
Ids = Annotated[list[int] | None, typer.Argument(help="Numbers, as list prints them.", show_default=False)]
OfStation = Annotated[str | None, typer.Option("--station", help="All open ones of this station.", show_default=False)]
# By group of commands: what its entries are, and how many of them are named at once.
_CHOICES = {
    "conflicts": ("conflicts", "--station, --since or --where-loser"),
    "trash": ("rows", "--station or --since"),
}
# Of a list, where the station may also stand by itself.
ListStation = Annotated[str | None, typer.Option("--station", help="The same as STATION.", show_default=False)]
OpenOnly = Annotated[bool, typer.Option("--open/--all", help="Only open ones, or the others behind them.")]


def one_station(ctx: typer.Context, named: str | None, station: str | None, table: str | None) -> str | None:
    """Of a list. UsageError for two, or for one that nobody knows."""
    if named is not None and station not in (None, named):
        what = f"{named} and --station {station} are two stations."
        raise UsageError("list", what, not_done="Nothing was listed.", next_step="Name one of them, or none for all.")
    settings(ctx).require_known(named or station, table)
    return named or station


def require_choice(place: str, ids: Sequence[int] | None, table: str | None, *others: object) -> None:
    """UsageError where entries are named both by number and otherwise, or not at all: never all by mistake."""
    if bool(ids) == any(one is not None for one in others) or (ids and table):
        group = place.split()[0]
        things, options = _CHOICES[group]
        what = f"name {things} by number, or {options}."
        raise UsageError(place, what, not_done="Nothing was answered.", next_step=f"See: stationsync {group} list")


def conflict_filter(
    station: str | None, table: str | None, since: str | None, loser: ConflictLoser | None, *, open_only: bool
) -> ConflictFilter:
    return ConflictFilter(station, table, moment(since, "--since"), loser and loser.value, open_only)


def chosen_conflicts(
    ctx: typer.Context,
    verb: str,
    ids: list[int] | None,
    station: str | None,
    table: str | None,
    since: str | None,
    loser: ConflictLoser | None,
) -> ConflictFilter | None:
    """None where they are named by number."""
    require_choice(f"conflicts {verb}", ids, table, station, since, loser)
    if ids:
        return None
    settings(ctx).require_known(station, table)
    return conflict_filter(station, table, since, loser, open_only=True)


def since_of(text: str | None) -> datetime | None:
    return moment(text, "--since")
