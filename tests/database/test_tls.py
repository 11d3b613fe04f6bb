"""`tls:` of the topology: encrypted to the right server, refused by name where it is another, or none."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import sample
from support.command import Command
from support.databases import MariaDBDatabases

from cli.sandbox.servers import MariaDBServer
from stationsync.pairing.pair import station_of
from stationsync.topology.model import Endpoint
from stationsync.topology.topology_file import from_mapping


def openssl(folder: Path, *args: str) -> None:
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str) -> Path:
    """A CA of our own."""
    openssl(
        folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem",
    )  # fmt: skip
    return folder / f"{name}.pem"


def signed(folder: Path, name: str, by: str, address: str) -> tuple[Path, Path]:
    openssl(
        folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr",
    )  # fmt: skip
    (folder / "names").write_text(f"subjectAltName=IP:{address}\n")
    openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial",
        "-days", "2", "-extfile", "names", "-out", f"{name}.pem",
    )  # fmt: skip
    return folder / f"{name}.pem", folder / f"{name}.key"


class Guarded:
    """A station whose server has a certificate, and users who must use TLS."""

    def __init__(self, folder: Path, server: MariaDBServer) -> None:
        self.folder, self.server = folder, server
        server.create_database("shop")
        server.execute("CREATE USER sync@'%' IDENTIFIED BY '' REQUIRE SSL")
        server.execute("GRANT ALL ON shop.* TO sync@'%'")

    def endpoint(self, **tls: object) -> dict[str, object]:
        url = f"mysql+pymysql://sync@{self.server.host}:{self.server.port}/shop"
        return {"url": url, "tls": tls}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("tls")
    authority(folder, "ours")
    authority(folder, "another")
    cert, key = signed(folder, "server", "ours", "127.0.0.1")
    with MariaDBServer(options=(f"--ssl-cert={cert}", f"--ssl-key={key}")) as server:
        yield Guarded(folder, server)


@pytest.fixture
def command(guarded: Guarded, mariadb_databases: MariaDBDatabases, tmp_path: Path) -> Command:
    mariadb_databases.create_kafka_test("control", control=True)
    return Command(mariadb_databases, tmp_path)


def test_with_the_right_ca_a_station_is_synchronised_encrypted(
    guarded: Guarded, command: Command, mariadb_databases: MariaDBDatabases
) -> None:
    for statement in sample.ddl("mariadb", "kafka_test", control=False):
        guarded.server.execute(statement, "shop")
    values = "(1, 'a', 'A', '2024-01-01', '2024-01-01'), (2, 'b', 'A', '2024-01-01', '2024-01-01')"
    guarded.server.execute(f"INSERT INTO kafka_test ({sample.COLUMNS}) VALUES {values}", "shop")
    command.topology["stations"]["station-1"] = guarded.endpoint(ca=str(guarded.folder / "ours.pem"))
    command.well("init")
    command.well("sync", "station-1")
    assert mariadb_databases.count("control") == 2
    station = station_of(from_mapping(command.topology), "station-1")
    with station.connect() as conn:
        (_, cipher) = conn.exec_driver_sql("SHOW SESSION STATUS LIKE 'Ssl_cipher'").one()
    assert cipher


def test_a_server_that_another_ca_signed_is_refused_before_any_password_is_sent(
    guarded: Guarded, command: Command
) -> None:
    command.topology["stations"]["station-1"] = guarded.endpoint(ca=str(guarded.folder / "another.pem"))
    command.well("init")
    done = command("sync", "station-1")
    assert done.code == 1, "a server that is not the right one is no off-line station"
    assert "station-1: its certificate is not trusted" in done.out + done.err
    assert "No password was sent" in done.out + done.err
    checked = command("check", "station-1")
    assert checked.code == 1
    assert "tls.ca" in checked.out


def test_a_certificate_of_another_host_is_refused_unless_verify_is_off(guarded: Guarded, command: Command) -> None:
    command.well("init")
    ca = str(guarded.folder / "ours.pem")
    for verify, code in ((True, 1), ("ca", 0), (False, 0)):
        at = guarded.endpoint(ca=ca, verify=verify)
        at["url"] = str(at["url"]).replace("127.0.0.1", "localhost")
        command.topology["stations"]["station-1"] = at
        guarded.server.execute("CREATE TABLE IF NOT EXISTS kafka_test (id bigint)", "shop")
        done = command("check", "station-1")
        assert ("is not trusted" in done.out) == bool(code), done


def test_any_host_will_do_whose_certificate_the_named_ca_has_signed(guarded: Guarded, command: Command) -> None:
    command.well("init")
    for ca, refused in (("ours", False), ("another", True)):
        at = guarded.endpoint(ca=str(guarded.folder / f"{ca}.pem"), verify="ca")
        at["url"] = str(at["url"]).replace("127.0.0.1", "localhost")
        command.topology["stations"]["station-1"] = at
        assert ("is not trusted" in command("check", "station-1").out) is refused
    command.topology["stations"]["station-1"] = guarded.endpoint(verify="ca")
    done = command("check", "station-1")
    assert (done.code, "needs the CA's file" in done.err) == (2, True)


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(
    guarded: Guarded, command: Command, mariadb_databases: MariaDBDatabases
) -> None:
    mariadb_databases.create_kafka_test(1)
    if mariadb_databases.query(1, "SELECT @@have_ssl") == [("YES",)]:
        pytest.skip("this MariaDB makes itself a certificate")
    at = {"url": mariadb_databases.url(1), "tls": {"ca": str(guarded.folder / "ours.pem")}}
    command.topology["stations"]["station-1"] = at
    command.well("init")
    done = command("sync", "station-1")
    assert done.code == 1
    assert "does not offer TLS" in done.out + done.err


def test_a_file_that_is_missing_or_no_certificate_is_named(guarded: Guarded, command: Command) -> None:
    command.well("init")
    (guarded.folder / "words").write_text("not a certificate")
    for file, why in (("/nowhere/ca.pem", "No such file"), (str(guarded.folder / "words"), "no PEM file")):
        command.topology["stations"]["station-1"] = guarded.endpoint(ca=file)
        done = command("sync", "station-1")
        assert done.code == 1
        assert file in done.out + done.err
        assert why in done.out + done.err


def test_what_makes_no_sense_is_said_when_the_topology_is_read() -> None:
    with pytest.raises(ValueError, match="SQLite is a file"):
        Endpoint.model_validate({"url": "sqlite:////tmp/x.db", "tls": {}})
    with pytest.raises(ValueError, match="name it under cert"):
        Endpoint.model_validate({"url": "mysql+pymysql://u@h/d", "tls": {"key": "/k.pem"}})
