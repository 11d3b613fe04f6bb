"""What `alerts:` of stations.yaml may say: channels, what each is told, and from which limit on. Frozen values.

A channel's address is a secret: only a reference to it stands in the file, and only `stationsync deploy` reads it."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from stationsync.model.amounts import parse_size
from stationsync.topology.notation import Columns, Duration, Frozen
from stationsync.topology.secrets import FORMS, is_reference


class IncidentKind(StrEnum):
    """What can be wrong. The last ones are the fleet's, and of no station."""

    FAILED = "failed"
    CRASHED = "crashed"
    STALE = "stale"
    OFFLINE = "offline"
    QUARANTINE = "quarantine"
    CONFLICTS = "conflicts"
    BRAKE = "brake"
    SKEW = "skew"
    DISK = "disk"
    SIZE = "size"
    CONTROL = "control"
    WATCHDOG = "watchdog"


_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


class Free(Frozen):
    """How much of a disk has to be free: a share, or so many bytes."""

    percent: float | None = None
    size: int | None = None

    @classmethod
    def parse(cls, value: object) -> Free:
        if isinstance(value, Free):
            return value
        if (match := _SHARE.fullmatch(str(value).strip())) and float(match[1]) <= 100:
            return cls(percent=float(match[1]))
        try:
            return cls(size=parse_size(value))
        except ValueError:
            raise ValueError('write a percentage such as "10%", or a size such as 20GB') from None

    def needed(self, total: int) -> int:
        return self.size if self.size is not None else int(total * (self.percent or 0) / 100)


class AlertRule(Frozen):
    """`after`: it is told when it has lasted so long."""

    after: Duration = timedelta(0)


class OfflineRule(AlertRule):
    after: Duration = timedelta(hours=1)


class WatchdogRule(AlertRule):
    """No good run of the watchdog for so long."""

    after: Annotated[Duration, Field(ge=timedelta(seconds=10))] = timedelta(minutes=5)


class RowsRule(AlertRule):
    rows: Annotated[int, Field(ge=1)] = 1


class ConflictsRule(RowsRule):
    """So many rows in conflict within this time; over when there were fewer for as long."""

    within: Annotated[Duration, Field(ge=timedelta(minutes=1))] = timedelta(hours=1)


class DiskRule(AlertRule):
    free: Annotated[Free, BeforeValidator(Free.parse)] = Free(percent=10)


class SizeRule(AlertRule):
    """Of control's database; nothing is told where nobody says what is much."""

    over: Annotated[int, BeforeValidator(parse_size)]


class Tell(Frozen):
    """What is told, one field a kind; None: it is not."""

    failed: AlertRule | None = AlertRule()
    crashed: AlertRule | None = AlertRule()
    stale: AlertRule | None = AlertRule()
    offline: OfflineRule | None = OfflineRule()
    quarantine: RowsRule | None = RowsRule()
    conflicts: ConflictsRule | None = ConflictsRule()
    brake: AlertRule | None = AlertRule()
    skew: AlertRule | None = AlertRule()
    disk: DiskRule | None = DiskRule()
    size: SizeRule | None = None
    control: AlertRule | None = AlertRule()
    watchdog: WatchdogRule | None = WatchdogRule()

    def rule(self, kind: IncidentKind) -> AlertRule | None:
        found: AlertRule | None = getattr(self, kind.value)
        return found


class ChannelKind(StrEnum):
    """How a channel reaches people. Of all but `log` it says the reference to the address."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    TEAMS = "teams"
    EMAIL = "email"
    APPRISE = "apprise"
    LOG = "log"


class Channel(Frozen):
    """One receiver. Without `kinds`, `groups` and `stations` it is told everything; what is of no station, always."""

    webhook: SecretStr | None = None
    slack: SecretStr | None = None
    teams: SecretStr | None = None
    email: SecretStr | None = None
    apprise: SecretStr | None = None
    log: dict[str, Any] | None = None
    kinds: tuple[IncidentKind, ...] = ()
    groups: Columns = ()
    stations: Columns = ()

    @model_validator(mode="after")
    def _one_way(self) -> Channel:
        ways = [way for way in ChannelKind if getattr(self, way.value) is not None]
        if len(ways) != 1:
            raise ValueError(f"write one of {', '.join(ChannelKind)}")
        address = self.address
        if address is not None and not is_reference(address.get_secret_value()):
            raise ValueError(f"an address is a secret: write a reference, {FORMS}")
        return self

    @property
    def way(self) -> ChannelKind:
        return next(way for way in ChannelKind if getattr(self, way.value) is not None)

    @property
    def address(self) -> SecretStr | None:
        """The reference to it."""
        found = getattr(self, self.way.value)
        return found if isinstance(found, SecretStr) else None

    def takes(self, kind: IncidentKind, station: str, group: str | None) -> bool:
        if self.kinds and kind not in self.kinds:
            return False
        if not station or not (self.groups or self.stations):
            return True
        return station in self.stations or (group is not None and group in self.groups)


class Alerts(Frozen):
    channels: dict[str, Channel] = Field(default_factory=dict)
    tell: Tell = Tell()
