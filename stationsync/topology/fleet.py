"""What tells one fleet's things on a shared server from others'. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from stationsync.topology.model import Endpoint, Topology

# The tag of everything that stationsync made.
OURS = "stationsync"


def fleet_of(topology: Topology) -> str:
    """The name that tells this topology's deployments from others' on the same server: by default control's database,
    because one control database has one fleet."""
    if topology.defaults.fleet:
        return topology.defaults.fleet
    host, port, socket, database = topology.control.database
    if topology.control.is_sqlite:
        return f"{Path(str(database)).stem}-{digest(topology.control)}"
    name = f"{host}{'' if port == 3306 else f':{port}'}/{database}"
    return f"{name}-{digest(topology.control)}" if socket else name


def fleet_name(topology: Topology) -> str:
    """Of the fleet's own deployments. Two fleets on one server have to be named."""
    return re.sub(r"[/%&<>]", "-", topology.defaults.fleet or "fleet")


def fleet_tag(topology: Topology) -> str:
    return f"fleet:{fleet_of(topology)}"


def tagged(tags: Iterable[str], prefix: str) -> str | None:
    """What stands behind this prefix of a tag, such as "fleet" or "station"."""
    return next((tag.partition(":")[2] for tag in tags if tag.startswith(f"{prefix}:")), None)


def digest(endpoint: Endpoint) -> str:
    """Of a database's place. By it a station is known again that only has a new name."""
    return hashlib.sha256(repr(endpoint.database).encode()).hexdigest()[:8]
