"""Maintenance as Prefect tasks, and what it tells: an artifact, and the state that its run ends in."""

from __future__ import annotations

from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from stationsync.maintenance import prune
from stationsync.maintenance.rule import Maintained
from stationsync.pairing.pair import control_of
from stationsync.topology.model import Topology
from tasks.blocks import secret_block
from tasks.prune_history import prune_history
from tasks.report import fleet_key
from tasks.step import step
from tasks.told import RunLog, leave_table, message


@step("prune-control", "place")
def prune_control(topology: Topology, dry_run: bool, place: str = "fleet") -> Maintained:
    """Control's books, the journal, log files."""
    done = prune.prune(topology, secret_block, dry_run=dry_run)
    RunLog().info("%s", done.summary())
    return done


@task(name="prune-history", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE, persist_result=False)
def prune_prefect(topology: Topology, done: Maintained) -> Maintained:
    """Prefect's runs, with what is theirs; added to what was done so far."""
    old = prune.what_is_old(topology, control_of(topology, secret_block))
    return replace(done, parts=(*done.parts, *prune_history(topology, old, done.dry_run)))


def leave_prune_artifact(topology: Topology, done: Maintained) -> None:
    """The table that the UI shows, with the history of all runs behind it."""
    leave_table(done.lines(), fleet_key(topology, "maintenance"), "maintenance", text=[done.summary()])


def prune_state(done: Maintained) -> State[Maintained]:
    if not done.failed:
        return Completed(message=done.summary(), data=done)
    return Failed(message=message(["; ".join(f"{part.what}: {part.note}" for part in done.parts if part.failed)]))
