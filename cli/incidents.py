"""`incidents`: what is wrong, and what was. `alert-test`: one alert through a channel, to see that it arrives."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from cli.common import Json, Limit, MaybeStation, print_json, print_table, say, settings, shown
from stationsync.errors import SetUpError, UsageError, did_you_mean
from stationsync.health.incident_book import RecordedIncident, incidents_now


def incidents(
    ctx: typer.Context,
    station: MaybeStation = None,
    over: Annotated[bool, typer.Option("--all", help="Those that are over as well.")] = False,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """What is wrong now, since when, and what to do; the newest first.

    As the watchdog and the last runs found it. Reads control's books only."""
    given = settings(ctx)
    given.require_known(station)
    found = incidents_now(given.control, given.topology, station, over=over, limit=limit)
    if json:
        print_json({"ok": True, "incidents": [dataclasses.asdict(one) for one in found]})
        return
    if not found:
        say("There were no incidents." if over else "Nothing is wrong, as far as anybody looked.")
        return
    print_table(("id", "since", "kind", "where", "told", "over"), [_line(one) for one in found])
    for one in found:
        if not one.over:
            say(f"{_where(one)}, {one.kind}: {one.what}", f"  {one.next_step}")


def _line(one: RecordedIncident) -> tuple[object, ...]:
    told = one.told_over if one.over else one.told
    return one.id or None, one.since, one.kind, _where(one), shown(told) if told else "not yet", one.closed


def _where(one: RecordedIncident) -> str:
    return "/".join(filter(None, (one.station, one.table))) or "fleet"


def alert_test(
    ctx: typer.Context,
    channel: Annotated[str, typer.Argument(help="A channel's name in the topology.")],
    json: Json = False,
) -> None:
    """Send a test alert through a channel as it is deployed, and say whether it arrived."""
    topology = settings(ctx).topology
    place = f"alerts.channels.{channel}"
    if channel not in (channels := topology.alerts.channels):
        known = f"Known: {', '.join(channels)}." if channels else "Name some under alerts.channels."
        raise UsageError(
            place, f"no such channel{did_you_mean(channel, channels)}", not_done="Nothing was sent.", next_step=known
        )
    if channels[channel].address is None:
        raise UsageError(
            place,
            "a channel of the kind log has no receiver: it is a line in the log of the run that tells.",
            not_done="Nothing was sent.",
            next_step="See it in the log of a run of watchdog, or of the station.",
        )
    # Here, because Prefect takes seconds to import.
    from deployments.api import answering, require_api
    from tasks.deliveries import try_channel

    with answering(require_api(place), not_done="Nothing was sent."):
        outcome = try_channel(topology, channel)
    if outcome is None or not outcome.arrived:
        said = "nothing is known of it after 30 s" if outcome is None else f"it did not arrive: {outcome.said}"
        raise SetUpError(
            place,
            f"{said}.",
            not_done="The test alert was sent once.",
            next_step="See what its reference refers to, then: stationsync deploy. Prefect's own words are in the UI's "
            "event feed.",
        )
    if json:
        print_json({"ok": True, "channel": channel, "said": outcome.said})
        return
    say(f"{channel}: arrived{f' ({outcome.said})' if outcome.said else ''}.")
