"""The topology file: what it says, what it refuses, and that no secret ever shows."""

from __future__ import annotations

import pickle
import re
import textwrap
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect._vendor.croniter import croniter
from pydantic import SecretStr, ValidationError
from support.paths import ROOT

from stationsync.errors import UsageError
from stationsync.model.changes import Policy
from stationsync.topology import secrets
from stationsync.topology.model import (
    Deletes,
    Endpoint,
    FleetSchedule,
    Schedule,
    Station,
    TableDirection,
    TableOptions,
    Topology,
    ZeroDates,
)
from stationsync.topology.notation import MaxBad, schedule_interval
from stationsync.topology.topology_file import from_mapping, load

SECRET = "hunter2"


def fleet() -> dict[str, Any]:
    """What a right file of two tables and two stations holds."""
    return {
        "control": {"url": "mysql+pymysql://sync@control/hq", "password": "${CONTROL_PASSWORD}"},
        "defaults": {"schedule": {"sync": "5m", "reconcile": "30 3 * * *"}, "stale_after": "15m"},
        "tables": {
            "orders": {"key": ["id", "code"], "modified": "changed", "exclude": ["master_id"]},
            "prices": {"key": ["id"], "modified": "changed"},
        },
        "stations": {
            "station-1": {"url": "mysql+pymysql://sync@s1/shop", "password": "${STATION_1_PASSWORD}"},
            "station-2": {"url": "mysql+pymysql://sync@s2/shop", "tables": ["prices"]},
        },
    }


def changed(place: str, value: Any) -> dict[str, Any]:
    """The right file with one value set at a dotted place."""
    data = fleet()
    *parents, last = place.split(".")
    node = data
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = value
    return data


def problems(read: Callable[[], object]) -> list[str]:
    """The lines of what `read` complains about, without the count before them."""
    with pytest.raises(UsageError) as caught:
        read()
    assert caught.value.not_done
    assert caught.value.next_step
    count, *lines = caught.value.what.splitlines()
    assert int(count.split()[0]) == len(lines)
    return [line.strip() for line in lines]


def write(folder: Path, text: str) -> Path:
    file = folder / "stations.yaml"
    file.write_text(textwrap.dedent(text))
    return file


# What a right file says


def test_the_sample_file_is_right_and_needs_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    topology = load()
    assert list(topology.stations) == ["station-1", "station-2", "station-3"]
    assert {topology.tables_of(name) for name in topology.stations} == {("kafka_test",)}
    options = topology.options("station-1", "kafka_test")
    assert (options.key, options.modified, options.exclude) == (("id", "code"), "modify_date", ("master_id",))
    assert (options.conflicts, options.deletes) == (Policy.NEWEST, Deletes.ARCHIVE)
    assert topology.options("station-3", "kafka_test").lookback == timedelta(minutes=5)
    assert {station.work_pool for station in topology.stations.values()} == {"central"}


def test_the_sample_shows_the_defaults_of_the_other_options() -> None:
    text = (ROOT / "deployments/stations.yaml").read_text()
    shown = dict(re.findall(r"^    # (\w+): (.+?)(?: {2,}#.*)?$", text, re.MULTILINE))
    fleet_s_own = {name: shown.pop(name).strip('"') for name in FleetSchedule.model_fields if name in shown}
    assert FleetSchedule(**fleet_s_own) == FleetSchedule()
    assert set(fleet_s_own) == set(FleetSchedule.model_fields) - set(Schedule.model_fields)
    left_out = set(TableOptions.model_fields) - set(shown)
    written = {"key", "modified", "exclude", "expectations", "conflicts", "deletes"}
    assert left_out == written | {"control_table", "station_table", "modified_else"}
    del shown["editable"], shown["rename"], shown["flag_column"], shown["created"], shown["where"]  # examples
    options = TableOptions.model_validate({"key": ["id"], "modified": "changed", **shown})
    assert options == TableOptions(key=("id",), modified="changed")


def test_a_table_has_safe_defaults() -> None:
    options = TableOptions(key=("id",), modified="changed")
    assert options.direction is TableDirection.BOTH
    assert options.conflicts is Policy.NEWEST
    assert options.deletes is Deletes.IGNORE
    assert options.zero_dates is ZeroDates.QUARANTINE
    assert (options.exclude, options.rename, options.editable) == ((), {}, None)
    assert (options.expectations, options.page_rows) == (None, 50_000)
    seconds = [d.total_seconds() for d in (options.lookback, options.settle, options.max_hold, options.max_skew)]
    assert seconds == [60, 2, 3600, 5]


def test_a_station_without_tables_has_them_all_in_the_order_of_the_file() -> None:
    topology = from_mapping(fleet())
    assert topology.tables_of("station-1") == ("orders", "prices")
    assert topology.tables_of("station-2") == ("prices",)


def test_a_station_overrides_some_options_of_a_table() -> None:
    overrides = {"orders": {"conflicts": "station", "lookback": "5m"}, "prices": None}
    topology = from_mapping(changed("stations.station-1.tables", overrides))
    orders = topology.options("station-1", "orders")
    assert (orders.conflicts, orders.lookback) == (Policy.STATION, timedelta(minutes=5))
    assert (orders.key, orders.exclude) == (("id", "code"), ("master_id",))
    assert topology.tables["orders"].conflicts is Policy.NEWEST
    assert topology.options("station-1", "prices") == topology.tables["prices"]


def test_an_override_can_switch_validation_off() -> None:
    data = changed("tables.prices.expectations", "prices")
    data["stations"]["station-1"]["tables"] = {"prices": {"expectations": None}}
    topology = from_mapping(data)
    assert topology.options("station-1", "prices").expectations is None
    assert topology.options("station-2", "prices").expectations == "prices"


def test_the_names_in_the_databases_are_by_default_the_name_in_the_file() -> None:
    data = changed("tables.orders.control_table", "all_orders")
    data["stations"]["station-1"]["tables"] = {"orders": {"station_table": "tbl_orders"}, "prices": None}
    topology = from_mapping(data)
    orders, prices = (topology.options("station-1", name) for name in ("orders", "prices"))
    assert (orders.control_table, orders.station_table) == ("all_orders", "tbl_orders")
    assert (prices.control_table, prices.station_table) == ("prices", "prices")


def test_a_topology_built_in_python_is_filled_in_like_one_from_a_file() -> None:
    topology = Topology(
        control=Endpoint(url="sqlite:///hq.db"),
        tables={"orders": TableOptions(key=("id",), modified="changed")},
        stations={"s1": Station(name="s1", url="sqlite:///s1.db")},
    )
    assert topology.options("s1", "orders").station_table == "orders"
    assert topology.stale_after("s1") == timedelta(minutes=15)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, {"sync": "5m", "reconcile": "30 3 * * *"}),
        ({"sync": "1h"}, {"sync": "1h", "reconcile": "30 3 * * *"}),
        ({"reconcile": None}, {"sync": "5m"}),
        ({"pull": "1m", "push": "5m"}, {"pull": "1m", "push": "5m", "reconcile": "30 3 * * *"}),
    ],
    ids=["none", "one replaced", "one switched off", "pull and push drop sync"],
)
def test_a_station_overrides_the_schedule_name_by_name(own: Any, expected: dict[str, str]) -> None:
    topology = from_mapping(changed("stations.station-1.schedule", own))
    assert topology.schedule("station-1") == Schedule(**expected)
    assert topology.schedule("station-2") == Schedule(sync="5m", reconcile="30 3 * * *")


def test_naming_sync_drops_an_inherited_pull_and_push() -> None:
    data = changed("defaults.schedule", {"pull": "1m", "push": "5m"})
    data["stations"]["station-1"]["schedule"] = {"sync": "1h"}
    assert from_mapping(data).schedule("station-1") == Schedule(sync="1h")


def test_a_station_overrides_when_it_is_stale() -> None:
    topology = from_mapping(changed("stations.station-2.stale_after", "2h"))
    assert topology.stale_after("station-1") == timedelta(minutes=15)
    assert topology.stale_after("station-2") == timedelta(hours=2)


def test_the_values_cannot_be_changed() -> None:
    topology = from_mapping(fleet())
    with pytest.raises(ValidationError):
        topology.tables["orders"].page_rows = 1  # type: ignore[misc]


def test_the_topology_survives_the_way_to_another_process() -> None:
    topology = from_mapping(fleet())
    assert pickle.loads(pickle.dumps(topology)) == topology


# Which file is read


def test_the_file_is_the_one_named_else_the_environments_else_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place(folder: str, station: str) -> Path:
        (tmp_path / folder).mkdir()
        text = f"""
            control: {{url: "sqlite:///hq.db"}}
            tables: {{orders: {{key: [id], modified: changed}}}}
            stations: {{{station}: {{url: "sqlite:///s.db"}}}}
        """
        return write(tmp_path / folder, text)

    place("deployments", "by-default")
    monkeypatch.chdir(tmp_path)
    assert list(load().stations) == ["by-default"]
    monkeypatch.setenv("STATIONSYNC_TOPOLOGY", str(place("environment", "by-environment")))
    assert list(load().stations) == ["by-environment"]
    assert list(load(place("argument", "by-argument")).stations) == ["by-argument"]


def test_a_relative_sqlite_path_starts_at_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(
        tmp_path,
        """
        control: {url: "sqlite:///data/../head quarters.db"}
        tables: {orders: {key: [id], modified: changed}}
        stations: {s1: {url: "sqlite:////srv/s1.db"}}
        """,
    )
    monkeypatch.chdir("/")
    topology = load(file)
    assert topology.control.url == f"sqlite:///{tmp_path}/head quarters.db"
    assert topology.station("s1").url == "sqlite:////srv/s1.db"
    monkeypatch.chdir(tmp_path)
    assert load(file.name) == topology


def test_plain_words_are_names_not_yaml_truth_values(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        control: {url: "sqlite:///hq.db"}
        tables: {on: {key: [no, 1], modified: off, page_rows: 10}}
        stations: {007: {url: "sqlite:///s.db"}}
        """,
    )
    options = load(file).options("007", "on")
    assert (options.key, options.modified, options.page_rows) == (("no", "1"), "off", 10)


def test_stations_may_share_what_an_anchor_names(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        control: {url: "sqlite:///hq.db"}
        tables: {orders: {key: [id], modified: changed}}
        stations:
          s1: &usual {url: "sqlite:///s1.db", work_pool: ships}
          s2: {<<: *usual, url: "sqlite:///s2.db"}
        """,
    )
    station = load(file).station("s2")
    assert (station.work_pool, station.url) == ("ships", f"sqlite:///{tmp_path}/s2.db")


# What is refused

MYSQL = "mysql+pymysql://sync@s1/shop"

WRONG: list[tuple[str, Any, str, str]] = [
    # place set, its value, place of the problem ("" = the same), part of its text
    ("control", None, "", "mapping"),
    ("control.url", None, "", "write text"),
    ("control.url", "", "", "mysql+pymysql://user@host"),
    ("control.url", "postgresql://sync@control/hq", "", "mysql+pymysql://user@host"),
    ("control.url", "mysql://sync@control/hq", "", "mysql+pymysql://user@host"),
    ("control.url", "mysql+pymysql://sync@control:33o6/hq", "", "mysql+pymysql://user@host"),
    ("control.url", "mysql+pymysql://sync@control", "", "names no database"),
    ("control.url", "mysql+pymysql:///hq", "", "names no host"),
    ("control.url", "mysql+pymysql://sync:pw@control/hq", "", "password: ${ENV}"),
    ("control.url", "mysql+pymysql://sync:@control/hq", "", "password: ${ENV}"),
    ("control.url", "mysql+pymysql://sync@control/hq?passwd=pw", "", "password: ${ENV}"),
    ("control.password", "pw", "", "write a reference"),
    ("control.password", "", "", "write a reference"),
    ("control.pasword", "pw", "", "did you mean password?"),
    ("defaults.schedule.sinc", "5m", "", "did you mean sync?"),
    ("defaults.schedule.watchdogs", "1m", "", "did you mean watchdog?"),
    ("stations.station-1.schedule.watchdog", "1m", "", "unknown field"),
    ("defaults.schedule.sync", "every day", "", "five fields"),
    ("defaults.schedule.sync", "0s", "", "at least 1s"),
    ("defaults.stale_after", "soon", "", "write a duration"),
    ("tables.orders.key", [], "", "at least one"),
    ("tables.orders.key", "id", "", "write a list"),
    ("tables.orders.key", ["id", "ID"], "", "twice"),
    ("tables.orders.key", ["id", ""], "tables.orders.key[1]", "1 to 64 characters"),
    ("tables.orders.modified", "a`b", "", "backtick"),
    ("tables.orders.modified", "a\0b", "", "NUL"),
    ("tables.orders.modified", "m" * 65, "", "1 to 64 characters"),
    ("tables.orders.exclude", ["Code"], "", "Code is a key column"),
    ("tables.orders.exclude", ["changed"], "", "always synchronised"),
    ("tables.orders.rename", {"a": "x", "b": "x"}, "", "the name x to two columns"),
    ("tables.orders.editable", ["price", "id"], "", "id is a key column"),
    ("tables.orders.editable", ["master_id"], "", "excluded"),
    ("tables.orders.control_table", "t" * 65, "", "1 to 64 characters"),
    ("tables.orders.control_table", "prices", "tables.prices.control_table", "of orders as well"),
    ("tables.orders.station_table", "t" * 65, "", "1 to 64 characters"),
    ("tables.orders.conflicts", "newst", "", "'newest'"),
    ("tables.orders.conflict", "newest", "", "did you mean conflicts?"),
    ("tables.orders.lookback", "-5s", "", "write a duration"),
    ("tables.orders.lookback", "366d", "", "between 0 and 365d"),
    ("tables.orders.max_bad", "101%", "", "percentage"),
    ("tables.orders.max_bad", "some", "", "percentage"),
    ("tables.orders.page_rows", 0, "", "greater than or equal to 1"),
    ("tables.orders.page_rows", 1_000_001, "", "less than or equal to 1000000"),
    ("tables.a`b", {"key": ["id"], "modified": "m"}, "", "backtick"),
    ("stations", {}, "", "names no station"),
    ("stations.station-1", None, "", "is empty"),
    ("stations.station-1", "mysql", "", "mapping"),
    (
        "stations.Plant_1",
        {"url": "mysql+pymysql://sync@p1/shop"},
        "stations.Plant_1.name",
        "lower-case letters",
    ),
    ("stations.station-1.name", "other", "", "take this out"),
    (
        "stations.control",
        {"url": "mysql+pymysql://sync@p1/shop"},
        "stations.control.name",
        "stationsync rename control NEW",
    ),
    ("stations.station-1.url", "sqlite:///s1.db", "", "mixes SQLite and MySQL"),
    ("stations.station-1.url", "sqlite://s1.db", "", "three slashes"),
    ("stations.station-1.url", "sqlite:///:memory:", "", "names no database file"),
    ("stations.station-2.url", "mysql+pymysql://other@S1:3306/shop", "", "of station station-1 as well"),
    ("stations.station-2.url", "mysql+pymysql://sync@control/hq", "", "of control as well"),
    ("stations.station-2.tables", ["price"], "stations.station-2.tables.price", "did you mean prices?"),
    ("stations.station-2.tables", ["prices", "prices"], "stations.station-2.tables[1]", "twice"),
    ("stations.station-2.tables", [], "", "names no table"),
    (
        "stations.station-2.tables",
        {"prices": {"key": ["x"]}},
        "stations.station-2.tables.prices.key",
        "same for all",
    ),
    (
        "stations.station-2.tables",
        {"prices": {"settle": "x"}},
        "stations.station-2.tables.prices.settle",
        "duration",
    ),
    (
        "stations.station-2.tables",
        {"prices": {"setle": 1}},
        "stations.station-2.tables.prices.setle",
        "settle?",
    ),
    (
        "stations.station-2.tables",
        {"prices": {"direction": "down", "editable": ["price"]}},
        "stations.station-2.tables.prices.editable",
        "name it under exclude instead",
    ),
    ("stations.station-1.group", ["north", "south"], "stations.station-1.group", "is in one group"),
    ("station", {}, "", "did you mean stations?"),
]


@pytest.mark.parametrize(("set_at", "value", "place", "text"), WRONG)
def test_one_mistake_is_one_problem_at_its_place(set_at: str, value: Any, place: str, text: str) -> None:
    (found,) = problems(lambda: from_mapping(changed(set_at, value)))
    assert found.startswith(f"{place or set_at}: ")
    assert text in found


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """\
        control:
          url: sqlite:///hq.db
        defaults: {stale_after: soon}
        tables:
          orders:
            modified: changed
            pagerows: 10
          prices: {key: [id], modified: changed}
          prices: {key: [id], modified: changed, control_table: orders}
        stations:
          s1: {url: "sqlite:///s1.db", tables: [orders, price]}
          s2:
            url: sqlite:///s1.db
            work_pool: ""
          s3:
            url: mysql+pymysql://sync@s3/shop
            tables:
              prices: {lookback: long}
        """,
    )
    expected = [
        ("defaults.stale_after", 3),
        ("tables.orders.key", 5),  # what is missing is shown at the table
        ("tables.orders.pagerows", 7),
        ("tables.prices", 9),
        ("tables.prices.control_table", 9),
        ("stations.s1.tables.price", 11),
        ("stations.s2.url", 13),
        ("stations.s2.work_pool", 14),
        ("stations.s3.url", 16),
        ("stations.s3.tables.prices.lookback", 18),
    ]
    found = problems(lambda: load(file))
    assert [line.split(":")[0] for line in found] == [place for place, _ in expected]
    assert [int(re.findall(r"\(line (\d+)\)\.$", line)[0]) for line in found] == [n for _, n in expected]
    assert "in line 8 as well" in found[3]


def test_an_empty_file_is_one_problem(tmp_path: Path) -> None:
    assert problems(lambda: load(write(tmp_path, "# nothing yet"))) == ["file: is empty."]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("control:\n  url: [", 2),
        ("control:\n\turl: x", 2),
        ("control: {password: ${X}}", 1),
        ("control:\n  url: *nowhere", 2),
        ("control:\n  url: !!python/name:os.system x", 2),
        ("control: 1\n---\ncontrol: 2", 2),
        ("? [a, b]\n: c", 1),
    ],
    ids=["open list", "tab", "unquoted braces", "unknown alias", "tag", "two documents", "list as key"],
)
def test_a_file_that_is_no_yaml_is_refused_with_the_line(tmp_path: Path, text: str, line: int) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UsageError, match=rf"is no valid YAML: .+ \(line {line}\)\.") as caught:
        load(file)
    assert caught.value.place == str(file)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "stations.yaml"
    file.write_bytes(b"control: \xff\xfe")
    with pytest.raises(UsageError, match="is no valid YAML"):
        load(file)


def test_an_alias_to_itself_does_not_hang(tmp_path: Path) -> None:
    assert problems(lambda: load(write(tmp_path, "control: &all\n  url: *all\nstations: *all")))


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_missing_file_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        load(tmp_path / name)
    assert "--topology" in caught.value.next_step
    assert caught.value.exit_code == 2


# Asking for what is not there


def test_an_unknown_station_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="did you mean station-1") as caught:
        from_mapping(fleet()).station("staton-1")
    assert "station-1, station-2" in caught.value.next_step


def test_a_table_that_the_station_does_not_have_names_those_it_has() -> None:
    with pytest.raises(UsageError, match="no such table at this station") as caught:
        from_mapping(fleet()).options("station-2", "orders")
    assert caught.value.place == "stations.station-2.tables.orders"
    assert "prices" in caught.value.next_step


# Secrets


def everything_said(error: BaseException) -> str:
    """All that a log, a debugger or Prefect could show of an exception and of those behind it."""
    texts = traceback.format_exception(error)
    chain: BaseException | None = error
    while chain is not None:
        texts += [str(chain), repr(chain), repr(chain.args), repr(vars(chain))]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(texts)


@pytest.mark.parametrize(
    "text",
    [
        "control: {url: 'mysql+pymysql://sync:hunter2@control/hq'}",
        "control: {url: 'mysql+pymysql://sync:hun/ter2:hunter2@control'}",
        "control: {url: 'mysql+pymysql://sync:hunter2'}",
        "control: {url: 'mysql+pymysql://sync@control:hunter2/hq'}",
        "control: {url: 'mysql+pymysql://control/hq?PassWord=hunter2'}",
        "control: {url: 'postgresql://sync:hunter2@control/hq'}",
        "control: {url: 'sqlite://:hunter2@/hq'}",
        "control: {password: hunter2}",
        "control: {password: [hunter2]}",
        "control: {password: {hunter2: ~}, pasword: hunter2}",
        "control: hunter2",
        "control: {password: *hunter2}",
        "control: {password: !hunter2 x}",
        "control: {password: !!int hunter2}",
        "control: {password: !!timestamp hunter2}",
        "control: {password: 'hunter2\n",
        "control: {password: hunter2\nstations: x",
        "stations: {s1: hunter2, s2: [hunter2], s3: {password: hunter2, schedule: {sync: hunter2}}}",
        "tables: {orders: {lookback: hunter2, max_bad: hunter2, conflicts: hunter2, page_rows: hunter2}}",
    ],
)
def test_no_message_repeats_a_secret_of_the_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "stations.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(file)
    assert SECRET not in everything_said(caught.value)


def test_a_model_built_with_a_wrong_password_does_not_show_it() -> None:
    with pytest.raises(ValidationError) as caught:
        Endpoint(url=f"mysql+pymysql://sync:{SECRET}@s1/shop", password=SecretStr(SECRET))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_topology_shows_no_password_and_loading_reads_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATION_1_PASSWORD", raising=False)
    topology = from_mapping(fleet())
    password = topology.station("station-1").password
    assert password is not None
    assert password.get_secret_value() == "${STATION_1_PASSWORD}"
    monkeypatch.setenv("STATION_1_PASSWORD", SECRET)
    assert SECRET not in f"{topology!r} {topology} {topology.model_dump_json()}"


def test_a_reference_to_the_environment_a_file_or_a_block_is_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S1", SECRET)
    (tmp_path / "s1").write_text(SECRET + "\n")
    blocks = {"station-1": SECRET}.__getitem__
    for reference in ("${S1}", f"${{file:{tmp_path}/s1}}", "${secret:station-1}", SecretStr("${S1}")):
        secret = secrets.resolve(reference, "control.password", blocks)
        assert secret is not None
        assert secret.get_secret_value() == SECRET
        assert SECRET not in f"{secret!r} {secret}"
    assert secrets.resolve(None, "control.password") is None


@pytest.mark.parametrize(
    ("content", "password"), [("a", "a"), ("a\n", "a"), ("a\n\n", "a\n"), (" a \n", " a "), ("", "")]
)
def test_a_secret_file_loses_one_newline_and_nothing_else(tmp_path: Path, content: str, password: str) -> None:
    (tmp_path / "s1").write_text(content)
    secret = secrets.resolve(f"${{file:{tmp_path}/s1}}", "control.password")
    assert secret == SecretStr(password)


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("${NOT_SET_ANYWHERE}", "environment variable NOT_SET_ANYWHERE is not set"),
        ("${file:/not/there}", "secret file /not/there cannot be read: No such file"),
        ("${secret:nobody}", "Prefect block nobody cannot be read"),
        (SECRET, "is not a reference"),
        (f"{SECRET}${{S1}}", "is not a reference"),
        (f"${{{SECRET} x}}", "is not a reference"),
    ],
)
def test_a_secret_that_is_not_there_is_a_usage_error_at_its_place(reference: str, text: str) -> None:
    def blocks(name: str) -> str:
        raise ValueError(f"no {name}, {SECRET}")

    with pytest.raises(UsageError) as caught:
        secrets.resolve(reference, "stations.station-1.password", blocks)
    assert str(caught.value).startswith(f"stations.station-1.password: {text}")
    assert caught.value.next_step
    assert SECRET not in everything_said(caught.value)


def test_a_command_without_prefect_says_that_it_reads_no_blocks() -> None:
    with pytest.raises(UsageError, match="cannot read Prefect blocks"):
        secrets.resolve("${secret:station-1}", "control.password")


def test_a_secret_file_of_bytes_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "s1").write_bytes(SECRET.encode() + b"\xff")
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        secrets.resolve(f"${{file:{tmp_path}/s1}}", "control.password")
    assert SECRET not in everything_said(caught.value)


# Notations


@pytest.mark.parametrize(
    ("notation", "bad", "read", "exceeded"),
    [
        (None, 100, 100, False),  # the default: half of the chunk, but never fewer than 100 rows
        (None, 101, 101, True),
        (None, 500, 1000, False),
        (None, 501, 1000, True),
        (20, 20, 20, False),
        ("20", 21, 50_000, True),
        ("0", 0, 50_000, False),
        ("0", 1, 50_000, True),
        ("10%", 10, 100, False),
        ("10%", 11, 100, True),
        ("10%", 1, 1, True),
        ("0.57%", 57, 10_000, False),  # exact, where floats are not
        ("0%", 1, 100, True),
        ("10% or 20", 20, 20, False),
        ("10% or 20", 21, 100, True),
        ("10% or 20", 30, 300, False),
        ("100%", 7, 7, False),
    ],
)
def test_too_many_bad_rows(notation: object, bad: int, read: int, exceeded: bool) -> None:
    limit = MaxBad() if notation is None else MaxBad.parse(notation)
    assert limit.exceeded(bad, read) is exceeded


@pytest.mark.parametrize(
    "text",
    ["* * * * *", "*/15 0-6,22 1 jan-MAR mon", "0 0 * * 7", "05 03 31 12 0", "0,30 8-18/2 * * mon-fri", "  1 2 3 4 5 "],
)
def test_a_cron_expression_is_accepted(text: str) -> None:
    assert Schedule(sync=text).sync == text.strip()
    assert schedule_interval(text) is None
    assert croniter.is_valid(text.strip())


WRONG_CRON = """
    * * * *|* * * * * *|60 * * * *|* 24 * * *|* * 0 * *|* * * 13 *|* * * * 8|*/0 * * * *|a * * * *|1- * * * *
    5-1 * * * *|1,,2 * * * *|* * * mon *|@daily|-1 * * * *|0.5 * * * *
"""


@pytest.mark.parametrize("text", ["", *re.findall(r"[^|\s][^|\n]*", WRONG_CRON)])
def test_a_wrong_cron_expression_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Schedule(sync=text)


CRON_PARTS = ["*", "0", "1", "5", "7", "12", "31", "60", "02", "*/5", "1-5", "5-1", "0-30/10", "jan", "mon-fri", "x"]


@given(st.lists(st.sampled_from(CRON_PARTS), min_size=4, max_size=6))
def test_a_schedule_that_the_file_takes_is_one_that_prefect_takes(parts: list[str]) -> None:
    text = " ".join(parts)
    try:
        Schedule(sync=text)
    except ValidationError:
        return
    assert croniter.is_valid(text)


def test_an_interval_is_told_from_a_cron_expression() -> None:
    assert schedule_interval("5m") == timedelta(minutes=5)
    assert Schedule(pull="300").pull == "300"
