"""Reads `alerts:` of the topology, part after part, so that one wrong channel hides no problem of another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stationsync.errors import did_you_mean
from stationsync.topology.alerting import Alerts, Channel, IncidentKind, Tell
from stationsync.topology.parts import Parts

_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])*")
_LONGEST_NAME = 30


def read_alerts(reader: Parts, data: object, stations: Mapping[str, Any]) -> Alerts:
    """What is written there; its problems are added to the reader's."""
    content = reader.mapping(data, ("alerts",))
    for name in content.keys() - Alerts.model_fields:
        reader.problems.add(("alerts", name), f"unknown field{did_you_mean(name, Alerts.model_fields)}")
    channels = {
        name: channel
        for name, row in reader.mapping(content.get("channels"), ("alerts", "channels")).items()
        if (channel := _channel(reader, name, row, stations))
    }
    return Alerts(channels=channels, tell=_tell(reader, content.get("tell")) or Tell())


def _tell(reader: Parts, data: object) -> Tell | None:
    """A list names all that is told; a mapping changes some of it."""
    place = ("alerts", "tell")
    if isinstance(data, list):
        reader.once(data, place)
        # Nobody can be told of a size without saying what is much.
        data = dict.fromkeys(IncidentKind) | {str(name): {} for name in data}
    content = reader.mapping(data, place)
    known = {str(name): rule for name, rule in content.items() if name in Tell.model_fields}
    for name in content.keys() - known.keys():
        reader.problems.add((*place, name), f"unknown kind of incident{did_you_mean(name, IncidentKind)}")
    return reader.check(Tell, known, place)


def _channel(reader: Parts, name: str, data: object, stations: Mapping[str, Any]) -> Channel | None:
    place = ("alerts", "channels", name)
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        problem = f"a channel's name has lower-case letters, digits and hyphens, at most {_LONGEST_NAME}"
        reader.problems.add(place, problem)
        return None
    if data is None:
        reader.problems.add(place, "is empty")
        return None
    channel = reader.check(Channel, reader.mapping(data, place), place)
    if channel is None:
        return None
    groups = {str(row["group"]) for row in stations.values() if isinstance(row, Mapping) and row.get("group")}
    for number, station in enumerate(channel.stations):
        if station not in stations:
            reader.problems.add((*place, "stations", number), f"no such station{did_you_mean(station, stations)}")
    for number, group in enumerate(channel.groups):
        if group not in groups:
            reader.problems.add((*place, "groups", number), f"no station is of this group{did_you_mean(group, groups)}")
    return channel
