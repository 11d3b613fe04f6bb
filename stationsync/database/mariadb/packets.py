"""The rows of a result that is not buffered, many packets at a time, as Arrow columns of the bytes that came.

The driver makes a Python object of every packet and every value: that is most of what reading many rows costs. Here
only the places of the packets are walked through; what is in them, NumPy and Arrow find for all rows of a batch."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pymysql.constants import CR
from pymysql.err import InternalError, OperationalError
from pymysql.protocol import MysqlPacket

from stationsync.database.dialect import NO_LIMIT

_HEADER = 4
_AT_ONCE = 256 * 1024
# A packet of this size goes on in the next one.
_LARGEST = 0xFFFFFF
_NULL, _TWO, _THREE, _EIGHT = 0xFB, 0xFC, 0xFD, 0xFE
# The first byte of what ends a result, and the size under which it does not begin a row.
_EOF, _ERROR, _EOF_SIZE = 0xFE, 0xFF, 9
_Places = npt.NDArray[np.int64]


class _Packet(NamedTuple):
    """Where it begins, with its header, and where it ends."""

    start: int
    end: int


class RowReader:
    """Of a query that was just sent with an unbuffered cursor of `driver`; open for as long as it is read. What ends
    that before the result has ended closes the connection: what is left in it belongs to nobody."""

    def __init__(self, driver: Any, columns: int) -> None:
        self._driver = driver
        self._result: Any = driver._result
        self._columns = columns
        self._content = bytearray()
        self._at = 0
        self.stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._result.unbuffered_active:
            self._result.unbuffered_active = False
            self._driver._force_close()

    def batches(self, max_bytes: int = NO_LIMIT) -> Iterator[list[pa.Array]]:
        """The columns of some rows, of about 256 kB; up to the row that passes `max_bytes`; then `stopped` tells
        whether there were more. Raises the driver's OperationalError and what the server tells."""
        left = max_bytes
        for starts, large in self._parts():
            if large is not None:
                left -= sum(column.nbytes for column in large)
                yield large
            else:
                ends = np.array([*starts[1:], self._at], np.int64)
                kept = min(int(np.searchsorted(ends - starts[0], left, side="right")) + 1, len(starts))
                yield self._parsed(np.array(starts[:kept], np.int64), int(ends[kept - 1]))
                self._count(starts[kept:])
                self.stopped = kept < len(starts)
                left -= int(ends[kept - 1]) - starts[0]
            if left < 0:
                self.stopped |= self._skip()
                return

    def _skip(self) -> bool:
        """Read on to the end, as the server cannot be stopped; whether there were more rows."""
        more = False
        for starts, _ in self._parts():
            self._count(starts)
            more = True
        return more

    def _parts(self) -> Iterator[tuple[list[int], list[pa.Array] | None]]:
        """Where rows begin in what has come; or the columns of a row that one packet cannot hold."""
        driver = self._driver
        driver._sock.settimeout(driver._read_timeout)
        driver._current_timeout = driver._read_timeout
        while self._result.unbuffered_active:
            starts, last = self._packets()
            if starts:
                yield starts, None
            if last is not None and (large := self._last(last)) is not None:
                yield [], large

    def _packets(self) -> tuple[list[int], _Packet | None]:
        """Where the rows that have come begin; and the packet behind them that is no row, or only a part of one."""
        self._content = self._content[self._at :]
        content, at, starts = self._content, 0, list[int]()
        while True:
            end = len(content)
            while at + _HEADER < end:
                size = content[at] | content[at + 1] << 8 | content[at + 2] << 16
                after = at + _HEADER + size
                if after > end:
                    break
                first = content[at + _HEADER] if size else 0
                if size == _LARGEST or first == _ERROR or (first == _EOF and size < _EOF_SIZE):
                    self._at = at
                    return starts, _Packet(at, after)
                starts.append(at)
                at = after
            if starts and at >= _AT_ONCE:
                self._at = at
                return starts, None
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._driver._rfile.read1(_AT_ONCE)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise OperationalError(CR.CR_SERVER_LOST, f"Lost connection to server during query ({error})") from error
        if not data:
            raise OperationalError(CR.CR_SERVER_LOST, "Lost connection to server during query")
        self._content += data

    def _numbered(self, numbers: npt.NDArray[np.uint8]) -> None:
        """Packets are counted: none is missing."""
        driver = self._driver
        expected = (driver._next_seq_id + np.arange(len(numbers))) & 0xFF
        if not np.array_equal(numbers, expected):
            # A server that shuts down says so in a packet of its own.
            if 0 in numbers[numbers != expected]:
                raise OperationalError(CR.CR_SERVER_LOST, "Lost connection to server during query")
            raise InternalError("packets do not come in their order")
        driver._next_seq_id = (driver._next_seq_id + len(numbers)) & 0xFF

    def _count(self, starts: list[int]) -> None:
        if starts:
            self._numbered(np.frombuffer(self._content, np.uint8)[np.array(starts) + 3])

    def _parsed(self, starts: _Places, until: int) -> list[pa.Array]:
        content = bytes(memoryview(self._content)[:until])
        data, buffer = np.frombuffer(content, np.uint8), pa.py_buffer(content)
        self._numbered(data[starts + 3])
        at, columns = starts + _HEADER, []
        for _ in range(self._columns):
            begin, end, null = _values(data, at)
            columns.append(_array(buffer, begin, end, null))
            at = end
        if not np.array_equal(at[:-1], starts[1:]) or at[-1] != until:
            raise InternalError("a row has other columns than its result")
        return columns

    def _last(self, packet: _Packet) -> list[pa.Array] | None:
        """The end of the result, an error, or the columns of a row that one packet cannot hold."""
        parts = []
        while True:
            start, end = packet
            self._numbered(np.frombuffer(self._content, np.uint8, 1, start + 3).copy())
            parts.append(bytes(self._content[start + _HEADER : end]))
            self._at = end
            if end - start - _HEADER < _LARGEST:
                break
            packet = self._next_part(end)
        payload = b"".join(parts)
        told = MysqlPacket(payload, self._driver.encoding)
        if told.is_error_packet():
            self._result.unbuffered_active = False
            told.raise_for_error()
        if len(parts) == 1 and self._result._check_packet_is_eof(told):
            self._result.unbuffered_active = False
            self._result.connection = None
            return None
        return [pa.array([told.read_length_coded_string()], pa.binary()) for _ in range(self._columns)]

    def _next_part(self, start: int) -> _Packet:
        while True:
            if start + _HEADER <= len(self._content):
                end = start + _HEADER + int.from_bytes(self._content[start : start + 3], "little")
                if end <= len(self._content):
                    return _Packet(start, end)
            self._receive()


def _values(data: npt.NDArray[np.uint8], at: _Places) -> tuple[_Places, _Places, npt.NDArray[np.bool_] | None]:
    """Where the values begin and end whose lengths stand `at` these places; which are NULL, None where none is."""
    first = data[at]
    begin, size = at + 1, first.astype(np.int64)
    if not (first >= _NULL).any():
        return begin, begin + size, None
    null = first == _NULL
    size[null] = 0
    for mark, width in ((_TWO, 2), (_THREE, 3), (_EIGHT, 8)):
        which = np.flatnonzero(first == mark)
        if len(which):
            size[which] = sum(data[at[which] + 1 + i].astype(np.int64) << (8 * i) for i in range(width))
            begin[which] += width
    return begin, begin + size, null if null.any() else None


def _array(buffer: pa.Buffer, begin: _Places, end: _Places, null: npt.NDArray[np.bool_] | None) -> pa.Array:
    """The values, taken out of what came: every second of an array that has what is between them as values too."""
    number = len(begin)
    offsets = np.empty(2 * number + 1, np.int32)
    offsets[0:-1:2], offsets[1::2], offsets[-1] = begin, end, end[-1]
    valid = None
    if null is not None:
        bits = np.ones(2 * number, np.bool_)
        bits[::2] = ~null
        valid = pa.py_buffer(np.packbits(bits, bitorder="little"))
    every = pa.Array.from_buffers(pa.binary(), 2 * number, [valid, pa.py_buffer(offsets), buffer])
    return every.take(pa.array(np.arange(0, 2 * number, 2)))
