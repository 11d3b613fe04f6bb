"""Commands that texts advise to type: where they stand, and whether the real command takes them."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

import typer
from cyclopts.exceptions import UnknownCommandError, UnknownOptionError
from prefect.cli import _app as prefect_app

from cli.main import app

# What stands for a value in a text that is put together.
VALUE = "\ue000"
_BEGIN = re.compile(r"(?<![\w/.-])(stationsync|prefect) (?=[-a-z\ue000\[])")
# What follows the name of the product where it is no command.
_PROSE = frozenset("and command installed keeps may needs on sets that".split())  # noqa: SIM905
# What ends a command in prose: punctuation behind a word, or what no word of a command begins with.
_END = re.compile(r"[.,;:)!?]+(?=\s|$)|[`]|\n| [-–—(→=&#]+(?=[\s(]|$)|\s\(|\"(?=[.,;)]|$)| …")


class Advice(NamedTuple):
    place: str
    text: str


def in_source(source: str, name: str) -> Iterator[Advice]:
    """Those of string literals; what an f-string puts in is a VALUE."""
    tree = ast.parse(source, filename=name)
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            yield from in_text(_joined(node), f"{name}:{node.lineno}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from in_text(node.value, f"{name}:{node.lineno}")


def _joined(node: ast.JoinedStr) -> str:
    parts = (part.value if isinstance(part, ast.Constant) else VALUE for part in node.values)
    return "".join(str(part) for part in parts)


def in_text(text: str, place: str) -> Iterator[Advice]:
    for match in _BEGIN.finditer(text):
        rest = text[match.end() :]
        end = _END.search(rest)
        advice = (rest[: end.start()] if end else rest).strip()
        if advice.split(" ")[0] not in _PROSE:
            yield Advice(place, f"{match[1]} {advice}")


def in_document(text: str, name: str) -> Iterator[Advice]:
    """Those of code blocks and of code within lines."""
    for block in re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            for part in re.split(r"&&|\|\s|;\s", line.split(" #")[0]):
                yield from in_line(part, name)
    for code in re.findall(r"`([^`\n]*)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)):
        if code.startswith(("stationsync ", "prefect ")):
            yield Advice(name, code)


def in_line(line: str, name: str) -> Iterator[Advice]:
    """Of a script, a unit, a crontab: the command and all that follows."""
    if match := re.search(r"(?:^\s*|-u stationsync |/bin/)(stationsync|prefect) (?=[-a-z\[])", line):
        yield Advice(name, f"{match[1]} {line[match.end() :].split(' >')[0].strip()}")


def refused(advice: str) -> str:
    """Why the command would not take it; empty where it would. Names of places (STATION, …) are values too."""
    try:
        words = shlex.split(advice)
    except ValueError:
        words = advice.replace("'", "").replace('"', "").split()
    of = _refused if words[0] == "stationsync" else _refused_by_prefect
    for chosen in _alternatives([word for word in words[1:] if word not in ("...", "…", "|")]):
        if why := of(chosen):
            return why
    return ""


def _alternatives(words: list[str]) -> list[list[str]]:
    """`pull|push` and `[--dry-run]` as what they stand for."""
    found: list[list[str]] = [[]]
    for word in words:
        plain = word.strip("[]") if not word.startswith(("[1", '["')) else word
        options = plain.split("|") if re.fullmatch(r"[\w|-]+", plain) else [plain]
        found = [[*one, option] for one in found for option in options]
    return found


@functools.cache
def _command() -> Any:
    return typer.main.get_command(app)


def options(command: Any = None) -> Iterator[str]:
    """All that our commands have."""
    command = command or _command()
    for one in command.params:
        yield from (*one.opts, *one.secondary_opts)
    for each in getattr(command, "commands", {}).values():
        yield from options(each)


def _refused(words: list[str]) -> str:
    command = _command()
    waiting = list(words)
    for word in words:
        # The global options may stand anywhere.
        if word == "--topology":
            del waiting[waiting.index(word) : waiting.index(word) + 2]
        elif word == "--debug":
            waiting.remove(word)
    while getattr(command, "commands", None):
        if not waiting or waiting[0].startswith(VALUE) or waiting[0] == "--help":
            return ""  # the command by itself, or one that the text puts in
        name = waiting.pop(0).split(VALUE)[0]
        if name not in command.commands:
            if name.isupper():
                return ""
            return f"no command {name!r}"
        command = command.commands[name]
    known = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("-")}
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    most = sum(one.nargs if one.nargs > 0 else 1_000 for one in arguments)
    given = 0
    while waiting:
        word = waiting.pop(0)
        name, equals, _ = word.partition("=")
        if word == "--":
            continue
        if word.startswith("-") and not re.fullmatch(r"-\d.*", word):
            if name == "--help":
                continue
            if name not in known:
                return f"{command.name} has no option {name}"
            if not known[name].is_flag and not equals:
                if not waiting:
                    return f"option {name} of {command.name} wants a value"
                waiting.pop(0)
            continue
        if given >= most:
            # What the text puts in, such as more options, and prose that follows.
            return "" if VALUE in word or not word.isupper() else f"{command.name} takes no {word}"
        given += 1
    least = sum(1 for one in arguments if one.required)
    return f"{command.name} wants {least} values" if 0 < given < least else ""


def _refused_by_prefect(words: list[str]) -> str:
    given = [word.replace(VALUE, "x") for word in words]
    try:
        prefect_app._app.parse_args(given, print_error=False, exit_on_error=False)
    except (UnknownCommandError, UnknownOptionError) as error:
        return str(error)
    except Exception:  # noqa: BLE001 - of prose that follows, and of values that are none
        return ""
    return ""
