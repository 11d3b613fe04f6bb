"""Alerts' blocks and automations as a Prefect server has them: read ours, write what a plan says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from uuid import UUID

import httpx
from prefect.blocks.notifications import MicrosoftTeamsWebhook, SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.filters import AutomationFilter
from prefect.events.schemas.automations import Automation as PrefectAutomation
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.types import SecretDict

from deployments.alerts import MARK, TYPES, Automation, Block, block_prefix, wanted_alerts
from deployments.alerts_plan import AlertPlan, ExistingAutomation, ExistingBlock, compare_alerts
from deployments.api import answering, require_api
from stationsync.errors import SetUpError, UsageError
from stationsync.health.incident_book import DEPLOYED
from stationsync.topology.alerting import ChannelKind
from stationsync.topology.fleet import fleet_of, fleet_tag
from stationsync.topology.model import Topology
from tasks.blocks import secret_block
from tasks.watchdog.tell import tell_of_watchdog

_PLACE = "stationsync deploy"
_PAGE = 200


def look_at_alerts(topology: Topology) -> AlertPlan:
    """Read the server, and say what has to change there of blocks and automations. Changes nothing."""
    url = require_api(_PLACE)
    with answering(url, not_done="Nothing was changed."):
        wanted = wanted_alerts(topology, secret_block)
        for block in wanted.blocks:
            prefect_block(block)
        with get_client(sync_client=True) as client:
            blocks, automations = _blocks(client, fleet_of(topology)), _automations(client, fleet_tag(topology))
            contents = {one.name: _content_or_none(client, one) for one in wanted.automations}
    return compare_alerts(wanted, blocks, automations, contents)


def carry_out_alerts(plan: AlertPlan) -> None:
    """Blocks first, because automations refer to them; what goes, last: cut off in between, an alert is told twice
    rather than not at all. Each change is whole; doing it again does the rest."""
    if not plan.size:
        return
    url, done = require_api(_PLACE), 0
    try:
        with answering(url, not_done=""), get_client(sync_client=True) as client:
            for step in _steps(client, plan):
                step()
                done += 1
    except SetUpError as error:
        not_done = f"All deployments are as the file says; of the alerts, {done:,} of {plan.size:,} changes were made."
        step_again = f"{error.next_step} Then run again: stationsync deploy (it goes on where this one stopped)"
        raise SetUpError(error.place, error.what, not_done=not_done, next_step=step_again) from error


def begin_to_wait(topology: Topology, plan: AlertPlan) -> None:
    """Where the automation that waits for the watchdog is another than before, it waits from now on. After it was
    made: the server's triggers have to know it."""
    made = (*plan.new, *(one for one, _ in plan.changed))
    if any(DEPLOYED in one.trigger.get("after", ()) for one in made):
        with answering(require_api(_PLACE), not_done="All is as the file says, but nobody waits for the watchdog yet."):
            tell_of_watchdog(topology, DEPLOYED)


def _steps(client: SyncPrefectClient, plan: AlertPlan) -> Iterator[Callable[[], object]]:
    yield from (partial(_save, block) for block in plan.blocks)
    yield from (partial(_create, client, one) for one in plan.new)
    yield from (partial(_update, client, one, before) for one, before in plan.changed)
    yield from (partial(_delete, client.delete_automation, gone.id) for gone in (*plan.gone, *plan.doubled))
    yield from (partial(_delete, client.delete_block_document, old.id) for old in plan.gone_blocks)


def _save(block: Block) -> None:
    prefect_block(block).save(block.name, overwrite=True)


def _create(client: SyncPrefectClient, one: Automation) -> None:
    client.create_automation(_core(client, one))


def _update(client: SyncPrefectClient, one: Automation, before: ExistingAutomation) -> None:
    client.update_automation(before.id, _core(client, one).model_copy(update={"enabled": before.enabled}))


def _delete(delete: Callable[[UUID], object], id_: UUID) -> None:
    """Somebody else, who deploys as well, may have deleted it."""
    try:
        delete(id_)
    except ObjectNotFound:
        return
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 404:
            raise


def _blocks(client: SyncPrefectClient, fleet: str) -> list[ExistingBlock]:
    """Never with their secrets."""
    prefix = block_prefix(fleet)
    wanted = {"block_documents": {"name": {"like_": prefix}, "is_anonymous": {"eq_": False}}, "include_secrets": False}
    found: list[dict[str, Any]] = []
    while page := client.request(
        "POST", "/block_documents/filter", json={**wanted, "limit": _PAGE, "offset": len(found)}
    ).json():
        found += page
    ours = [one for one in found if str(one["name"]).startswith(prefix) and one["block_type"]["slug"] in TYPES.values()]
    return [ExistingBlock(f"{one['block_type']['slug']}/{one['name']}", UUID(one["id"])) for one in ours]


def _automations(client: SyncPrefectClient, fleet: str) -> list[ExistingAutomation]:
    ours = AutomationFilter.model_validate({"tags": {"all_": [MARK, fleet]}})
    found: list[PrefectAutomation] = []
    while page := client.read_automations(automations=ours, limit=_PAGE, offset=len(found)):
        found += page
    return [ExistingAutomation(one.name, one.id, _content(one), one.enabled) for one in found]


def _core(client: SyncPrefectClient, one: Automation) -> AutomationCore:
    """With the ids of what it refers to, as they are now. Raises ObjectNotFound."""
    given = {"name": one.name, "description": one.description, "tags": list(one.tags), "trigger": one.trigger}
    actions = [{name: _id_of(client, value) for name, value in action.items()} for action in one.actions]
    return AutomationCore.model_validate({**given, "actions": actions})


def _id_of(client: SyncPrefectClient, value: Any) -> Any:
    match value:
        case {"block": key}:
            kind, _, name = key.partition("/")
            return str(client.read_block_document_by_name(name, kind, include_secrets=False).id)
        case {"deployment": name}:
            return str(client.read_deployment_by_name(name).id)
    return value


def _content_or_none(client: SyncPrefectClient, one: Automation) -> Mapping[str, Any] | None:
    try:
        return _content(_core(client, one))
    except ObjectNotFound:  # what it refers to is about to be made
        return None


def _content(core: AutomationCore) -> Mapping[str, Any]:
    """All that we set of one, in a form that compares."""
    found = AutomationCore.model_validate(core.model_dump()).model_dump(
        mode="json", include={"name", "description", "tags", "trigger", "actions"}
    )
    trigger = found["trigger"]
    for name in ("after", "expect", "for_each"):
        trigger[name] = sorted(trigger.get(name) or ())
    found["tags"] = sorted(found["tags"])
    return found


def prefect_block(block: Block) -> Webhook | SlackWebhook | MicrosoftTeamsWebhook:
    """The block with its address. UsageError, which does not repeat it, where it is none."""
    if block.way is ChannelKind.WEBHOOK:
        if not block.address.get_secret_value().startswith(("http://", "https://")):
            raise _no_address(block, "begins with neither http:// nor https://")
        return Webhook(url=block.address, headers=SecretDict({"Content-Type": "application/json"}))
    kind = MicrosoftTeamsWebhook if block.way is ChannelKind.TEAMS else SlackWebhook
    try:
        made = kind(url=block.address)
    except Exception:  # noqa: BLE001 - its words may quote the address
        made = None
    if made is None or not len(made._apprise_client):
        raise _no_address(block, "is none that Apprise knows")
    return made


def _no_address(block: Block, fault: str) -> UsageError:
    return UsageError(
        f"alerts.channels: {block.name}",
        f"the address of this {block.way} channel {fault}.",
        not_done="Nothing was changed.",
        next_step="Correct what its reference in deployments/stations.yaml refers to.",
    )
