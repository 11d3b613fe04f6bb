"""The last chapter: the tables side by side, and a proof that asks nothing of the sync."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from cli.demo.fleet import CONTROL
from cli.demo.sample import SITES, Site
from cli.demo.telling import Telling

# Of each site, rows that the story touched, and one that it did not.
_SHOWN = {"station-1": (201, 4_994), "station-2": (501, 701), "station-3": (101, 102)}


def side_by_side(tell: Telling) -> None:
    tell.screen.say("A few rows, read at their station and at control:")
    rows = [_pair(tell, site, number) for site in SITES for number in _SHOWN[site.name]]
    tell.screen.table(("station", "id", "code", "at the station", "at control"), rows, right=("id",))
    tell.screen.say(
        "And all of them: counted at both sides, and a SHA-256 over every value, worked out by this demo from what",
        "plain database drivers read. The sync's own books are not asked.",
    )
    _prove(tell)


def _pair(tell: Telling, site: Site, number: int) -> tuple[object, ...]:
    station, control = tell.fleet.station_row(site, number), tell.fleet.control_row(site, number)
    return site.name, number, station["code"], _words(station), _words(control)


def _words(row: dict[str, Any]) -> str:
    """What people edit, short enough for two of it in a line."""
    price, text = row["price"], row["text"]
    return f"{'NULL' if price is None else f'{price:,}'} · {'NULL' if text is None else text or repr(text)}"


def _prove(tell: Telling) -> None:
    here = tell.fleet.databases
    rows, equal = [], True
    for site in SITES:
        there, control = here.digest(site.name, site.code), here.digest(CONTROL, site.code)
        # Counted apart from the rows of its own code: a station has no others.
        same = there == control and here.count(site.name) == control[0]
        equal = equal and same
        mark = Text("equal", style="green") if same else Text("DIFFERENT", style="bold red")
        rows.append((site.name, there[0], control[0], there[1], control[1], mark))
    headings = ("station", "rows there", "at control", "checksum there", "at control", "")
    tell.screen.table(headings, rows, right=("rows there", "at control"))
    tell.claim("every station and control have the same rows, value by value", equal)
    total = sum(here.count(site.name) for site in SITES)
    tell.claim(f"control has these {total:,} rows and no other", here.count(CONTROL) == total)
