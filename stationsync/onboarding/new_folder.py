"""`new`: the folder of a fleet of one's own: stations.yaml without stations and tables, an example of a suite, and the
settings of its environment. The texts are pure; nothing is written over."""

from __future__ import annotations

import shlex
from pathlib import Path

from stationsync.onboarding import files
from stationsync.topology.editing import scalar
from stationsync.topology.positions import ENVIRONMENT
from stationsync.topology.topology_file import HERE

SETTINGS = Path("stationsync.env")
EXAMPLE = Path("expectations") / "example.yaml"

_TOPOLOGY = """\
# A fleet: control, the stations, and how their tables are synchronised.
#
# stationsync add-station NAME URL --password REFERENCE     adds a station
# stationsync add-table TABLE --from STATION                adds a table, after a look at it
# stationsync check                                         finds what is missing; all faults of this file, with lines
#
# Both put their lines in and leave everything else as it is, so edit and comment as you like. Every option there is
# stands explained in deployments/stations.yaml of the checkout.

# The database that holds the rows of all stations.
control:
  url: {url}
{password}
# What holds for every station that does not say otherwise.
defaults:
  # Runs by themselves begin once a worker is at work: stationsync deploy, stationsync worker.
  schedule:
    sync: 5m
    reconcile: "30 3 * * *"     # finds deletes, and changes that did not touch `modified`
  work_pool: central            # the Prefect work pool whose workers run this fleet
  stale_after: 15m              # a table without a good run for so long raises an alert

# What moved, and what it replaced, is kept as files in the folder `journal` beside this one for 168 hours.
# journal: off

tables:

stations:
"""
_REFERENCE = """\
  # A reference, never the password itself: ${ENV}, ${file:/path} or ${secret:prefect-block}.
  password: %s
"""
_WITHOUT = """\
  # password: ${CONTROL_PASSWORD}   # a reference, never the password itself
"""
_SUITE = """\
# An example of a suite: what a row must be. `stationsync add-table` drafts one for each table, from its rows.
# A table names its suite: `expectations: example`; without one, its rows are not validated.
#
#   severity: critical (where nothing is said)  the row goes to quarantine with the reason, the others go on.
#   severity: warning                           nothing is held back; the run reports it.

name: example

expectations:
  - type: expect_column_values_to_not_be_null
    kwargs:
      column: code

  # A regex is searched for, so anchor it at both ends.
  - type: expect_column_values_to_match_regex
    description: has other characters than letters, digits and . _ -
    kwargs:
      column: code
      regex: '^[A-Za-z0-9][A-Za-z0-9._-]*$'

  - type: expect_column_values_to_be_between
    severity: warning
    kwargs:
      column: price
      min_value: 0
"""
_SETTINGS = """\
# The environment of this fleet, as EnvironmentFile of a systemd unit, and for a shell:
#   set -a; . {file}; set +a
# Commands that are typed in this folder need none of it but the passwords.
{variable}={topology}

# The passwords that stations.yaml refers to as ${{NAME}}. Better in a file that only its user may read:
# password: ${{file:/path}}. None is ever written here.
{passwords}"""


def texts(folder: Path, url: str, password: str | None) -> dict[Path, tuple[str, int]]:
    """The files of the folder, with their rights."""
    folder = folder.absolute()
    reference = _REFERENCE % password if password else _WITHOUT
    settings = _SETTINGS.format(
        file=shlex.quote(str(folder / SETTINGS)),
        variable=ENVIRONMENT,
        topology=shlex.quote(str(folder / HERE)),
        passwords=_passwords(password),
    )
    return {
        folder / HERE: (_TOPOLOGY.format(url=scalar(url), password=reference), files.SHARED),
        folder / EXAMPLE: (_SUITE, files.SHARED),
        folder / SETTINGS: (settings, files.PRIVATE),
    }


def _passwords(reference: str | None) -> str:
    name = reference[2:-1] if reference and ":" not in reference else "CONTROL_PASSWORD"
    return f"# {name}=\n"
