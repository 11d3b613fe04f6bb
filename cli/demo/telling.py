"""The telling of a story: chapters that run things, show what came of it, and prove what they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from cli.demo.engine_driver import Driver, Kind
from cli.demo.fleet import DemoFleet
from cli.demo.sample import SITES, Site
from cli.demo.tables import Screen
from stationsync.model.changes import Direction, Report, Status


@dataclass
class Telling:
    screen: Screen
    fleet: DemoFleet
    driver: Driver
    # Claims that did not hold: the demo then ends with 1.
    broken: list[str] = field(default_factory=list)

    @contextmanager
    def chapter(self, number: int, title: str) -> Iterator[None]:
        begun = time.monotonic()
        self.screen.title(f"{number}  {title}")
        yield
        self.screen.seconds(time.monotonic() - begun)

    def run(self, kind: Kind, sites: Sequence[Site] = SITES) -> Runs:
        """Run these stations one after the other, and show what the runs say of themselves."""
        runs = Runs([report for site in sites for report in self.driver.run(kind, site.name)])
        self.screen.reports(runs.reports)
        return runs

    def claim(self, text: str, holds: bool) -> None:
        self.screen.claim(text, holds=holds)
        if not holds:
            self.broken.append(text)


@dataclass(frozen=True)
class Runs:
    reports: list[Report]

    def total(self, field: str) -> int:
        return sum(getattr(report.counts, field) for report in self.reports)

    def written(self, site: Site, way: Direction) -> int:
        return sum(r.counts.applied for r in self.reports if (r.station, r.direction) == (site.name, way))

    def status(self, site: Site) -> set[Status]:
        return {report.status for report in self.reports if report.station == site.name}

    @property
    def nothing_to_do(self) -> bool:
        return all(report.status is Status.NOTHING for report in self.reports)


Chapter = Callable[[Telling], None]
