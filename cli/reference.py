"""docs/CLI.md: every command with its arguments and options, from the help texts. `make cli-docs` writes it.

From Typer's objects and not from what it prints: that depends on the terminal's width."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from cli.main import app

PAGE = Path("docs/CLI.md")
_HEAD = """# Command reference

Written by `make cli-docs` from the help texts; do not edit.

`--topology FILE` and `--debug` may stand anywhere in the line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage
or topology, 3 a station is off-line (nothing lost, nothing to repair), 130 stopped by Ctrl-C.
"""


def page() -> str:
    group = typer.main.get_command(app)
    return "\n".join([_HEAD, *_sections("stationsync", group)])


def _sections(name: str, command: Any) -> Iterator[str]:
    commands: dict[str, Any] = getattr(command, "commands", {})
    if not commands or command.params:
        yield from _section(name, command, has_own=bool(commands))
    for word in sorted(commands):
        yield from _sections(f"{name} {word}", commands[word])


def _section(name: str, command: Any, *, has_own: bool) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    usage = " ".join([name, *map(_usage, arguments), *(["[OPTIONS]"] if options else []), *(["COMMAND"] * has_own)])
    yield f"## {name}\n\n```\n{usage}\n```\n"
    yield f"{_text(command.help)}\n"
    if rows := [*map(_argument, arguments), *map(_option, options)]:
        yield "\n".join(["| argument, option | |", "|---|---|", *rows]) + "\n"


def _usage(argument: Any) -> str:
    word = _word(argument)
    return word if argument.required else f"[{word}]"


def _word(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper()) + ("..." if argument.nargs == -1 else "")


def _argument(argument: Any) -> str:
    return f"| `{_cell(_word(argument))}` | {_cell(_text(argument.help, ' '))} |"


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    said = [_text(option.help, " ")]
    if option.required:
        said.append("Required.")
    elif option.default and isinstance(option.default, str | int | float) and option.default is not True:
        said.append(f"By default {option.default}.")
    return f"| {_cell(names)} | {_cell(' '.join(said))} |"


def _text(text: str | None, between: str = "\n\n") -> str:
    """Paragraphs, each on one line."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return between.join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
