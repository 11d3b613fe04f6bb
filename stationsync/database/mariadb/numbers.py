"""Error numbers of the server that pymysql.constants has no name for, by the server's own names (share/errmsg.txt)."""

from __future__ import annotations

import sqlalchemy as sa

# Of the operating system, through the server: a file cannot be written, no space left.
EE_WRITE, ENOSPC = 3, 28
PLUGIN_IS_NOT_LOADED = 1524
NO_PARTITION_FOR_GIVEN_VALUE = 1526
FOREIGN_DUPLICATE_KEY_OLD = 1557
DUP_ENTRY_AUTOINCREMENT_CASE = 1569
DUP_ENTRY_WITH_KEY_NAME = 1586
BINLOG_UNSAFE_STATEMENT = 1592
XA_RBDEADLOCK = 1614
SIGNAL_EXCEPTION = 1644
BINLOG_STMT_MODE_AND_ROW_ENGINE = 1665
WARN_DEPRECATED_SYNTAX_NO_REPLACEMENT = 1681
DATA_OUT_OF_RANGE = 1690
ACCESS_DENIED_NO_PASSWORD = 1698
FOREIGN_DUPLICATE_KEY, FOREIGN_DUPLICATE_KEY_WITHOUT_INFO = 1761, 1762
CANT_EXECUTE_IN_READ_ONLY_TRANSACTION = 1792
MUST_CHANGE_PASSWORD = 1820
READ_ONLY_MODE = 1836
CONNECTION_KILLED = 1927
CANNOT_CONVERT_CHARACTER = 1977
# MySQL's; MariaDB uses some of them in its compatible modes.
ACCOUNT_LOCKED, SECURE_TRANSPORT_REQUIRED, INVALID_JSON_TEXT = 3118, 3159, 3140
WARN_UTF8_ALIAS, WARN_COLLATION_UTF8MB3, WARN_CHARSET_UTF8MB3 = 3719, 3778, 3779
CHECK_CONSTRAINT_VIOLATED = 3819
CLIENT_INTERACTION_TIMEOUT = 4031
ACCOUNT_HAS_BEEN_LOCKED = 4151


def number_of(error: sa.exc.DBAPIError) -> int:
    """The server's number of what went wrong; 0 where it gave none."""
    args = getattr(error.orig, "args", ())
    return args[0] if args and isinstance(args[0], int) else 0
