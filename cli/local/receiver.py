"""Where the local fleet's alerts arrive: writes each into a file. A process of its own."""

from __future__ import annotations

import json
import signal
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cli.local import parts
from cli.local.home import Home
from cli.sandbox.files import HOST

NAME = "receiver"


def main(folder: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    home = Home(Path(folder))
    try:
        server = ThreadingHTTPServer((HOST, parts.last_port(home, NAME) or 0), _handler(home.alerts))
    except OSError:  # somebody else took the port meanwhile
        server = ThreadingHTTPServer((HOST, 0), _handler(home.alerts))
    home.alerts.touch()
    parts.tell_ready(home, NAME, port=server.server_address[1])
    server.serve_forever()


def _handler(file: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with file.open("a", encoding="utf-8") as out:
                out.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {_said(body)}\n\n")
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _said(body: bytes) -> str:
    """An alert's own words, or else whatever it was."""
    text = body.decode(errors="replace")
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if isinstance(found, dict) and found.get("text"):
        return f"{found.get('subject', '')}\n{found['text']}".strip()
    return text


if __name__ == "__main__":
    main(*sys.argv[1:])
