"""Rows between PyMySQL and Arrow: whole pages at a time, every value as the text the server printed."""

from __future__ import annotations

import bisect
import functools
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pymysql.connections import MySQLResult
from pymysql.constants import ER
from pymysql.cursors import SSCursor
from pymysql.err import DataError

from stationsync.database.mariadb.login import GuardedConnection
from stationsync.database.mariadb.packets import RowReader
from stationsync.database.mariadb.text import StoredText
from stationsync.model import stored_text
from stationsync.model.wire import Family

BINARY = frozenset({Family.BINARY, Family.BIT})
# Whose text comes from people.
_LABELS = frozenset({Family.TEXT, Family.ENUM, Family.SET, Family.JSON})
_MARK = stored_text.MARK.encode()
# A server may take packets of 1 MB at most, and what is around the rows is to fit too.
_PACKET = 256 * 1024
_STATEMENT = 768 * 1024
# Escaped, it may be twice as long.
_PIECE = 256 * 1024


class _BufferResult(MySQLResult):
    """Answers LOAD DATA LOCAL with the connection's own buffer, whatever file name the server asks for; and reads text
    that is no UTF-8."""

    def _read_row_from_packet(self, packet: Any) -> tuple[Any, ...]:
        start = packet._position
        try:
            return tuple(super()._read_row_from_packet(packet))  # type: ignore[misc]
        except UnicodeDecodeError:
            packet.rewind(start)
        row = []
        for encoding, converter in self.converters:  # type: ignore[attr-defined]  # not in the stubs
            data = packet.read_length_coded_string()
            if data is not None and encoding is not None:
                data = stored_text.from_sent(data)
            row.append(data if data is None or converter is None else converter(data))
        return tuple(row)

    def _read_load_local_packet(self, first_packet: Any) -> None:
        connection: Any = self.connection
        payload, connection.payload = connection.payload, b""
        try:
            for start in range(0, len(payload), _PACKET):
                connection.write_packet(payload[start : start + _PACKET])
        finally:
            connection.write_packet(b"")
            ok_packet = connection._read_packet()
        self._read_ok_packet(ok_packet)  # type: ignore[attr-defined]  # not in the stubs


@functools.cache
def _opportunistic_tls() -> ssl.SSLContext:
    """As the driver's own where the URL asks for nothing: TLS if the server has it, whoever it is. The driver makes
    it anew for each connection, and reads the system's certificates for it, which takes longer than all the rest."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class BufferConnection(GuardedConnection):
    """A PyMySQL connection that never opens a file of this machine for the server, and takes and gives text that is no
    Unicode in its wire form."""

    payload: memoryview | bytes = b""

    def escape(self, obj: Any, mapping: Any = None) -> Any:
        if isinstance(obj, str) and (stored := stored_text.parsed(obj)) is not None:
            return _literal_of(stored).decode()
        return super().escape(obj, mapping)

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        return super()._create_ssl_ctx(sslp) if sslp else _opportunistic_tls()  # type: ignore[misc]

    def _read_query_result(self, unbuffered: bool = False) -> int:
        self._result: MySQLResult | None = None
        result = _BufferResult(self)
        if unbuffered:
            result.init_unbuffered_query()
        else:
            result.read()
        self._result = result
        if result.server_status is not None:
            self.server_status = result.server_status
        return int(result.affected_rows or 0)


def keep_alive(connection: BufferConnection) -> None:
    """Firewalls forget connections that are silent for some minutes, as one is while the other side is at work; and a
    server that is gone without a word is noticed."""
    sock: Any = connection._sock  # type: ignore[attr-defined]  # not in the stubs
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name) and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@contextmanager
def _raw(connection: Any) -> Iterator[None]:
    """While open, the driver hands out bytes as they came instead of Python values."""
    decoders, unicode = connection.decoders, connection.use_unicode
    connection.decoders, connection.use_unicode = {}, False
    try:
        yield
    finally:
        connection.decoders, connection.use_unicode = decoders, unicode


def read(
    conn: sa.Connection, query: sa.Select[Any], families: Mapping[str, Family], max_bytes: int
) -> tuple[pa.Table, bool]:
    """The rows of `query` as wire columns; the flag tells that reading stopped at `max_bytes`."""
    compiled = query.compile(conn.engine, compile_kwargs={"render_postcompile": True})
    columns = [_Reading(c, families[c.name]) for c in query.selected_columns]
    schema = pa.schema([(c.name, pa.binary() if c.family in BINARY else pa.string()) for c in columns])
    driver: Any = conn.connection.dbapi_connection
    batches: list[pa.RecordBatch] = []
    with _raw(driver), SSCursor(driver) as cursor:
        cursor.execute(str(compiled), compiled.params)
        with RowReader(driver, len(columns)) as reader:
            for found in reader.batches(max_bytes):
                typed = [column.typed(values) for column, values in zip(columns, found, strict=True)]
                batches.append(pa.RecordBatch.from_arrays(typed, schema=schema))
    return pa.Table.from_batches(batches, schema).combine_chunks(), reader.stopped


class _Reading:
    """A column of a query. `charset`: of text that the server has put into wire form already."""

    def __init__(self, column: Any, family: Family) -> None:
        self.name = str(column.name)
        self.family = family
        inside = getattr(column, "element", column)
        self.charset = inside.own if isinstance(inside, StoredText) else None

    def typed(self, column: pa.Array) -> pa.Array:
        if self.family in BINARY:
            return column
        try:
            text = column.cast(pa.string())
        except pa.ArrowInvalid:  # it is no UTF-8
            return self._each(column)
        if self.family in _LABELS and self.charset is None and stored_text.any_in(text):
            return self._each(column)
        return text

    def _each(self, column: pa.Array) -> pa.Array:
        charset = self.charset

        def value(content: bytes) -> str:
            if charset is not None and content.startswith(_MARK):
                return content.decode()
            return stored_text.from_sent(content, charset or "utf8mb4")

        return pa.array([None if one is None else value(one) for one in column.to_pylist()], pa.string())


def fill(conn: sa.Connection, table: str, rows: pa.Table, families: Mapping[str, Family]) -> None:
    """Insert wire rows: LOAD DATA where this connection may, else statements of about 1 MB."""
    if rows.num_rows == 0:
        return
    driver: Any = conn.connection.dbapi_connection
    rows, apart = _with_bytes_apart(rows)
    if apart is not None:
        # First, because the server only tells about the last statement; these are refused by an error.
        _insert(driver, table, apart)
    if rows.num_rows == 0:
        return
    if loads(conn):
        _load(driver, table, _file(rows))
    else:
        _insert(driver, table, rows)


def _with_bytes_apart(rows: pa.Table) -> tuple[pa.Table, pa.Table | None]:
    """The rows, and those that have text as bytes: a file that is loaded has one character set."""
    at = {i for column in rows.columns for i in stored_text.found_in(column)}
    if not at:
        return rows, None
    return rows.filter(pa.array([i not in at for i in range(rows.num_rows)])), rows.take(sorted(at))


class _File(NamedTuple):
    """Rows as LOAD DATA reads them. `columns` are what a line has, `sets` what else is set from that."""

    content: memoryview
    columns: tuple[str, ...]
    sets: tuple[str, ...]


def _file(rows: pa.Table) -> _File:
    columns, sets = [], []
    for i, field in enumerate(rows.schema):
        if pa.types.is_binary(field.type):
            columns.append(f"@h{i}")
            sets.append(f"{_quoted(field.name)} = UNHEX(@h{i})")
        else:
            columns.append(_quoted(field.name))
    # The lines of the file are one Arrow string array; its data buffer is the file.
    lines = _lines([_tsv_field(column) for column in rows.columns], b"\t", b"", b"\n")
    start, end = _offsets(lines)
    return _File(memoryview(lines.buffers()[2])[start:end], tuple(columns), tuple(sets))


def _load(driver: Any, table: str, file: _File, given: Mapping[str, str | int] | None = None) -> int:
    """How many rows were taken, all as they are; -1 where the server warns of any. `given`: values that all have."""
    sets = [*file.sets, *(f"{_quoted(name)} = {driver.escape(value)}" for name, value in (given or {}).items())]
    driver.payload = file.content
    statement = (
        f"LOAD DATA LOCAL INFILE 'stationsync' INTO TABLE {_quoted(table)} CHARACTER SET utf8mb4"
        r" FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n'"
        f" ({', '.join(file.columns)}){' SET ' + ', '.join(sets) if sets else ''}"
    )
    with driver.cursor() as cursor:
        taken = int(cursor.execute(statement))
    return -1 if driver._result.warning_count else taken


def loads(conn: sa.Connection) -> bool:
    """Whether LOAD DATA may be used here."""
    driver: Any = conn.connection.dbapi_connection
    return bool(driver._local_infile and conn.scalar(sa.text("SELECT @@local_infile")))


def load_new(conn: sa.Connection, rows: pa.Table, into: Sequence[tuple[str, Mapping[str, str | int]]]) -> bool:
    """Load wire rows into tables, one after the other. False where a table had one of them already, or did not take
    it just as it is: then the caller has to roll back."""
    driver: Any = conn.connection.dbapi_connection
    file = _file(rows)
    return all(_load(driver, table, file, given) == rows.num_rows for table, given in into)


def _insert(driver: Any, table: str, rows: pa.Table) -> None:
    names = ", ".join(_quoted(name) for name in rows.column_names)
    head = f"INSERT INTO {_quoted(table)} ({names}) VALUES ".encode()
    lines = _lines([_literal(column) for column in rows.columns], b",", b"(", b"),")
    content, ends = memoryview(lines.buffers()[2]), _ends(lines)
    row, start = 0, _offsets(lines)[0]
    with driver.cursor() as cursor:
        while row < rows.num_rows:
            # As many rows as a statement holds, and at least one.
            row = max(bisect.bisect_right(ends, start + _STATEMENT), row + 1)
            statement = head + bytes(content[start : ends[row - 1] - 1])
            # One that is too long would cost us the connection, and look like a server that went away.
            if len(statement) > _STATEMENT and len(statement) >= (limit := _largest_packet(cursor)):
                statement = head + _with_long_values_apart(cursor, rows.slice(row - 1, 1), limit)
            cursor.execute(statement)
            start = ends[row - 1]


def _largest_packet(cursor: Any) -> int:
    cursor.execute("SELECT @@max_allowed_packet")
    return int(cursor.fetchone()[0])


def _with_long_values_apart(cursor: Any, row: pa.Table, limit: int) -> bytes:
    """The VALUES of one row that no statement holds: its long values are put together in variables of the session.

    Raises DataError where a value is longer than the server lets any value be."""
    fields = []
    for i, column in enumerate(row.columns):
        (literal,) = _literal(column).to_pylist()
        fields.append(literal if len(literal) < _PIECE else _variable(cursor, f"@stationsync_{i}", column, limit))
    values = b"(" + b",".join(fields) + b")"
    if len(values) + _PIECE >= limit:
        raise _too_long(len(values), limit)
    return values


def _variable(cursor: Any, name: str, column: pa.ChunkedArray, limit: int) -> bytes:
    array = _plain(column)
    binary = pa.types.is_binary(array.type)
    value = array[0].as_py()
    content = value if binary else value.encode()
    if stored_text.found_in(column) or len(content) >= limit:
        raise _too_long(len(content), limit)
    cursor.execute(f"SET {name} = {'_binary' if binary else ''}''")
    for piece in _pieces(content, whole_characters=not binary):
        one = pa.array([piece if binary else piece.decode()], array.type)
        (literal,) = _literal(pa.chunked_array([one])).to_pylist()
        cursor.execute(f"SET {name} = CONCAT({name}, ".encode() + literal + b")")
    return name.encode()


def _pieces(content: bytes, *, whole_characters: bool) -> Iterator[bytes]:
    start = 0
    while start < len(content):
        end = min(start + _PIECE, len(content))
        while whole_characters and end < len(content) and content[end] & 0xC0 == 0x80:
            end -= 1
        yield content[start:end]
        start = end


def _too_long(size: int, limit: int) -> DataError:
    return DataError(
        ER.NET_PACKET_TOO_LARGE, f"a row of {size} bytes is more than max_allowed_packet ({limit}) lets through"
    )


def _lines(fields: list[Any], separator: bytes, before: bytes, after: bytes) -> pa.Array:
    """The rows, each `before` + fields joined by `separator` + `after`; its data buffer has all of them in a row."""
    fields[0] = pc.binary_join_element_wise(before, fields[0], b"") if before else fields[0]
    fields[-1] = pc.binary_join_element_wise(fields[-1], after, b"")
    lines = fields[0] if len(fields) == 1 else pc.binary_join_element_wise(*fields, separator)
    return pa.concat_arrays(lines.chunks) if isinstance(lines, pa.ChunkedArray) else lines


def _ends(array: pa.Array) -> memoryview:
    """Where each row of a binary array ends in its data buffer."""
    return memoryview(array.buffers()[1]).cast("i")[array.offset + 1 : array.offset + 1 + len(array)]


def _offsets(array: pa.Array) -> tuple[int, int]:
    offsets = memoryview(array.buffers()[1]).cast("i")
    return offsets[array.offset], offsets[array.offset + len(array)]


# Every call into Arrow lets the thread that reads ahead take the interpreter and then waits for its turn again, so
# what follows makes few calls: none at all for a column of numbers.


def _plain(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _hex(array: pa.Array) -> pa.Array:
    return pa.array([None if value is None else value.hex().encode() for value in array.to_pylist()], pa.binary())


def _escaped(array: pa.Array, pairs: tuple[tuple[bytes, bytes], ...]) -> pa.Array:
    array = array.cast(pa.binary())
    start, end = _offsets(array)
    content = memoryview(array.buffers()[2] or b"")[start:end].tobytes()
    for found, instead in pairs:
        if found in content:
            array = pc.replace_substring(array, found, instead)
    return array


def _without_null(array: pa.Array, null: bytes) -> pa.Array:
    return pc.fill_null(array, null) if array.null_count else array


_TSV_ESCAPES = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"))
_LITERAL_ESCAPES = ((b"\\", b"\\\\"), (b"'", b"\\'"))


def _others(array: pa.Array, without: Collection[int]) -> pa.Array:
    return pa.array([i not in without for i in range(len(array))])


def _tsv_field(column: pa.ChunkedArray) -> pa.Array:
    array = _plain(column)
    escaped = _hex(array) if pa.types.is_binary(array.type) else _escaped(array, _TSV_ESCAPES)
    return _without_null(escaped, b"\\N")


def _literal_of(stored: stored_text.Stored) -> bytes:
    return f"_{stored.charset} x'{stored.content.hex()}'".encode()


def _literal(column: pa.ChunkedArray) -> pa.Array:
    array = _plain(column)
    if bytes_of := stored_text.found_in(column):
        values = _literal(pa.chunked_array([array.filter(_others(array, bytes_of))])).to_pylist()
        for i in sorted(bytes_of):
            values.insert(i, _literal_of(bytes_of[i]))
        return pa.array(values, pa.binary())
    # Bytes as they are: in hexadecimal digits they would be twice as long.
    before = b"_binary'" if pa.types.is_binary(array.type) else b"'"
    quoted = pc.binary_join_element_wise(before, _escaped(array, _LITERAL_ESCAPES), b"'", b"")
    return _without_null(quoted, b"NULL")


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
