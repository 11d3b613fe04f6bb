"""What is long by nature: a share in `make test`, the whole in `make soak`, which sets SOAK.

Of the cases of some tests, too, a run of all tests plays a share; who names a folder, a file or a word gets them all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import pytest

SOAK = bool(os.environ.get("SOAK"))

# Where rows are read, merged, sent and kept: what the SQLite dialect is there for. All else only builds on it.
_ROUTES = {"database", "keeping", "maintenance", "pairing", "reconcile", "session", "setup", "sync", "writing"}


def share(part: int, whole: int) -> int:
    """How many of them."""
    return whole if SOAK else part


def is_everything(config: pytest.Config) -> bool:
    """Whether this is a run of all tests."""
    told = getattr(config, "workerinput", {}).get("everything")
    if told is not None:
        return bool(told)
    root = config.rootpath / "tests"
    named = {(config.invocation_params.dir / argument).resolve() for argument in config.args}
    return not config.option.keyword and not config.option.markexpr and named <= {root, config.rootpath}


def left_out(items: Sequence[pytest.Item]) -> set[pytest.Item]:
    """What a run of all tests leaves to `make soak`: of a test that is marked `some(first, of)`, all cases but
    every `of`-th; on SQLite, all cases of a test but one, and away from the routes of the rows all tests
    of a file but one."""
    out: set[pytest.Item] = set()
    seen, known = Counter[object](), dict[str, dict[str, list[object]]]()
    for item in items:
        test = item.nodeid.partition("[")[0]
        if _on_sqlite(item):
            of_one = test if item.path.parent.name in _ROUTES else item.path
            seen["sqlite", of_one] += 1
            if seen["sqlite", of_one] > 1:
                out.add(item)
        elif some := item.get_closest_marker("some"):
            first, of = some.args
            if sum(_places(item, known.setdefault(test, {}))) % of != first:
                out.add(item)
    return out


def _places(item: pytest.Item, known: dict[str, list[object]]) -> list[int]:
    """Of its values among those of each parameter: of combinations, each value then has its share. `known` are the
    values of each so far."""
    spec = getattr(item, "callspec", None)
    if spec is None:
        return []
    values = dict(spec.params)
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0] if isinstance(mark.args[0], (list, tuple)) else mark.args[0].split(",")
        for name in names[1:]:  # they go along with the first
            values.pop(name.strip())
    for name, value in values.items():
        if value not in known.setdefault(name, []):
            known[name].append(value)
    return [known[name].index(value) for name, value in values.items()]


def _on_sqlite(item: pytest.Item) -> bool:
    spec = getattr(item, "callspec", None)
    return spec is not None and spec.params.get("databases") == "sqlite"
