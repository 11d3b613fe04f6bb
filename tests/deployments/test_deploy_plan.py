"""What a topology wants on a Prefect server, what has to change there, and what speaks against it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from deployments import settings
from deployments.kinds import EVERY, FLEET, Kind
from deployments.objections import NOTHING, Allowed
from deployments.plan import Existing, Plan, compare
from deployments.server import job_variables
from deployments.wanted import BEAT, Deployment, wanted
from stationsync.errors import Refused, UsageError
from stationsync.topology.fleet import digest, fleet_of
from stationsync.topology.model import Topology
from stationsync.topology.topology_file import from_mapping

LOOK = Kind("fleet-report", None, "Looks at all stations.")
SCHEMAS: Mapping[str, Mapping[str, Any]] = {kind.name: {"title": kind.name} for kind in (*EVERY, LOOK)}
CENTRAL = {"work_pool": "central", "schedule": {"sync": "5m", "reconcile": "30 3 * * *"}}


@pytest.fixture(autouse=True)
def _stations_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests count are the stations' deployments."""
    monkeypatch.setattr("deployments.wanted.FLEET", ())


def topology(*stations: str, control: str = "hq", own: Mapping[str, Any] | None = None, **defaults: Any) -> Topology:
    """Stations a, b, … each on a host of its name; `own` is what the first says of itself."""
    rows: dict[str, Any] = {name: {"url": f"mysql+pymysql://u@{name}/shop"} for name in stations}
    rows[stations[0]].update(own or {})
    return from_mapping(
        {
            "control": {"url": f"mysql+pymysql://u@{control}/all"},
            "defaults": {**CENTRAL, **defaults},
            "tables": {"orders": {"key": ["id"], "modified": "changed"}},
            "stations": rows,
        }
    )


def wants(of: Topology) -> dict[str, Deployment]:
    return {one.name: one for one in wanted(of, SCHEMAS)}


def server(of: Topology) -> list[Existing]:
    """A server on which this topology is deployed."""
    return [Existing(one) for one in wants(of).values()]


def plan(
    to: Topology, found: list[Existing], pools: tuple[str, ...] = ("central",), allowed: Allowed = NOTHING
) -> Plan:
    return compare(fleet_of(to), list(wants(to).values()), found, pools, allowed)


def refused(to: Topology, found: list[Existing], pools: tuple[str, ...] = ("central",)) -> Refused:
    with pytest.raises(Refused) as caught:
        plan(to, found, pools)
    assert caught.value.not_done == "Nothing was changed."
    assert caught.value.exit_code == 1
    return caught.value


STATION = ("sync", "pull", "push", "reconcile", "backfill")


# What is wanted


def test_each_station_has_its_deployments_and_a_schedule_where_the_topology_names_one() -> None:
    found = {name: one for name, one in wants(topology("a", "b")).items() if one.tagged("station")}
    assert list(found) == [f"{kind}/{name}" for name in "ab" for kind in STATION]
    assert {name for name, one in found.items() if one.schedules} == {
        f"{kind}/{name}" for kind in ("sync", "reconcile") for name in "ab"
    }
    for one in found.values():
        assert (one.entrypoint, one.parameters) == (f"flows.{one.kind}.{one.kind}", {"station": one.station})
        collision = "ENQUEUE" if one.kind == "backfill" else "CANCEL_NEW"
        assert (one.limit, one.collision, one.work_pool, one.work_queue) == (1, collision, "central", None)
        assert ("Runs when somebody starts it" in one.description) is not bool(one.schedules)


def test_the_tags_say_whose_what_and_which_way() -> None:
    found = wants(topology("a", own={"group": "remote"}))
    tags = {
        name: {tag for tag in one.tags if not tag.startswith(("database:", "control:"))} for name, one in found.items()
    }
    common = {"stationsync", "fleet:hq/all", "station:a", "group:remote"}
    assert tags == {
        "sync/a": common | {"direction:both"},
        "pull/a": common | {"direction:up"},
        "push/a": common | {"direction:down"},
        "reconcile/a": common | {"direction:both"},
        "backfill/a": common | {"direction:up"},
    }


@pytest.mark.parametrize(
    ("defaults", "name", "pool", "every"),
    [
        ({}, "fleet-report/fleet", "central", "every 5m"),
        ({"fleet": "north", "schedule": {"fleet_report": "1h"}}, "fleet-report/north", "central", "every 1h"),
        # A deployment's name has no slash.
        ({"fleet": "hq/all", "schedule": {"fleet_report": "1h"}}, "fleet-report/hq-all", "central", "every 1h"),
        ({"schedule": {"fleet_report": None}}, "fleet-report/fleet", "central", None),
    ],
)
def test_the_fleet_has_deployments_of_its_own(
    defaults: dict[str, Any], name: str, pool: str, every: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.wanted.FLEET", (LOOK,))
    of = topology("a", **defaults)
    *_, last = wants(of).values()
    assert (last.name, last.entrypoint) == (name, "flows.fleet_report.fleet_report")
    assert (last.work_pool, [str(timing) for timing in last.schedules]) == (pool, [every] if every else [])
    assert last.parameters == {}
    assert last.tags == {"stationsync", f"fleet:{fleet_of(of)}", f"control:{digest(of.control)}"}


def test_without_a_default_pool_the_fleet_s_runs_wait_where_most_stations_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.wanted.FLEET", (LOOK,))
    rows = {
        name: {"url": f"mysql+pymysql://u@{name}/shop", "work_pool": "sea" if name > "a" else "yard"} for name in "abc"
    }
    data = {
        "control": {"url": "mysql+pymysql://u@hq/all"},
        "tables": {"orders": {"key": ["id"], "modified": "changed"}},
        "stations": rows,
    }
    assert wants(from_mapping(data))["fleet-report/fleet"].work_pool == "sea"


def test_a_schedule_that_goes_on_is_one_deployment_of_its_stations() -> None:
    every = {"sync": {"every": "5s", "run": "10m"}, "reconcile": "1h"}
    found = wants(topology("a", "b", "c", schedule=every, fleet="ours", own={"schedule": {"sync": "5m"}}))
    one = found["continuous/ours"]
    assert (one.parameters, one.limit, one.work_pool) == ({"name": "ours"}, None, "central")
    assert [str(timing) for timing in one.schedules] == ["every 10m"]
    assert "2 stations" in one.description
    # Its stations have no runs of their own for it, but somebody may start them.
    scheduled = {name for name, deployment in found.items() if deployment.schedules}
    assert {"sync/b", "sync/c"} & scheduled == set()
    assert {"sync/a", "reconcile/b"} <= scheduled

    # Deployed twice, nothing changes; taken out, it is retired and the stations' own schedules are back.
    of = topology("a", "b", "c", schedule=every, fleet="ours")
    assert plan(of, server(of)).size == 0
    back = plan(topology("a", "b", "c", fleet="ours"), server(of))
    assert [gone.deployment.name for gone in back.retired] == ["continuous/ours"]
    assert {change.to.name for change in back.changed} == {"sync/a", "sync/b", "sync/c"} | {
        f"reconcile/{name}" for name in "abc"
    }


def test_a_cron_runs_in_the_time_zone_of_the_defaults() -> None:
    (timing,) = wants(topology("a", timezone="Asia/Seoul"))["reconcile/a"].schedules
    assert (timing.timezone, timing.every) == ("Asia/Seoul", None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql+pymysql://u@HQ/all", "hq/all"),
        ("mysql+pymysql://other@hq:3306/all", "hq/all"),
        ("mysql+pymysql://u@hq:3307/all", "hq:3307/all"),
    ],
)
def test_without_a_name_a_fleet_is_called_as_control_s_database_is(url: str, expected: str) -> None:
    data = {
        "control": {"url": url},
        "tables": {"orders": {"key": ["id"], "modified": "changed"}},
        "stations": {"a": {"url": "mysql+pymysql://u@a/shop"}},
    }
    assert fleet_of(from_mapping(data)) == expected
    assert fleet_of(from_mapping({**data, "defaults": {"fleet": "north"}})) == "north"


def test_a_station_without_a_work_pool_is_refused() -> None:
    with pytest.raises(UsageError, match="no work pool") as caught:
        wants(topology("a", "b", work_pool=None))
    assert (caught.value.place, caught.value.exit_code) == ("stations.a", 2)
    assert "work_pool: NAME" in caught.value.next_step


# What changes


def test_an_empty_server_gets_all_and_a_deployed_one_nothing() -> None:
    fleet = topology("a", "b")
    assert [one.name for one in plan(fleet, []).new] == list(wants(fleet))
    assert plan(fleet, server(fleet)) == Plan(unchanged=10)


ALL = ("sync/a", "pull/a", "push/a", "reconcile/a", "backfill/a")
CHANGES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "interval": ({"schedule": {"sync": "10m"}}, {"sync/a": "every 10m (was every 5m)"}),
    "ad hoc": (
        {"schedule": {"reconcile": None}},
        {"reconcile/a": "description, no schedule (was at 40 3 * * * UTC)"},
    ),
    "pool": ({"work_pool": "dmz"}, dict.fromkeys(ALL, "work pool dmz (was central)")),
    "queue": ({"work_queue": "q"}, dict.fromkeys(ALL, "work queue q (was default)")),
    "group": ({"group": "r"}, dict.fromkeys(ALL, "+group:r")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_told_in_words(name: str) -> None:
    own, expected = CHANGES[name]
    found = plan(topology("a", "b", own=own), server(topology("a", "b")), ("central", "dmz"))
    assert {change.to.name: ", ".join(change.what) for change in found.changed} == expected
    assert (found.new, found.retired, found.unchanged) == ((), (), 10 - len(expected))


def test_a_station_taken_out_is_retired_once_and_comes_back() -> None:
    both, one = topology("a", "b"), topology("a")
    gone = plan(one, server(both))
    assert [each.deployment.name for each in gone.retired] == [
        "sync/b",
        "pull/b",
        "push/b",
        "reconcile/b",
        "backfill/b",
    ]
    after = [dataclasses.replace(each, retired=each.deployment.station == "b") for each in server(both)]
    assert plan(one, after) == Plan(unchanged=5)
    back = plan(both, after)
    assert {change.to.station for change in back.changed} == {"b"}
    assert {change.what for change in back.changed} == {("in use again (was retired)",)}


def test_another_fleet_and_foreign_deployments_are_left_alone() -> None:
    foreign = dataclasses.replace(wants(topology("x"))["sync/x"], tags=frozenset(), entrypoint="theirs.sync")
    there = [*server(topology("c", "d", control="elsewhere")), Existing(foreign)]
    found = plan(topology("a"), there)
    assert (len(found.new), found.changed, found.retired) == (5, (), ())


def test_what_was_registered_by_hand_from_our_flow_is_taken_over() -> None:
    fleet = topology("a")
    by_hand = [Existing(dataclasses.replace(one, tags=frozenset({"station:a"}))) for one in wants(fleet).values()]
    found = plan(fleet, by_hand)
    assert len(found.changed) == 5
    assert all(change.what[0] == "taken over (was registered by hand)" for change in found.changed)


def test_another_version_of_the_server_is_told_and_another_major_one_is_unusable() -> None:
    assert settings.other_version("3.8.1", "3.8.8") == ""
    assert settings.other_version(None, "3.8.8") == ""
    assert "older than ours, 3.8.8: upgrade it before its clients" in settings.other_version("3.4.20", "3.8.8")
    assert "tested with 3.8.8" in settings.other_version("3.10.0", "3.8.8")
    unusable = [there for there in ("2.20.26", "4.0", "nonsense") if settings.unusable_version(there, "3.8.8")]
    assert unusable == ["2.20.26", "4.0", "nonsense"]
    assert not settings.unusable_version("3.10.0", "3.8.8")
    assert not settings.unusable_version(None, "3.8.8")


# What speaks against it


def test_missing_work_pools_are_refused_with_the_command_or_created() -> None:
    fleet = topology("a", "b", "c", own={"work_pool": "the dmz"})
    error = refused(fleet, [], pools=())
    assert "no work pool central (for b, c)" in error.what
    assert "prefect work-pool create central --type process" in error.next_step
    assert "prefect work-pool create 'the dmz' --type process" in error.next_step
    assert plan(fleet, [], pools=(), allowed=Allowed(create_pools=True)).pools == ("central", "the dmz")


def test_a_name_that_another_fleet_has_is_refused() -> None:
    error = refused(topology("a"), server(topology("a", "b", control="old-hq")))
    assert "of the fleet old-hq/all, while this topology is the fleet hq/all" in error.what
    assert "fleet: old-hq/all" in error.next_step


def test_two_controls_with_one_fleet_s_name_are_refused_unless_control_has_moved() -> None:
    before, to = server(topology("a", "b", control="old-hq")), topology("a", "b", fleet="old-hq/all")
    error = refused(to, before)
    assert "the fleet old-hq/all is on this server already, with another control database" in error.what
    assert "give it a name of its own" in error.next_step
    # Also where they have no station in common: it would retire the other's.
    assert "another control database" in refused(topology("c", fleet="old-hq/all"), before).what
    moved = plan(to, before, allowed=Allowed(moved=True))
    assert (len(moved.changed), moved.new, moved.retired) == (10, (), ())
    # What was deployed before there was such a tag is the fleet's own.
    untagged = [dataclasses.replace(one, deployment=_without_control(one.deployment)) for one in before]
    assert len(plan(to, untagged).changed) == 10


def _without_control(one: Deployment) -> Deployment:
    return dataclasses.replace(one, tags=frozenset(tag for tag in one.tags if not tag.startswith("control:")))


def test_a_foreign_deployment_of_the_name_is_refused() -> None:
    fleet = topology("a")
    foreign = dataclasses.replace(wants(fleet)["sync/a"], tags=frozenset({"theirs"}), entrypoint="theirs.py:sync")
    assert "sync/a: not registered by stationsync" in refused(fleet, [Existing(foreign)]).what


def test_a_renamed_station_is_refused_unless_allowed() -> None:
    before = server(topology("a", "b"))
    to = with_url(topology("a", "c"), "c", "mysql+pymysql://other@B:3306/shop")
    error = refused(to, before)
    assert "c has the database of b: renamed?" in error.what
    assert "Give it its name b again" in error.next_step
    retired = [dataclasses.replace(one, retired=one.deployment.station == "b") for one in before]
    assert "renamed?" in refused(to, retired).what
    allowed = plan(to, before, allowed=Allowed(renamed=True))
    assert {one.station for one in allowed.new} == {"c"}
    assert {one.deployment.station for one in allowed.retired} == {"b"}


def test_many_stations_that_are_gone_at_once_are_refused_unless_allowed() -> None:
    names = [f"s{n}" for n in range(1, 21)]
    before = server(topology(*names))
    error = refused(topology(*names[:16]), before)
    assert "4 of 20 stations are not in the file any more, and would be retired: s17, s18, s19 and 1 more" in error.what
    assert "stationsync deploy --allow-retired" in error.next_step
    allowed = plan(topology(*names[:16]), before, allowed=Allowed(retired=True))
    assert {one.deployment.station for one in allowed.retired} == set(names[16:])
    # A few, or few of many, are nothing out of the common; nor are those that were retired before.
    assert len(plan(topology(*names[:17]), before).retired) == 15
    many = [f"m{n}" for n in range(100)]
    assert len(plan(topology(*many[:90]), server(topology(*many))).retired) == 50
    gone = [dataclasses.replace(one, retired=one.deployment.station in names[16:]) for one in before]
    assert plan(topology(*names[:16]), gone).retired == ()


def with_url(of: Topology, station: str, url: str) -> Topology:
    moved = of.stations[station].model_copy(update={"url": url})
    return of.model_copy(update={"stations": {**of.stations, station: moved}})


def test_a_station_whose_database_moved_is_the_same_station() -> None:
    to = with_url(topology("a", "b"), "b", "mysql+pymysql://u@new-host/shop")
    found = plan(to, server(topology("a", "b")))
    assert {change.to.station for change in found.changed} == {"b"}
    assert (found.new, found.retired) == ((), ())


def test_all_that_speaks_against_it_is_told_at_once() -> None:
    there = server(topology("a", control="elsewhere"))
    error = refused(topology("a", "b"), there, pools=())
    assert error.what.startswith("2 problems:")
    assert len(error.next_step.splitlines()) == 2


def test_two_fleets_without_a_name_cannot_both_have_a_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.wanted.FLEET", FLEET)
    error = refused(topology("a"), server(topology("b", control="other-hq")))
    assert "watchdog/fleet" in error.what
    assert "write under defaults: fleet: NAME" in error.next_step
    assert [one.name for one in plan(topology("a", fleet="north"), server(topology("b", control="other-hq"))).new]


def test_a_dead_watchdog_keeps_no_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.wanted.FLEET", FLEET)
    watchdog = wants(topology("a"))["watchdog/fleet"]
    assert (watchdog.limit, watchdog.collision) == (None, None)
    assert [str(timing) for timing in watchdog.schedules] == ["every 1m"]


def test_runs_tell_that_they_live_and_what_people_set_there_stays() -> None:
    fleet = topology("a")
    silent = [
        dataclasses.replace(one, deployment=dataclasses.replace(one.deployment, heartbeat=None))
        for one in server(fleet)
    ]
    (change, *_) = plan(fleet, silent).changed
    assert change.what == ("heartbeats on",)
    assert job_variables({"env": {BEAT: "60", "TZ": "UTC"}, "command": "x"}) == {
        "env": {BEAT: "60", "TZ": "UTC"},
        "command": "x",
    }
    assert job_variables({"command": "x"}) == {"env": {BEAT: "30"}, "command": "x"}


def test_a_server_that_is_set_as_it_should_be_is_not_complained_about() -> None:
    def tells(storage: str, *, scheduler: bool = True) -> dict[str, Any]:
        return {
            "server": {"concurrency": {"lease_storage": storage}, "services": {"scheduler": {"enabled": scheduler}}}
        }

    ours = settings.environment()["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"]
    assert settings.complaints(tells(ours)) == []
    assert settings.complaints(tells("prefect_redis.lease_storage")) == []
    # Prefect Cloud tells nothing.
    assert settings.complaints({}) == []
    (complaint,) = settings.complaints(tells("prefect.server.concurrency.lease_storage.memory"))
    assert f"Set PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE={ours}" in complaint
    (complaint,) = settings.complaints(tells(ours, scheduler=False))
    assert "no schedule ever produces a run" in complaint
