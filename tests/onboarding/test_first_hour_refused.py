"""What cannot be added is refused in one sentence that names the place, and changes nothing at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.databases import MariaDBDatabases
from support.own_fleet import OwnFleet

STAMPED = "`updated_at` datetime NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp()"
TABLES = {
    "fine": f"CREATE TABLE fine (id int, code char(3), {STAMPED}, PRIMARY KEY (id, code))",
    "no_key": f"CREATE TABLE no_key (id int, {STAMPED}, KEY (id))",
    "no_dates": "CREATE TABLE no_dates (id int PRIMARY KEY, t varchar(3))",
    "no_stamp": "CREATE TABLE no_stamp (id int PRIMARY KEY, created_at datetime NOT NULL, shipped date)",
    "shapes": f"CREATE TABLE shapes (id int PRIMARY KEY, place point NOT NULL, area polygon, {STAMPED})",
    "only_generated": f"CREATE TABLE only_generated (a int, g int AS (a + 1) STORED UNIQUE, {STAMPED})",
    "a_view": "CREATE VIEW a_view AS SELECT * FROM fine",
    "half_unique": f"CREATE TABLE half_unique (id int PRIMARY KEY, {STAMPED})",
    "other_type": f"CREATE TABLE other_type (id int PRIMARY KEY, n decimal(9,3), {STAMPED})",
    "ours": f"CREATE TABLE ours (id int PRIMARY KEY, stationsync_x int, {STAMPED})",
    "needed": f"CREATE TABLE needed (id int PRIMARY KEY, {STAMPED})",
}
AT_CONTROL = {
    "half_unique": f"CREATE TABLE half_unique (own int PRIMARY KEY, id int, {STAMPED})",
    "other_type": "CREATE TABLE other_type (own int PRIMARY KEY, id int UNIQUE, n decimal(9,2), updated_at datetime)",
    "needed": f"CREATE TABLE needed (own int AUTO_INCREMENT PRIMARY KEY, id int UNIQUE, must int NOT NULL, {STAMPED})",
}
# What is typed after add-table, the exit code, and what is told.
REFUSED: dict[str, tuple[list[str], int, list[str]]] = {
    "a typing mistake": (["fien"], 1, ["station-1/fien", "did you mean fine?"]),
    "another case": (["FINE"], 1, ["station-1/FINE", "there is no table"]),
    "no key": (["no_key"], 1, ["station-1/no_key", "no unique index", "ALTER TABLE no_key ADD UNIQUE"]),
    "a generated key": (["only_generated"], 1, ["station-1/only_generated", "no unique index"]),
    "no stamp": (["no_dates"], 1, ["station-1/no_dates", "ALTER TABLE no_dates ADD COLUMN updated_at"]),
    "only dates of other things": (["no_stamp"], 1, ["station-1/no_stamp", "created_at", "--modified"]),
    "types": (["shapes"], 1, ["station-1/shapes", "place (point), area (polygon)", "--exclude place --exclude area"]),
    "a view": (["a_view"], 1, ["station-1/a_view", "is a view"]),
    "a key that is not there": (["fine", "--key", "id,nope"], 1, ["no column nope", "id, code"]),
    "a key that is not unique": (["fine", "--key", "code"], 1, ["(code) is not unique", "--key"]),
    "a stamp that is not there": (["fine", "--modified", "x"], 1, ["no column x"]),
    "a stamp that is none": (["fine", "--modified", "code"], 1, ["code is char(3)", "--modified"]),
    "an excluded key": (["fine", "--exclude", "id"], 2, ["table fine", "id is a key column"]),
    "a column to exclude": (["fine", "--exclude", "x"], 1, ["no column x to leave out"]),
    "a zone": (["fine", "--modified-zone", "Seoul"], 2, ["--modified-zone", "Asia/Seoul"]),
    "a name with a backtick": (["fine", "--control-table", "a`b"], 2, ["--control-table", "no backtick"]),
    "not unique at control": (["half_unique"], 1, ["station-1/half_unique", "ALTER TABLE half_unique ADD UNIQUE (id)"]),
    "digits that would be lost": (["other_type"], 1, ["column n", "digits would be cut off"]),
    "a column that control needs": (["needed"], 1, ["column must", "only control has it"]),
    "a name of ours": (["ours"], 1, ["stationsync_x", "exclude"]),
}


@pytest.fixture
def fleet(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> OwnFleet:
    return OwnFleet.made(mariadb_databases, tmp_path / "fleet")


def test_a_table_that_cannot_be_synchronised(fleet: OwnFleet) -> None:
    for where, tables in ((1, TABLES), ("control", AT_CONTROL)):
        for ddl in tables.values():
            fleet.databases.execute(where, ddl)  # type: ignore[arg-type]
    told = {}
    for name, (args, code, words) in REFUSED.items():
        said = fleet.refused("add-table", *args, "--from", "station-1", "--create", "--yes", code=code)
        missing = [word for word in words if word not in said]
        if missing or len(said.strip().splitlines()) > 4:
            told[name] = (missing, said)
    assert told == {}
    # Without a terminal, somebody has to have said it.
    assert "--yes" in fleet.refused("add-table", "fine", "--from", "station-1", "--create", code=2)
    assert "station-2" in fleet.refused("add-table", "fine", "--from", "station-2", "--yes", code=2)
    fleet.well("add-table", "fine", "--from", "station-1", "--create", "--key", "ID, Code", "--modified", "Updated_At")
    assert "already" in fleet.refused("add-table", "fine", "--from", "station-1", "--yes", code=2)
    assert "key: [id, code]" in (fleet.folder / "stations.yaml").read_text(encoding="utf-8")


def test_a_station_that_cannot_be_added(fleet: OwnFleet) -> None:
    databases = fleet.databases
    url = databases.station_url(2)
    server = databases.server(2)
    secret = "hunter2, 비밀"
    user = f"poor_{databases.name(2)[-12:]}"
    server.create_user(user, secret, [])
    fleet.environment |= {"WRONG": "wrong", "RIGHT": secret}
    own = server.url(databases.name(2), user)
    try:
        for args, code, words in (
            (["Station 2", url], 2, "is no name"),
            (["control", url], 2, "central database"),
            (["station-1", url], 2, "already"),
            (["s2", "nonsense"], 2, "mysql+pymysql://"),
            (["s2", "mysql://u@h"], 2, "names no database"),
            (["s2", f"mysql://u:{secret}@h/d"], 2, "holds a password"),
            (["s2", url, "--password", secret], 2, "is no reference"),
            (["s2", url, "--password", "env:NO SUCH"], 2, "is no reference"),
            (["s2", url, "--password", "env:NO_SUCH_ONE"], 2, "NO_SUCH_ONE is not set"),
            (["s2", own, "--password", "env:WRONG"], 1, "s2: Access denied"),
            (["s2", own, "--password", "env:RIGHT"], 1, "s2"),  # no right on the database
            (["s2", databases.station_url(1)], 2, "is the database of station station-1 as well"),
            (["s2", databases.control_url], 2, "is the database of control as well"),
            (["s2", "sqlite:////tmp/x.db"], 2, "mixes SQLite and MySQL"),
            (["s2", "mysql://u@127.0.0.1:1/d"], 3, "--offline"),
            (["s2", url, "--table", "nope"], 2, "no table nope"),
            (["s2"], 2, "URL"),
        ):
            said = fleet.refused("add-station", *args, code=code)
            assert words in said, (args, said)
            assert "hunter2" not in said
        # An off-line station is normal operation.
        fleet.well("add-station", "s2", "mysql://u@127.0.0.1:1/d", "--offline", "--group", "far")
        assert "GRANT SELECT" not in fleet.well("grants", "s2").out
        assert "PROCESS" in fleet.well("grants", "s2").out
    finally:
        server.execute(f"DROP USER '{user}'@'%'")


def test_rights_that_are_missing(fleet: OwnFleet) -> None:
    """Where nothing can be read, nothing is added; what only runs need is told with its statement."""
    databases = fleet.databases
    databases.execute(1, TABLES["fine"])
    databases.execute(1, TABLES["half_unique"])
    user = f"r_{databases.name(1)[-12:]}"
    station, control = databases.server(1), databases.server("control")
    station.create_user(user, "x", [f"SELECT ON `{databases.name(1)}`.`half_unique`"])
    control.create_user(user, "x", [f"CREATE TEMPORARY TABLES ON `{databases.name('control')}`.*"])
    fleet.environment["X"] = "x"
    file = fleet.folder / "stations.yaml"
    text = file.read_text(encoding="utf-8")
    for where, server, indent in (("control", control, "  "), (1, station, "    ")):
        own = server.url(databases.name(where), user)  # type: ignore[arg-type]
        text = text.replace(f"url: {databases.url(where)}\n", f"url: {own}\n{indent}password: ${{X}}\n")  # type: ignore[arg-type]
    file.write_text(text, encoding="utf-8")
    try:
        said = fleet.refused("add-table", "fine", "--from", "station-1", "--create", "--yes", code=1)
        assert f"GRANT SELECT, UPDATE ON `{databases.name(1)}`.`fine` TO '{user}'@'%';" in said
        said = fleet.refused("add-table", "half_unique", "--from", "station-1", "--create", "--yes", code=1)
        assert "control/half_unique" in said
        assert "CREATE TABLE `half_unique` ( `master_id`" in said
        done = fleet.well("add-table", "half_unique", "--from", "station-1", "--yes")
        assert "CREATE TABLE `half_unique` (" in done.out
        assert f"GRANT UPDATE ON `{databases.name(1)}`.`half_unique` TO '{user}'@'%';" in done.out
        assert f"GRANT CREATE TEMPORARY TABLES ON `{databases.name(1)}`.* TO" in done.out
        assert "there is no table half_unique" in fleet("check").out or "no SELECT" in fleet("check").out
    finally:
        for server in (station, control):
            server.execute(f"DROP USER '{user}'@'%'")


def test_a_folder_that_cannot_be_made(mariadb_databases: MariaDBDatabases, tmp_path: Path) -> None:
    url = mariadb_databases.control_url
    fleet = OwnFleet(mariadb_databases, tmp_path / "fleet")
    fleet.folder.mkdir()
    for args, code, words in (
        (["--control", "x"], 2, "mysql+pymysql://"),
        (["--control", "mysql://u@127.0.0.1:1/d"], 1, "control: does not answer"),
        (["--control", url, "--password", "secret"], 2, "no reference"),
        ([], 2, "--control URL"),
    ):
        assert words in fleet.refused("new", fleet.folder / "a/b", *args, code=code)
    for there in ("stations.yaml", "stationsync.env", "expectations/example.yaml"):
        folder = fleet.folder / there.replace("/", "_")
        (folder / there).parent.mkdir(parents=True)
        (folder / there).write_text("mine", encoding="utf-8")
        said = fleet.refused("new", folder, "--control", url, code=1)
        assert f"{folder / there}: is there already, and is not written over." in said
    (fleet.folder / "a file").write_text("x", encoding="utf-8")
    assert "cannot be written" in fleet.refused("new", fleet.folder / "a file/b", "--control", url, code=2)
    # What a person wrote in a way that nothing can be added to.
    odd = fleet.folder / "odd.yaml"
    odd.write_text(f"control: &c {{url: '{url}'}}\nstations: []\ntables:\n", encoding="utf-8")
    said = fleet.refused("add-station", "s", mariadb_databases.station_url(1), "--topology", odd, code=2)
    assert "stations: write a mapping" in said
    assert "stationsync new" in fleet.refused("add-station", "s", "u", "--topology", fleet.folder / "no.yaml", code=2)
