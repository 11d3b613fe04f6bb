"""`rename`: a station under another name."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.common import DryRun, Json, confirm, print_json, say, settings
from stationsync.errors import UsageError
from stationsync.model.plan import NOTHING_CHANGED
from stationsync.pairing.pair import Pair
from stationsync.setup import rename as engine
from stationsync.setup.rename import Renaming
from stationsync.topology.model import NO_STATION, STATION_NAME


def rename(
    ctx: typer.Context,
    old: Annotated[str, typer.Argument(help="The name that control knows the station by.")],
    new: Annotated[str, typer.Argument(help="The name that it is to have.")],
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Give a station another name: its rows, marks, quarantine, conflicts, trash and journal at control.

    Shows the plan and asks first. Before or after the name was changed in the topology; nothing is written at the
    station, and no run of either name may be under way."""
    given = settings(ctx)
    pairs = _pairs(ctx, old, new)
    plan = engine.plan(given.control, old, new)
    after = new in given.topology.stations
    if not json:
        for line in _lines(plan):
            say(line)
    if not dry_run:
        if not yes:
            confirm(f"Give all this to {new}?")
        plan = engine.rename(given.control, old, new, pairs)
    steps = _next_steps(old, new, after=after)
    if json:
        print_json({"ok": True, "dry_run": dry_run, **_object(plan), "next_steps": steps})
        return
    if dry_run:
        say(NOTHING_CHANGED)
        return
    say(f"{old} is {new} now. " + " ".join(steps))


def _pairs(ctx: typer.Context, old: str, new: str) -> list[Pair]:
    """The station's tables, by the name that the topology has."""
    topology = settings(ctx).topology
    there = [name for name in (old, new) if name in topology.stations]
    step = "Take one of them out of the topology, or name others."
    if old == new or len(there) == 2:
        what = "both names are the same." if old == new else f"the topology has {old} and {new}: two stations."
        raise UsageError("rename", what, not_done="Nothing was renamed.", next_step=step)
    if not re.fullmatch(STATION_NAME, new):
        what = f"{new!r} is no name: it has lower-case letters, digits and hyphens, at most 63 in all."
        raise UsageError("rename", what, not_done="Nothing was renamed.", next_step="Choose another one.")
    if new == NO_STATION:
        what = f"{new} is the central database: no station may have that name."
        raise UsageError("rename", what, not_done="Nothing was renamed.", next_step="Choose another one.")
    if not there:
        topology.station(new)  # says what there is
    return settings(ctx).pairs(there[0])


def _lines(plan: Renaming) -> list[str]:
    lines = [f"{name}: {number:,} rows of {plan.old} will be {plan.new}'s" for name, number in plan.rows.items()]
    lines += [f"{name}: {number:,} entries" for name, number in plan.entries.items()]
    if plan.released:
        lines.append(f"{plan.released:,} rows of {plan.new} leave quarantine: they were there only for the name")
    return lines


def _object(plan: Renaming) -> dict[str, Any]:
    return asdict(plan)


def _next_steps(old: str, new: str, *, after: bool) -> list[str]:
    steps = [] if after else [f"Write {new} in place of {old} in the topology before its next run."]
    steps.append("With Prefect: stationsync deploy --allow-renamed")
    steps.append(f"Then: stationsync sync {new}")
    return steps
