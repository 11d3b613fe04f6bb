"""The shortest history that still fails: parts are left out as long as it does (delta debugging, bounded by time)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from cli.drill.history import CONTROL, History, Link, Permute, Run, Setting, Step, Write

T = TypeVar("T")
Fails = Callable[[History], bool]


def shrink(history: History, fails: Fails, seconds: float) -> History:
    """`fails` plays a history; whatever is returned did fail."""
    limit = time.monotonic() + seconds

    def tried(candidate: History) -> bool:
        return time.monotonic() < limit and fails(candidate)

    if tried(candidate := in_order(history)):
        history = candidate
    while time.monotonic() < limit:
        before = history
        history = _without_steps(history, tried)
        history = _simpler(history, tried)
        if history == before:
            break
    return history


def in_order(history: History) -> History:
    """With nothing in threads: what fails then does so every time."""
    return dataclasses.replace(history, steps=tuple(_in_order(step) for step in history.steps))


def _in_order(step: Step) -> Step:
    if isinstance(step, Write):
        return dataclasses.replace(step, waits=False)
    if isinstance(step, Run):
        points = tuple(dataclasses.replace(point, do=_in_order(point.do)) for point in step.points)
        blocked = tuple(_in_order(inner) for inner in step.blocked)
        return dataclasses.replace(step, threaded=False, points=points, blocked=blocked)
    return step


def without(items: Sequence[T], size: int) -> Iterator[tuple[T, ...]]:
    """`items` without each run of `size` of them, the last ones first."""
    for end in range(len(items), 0, -size):
        yield (*items[: max(0, end - size)], *items[end:])


def _without_steps(history: History, fails: Fails) -> History:
    """Halves first, then smaller parts, the last ones first: what comes late is mostly not needed."""
    size = max(1, len(history.steps) // 2)
    while True:
        end = len(history.steps)
        while end > 0:
            steps = history.steps[: max(0, end - size)] + history.steps[end:]
            candidate = dataclasses.replace(history, steps=steps)
            if fails(candidate):
                history = candidate
            end -= size
        if size == 1:
            return history
        size //= 2


def _first(history: History, candidates: Iterator[History], fails: Fails) -> History | None:
    return next((one for one in candidates if one != history and fails(one)), None)


def _simpler(history: History, fails: Fails) -> History:
    """The same with less in a step, or a simpler setting."""
    for simpler in _settings(history.setting):
        steps = _without_strangers(history.steps, simpler)
        candidate = dataclasses.replace(history, setting=simpler, steps=steps)
        if fails(candidate):
            history = candidate
    for i in range(len(history.steps)):
        shorter: History | None = history
        while shorter is not None:
            history = shorter
            shorter = _first(history, (_put(history, i, step) for step in _steps(history.steps[i])), fails)
    return history


def _put(history: History, i: int, step: Step) -> History:
    return dataclasses.replace(history, steps=(*history.steps[:i], step, *history.steps[i + 1 :]))


def _settings(setting: Setting) -> Iterator[Setting]:
    for change in (
        {"stations": 2},
        {"stations": 1},
        {"suite": False},
        {"fraction": False},
        {"edits_last": False},
        {"created": False},
        {"seats": False},
        {"links": False},
        {"excluded": False},
        {"zone": ""},
        {"answer": "trust"},
        {"deletes": "ignore"},
        {"page_rows": 50},
    ):
        simpler = dataclasses.replace(setting, **change)
        if simpler != setting and simpler.stations <= setting.stations:
            yield simpler


def _without_strangers(steps: Sequence[Step], setting: Setting) -> tuple[Step, ...]:
    """Without what stations do that are not there any more."""
    known = {CONTROL, "", *setting.names}
    kept = []
    for step in steps:
        if getattr(step, "side", getattr(step, "station", "")) not in known:
            continue
        if isinstance(step, Run):
            points = tuple(point for point in step.points if _without_strangers([point.do], setting))
            step = dataclasses.replace(step, points=points, blocked=_without_strangers(step.blocked, setting))
        kept.append(step)
    return tuple(kept)


def _steps(step: Step) -> Iterator[Step]:
    if isinstance(step, Run):
        yield from (dataclasses.replace(step, points=points) for points in without(step.points, 1))
        yield from (dataclasses.replace(step, blocked=blocked) for blocked in without(step.blocked, 1))
        if step.threaded:
            yield dataclasses.replace(step, threaded=False)
        if step.what == "sync":
            yield from (dataclasses.replace(step, what=what) for what in ("pull", "push"))
        for i, point in enumerate(step.points):
            for inner in _steps(point.do):
                points = (*step.points[:i], dataclasses.replace(point, do=inner), *step.points[i + 1 :])
                yield dataclasses.replace(step, points=points)
    elif isinstance(step, Write):
        plain = Write(step.side, step.key, step.columns[:1])
        for name in ("columns", "late", "stamped", "form", "cut", "tx", "waits"):
            if getattr(step, name) != getattr(plain, name):
                yield dataclasses.replace(step, **{name: getattr(plain, name)})
    elif isinstance(step, Permute | Link):
        yield from (dataclasses.replace(step, keys=keys) for keys in without(step.keys, 1) if keys)
