"""A login that does not hand the password to whoever asks for it.

The server chooses how a client proves that it knows the password. Some of these ways send it so that the server, or
anybody in between, can read it: in clear, or encrypted with a key that the server sends itself. They are only used
where TLS has proved who the server is."""

from __future__ import annotations

from typing import Any

from pymysql import _auth
from pymysql.connections import Connection
from pymysql.err import OperationalError

from stationsync.topology.tls import proves

# Our own number, beyond the server's.
REVEALING_LOGIN = 99_002
# `mysql_old_password` sends a hash that is broken within seconds.
_REVEALING = frozenset({"mysql_clear_password", "dialog", "mysql_old_password", "sha256_password"})
_CACHING = "caching_sha2_password"
_FULL = b"\x01\x04"


class GuardedConnection(Connection):
    """Raises OperationalError with REVEALING_LOGIN, and the way that the server asks for, before anything is sent."""

    def _request_authentication(self) -> None:
        self._require_safe(str(self._auth_plugin_name))  # type: ignore[attr-defined]  # not in the stubs
        super()._request_authentication()  # type: ignore[misc]

    def _get_auth_plugin_handler(self, plugin_name: bytes | str) -> Any:
        name = plugin_name.decode("ascii", "replace") if isinstance(plugin_name, bytes) else plugin_name
        self._require_safe(name)
        if name == _CACHING and not self._proved:
            return _HashOnly(self)
        return super()._get_auth_plugin_handler(plugin_name)  # type: ignore[misc]

    def _require_safe(self, plugin: str) -> None:
        if plugin in _REVEALING and not self._proved:
            raise OperationalError(REVEALING_LOGIN, plugin)

    @property
    def _proved(self) -> bool:
        """The server has shown a certificate that was checked: the driver goes no further without."""
        return proves(getattr(self, "ctx", None))


class _HashOnly:
    """caching_sha2_password as far as it sends a hash. Where the server has that not cached, it wants the password."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def authenticate(self, packet: Any) -> Any:
        if not packet.is_extra_auth_data():
            self._connection.salt = packet.read_all()[:20]
            self._connection.write_packet(_auth.scramble_caching_sha2(self._connection.password, self._connection.salt))
        elif packet.get_all_data()[:2] == _FULL:
            raise OperationalError(REVEALING_LOGIN, _CACHING)
        answer = self._connection._read_packet()
        answer.check_error()
        return answer
