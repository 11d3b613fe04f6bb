"""`metrics`: how the tables stand, for Prometheus: printed, into a file, or at a port."""

from __future__ import annotations

import signal
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import typer

from cli.common import Settings, say, settings
from stationsync.errors import StationSyncError, UsageError
from stationsync.health.metrics import prometheus, write
from stationsync.health.status import status

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def metrics(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it there, whole or not at all; for node_exporter: ….prom"),
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Serve it at /metrics until Ctrl-C.")] = None,
    host: Annotated[str, typer.Option(help="With --port: the address to listen at.")] = "127.0.0.1",
) -> None:
    """How every table stands, as Prometheus reads it: lag, waiting edits, quarantine, conflicts, last run.

    Reads control's books only. The flow fleet-report writes the same into defaults.metrics_file."""
    given = settings(ctx)
    if file is not None and port is not None:
        step = "Leave one of them out."
        raise UsageError("metrics", "goes into a file or to a port.", not_done="Nothing was done.", next_step=step)
    if port is not None:
        _serve(given, host, port)
    elif file is not None:
        write(file, _text(given))
    else:
        say(*_text(given).removesuffix("\n").split("\n"))


def _text(given: Settings) -> str:
    return prometheus(status(given.control, given.topology), datetime.now(UTC).replace(tzinfo=None))


def _serve(given: Settings, host: str, port: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self._answer(404, "Only /metrics is here.\n")
                return
            try:
                self._answer(200, _text(given))
            except StationSyncError as error:
                # Prometheus takes the target for down, which it is: nothing is known.
                self._answer(503, f"{error}\n")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", _TEXT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not a line for each look."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        what = f"cannot be listened at: {error.strerror}"
        step = "Choose another --port or --host."
        raise UsageError(f"{host}:{port}", what, not_done="Nothing was done.", next_step=step) from error
    # The command's usual end by Ctrl-C speaks of runs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with server, suppress(KeyboardInterrupt):
        say(f"http://{host}:{server.server_address[1]}/metrics until Ctrl-C")
        server.serve_forever()
