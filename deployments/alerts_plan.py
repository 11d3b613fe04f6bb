"""What has to change of alerts on a Prefect server. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from deployments.alerts import Automation, Block, WantedAlerts


@dataclass(frozen=True)
class ExistingBlock:
    key: str
    id: UUID


@dataclass(frozen=True)
class ExistingAutomation:
    """`content` as `as_content` makes it; `enabled` is what people set, and stays."""

    name: str
    id: UUID
    content: Mapping[str, Any]
    enabled: bool = True


@dataclass(frozen=True)
class AlertPlan:
    blocks: tuple[Block, ...] = ()
    new: tuple[Automation, ...] = ()
    changed: tuple[tuple[Automation, ExistingAutomation], ...] = ()
    gone: tuple[ExistingAutomation, ...] = ()
    # A second one of a name.
    doubled: tuple[ExistingAutomation, ...] = ()
    gone_blocks: tuple[ExistingBlock, ...] = ()
    renewed: frozenset[str] = frozenset()
    unchanged: int = 0

    @property
    def size(self) -> int:
        goes = len(self.gone) + len(self.doubled) + len(self.gone_blocks)
        return len(self.blocks) + len(self.new) + len(self.changed) + goes

    def lines(self) -> Iterator[str]:
        for block in self.blocks:
            sign, why = ("~", "another address") if block.key in self.renewed else ("+", str(block.way))
            yield f"{sign} block {block.key}: {why}"
        yield from (f"+ automation {one.name}" for one in self.new)
        yield from (f"~ automation {one.name}" for one, _ in self.changed)
        yield from (f"- automation {one.name}: deleted" for one in self.gone)
        yield from (f"- automation {one.name}: deleted, it is there twice" for one in self.doubled)
        yield from (f"- block {one.key}: deleted" for one in self.gone_blocks)

    def as_dict(self) -> dict[str, Any]:
        return {
            "blocks": [one.key for one in self.blocks],
            "automations": [one.name for one in (*self.new, *(one for one, _ in self.changed))],
            "deleted": [*(one.name for one in (*self.gone, *self.doubled)), *(one.key for one in self.gone_blocks)],
            "unchanged": self.unchanged,
        }


def compare_alerts(
    wanted: WantedAlerts,
    blocks: Sequence[ExistingBlock],
    automations: Sequence[ExistingAutomation],
    contents: Mapping[str, Mapping[str, Any] | None],
) -> AlertPlan:
    """`blocks` and `automations`: ours on the server. `contents`: of each wanted automation, with ids; None where one
    of those is not there yet."""
    there, needed = {one.key for one in blocks}, {one.key for one in wanted.blocks}
    # Prefect takes two of one name, as two people make them at once, or a request whose answer was lost. All agree
    # on the one that stays: the last of a sorted list.
    known = {one.name: one for one in sorted(automations, key=lambda one: one.id)}
    described = " ".join(str(one.content.get("description")) for one in automations)
    # Its fingerprint stands in the description of the automation that uses it.
    new_blocks = [one for one in wanted.blocks if one.key not in there]
    renewed = [one for one in wanted.blocks if one.key in there and one.fingerprint not in described]
    both = [(one, known[one.name]) for one in wanted.automations if one.name in known]
    changed = tuple((one, before) for one, before in both if contents[one.name] != before.content)
    names = {one.name for one in wanted.automations}
    return AlertPlan(
        blocks=(*new_blocks, *renewed),
        new=tuple(one for one in wanted.automations if one.name not in known),
        changed=changed,
        gone=tuple(one for one in automations if one.name not in names),
        doubled=tuple(one for one in automations if one.name in names and one is not known[one.name]),
        gone_blocks=tuple(one for one in blocks if one.key not in needed),
        renewed=frozenset(one.key for one in renewed),
        unchanged=len(wanted.blocks) - len(new_blocks) - len(renewed) + len(both) - len(changed),
    )
