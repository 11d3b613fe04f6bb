"""What to do next about each of the server's error numbers."""

from __future__ import annotations

import ssl

from stationsync.database.mariadb.login import REVEALING_LOGIN
from stationsync.errors import (
    DatabaseBusy,
    DuplicateKey,
    GrantMissing,
    LeaseLost,
    LockWait,
    LoginRefused,
    ParentMissing,
    RowRefused,
    SchemaRefused,
    SetUpError,
    StationOffline,
    StationSyncError,
)

# Our own number, beyond the server's.
NOT_MARIADB = 99_001

# Cannot connect, gone away, lost, shut down, killed, network read/write errors, host blocked.
_GONE = frozenset(
    {0, 2002, 2003, 2005, 2006, 2013, 2014, 2055, 1053, 1077, 1079, 1129, 1152, 1158, 1159, 1160, 1161, 1927}
)
# Deadlock, disk or memory full, read-only, too many connections, interrupted, time limit.
_BUSY = frozenset(
    {3, 28, 1015, 1020, 1021, 1026, 1030, 1036, 1037, 1038, 1040, 1041, 1114, 1180, 1181, 1203, 1206, 1213,
     1226, 1290, 1317, 1614, 1792, 1836, 1969, 3024}
)  # fmt: skip
_LOGIN = frozenset({1044, 1045, 1049, 1130, 1251, 1524, 1698, 1820, 2061, 3118, 3159, 4151})
_GRANT = frozenset({1142, 1143, 1227, 1370})
_SCHEMA = frozenset({1054, 1146, 1364})
_BINARY_LOG = 1665
_NO_TLS = 2026
# Of an engine that the server enforces, or does not have.
_NO_ENGINE, _OPTION = 1286, 1290
_ENGINE = "SET GLOBAL enforce_storage_engine = NULL; (or InnoDB) and the same in the server's configuration."
_LOCK_WAIT = 1205
_INIT_CONNECT = 1184
# Beyond every number of the server: an application's trigger says no to a row (SIGNAL).
_APPLICATION = 10_000
# A foreign key that finds nothing.
_PARENT = frozenset({1216, 1452})
# A unique index that has the value already.
_DUPLICATE = frozenset({1062, 1586})
_ROW = frozenset(
    {1048, 1118, 1136, 1153, 1217, 1264, 1265, 1292, 1300, 1366, 1367, 1406, 1411, 1451, 1557, 1569,
     1526, 1644, 1690, 1761, 1762, 1977, 3140, 3819, 4025}
)  # fmt: skip


def explain(error: BaseException, place: str, *, station: bool) -> StationSyncError | None:
    """Our error for the driver's, None where the number says nothing that we know."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    message = str(error.args[1]) if len(error.args) > 1 else str(error) or type(error).__name__
    what = f"{message} ({code})" if code else message
    if (untrusted := _untrusted(error, code, place, message)) is not None:
        return untrusted
    if code in _GONE or (isinstance(error, OSError) and not code):
        return _gone(place, what, station=station)
    if code == _NO_ENGINE or (code == _OPTION and "ENGINE" in message):
        return SetUpError(place, f"it does not let us make InnoDB tables: {message}.", next_step=_ENGINE)
    if code == _LOCK_WAIT:
        what = "somebody keeps rows or the table locked (an open transaction, LOCK TABLES, ALTER TABLE, a backup)"
        return LockWait(place, f"{what}: {message} ({code})")
    if code in _BUSY:
        return DatabaseBusy(place, what)
    if code == NOT_MARIADB:
        return SetUpError(place, f"{message}.", next_step="This version supports MariaDB 10.4 or later.")
    if code == REVEALING_LOGIN:
        what = f"it asks for the password in a way that it, or anybody in between, can read ({message})"
        return SetUpError(
            place,
            f"{what}, and nothing has proved who it is.",
            not_done="No password was sent, nothing was done.",
            next_step="Give it `tls:` in the topology, with verification; or the user a login of MariaDB's own:"
            " ALTER USER … IDENTIFIED VIA mysql_native_password USING PASSWORD('…')",
        )
    if code in _LOGIN:
        return LoginRefused(place, what, next_step="Check user, password and database name: stationsync check")
    if code in _GRANT:
        return GrantMissing(place, what, next_step="Grant it (stationsync check prints the statement), then run again.")
    if code in _SCHEMA:
        return SchemaRefused(place, what, next_step="Compare both tables: stationsync check")
    if code == _BINARY_LOG:
        step = "SET GLOBAL binlog_format = 'MIXED'; and the same in the server's configuration."
        return SetUpError(place, f"{message}.", next_step=step)
    if code == _INIT_CONNECT:
        return SetUpError(place, f"{message}.", next_step="Mend the server's init_connect.")
    if code in _PARENT:
        return ParentMissing(place, what)
    if code in _DUPLICATE:
        return DuplicateKey(place, what)
    if code in _ROW or code > _APPLICATION:
        return RowRefused(place, what)
    return None


def _gone(place: str, what: str, *, station: bool) -> StationSyncError:
    return (
        StationOffline(place, f"does not answer: {what}") if station else LeaseLost(place, f"does not answer: {what}")
    )


def _untrusted(error: BaseException, code: int, place: str, message: str) -> SetUpError | None:
    """Somebody answers, but not with the encryption or the certificate that was asked for: no off-line station."""
    cause = getattr(error, "original_exception", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        what = f"its certificate is not trusted: {cause.verify_message}."
        step = "If this is the right server, put the CA that signed its certificate under tls.ca in the topology."
    elif code == _NO_TLS:
        what = f"it does not offer TLS, which `tls:` in the topology asks for: {message}."
        step = "Give the server a certificate (ssl_cert, ssl_key in its configuration)."
    else:
        return None
    return SetUpError(place, what, not_done="No password was sent, nothing was done.", next_step=step)
