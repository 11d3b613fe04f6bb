"""The session variables that we set at connect: all that change what our statements mean, or how long they wait.

A server's global values, and what its init_connect runs, come before: an administrator may have set any of them for
other clients. Only the session is changed, never the server. What is left as the server has it is left on purpose:
auto_increment_increment and _offset (they keep replicated servers apart), sql_log_bin and all of the binary log,
wsrep_*, and what only makes a statement faster or slower (optimizer_switch, buffers, statistics)."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import pymysql
from pymysql.constants import ER

# Seconds. While we wait for one row of a station, its application waits for the others that we have locked.
LOCK_WAIT_CONTROL, LOCK_WAIT_STATION = 10, 3
PATIENCE = "STATIONSYNC_LOCK_WAIT"
# For a table that is locked as a whole (LOCK TABLES, ALTER TABLE). We hold no rows then.
TABLE_WAIT_CONTROL, TABLE_WAIT_STATION = 10, 5
# Who only looks, and a run that has waited in vain already.
BRIEFLY = 2
# The driver gives up reading an answer after this time: what takes longer should be told by the server, as what it is.
READ_TIMEOUT = 180
# On a connection for statements that are answered in moments.
BRIEF_TIMEOUT = 20
_STATEMENT = READ_TIMEOUT - 10
# A session of ours whose machine or network is gone must not keep rows locked until wait_timeout ends it.
_IDLE_CONTROL, _IDLE_STATION = 900, 120
# An idle connection: a control session waits while a station is read, a station's while control is written.
_CONNECTION = 28_800
_NETWORK = 120
_NO_LIMIT = 18_446_744_073_709_551_615

_SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"


class Variable(NamedTuple):
    """`value` as SQL; `why`: what another value would do. `since`: of this server version on."""

    name: str
    value: str | int
    why: str
    since: tuple[int, ...] = (0, 0)


# With CAST to DOUBLE, and a collation of bytes for UTF-8.
MYSQL_LEAST = (8, 0, 17)

# In the order in which they are set.
SETTINGS: tuple[Variable, ...] = (
    # --- what values become
    Variable("sql_mode", f"'{_SQL_MODE}'", "zero dates travel, 0 is no 'next number', what does not fit is an error"),
    Variable("old_mode", "''", "comparisons of times with dates, and the notes on which we rely"),
    Variable("old_mode", "'UTF8_IS_UTF8MB3'", "utf8 means the same charset on every version", (10, 6)),
    Variable("time_zone", "'+00:00'", "TIMESTAMP is read and written in UTC on every side"),
    Variable("timestamp", "DEFAULT", "NOW() is now"),
    Variable("character_set_client", "utf8mb4", "our statements are UTF-8"),
    Variable("character_set_results", "utf8mb4", "and so are the answers"),
    Variable("character_set_connection", "utf8mb4", "and the literals in between"),
    Variable("collation_connection", "utf8mb4_general_ci", "literals have the same collation on every version"),
    Variable("explicit_defaults_for_timestamp", 1, "NULL written to a TIMESTAMP would become the present moment"),
    Variable("div_precision_increment", 6, "the age of a transaction would be rounded"),
    Variable("lc_messages", "'en_US'", "kept reasons are compared"),
    # --- which rows a statement sees, and in which order
    Variable("sql_select_limit", _NO_LIMIT, "a SELECT without LIMIT would be cut: rows that are there look deleted"),
    Variable("sql_auto_is_null", 0, "an outer join's IS NULL would find the row that was inserted last"),
    Variable("system_versioning_asof", "DEFAULT", "a versioned table would be read as it was once"),
    Variable("max_sort_length", 65_536, "long keys would be sorted by their beginning, and pages lose rows"),
    Variable("group_concat_max_len", 1_048_576, "a list would be cut with a warning only"),
    # --- what may be executed
    Variable("sql_safe_updates", 0, "UPDATE and DELETE by a join would be refused"),
    Variable("max_join_size", _NO_LIMIT, "statements that look at many rows would be refused"),
    Variable("sql_big_selects", 1, "the same; set anew by max_join_size"),
    Variable("tx_read_only", 0, "every write would be refused"),
    Variable("max_session_mem_used", 9_223_372_036_854_775_807, "large statements would be refused"),
    Variable("tmp_disk_table_size", _NO_LIMIT, "a large comparison would end with 'table is full'"),
    Variable("max_tmp_session_space_usage", 0, "the same", (11, 5)),
    Variable("sort_buffer_size", 2_097_152, "long keys could not be sorted at all"),
    Variable("alter_algorithm", "'DEFAULT'", "init could not add a column where the server has to copy a table"),
    # --- checks, and what the server tells of them
    Variable("foreign_key_checks", 1, "rows that refer to nothing would be taken"),
    Variable("unique_checks", 1, "doubles would be taken"),
    Variable("check_constraint_checks", 1, "values that the table forbids would be taken"),
    Variable("sql_notes", 1, "values that were cut are told as notes"),
    Variable("max_error_count", 64, "no warning would be told at all"),
    Variable("note_verbosity", "'basic'", "notes about indexes would look like changed values", (10, 6)),
    # --- tables that we make
    Variable("default_storage_engine", "InnoDB", "what we write must roll back"),
    Variable("default_tmp_storage_engine", "InnoDB", "temporary tables must take every type, and roll back"),
    Variable("innodb_strict_mode", 1, "a table that cannot take its rows must be refused when it is made"),
    Variable("innodb_compression_default", 0, "temporary tables cannot be compressed"),
    Variable("sql_if_exists", 0, "a DROP or ALTER that finds nothing must say so"),
    # --- transactions
    Variable("autocommit", 0, "a chunk is one transaction"),
    Variable("tx_isolation", "'READ-COMMITTED'", "no gap locks: stations merge side by side, a lease keeps runs apart"),
    Variable("completion_type", "'NO_CHAIN'", "COMMIT would close our connection, or begin a transaction"),
    Variable("low_priority_updates", 0, "writes would wait for every reader"),
    Variable("query_cache_type", 0, "sweeps would push everything else out of the cache"),
    # --- how long anything waits
    Variable("max_statement_time", _STATEMENT, "a shorter limit would end pages of a sweep, none would outlive us"),
    Variable("wait_timeout", _CONNECTION, "a connection that is idle while the other side is at work would be closed"),
    Variable("net_read_timeout", _NETWORK, "slow links"),
    Variable("net_write_timeout", _NETWORK, "slow links"),
    Variable("idle_readonly_transaction_timeout", 0, "as idle_transaction_timeout"),
    Variable("idle_write_transaction_timeout", 0, "as idle_transaction_timeout"),
)
# MySQL has none for a transaction that is idle: a session whose machine is gone ends with its connection.
_IDLE_AT_MYSQL = 900
# Of MySQL alone.
MYSQL: tuple[Variable, ...] = (
    Variable("information_schema_stats_expiry", 0, "what the server says of a table would be a day old"),
    Variable("max_execution_time", 1000 * _STATEMENT, "as max_statement_time; of a SELECT, in milliseconds"),
    Variable("explain_format", "'TRADITIONAL'", "a plan would be told in words", (8, 0, 32)),
    Variable("wait_timeout", _IDLE_AT_MYSQL, "rows would stay locked for hours"),
)
# Those that MySQL does not have (to ask for each would be a round trip), or has for other users only.
_MARIADB_ONLY = frozenset(
    {
        "explicit_defaults_for_timestamp", "sort_buffer_size", "max_error_count", "innodb_strict_mode",
        "low_priority_updates",
        "old_mode", "system_versioning_asof", "max_session_mem_used", "tmp_disk_table_size", "alter_algorithm",
        "max_tmp_session_space_usage", "check_constraint_checks", "note_verbosity", "innodb_compression_default",
        "sql_if_exists", "query_cache_type", "max_statement_time", "idle_readonly_transaction_timeout",
        "idle_write_transaction_timeout", "idle_transaction_timeout",
    }
)  # fmt: skip
# Names of the same variable on other servers.
_ALIASES = {"tx_isolation": "transaction_isolation", "tx_read_only": "transaction_read_only"}
# Unknown, or cannot be set on this version.
_LACKING = frozenset({ER.UNKNOWN_SYSTEM_VARIABLE, ER.INCORRECT_GLOBAL_LOCAL_VAR})


def _patience(usual: int) -> int:
    """Seconds that a statement waits for locks of others; STATIONSYNC_LOCK_WAIT says otherwise."""
    return int(os.environ.get(PATIENCE) or usual)


def settings(server: str, *, station: bool) -> dict[str, str | int]:
    """By name, in order, for a server of this version (as it tells it when we connect)."""
    version, mariadb = version_of(server), is_mariadb(server)
    chosen = SETTINGS if mariadb else (*SETTINGS, *MYSQL)
    found = {one.name: one.value for one in chosen if version >= one.since}
    found |= {
        "innodb_lock_wait_timeout": _patience(LOCK_WAIT_STATION if station else LOCK_WAIT_CONTROL),
        "lock_wait_timeout": _patience(TABLE_WAIT_STATION if station else TABLE_WAIT_CONTROL),
        "idle_transaction_timeout": _IDLE_STATION if station else _IDLE_CONTROL,
    }
    return {name: value for name, value in found.items() if mariadb or name not in _MARIADB_ONLY}


def is_mariadb(server: str) -> bool:
    """Or MySQL, by the version that a server tells when we connect."""
    return "mariadb" in server.lower()


def version_of(server: str) -> tuple[int, ...]:
    """Of a server, as it tells it when we connect."""
    # MariaDB puts 5.5.5- before its own, for old replicas.
    return tuple(map(int, re.findall(r"\d+", server.removeprefix("5.5.5-"))[:3]))


def own(connection: Any, wanted: Mapping[str, str | int], lacking: set[str]) -> None:
    """Set them all, in one statement. Names that this server does not have are added to `lacking`, and left out."""
    while True:
        names = _names(wanted, lacking)
        try:
            _set(connection, names)
        except pymysql.err.Error as error:
            unknown = _named(error, names)
            if unknown is None:
                raise
            lacking.add(unknown)
        else:
            return


def _names(wanted: Mapping[str, str | int], lacking: Collection[str]) -> dict[str, str | int]:
    known = {_ALIASES.get(name, name) if name in lacking else name: value for name, value in wanted.items()}
    return {name: value for name, value in known.items() if name not in lacking}


def _set(connection: Any, names: Mapping[str, str | int]) -> None:
    # Read by the server in whatever sql_mode it begins with: only single quotes, and no backslashes.
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION " + ", ".join(f"{name} = {value}" for name, value in names.items()))


def _named(error: pymysql.err.Error, names: Collection[str]) -> str | None:
    """The variable that the server does not have, by its words, which may be in any language."""
    if not error.args or error.args[0] not in _LACKING:
        return None
    words: Sequence[str] = re.findall(r"\w+", str(error.args[1]))
    return next((name for name in names if name in words), None)
