"""The list of `make mutants` fits the product as it is. Running them takes minutes, and is no part of `make test`."""

from __future__ import annotations

import mutants
import pytest
from support.paths import ROOT


@pytest.mark.parametrize("mutant", mutants.mutants(), ids=lambda one: one.name)
def test_a_mutant_has_its_place_and_its_tests(mutant: mutants.Mutant) -> None:
    assert not mutants.misplaced(mutant), f"not once in {mutant.file}"
    assert [name for name in mutant.tests if not (ROOT / name).exists()] == []
    assert mutant.new != mutant.old
