"""A YAML file as plain values, and the problems of one, each with its place and line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from stationsync.errors import UsageError

ENVIRONMENT = "STATIONSYNC_TOPOLOGY"
_NOT_DONE = "No database was opened."

Place = tuple[str | int, ...]


@dataclass
class Problems:
    file: str
    lines: dict[Place, int] = field(default_factory=dict)
    found: list[tuple[Place, str]] = field(default_factory=list)

    def add(self, place: Place, text: str) -> None:
        self.found.append((place, text))

    def refuse(self) -> None:
        """Raises where there is any problem; in the order of the file."""
        if not self.found:
            return
        count = len(self.found)
        found = sorted(self.found, key=lambda problem: self._line(problem[0]) or 0)
        what = "\n  ".join([f"{count} problem{'s' if count > 1 else ''}:", *(self._show(*p) for p in found)])
        raise UsageError(self.file, what, not_done=_NOT_DONE, next_step="Correct the file and run the command again.")

    def _show(self, place: Place, text: str) -> str:
        line = self._line(place)
        return f"{_dotted(place)}: {text}{f' (line {line})' if line else ''}."

    def _line(self, place: Place) -> int | None:
        """Of the nearest node that is in the file: what is missing has no line of its own."""
        prefixes = (place[:length] for length in range(len(place), 0, -1))
        return next((self.lines[prefix] for prefix in prefixes if prefix in self.lines), None)


def _dotted(place: Place) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".") or "file"


class Loader(yaml.SafeLoader):
    """Every plain value is text, but for null: YAML 1.1 reads a column `no` as false and 1:30 as 90."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    # Others, such as !!int, raise errors of Python that quote the value.
    yaml_constructors = {  # noqa: RUF012
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.endswith((":null", ":str", ":seq", ":map"))
    }


@dataclass(frozen=True)
class Parsed:
    """What a YAML file says. `lines`: that of every place; `repeated`: keys that are written twice in one mapping,
    with the line of the first (PyYAML takes the last)."""

    content: object
    lines: dict[Place, int]
    repeated: list[tuple[Place, int]]


def parsed(text: bytes, loader: type[yaml.SafeLoader]) -> Parsed:
    """Raises yaml.YAMLError, and ValueError for values that a tag of the loader cannot read."""
    reading = loader(text)
    node = reading.get_single_node()
    if node is None:
        return Parsed({}, {}, [])
    lines: dict[Place, int] = {}
    repeated: list[tuple[Place, int]] = []
    _survey(node, (), lines, repeated, frozenset())  # first: constructing merges what `<<` names into the nodes
    return Parsed(reading.construct_document(node), lines, repeated)


def read(file: Path, problems: Problems) -> object:
    """The file's content. A failure names the line and never quotes the file: a secret may stand there."""
    try:
        found = parsed(file.read_bytes(), Loader)
    except OSError as error:
        what = f"cannot be read: {error.strerror or type(error).__name__}."
        next_step = f"Write it, or name another file with --topology or {ENVIRONMENT}."
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "a value cannot be read"
        reason = re.sub(r"\b(alias|anchor|tag|handle) (['\"]).*", r"\1", reason)
        what = f"is no valid YAML: {reason}{f' (line {mark.line + 1})' if mark else ''}."
        next_step = "Correct the file and run the command again."
    else:
        problems.lines.update(found.lines)
        for place, line in found.repeated:
            problems.add(place, f"is written twice, in line {line} as well")
        return found.content
    raise UsageError(str(file), what, not_done=_NOT_DONE, next_step=next_step)


def _survey(
    node: yaml.Node, place: Place, lines: dict[Place, int], repeated: list[tuple[Place, int]], around: frozenset[int]
) -> None:
    """Notes the line of every place, and the keys that are written twice."""
    if id(node) in around:  # an alias to a node that it stands in
        return
    seen: dict[str, int] = {}
    for part, line, child in _children(node):
        if isinstance(part, str) and part in seen:
            repeated.append(((*place, part), seen[part]))
        seen[str(part)] = lines[(*place, part)] = line
        _survey(child, (*place, part), lines, repeated, around | {id(node)})


def _children(node: yaml.Node) -> Iterator[tuple[str | int, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield number, item.start_mark.line + 1, item
