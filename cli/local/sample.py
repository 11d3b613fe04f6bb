"""What the local fleet begins with: the demo's sites and rows, and a topology over them."""

from __future__ import annotations

from typing import Any

import yaml

from cli.demo.databases import Databases
from cli.demo.fleet import CONTROL
from cli.demo.sample import SITES, SUITE, TABLE, ddl, sessions
from cli.local.databases import PLACES
from cli.local.home import Home
from stationsync.pairing.pair import control_of, pairs
from stationsync.setup.initialise import initialise
from stationsync.topology import topology_file

POOL = "local"
# Of the environment in which `deploy` runs.
ALERTS = "LOCAL_FLEET_ALERTS"


def fill(databases: Databases) -> None:
    """Tables at all places, and the stations' rows."""
    for name in PLACES:
        for statement in ddl(databases.kind, control=name == CONTROL):
            databases.query(name, statement)
    for site in SITES:
        databases.insert(site.name, sessions(site, range(1, site.rows + 1)))


def write_settings(home: Home, databases: Databases) -> None:
    """Suite and topology. Written at each `up`, as a port may have changed."""
    home.expectations.mkdir(exist_ok=True)
    (home.expectations / f"{TABLE}.yaml").write_text(SUITE, encoding="utf-8")
    text = yaml.safe_dump(_topology(databases), sort_keys=False)
    home.topology.write_text(f"# Written by `stationsync up`, at each start.\n{text}", encoding="utf-8")


def initialise_control(home: Home) -> None:
    topology = topology_file.load(home.topology)
    initialise(control_of(topology), [pair for site in SITES for pair in pairs(topology, site.name)])


def _topology(databases: Databases) -> dict[str, Any]:
    table = {
        "key": ["id", "code"],
        "modified": "modify_date",
        "exclude": ["master_id"],
        "expectations": TABLE,
        "conflicts": "merge",
        "deletes": "archive",
    }
    return {
        "control": {"url": databases.url(CONTROL)},
        "defaults": {
            "fleet": "local",
            # So often that a person need not wait.
            "schedule": {"sync": "30s", "reconcile": "10m", "fleet_report": "1m"},
            "stale_after": "3m",
            "work_pool": POOL,
        },
        "tables": {TABLE: table},
        "stations": {site.name: {"url": databases.url(site.name)} for site in SITES},
        "alerts": {
            "channels": {"receiver": {"webhook": f"${{{ALERTS}}}"}},
            "tell": {"offline": {"after": "1m"}},
        },
    }
