"""What to do next about each of the server's error numbers."""

from __future__ import annotations

import ssl

from pymysql.constants import CR, ER

from stationsync.database.mariadb import numbers
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
TOO_OLD = 99_001

# Cannot connect, gone away, lost, shut down, killed, network read/write errors, host blocked; 0: the driver's own.
_GONE = frozenset(
    {
        0, CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR, CR.CR_UNKNOWN_HOST, CR.CR_SERVER_GONE_ERROR,
        CR.CR_SERVER_LOST, CR.CR_COMMANDS_OUT_OF_SYNC, CR.CR_SERVER_LOST_EXTENDED, ER.SERVER_SHUTDOWN,
        ER.NORMAL_SHUTDOWN, ER.SHUTDOWN_COMPLETE, ER.HOST_IS_BLOCKED, ER.ABORTING_CONNECTION, ER.NET_READ_ERROR,
        ER.NET_READ_INTERRUPTED, ER.NET_ERROR_ON_WRITE, ER.NET_WRITE_INTERRUPTED, numbers.CONNECTION_KILLED,
        numbers.CLIENT_INTERACTION_TIMEOUT,
    }
)  # fmt: skip
# Deadlock, disk or memory full, read-only, too many connections, interrupted, time limit.
_BUSY = frozenset(
    {
        numbers.EE_WRITE, numbers.ENOSPC, ER.CANT_LOCK, ER.CHECKREAD, ER.DISK_FULL, ER.ERROR_ON_WRITE, ER.GET_ERRNO,
        ER.OPEN_AS_READONLY, ER.OUTOFMEMORY, ER.OUT_OF_SORTMEMORY, ER.CON_COUNT_ERROR, ER.OUT_OF_RESOURCES,
        ER.RECORD_FILE_FULL, ER.ERROR_DURING_COMMIT, ER.ERROR_DURING_ROLLBACK, ER.TOO_MANY_USER_CONNECTIONS,
        ER.LOCK_TABLE_FULL, ER.LOCK_DEADLOCK, ER.USER_LIMIT_REACHED, ER.OPTION_PREVENTS_STATEMENT,
        ER.QUERY_INTERRUPTED, numbers.XA_RBDEADLOCK, numbers.CANT_EXECUTE_IN_READ_ONLY_TRANSACTION,
        numbers.READ_ONLY_MODE, ER.STATEMENT_TIMEOUT, ER.QUERY_TIMEOUT,
    }
)  # fmt: skip
_LOGIN = frozenset(
    {
        ER.DBACCESS_DENIED_ERROR, ER.ACCESS_DENIED_ERROR, ER.BAD_DB_ERROR, ER.HOST_NOT_PRIVILEGED,
        ER.NOT_SUPPORTED_AUTH_MODE, numbers.PLUGIN_IS_NOT_LOADED, numbers.ACCESS_DENIED_NO_PASSWORD,
        numbers.MUST_CHANGE_PASSWORD, CR.CR_AUTH_PLUGIN_ERR, numbers.ACCOUNT_LOCKED, numbers.SECURE_TRANSPORT_REQUIRED,
        numbers.ACCOUNT_HAS_BEEN_LOCKED,
    }
)  # fmt: skip
_GRANT = frozenset(
    {
        ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR, ER.SPECIFIC_ACCESS_DENIED_ERROR,
        ER.PROCACCESS_DENIED_ERROR,
    }
)  # fmt: skip
# A statement was refused for want of a right, on a table or on the whole database.
DENIED = _GRANT | {ER.DBACCESS_DENIED_ERROR}
_SCHEMA = frozenset({ER.BAD_FIELD_ERROR, ER.NO_SUCH_TABLE, ER.NO_DEFAULT_FOR_FIELD})
_ENGINE = "SET GLOBAL enforce_storage_engine = NULL; (or InnoDB) and the same in the server's configuration."
# Beyond every number of the server: an application's trigger says no to a row (SIGNAL).
_APPLICATION = 10_000
_PARENT = frozenset({ER.NO_REFERENCED_ROW, ER.NO_REFERENCED_ROW_2})
_DUPLICATE = frozenset({ER.DUP_ENTRY, numbers.DUP_ENTRY_WITH_KEY_NAME})
_ROW = frozenset(
    {
        ER.BAD_NULL_ERROR, ER.TOO_BIG_ROWSIZE, ER.WRONG_VALUE_COUNT_ON_ROW, ER.NET_PACKET_TOO_LARGE,
        ER.ROW_IS_REFERENCED, ER.WARN_DATA_OUT_OF_RANGE, ER.WARN_DATA_TRUNCATED, ER.TRUNCATED_WRONG_VALUE,
        ER.INVALID_CHARACTER_STRING, ER.TRUNCATED_WRONG_VALUE_FOR_FIELD, ER.ILLEGAL_VALUE_FOR_TYPE, ER.DATA_TOO_LONG,
        ER.WRONG_VALUE_FOR_TYPE, ER.ROW_IS_REFERENCED_2, ER.CONSTRAINT_FAILED, numbers.FOREIGN_DUPLICATE_KEY_OLD,
        numbers.DUP_ENTRY_AUTOINCREMENT_CASE, numbers.NO_PARTITION_FOR_GIVEN_VALUE, numbers.SIGNAL_EXCEPTION,
        numbers.DATA_OUT_OF_RANGE, numbers.FOREIGN_DUPLICATE_KEY, numbers.FOREIGN_DUPLICATE_KEY_WITHOUT_INFO,
        numbers.CANNOT_CONVERT_CHARACTER, numbers.INVALID_JSON_TEXT, numbers.CHECK_CONSTRAINT_VIOLATED,
    }
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
    if code == ER.UNKNOWN_STORAGE_ENGINE or (code == ER.OPTION_PREVENTS_STATEMENT and "ENGINE" in message):
        return SetUpError(place, f"it does not let us make InnoDB tables: {message}.", next_step=_ENGINE)
    if code == ER.LOCK_WAIT_TIMEOUT:
        what = "somebody keeps rows or the table locked (an open transaction, LOCK TABLES, ALTER TABLE, a backup)"
        return LockWait(place, f"{what}: {message} ({code})")
    if code in _BUSY:
        return DatabaseBusy(place, what)
    if code == TOO_OLD:
        return SetUpError(place, f"{message}.", next_step="Needed: MariaDB 10.4, or MySQL 8.0.17, or later.")
    if code == REVEALING_LOGIN:
        what = f"it asks for the password in a way that it, or anybody in between, can read ({message})"
        return SetUpError(
            place,
            f"{what}, and nothing has proved who it is.",
            not_done="No password was sent, nothing was done.",
            next_step="Give it `tls:` in the topology, with verification (of a server that made its certificate itself:"
            " its ca.pem, and verify: ca); or, on MariaDB, the user another login: ALTER USER … IDENTIFIED VIA"
            " mysql_native_password USING PASSWORD('…')",
        )
    if code in _LOGIN:
        return LoginRefused(place, what, next_step="Check user, password and database name: stationsync check")
    if code in _GRANT:
        return GrantMissing(place, what, next_step="Grant it (stationsync check prints the statement), then run again.")
    if code in _SCHEMA:
        return SchemaRefused(place, what, next_step="Compare both tables: stationsync check")
    if code == numbers.BINLOG_STMT_MODE_AND_ROW_ENGINE:
        step = "SET GLOBAL binlog_format = 'MIXED'; and the same in the server's configuration."
        return SetUpError(place, f"{message}.", next_step=step)
    if code == ER.NEW_ABORTING_CONNECTION:
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
    elif code == CR.CR_SSL_CONNECTION_ERROR:
        what = f"it does not offer TLS, which `tls:` in the topology asks for: {message}."
        step = "Give the server a certificate (ssl_cert, ssl_key in its configuration)."
    else:
        return None
    return SetUpError(place, what, not_done="No password was sent, nothing was done.", next_step=step)
