"""Adding a station or a table to the text of stations.yaml, with every other byte of it left as it is. Pure.

The new lines are put in where the parser says that the section ends. (Emitting the whole file anew, as YAML libraries
do it, keeps comments, but not where they stand: the heading of the next section would follow the new entry, and lines
that a person had aligned or broken would be set otherwise.) What comes out is parsed again: it must say what the text
said before and the new entry, and nothing else; otherwise nothing is written, and a person adds the lines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from stationsync.errors import Refused
from stationsync.model import printable
from stationsync.topology.positions import Loader, parsed

Value = str | Sequence[str]

# Text that YAML takes as it stands: within a flow collection less.
_PLAIN = re.compile(r"(?!null$|~$)[\w./$](?:[\w ./@+%?=&~${}-]|:(?!\s|$))*(?<! )", re.IGNORECASE)
_PLAIN_IN_FLOW = re.compile(r"(?!null$|~$)[\w./](?:[\w ./@+%~-])*(?<! )", re.IGNORECASE)
_SEPARATORS = "\x7f\x85\u2028\u2029"
_COMMENT = re.compile(r"( *)#")
# Comments begin here where the values leave room.
_COMMENT_COLUMN = 32


@dataclass(frozen=True)
class Line:
    """An option of an entry, and what is said beside it; without a name, a comment by itself."""

    name: str
    value: Value | Mapping[str, Value] = ""
    comment: str = ""


@dataclass(frozen=True)
class Entry:
    name: str
    lines: tuple[Line, ...]

    @property
    def content(self) -> dict[str, Any]:
        return {line.name: _content(line.value) for line in self.lines if line.name}

    def block(self, indent: int) -> list[str]:
        """As lines, the name so many columns in."""
        found = [f"{' ' * indent}{scalar(self.name)}:"]
        for line in self.lines:
            text = f"{' ' * indent}  {line.name}: {_written(line.value)}" if line.name else f"{' ' * indent}  "
            if line.comment:
                comment = printable.printable(line.comment, one_line=True)
                text = f"{text:<{_COMMENT_COLUMN - 1}} # {comment}" if line.name else f"{text}# {comment}"
            found.append(text.rstrip())
        return found


class NotEditable(Refused):
    """The text is not of a shape that an entry can be put into."""

    default_not_done = "Nothing was changed."


def with_entry(text: str, section: str, entry: Entry, place: str) -> str:
    """`text` with one more entry in the mapping `section` of the file. Raises NotEditable."""
    root = _root(text, place)
    found = _value(root, section)
    if found is None:
        if root.flow_style:
            raise _not_editable(place, [f"{section}:", *entry.block(2)])
        new = _put(text, len(text.splitlines()), ["", f"{section}:", *entry.block(2)])
    else:
        new = _in_section(text, found, entry)
    _require_same(text, new, (section,), entry.name, entry.content, place, [f"{section}:", *entry.block(2)])
    return new


def with_table_at(text: str, station: str, table: str, place: str) -> str:
    """`text` with one more table among those that a station names; as it is where it names none, and so has all."""
    stations = _value(_root(text, place), "stations")
    own = _value(stations[1], station) if stations else None
    named = _value(own[1], "tables") if own else None
    if named is None or _is_null(named[1]):
        return text
    value = named[1]
    by_hand = [f"{table}   (among the tables of {station})"]
    if isinstance(value, yaml.SequenceNode):
        new = _in_sequence(text, value, table)
        tables = [*parsed_content(text)["stations"][station]["tables"], table]
        _require_same(text, new, ("stations", station), "tables", tables, place, by_hand)
        return new
    new = _in_section(text, named, Entry(table, ()))
    _require_same(text, new, ("stations", station, "tables"), table, {}, place, by_hand)
    return new


def parsed_content(text: str) -> Any:
    return parsed(text.encode(), Loader).content


def scalar(text: str, *, flow: bool = False) -> str:
    """A text as YAML writes it."""
    if (_PLAIN_IN_FLOW if flow else _PLAIN).fullmatch(text):
        return text
    found = json.dumps(text, ensure_ascii=False)
    for separator in _SEPARATORS:  # YAML would take them for ends of lines
        found = found.replace(separator, f"\\u{ord(separator):04x}")
    return found


def _content(value: Value | Mapping[str, Value]) -> Any:
    if isinstance(value, Mapping):
        return {name: _content(one) for name, one in value.items()}
    return value if isinstance(value, str) else list(value)


def _written(value: Value | Mapping[str, Value], *, flow: bool = False) -> str:
    if isinstance(value, str):
        return scalar(value, flow=flow)
    if isinstance(value, Mapping):
        parts = (f"{scalar(name, flow=True)}: {_written(one, flow=True)}" for name, one in value.items())
        return f"{{{', '.join(parts)}}}"
    return f"[{', '.join(scalar(one, flow=True) for one in value)}]"


_Pair = tuple[yaml.Node, Any]


def _root(text: str, place: str) -> yaml.MappingNode:
    node = yaml.compose(text, Loader=Loader)
    if not isinstance(node, yaml.MappingNode):
        raise NotEditable(place, "it is no mapping of sections.")
    return node


def _value(node: Any, name: str) -> _Pair | None:
    """The nodes of a key and its value."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next(((key, value) for key, value in pairs if key.value == name), None)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")


def _in_section(text: str, found: _Pair, entry: Entry) -> str:
    key, value = found
    if _is_null(value) or (isinstance(value, yaml.MappingNode) and value.flow_style and not value.value):
        return _in_empty(text, key, value, entry)
    if not isinstance(value, yaml.MappingNode):
        return text
    if value.flow_style:
        content: Mapping[str, Value] = entry.content
        return _in_flow(text, value, f"{scalar(entry.name, flow=True)}: {_written(content, flow=True)}")
    column = value.value[0][0].start_mark.column
    last = _after_comments(text, _last_line(value), column)
    lines = _entry_lines(entry, column)
    return _put(text, last + 1, ["", *lines] if len(entry.lines) else lines)


def _entry_lines(entry: Entry, column: int) -> list[str]:
    return entry.block(column) if entry.lines else [f"{' ' * column}{scalar(entry.name)}: {{}}"]


def _in_empty(text: str, key: yaml.Node, value: yaml.Node, entry: Entry) -> str:
    """Behind the key, and the comments that belong to it."""
    if value.start_mark.index != value.end_mark.index:
        text = text[: value.start_mark.index].rstrip(" ") + text[value.end_mark.index :]
    column = key.start_mark.column + 2
    last = _after_comments(text, key.end_mark.line, key.start_mark.column + 1)
    return _put(text, last + 1, _entry_lines(entry, column))


def _in_sequence(text: str, value: yaml.SequenceNode, name: str) -> str:
    if value.flow_style:
        return _in_flow(text, value, scalar(name, flow=True))
    return _put(text, _last_line(value) + 1, [f"{' ' * value.start_mark.column}- {scalar(name)}"])


def _in_flow(text: str, value: yaml.CollectionNode, written: str) -> str:
    end = value.end_mark.index - 1
    before = text[:end].rstrip()
    comma = "" if not value.value or before.endswith(",") else ","
    # A comment behind the last value would swallow what follows it in the line.
    commented = "#" in before.rpartition("\n")[2]
    if commented:
        return f"{text[:end].rstrip(' ')}{' ' * 4}{comma} {written}{text[end:]}"
    return f"{before}{comma}{' ' if value.value else ''}{written}{text[end:]}"


def _last_line(node: Any) -> int:
    """The last line, from 0, that has anything of a node but comments."""
    if isinstance(node, yaml.ScalarNode):
        if node.style in ("|", ">"):
            lines = node.start_mark.buffer[: node.end_mark.index].rstrip().count("\n") if node.start_mark.buffer else 0
            return int(lines) if lines else node.end_mark.line - 1
        return int(node.end_mark.line)
    if node.flow_style:
        return int(node.end_mark.line)
    first = int(node.start_mark.line)
    inner = [one for item in node.value for one in (item if isinstance(item, tuple) else (item,))]
    return max([first, *map(_last_line, inner)])


def _after_comments(text: str, last: int, column: int) -> int:
    """The last line of the comments behind a line that stand as far in as `column`."""
    kept = last
    for number, line in enumerate(text.splitlines()[last + 1 :], last + 1):
        comment = _COMMENT.match(line)
        if comment is not None and len(comment[1]) >= column:
            kept = number
        elif line.strip():
            break
    return kept


def _put(text: str, at: int, lines: Sequence[str]) -> str:
    """`lines` in front of line number `at`, with the file's own ends of lines."""
    end = "\r\n" if "\r\n" in text else "\n"
    there = text.splitlines(keepends=True)
    if there and at >= len(there) and not there[-1].endswith(("\n", "\r")):
        there[-1] += end
    return "".join([*there[:at], *(f"{line}{end}" for line in lines), *there[at:]])


def _require_same(
    before: str, after: str, where: Sequence[str], name: str, value: Any, place: str, by_hand: Sequence[str]
) -> None:
    """What is parsed is as before, with `name: value` at `where`."""
    # As text and back: what an alias repeats is not to change in both places.
    wanted = json.loads(json.dumps(parsed_content(before)))
    inner = wanted
    for part in where:
        if not isinstance(inner.get(part), dict):
            inner[part] = {}
        inner = inner[part]
    inner[name] = value
    try:
        found = parsed_content(after)
    except (yaml.YAMLError, ValueError):
        found = None
    if found != wanted:
        raise _not_editable(place, by_hand)


def _not_editable(place: str, lines: Sequence[str]) -> NotEditable:
    what = "it is written in a way that nothing can be added to without setting it anew."
    return NotEditable(place, what, next_step=f"Add by hand: {' / '.join(line for line in lines if line)}")
