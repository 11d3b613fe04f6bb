"""A TCP proxy that can be slow, cut, silent or closed: the network between two places."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

HOST = "127.0.0.1"
_CHUNK = 1 << 16


class Proxy:
    """Listens on `port` and passes on to `target`. "up" is what the client sends, "down" what it is answered."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self._delay = 0.0
        self._refuses = self._silent = False
        self._left: dict[str, int | None] = {"up": None, "down": None}
        threading.Thread(target=self._accept, daemon=True).start()

    # --- what a drill does to it

    def heal(self) -> None:
        """As a good network; connections that were lived through a silence are gone."""
        silent = self._silent
        self._delay, self._refuses, self._silent = 0.0, False, False
        self._left = {"up": None, "down": None}
        if silent:
            self.cut()

    def slow(self, seconds: float) -> None:
        """Each packet takes that long."""
        self._delay = seconds

    def cut(self) -> None:
        """Every connection ends now; new ones are fine."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)

    def refuse(self) -> None:
        """As `cut`, and nobody gets through until it is healed."""
        self._refuses = True
        self.cut()

    def half_open(self) -> None:
        """Connections stay, and new ones are taken, but nothing passes any more."""
        self._silent = True

    def cut_after(self, way: str, size: int) -> None:
        """The connection that passes on byte number `size` from now on ends behind it, once."""
        self._left[way] = size

    def close(self) -> None:
        self._refuses = True
        self._listener.close()
        self.cut()

    # --- inside

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                client.close()
                continue
            try:
                server = socket.create_connection((HOST, self.target), timeout=5)
            except OSError:
                client.close()
                continue
            pair = (client, server)
            for end in pair:
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.add(pair)
            for source, target, way in ((client, server, "up"), (server, client, "down")):
                threading.Thread(target=self._pump, args=(pair, source, target, way), daemon=True).start()

    def _pump(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket, to: socket.socket, way: str
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if self._silent:
                    continue
                if self._delay:
                    time.sleep(self._delay)
                passed, last = self._allowed(way, data)
                if passed:
                    to.sendall(passed)
                if last:
                    break
        self._end(pair)

    def _allowed(self, way: str, data: bytes) -> tuple[bytes, bool]:
        """What of `data` passes, and whether the connection ends behind it."""
        with self._lock:
            left = self._left[way]
            if left is None:
                return data, False
            if len(data) <= left:
                self._left[way] = left - len(data)
                return data, False
            self._left[way] = None
            self.cuts += 1
            return data[:left], True

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
