"""The last chapter: the tables side by side, and a proof that asks nothing of the sync."""

from __future__ import annotations

from rich.text import Text

from cli.demo.fleet import CONTROL
from cli.demo.sample import SITES, Site
from cli.demo.telling import Telling

# Of each site, a row that the story touched and one that it did not.
_SHOWN = {"station-1": (11, 201), "station-2": (15, 501), "station-3": (102, 5_000)}
_WORDS = ("text", "driver", "price")


def side_by_side(tell: Telling) -> None:
    tell.screen.say("A few rows, read at their station and at control:")
    rows = [_pair(tell, site, number) for site in SITES for number in _SHOWN[site.name]]
    tell.screen.table(("", "id", "code", "at the station", "at control"), rows, right=("id",))
    tell.screen.say(
        "And all of them: counted at both sides, and a SHA-256 over every value, worked out by this demo from"
    )
    tell.screen.say("what plain database drivers read. The sync's own books are not asked.")
    _prove(tell)


def _pair(tell: Telling, site: Site, number: int) -> tuple[object, ...]:
    station, control = tell.fleet.station_row(site, number), tell.fleet.control_row(site, number)
    return site.city, number, station["code"], _words(station), _words(control)


def _words(row: dict[str, object]) -> str:
    values = ("NULL" if row[name] is None else row[name] if row[name] != "" else "''" for name in _WORDS)
    return " · ".join(f"{value:,}" if isinstance(value, int) else str(value) for value in values)


def _prove(tell: Telling) -> None:
    here = tell.fleet.databases
    rows, equal = [], True
    for site in SITES:
        counts = here.count(site.name), len(here.rows(CONTROL, site.code))
        sums = here.checksum(site.name, site.code), here.checksum(CONTROL, site.code)
        same = counts[0] == counts[1] and sums[0] == sums[1]
        equal = equal and same
        mark = Text("equal", style="green") if same else Text("DIFFERENT", style="bold red")
        rows.append((site.name, site.city, *counts, *sums, mark))
    headings = ("station", "", "rows there", "at control", "checksum there", "checksum at control", "")
    tell.screen.table(headings, rows, right=("rows there", "at control"))
    tell.claim("every station and control have the same rows, value by value", equal)
    total = sum(here.count(site.name) for site in SITES)
    tell.claim(f"control has these {total:,} rows and no other", here.count(CONTROL) == total)
