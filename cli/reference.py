"""docs/CLI.md: every command with its arguments and options, as Typer writes them. `make cli-docs` writes it."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from cli.main import app

PAGE = Path("docs/CLI.md")
_HEAD = """# Command reference

Written by `make cli-docs` from the help texts; do not edit.

`--topology FILE` and `--debug` may stand anywhere in the line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage
or topology, 3 a station is off-line (nothing lost, nothing to repair), 130 stopped by Ctrl-C.

"""


def page() -> str:
    group = typer.main.get_command(app)
    return _HEAD + get_docs_for_click(obj=group, ctx=typer.Context(group), indent=1, name="stationsync").rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
