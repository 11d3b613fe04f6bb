"""A port behind which a server is far away: whatever passes is delayed, half of a round trip in either direction."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_AT_ONCE = 256 * 1024


@contextmanager
def slow_port(port: int, round_trip: float) -> Iterator[int]:
    """The port of this machine at which the server on `port` answers after `round_trip` seconds at the earliest."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, port, round_trip / 2), daemon=True).start()
        yield int(server.getsockname()[1])


def _accept(server: socket.socket, port: int, delay: float) -> None:
    # Until the server's socket is closed.
    with contextlib.suppress(OSError):
        while True:
            near, _ = server.accept()
            time.sleep(2 * delay)  # as long as it takes to connect
            far = socket.create_connection(("127.0.0.1", port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target in ((near, far), (far, near)):
                waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()
                threading.Thread(target=_receive, args=(source, waiting, delay), daemon=True).start()
                threading.Thread(target=_send, args=(target, waiting), daemon=True).start()


def _receive(source: socket.socket, waiting: queue.Queue[tuple[float, bytes]], delay: float) -> None:
    data = b"?"
    while data:
        try:
            data = source.recv(_AT_ONCE)
        except OSError:
            data = b""
        waiting.put((time.monotonic() + delay, data))


def _send(target: socket.socket, waiting: queue.Queue[tuple[float, bytes]]) -> None:
    with contextlib.suppress(OSError):
        while True:
            at, data = waiting.get()
            time.sleep(max(0.0, at - time.monotonic()))
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(data)
