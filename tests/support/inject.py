"""What happens between two steps of a run: an action before or after a step, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from stationsync.session.session import Session
from stationsync.sync import push, runs
from stationsync.sync.send import Sent

Action = Callable[[], object]


def before_merge(action: Action) -> dict[str, Callable[..., Any]]:
    """Steps of a pull in which `action` comes between the reading of the first page and its merge."""
    return {"merge": _once_before(runs.plain_steps().merge, action)}


def after_merge(action: Action, times: int = 1) -> dict[str, Callable[..., Any]]:
    """Steps of a pull in which `action` comes after the merge of page number `times`."""
    merge, left = runs.plain_steps().merge, [None] * times

    def step(*args: Any) -> Any:
        counts = merge(*args)
        if left and left.pop() is None and not left:
            action()
        return counts

    return {"merge": step}


def before_send(monkeypatch: pytest.MonkeyPatch, action: Action) -> None:
    """`action` comes between a push's reading of edits at control and its writing at the station."""
    _around_send(monkeypatch, before=[action], after=[])


def before_settle(monkeypatch: pytest.MonkeyPatch, action: Action) -> None:
    """`action` comes between a push's writing at the station and its writing at control."""
    _around_send(monkeypatch, before=[], after=[action])


def _around_send(monkeypatch: pytest.MonkeyPatch, before: list[Action], after: list[Action]) -> None:
    """Once, at the first page that has something to send."""
    send = push.send

    def step(session: Session, old: pa.Table, new: pa.Table, travels: Sequence[bool]) -> Sent:
        if any(travels) and before:
            before.pop()()
        sent = send(session, old, new, travels)
        if any(travels) and after:
            after.pop()()
        return sent

    monkeypatch.setattr(push, "send", step)


def _once_before(step: Callable[..., Any], action: Action) -> Callable[..., Any]:
    todo = [action]

    def with_action(*args: Any) -> Any:
        if todo:
            todo.pop()()
        return step(*args)

    return with_action


def ago(seconds: float) -> str:
    """A stamp: so many seconds before now, in UTC."""
    return str(datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(seconds=seconds))
