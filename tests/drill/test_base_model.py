"""The rules as a model: no history of what real sites do loses a write, and without any part of the rule some do."""

from __future__ import annotations

import pytest
from support.base_model import KEEPS, World

POLICIES = ("newest", "station", "control", "merge")


@pytest.mark.parametrize("skew", [0, -600])
@pytest.mark.parametrize("policy", POLICIES)
def test_no_history_of_the_model_loses_a_write(policy: str, skew: int) -> None:
    for seed in range(60):
        assert World(seed, policy, skew=skew).play() == [], (seed, policy, skew)


@pytest.mark.parametrize("fault", KEEPS)
def test_the_model_finds_a_part_of_the_rule_that_is_missing(fault: str) -> None:
    assert any(World(seed, without=fault).play() for seed in range(150))
