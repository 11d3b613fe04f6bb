"""A server that asks for the password so that it can read it gets none, unless it has proved who it is."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr
from pymysql.constants import CLIENT
from pymysql.err import OperationalError
from sqlalchemy import make_url

from stationsync.database.connection import Database
from stationsync.database.mariadb.login import REVEALING_LOGIN, GuardedConnection
from stationsync.errors import SetUpError

SECRET = "s3cr3t-pass"
SALT = b"a" * 20
FAST = b"\x01\x03"
# A switch to this way of login, and what the server says next.
SWITCHES = {
    "mysql_clear_password": [b"\xfemysql_clear_password\x00"],
    "dialog": [b"\xfedialog\x00\x04Password: "],
    "mysql_old_password": [b"\xfemysql_old_password\x00" + SALT[:8] + b"\x00"],
    "sha256_password": [b"\xfesha256_password\x00" + SALT + b"\x00"],
    # It has the hash not cached: full authentication.
    "caching_sha2_password": [b"\xfecaching_sha2_password\x00" + SALT + b"\x00", b"\x01\x04"],
}


def greeting(plugin: str) -> bytes:
    can = CLIENT.PROTOCOL_41 | CLIENT.SECURE_CONNECTION | CLIENT.PLUGIN_AUTH | CLIENT.CONNECT_WITH_DB
    return (
        b"\x0a5.5.5-10.11.6-MariaDB\x00" + struct.pack("<I", 7) + SALT[:8] + b"\x00"
        + struct.pack("<H", can & 0xFFFF) + b"\x21\x02\x00" + struct.pack("<H", can >> 16) + bytes([21]) + bytes(10)
        + SALT[8:] + b"\x00" + plugin.encode() + b"\x00"
    )  # fmt: skip


@contextmanager
def asking(first: str, packets: list[bytes]) -> Iterator[tuple[int, bytearray]]:
    """A server that greets, and answers each packet with the next of these. Its port, and all that it was sent."""
    heard = bytearray()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            number = 0
            for packet in (greeting(first), *packets, b"\xff\x15\x04#28000no"):
                connection.sendall(struct.pack("<I", len(packet))[:3] + bytes([number]) + packet)
                if packet == FAST:  # the last word follows at once
                    number += 1
                    continue
                received = connection.recv(65536)
                if not received:
                    return
                heard.extend(received)
                number = received[3] + 1

    server = threading.Thread(target=serve)
    server.start()
    yield listener.getsockname()[1], heard
    server.join()
    listener.close()


def database(port: int) -> Database:
    url = make_url(f"mysql+pymysql://sync@127.0.0.1:{port}/shop")
    return Database("station-1", url, lambda: SecretStr(SECRET), True)


@pytest.mark.parametrize("plugin", SWITCHES)
def test_a_password_is_not_sent_so_that_it_can_be_read(plugin: str) -> None:
    with (
        asking("mysql_native_password", SWITCHES[plugin]) as (port, heard),
        pytest.raises(SetUpError) as refused,
        database(port).connect(),
    ):
        pass
    assert SECRET.encode() not in heard
    text = str(refused.value)
    assert f"({plugin})" in text
    assert "No password was sent" in text
    assert "`tls:`" in text
    assert SECRET not in text


def test_nor_where_the_greeting_asks_for_it() -> None:
    with (
        asking("sha256_password", []) as (port, heard),
        pytest.raises(SetUpError, match="sha256_password"),
        database(port).connect(),
    ):
        pass
    assert SECRET.encode() not in heard


def test_a_hash_of_caching_sha2_is_sent_and_its_refusal_is_the_server_s() -> None:
    with asking("caching_sha2_password", [FAST]) as (port, heard), pytest.raises(OperationalError, match="no"):
        GuardedConnection(host="127.0.0.1", port=port, user="sync", password=SECRET, ssl_disabled=True)
    assert SECRET.encode() not in heard
    assert REVEALING_LOGIN > 65_535
