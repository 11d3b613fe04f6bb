"""The engine against random histories: the two sides always converge, and no write is ever lost."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.databases import MariaDBDatabases, SQLiteDatabases
from support.histories import Stage
from support.share import share

from stationsync.model.changes import Policy

SEEDS = st.integers(0, 2**32 - 1)
SKEWS = st.sampled_from([0, 600, -600])
_SETTINGS: dict[str, Any] = {
    "suppress_health_check": [HealthCheck.too_slow],
    "database": None,
    "phases": [Phase.generate],  # a seed does not shrink
}


@pytest.mark.parametrize(
    ("policy", "editable"), [*((policy, None) for policy in Policy), (Policy.NEWEST, ["a"]), (Policy.CONTROL, ["a"])]
)
def test_no_history_loses_a_write_on_sqlite(
    tmp_path: Path, policy: Policy, editable: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`editable`: control keeps to the columns that it may edit."""
    stage = Stage(SQLiteDatabases(tmp_path), policy, monkeypatch, editable)

    @settings(max_examples=share(2, 10), **_SETTINGS)
    @given(seed=SEEDS, skew=SKEWS)
    def holds(seed: int, skew: int) -> None:
        stage.play(Random(seed), skew, steps=14)

    holds()


@pytest.mark.parametrize("policy", list(Policy))
def test_no_history_loses_a_write_on_mariadb(
    mariadb_databases: MariaDBDatabases, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(mariadb_databases, policy, monkeypatch)

    @settings(max_examples=share(2, 5), **_SETTINGS)
    @given(seed=SEEDS, skew=SKEWS)
    def holds(seed: int, skew: int) -> None:
        stage.play(Random(seed), skew, steps=10)

    holds()
