"""Where alerts arrive: an HTTP server and a mail server of this process."""

from __future__ import annotations

import json
import queue
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from support.waiting import PATIENCE


class Receiver:
    """Keeps what is posted to it, in order, with the path it was posted to."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, dict[str, Any]]] = []
        self.refusing, self.refused = False, 0
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                refusing = receiver.refusing
                self.send_response(503 if refusing else 200)
                self.end_headers()
                with receiver._changed:
                    if refusing:
                        receiver.refused += 1
                    else:
                        receiver.arrived.append((self.path.strip("/"), json.loads(body)))
                    receiver._changed.notify_all()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def at(self, path: str, wanted: Callable[[dict[str, Any]], bool] = lambda _: True) -> list[dict[str, Any]]:
        return [body for place, body in self.arrived if place == path and wanted(body)]

    def wait_refused(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.refused >= number, PATIENCE), self.refused

    def wait(
        self, path: str, number: int, wanted: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> list[dict[str, Any]]:
        """What has arrived there, once there is so much."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.at(path, wanted)) >= number, PATIENCE):
                raise AssertionError(f"{number} at {path}: not within {PATIENCE:.0f} s, but {self.arrived}")
            return self.at(path, wanted)


class MailReceiver:
    """A mail server that takes whatever it is given; `arrived` has the mails as they came."""

    def __init__(self) -> None:
        self.arrived: queue.Queue[str] = queue.Queue()
        arrived = self.arrived

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                while line := self.rfile.readline().decode().strip():
                    verb = line[:4].upper()
                    if verb == "DATA":
                        self.wfile.write(b"354 go on\r\n")
                        arrived.put("\n".join(iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), ".")))
                    answer = {"EHLO": b"250-here\r\n250 AUTH LOGIN PLAIN", "AUTH": b"235 welcome", "QUIT": b"221 bye"}
                    self.wfile.write(answer.get(verb, b"250 ok") + b"\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, password: str) -> str:
        port = self._server.server_address[1]
        return f"mailto://sender:{password}@localhost:{port}?from=from@example.com&to=ops@example.com"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
