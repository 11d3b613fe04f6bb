"""What a Prefect server has to be set to, and why. One list for whoever starts one (`make up`, systemd, compose, the
tests), for the documents, and for `stationsync deploy`, which warns where a server is set otherwise. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ServerSetting:
    """`variable` is the server's environment variable, `where` its place in what the server says of itself (empty: it
    does not say). `wrong`: values with which something breaks; others than `value` may be right as well."""

    variable: str
    value: str
    why: str
    where: str = ""
    wrong: tuple[object, ...] = ()


_SERVICES = "server.services"
SERVER = (
    ServerSetting(
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
        "prefect.server.concurrency.lease_storage.filesystem",
        "With its leases in memory, a restart of the server ends the runs that are under way, and the slot of a run "
        "that died stays taken for ever. Files are under PREFECT_HOME; with Redis: prefect_redis.lease_storage.",
        "server.concurrency.lease_storage",
        ("prefect.server.concurrency.lease_storage.memory",),
    ),
    ServerSetting("PREFECT_SERVER_ANALYTICS_ENABLED", "false", "Nothing calls home; DO_NOT_TRACK=1 belongs to it."),
    ServerSetting("DO_NOT_TRACK", "1", "Nothing calls home; the other half of PREFECT_SERVER_ANALYTICS_ENABLED=false."),
    ServerSetting(
        "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED",
        "true",
        "Without the scheduler no schedule ever produces a run.",
        f"{_SERVICES}.scheduler.enabled",
        (False,),
    ),
    ServerSetting(
        "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED",
        "true",
        "Without triggers no automation acts: no alert is sent, and a run whose machine died stays Running.",
        f"{_SERVICES}.triggers.enabled",
        (False,),
    ),
    ServerSetting(
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED",
        "true",
        "Without stored events the watchdog sees no heartbeats, and takes runs that live for dead.",
        f"{_SERVICES}.event_persister.enabled",
        (False,),
    ),
    ServerSetting(
        "PREFECT_SERVER_SERVICES_REPOSSESSOR_ENABLED",
        "true",
        "It frees the concurrency slots of runs that died.",
        f"{_SERVICES}.repossessor.enabled",
        (False,),
    ),
)


def environment() -> dict[str, str]:
    """For a server of one's own."""
    return {one.variable: one.value for one in SERVER}


def complaints(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings that a server tells of itself; one sentence each, with what to set."""
    return [
        f"the Prefect server has {one.where} = {found}. {one.why} Set {one.variable}={one.value} and restart it"
        for one in SERVER
        if one.where and (found := _at(settings, one.where)) in one.wrong
    ]


def _at(settings: Mapping[str, Any], where: str) -> object:
    found: Any = settings
    for name in where.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def other_version(server: str | None, ours: str) -> str:
    """A sentence where the two are of different kinds; empty where they may work together."""
    if server is None or (there := _numbers(server)) == (here := _numbers(ours)):
        return ""
    if there < here:
        return f"the Prefect server is {server}, older than ours, {ours}: upgrade it before its clients"
    return f"the Prefect server is {server}, and this was tested with {ours}: upgrade stationsync and its workers"


def unusable_version(server: str | None, ours: str) -> bool:
    """Of another major version requests mean other things."""
    return server is not None and _numbers(server)[:1] != _numbers(ours)[:1]


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor; none where it is no version."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else ()
