"""Text from databases (values, keys, names, servers' messages) made safe for where people read it. Pure.

`printable`  for terminals, logs and messages: nothing in it moves the cursor, titles a window or turns the direction
`markdown`   for artifacts: besides, nothing in it is markup
`in_a_chat`  for alerts: besides, it mentions nobody and links nothing, whatever the receiver takes for markup
`json_text`  for JSON that is printed: as `printable`, by JSON's own escapes

Each is applied where text is put out: by the printer of the command (`cli.common.say`), and by what writes logs, states
of runs, artifacts and alerts (`tasks.told`). Errors are printable as soon as they are made: anybody logs them."""

from __future__ import annotations

import re

# C0 but for line feed and tab, DEL, C1; soft hyphen, zero width, line and paragraph separators, marks, overrides and
# isolates of direction, tags, annotations; surrogates without their other half.
_NEVER = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
# Joiners belong to Persian, to scripts of India and to emoji; beside a Latin letter they make two texts look alike.
_JOINER = "(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
_LINES = re.compile(f"[{_NEVER}]|{_JOINER}")
_LINE = re.compile(f"[{_NEVER}\t\n]|{_JOINER}")
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}

# A backslash before punctuation is an escape itself; a ( behind a ] makes a link, as :// does.
_MARKUP = re.compile(r"(?<!\w)_|_(?!\w)|\\(?=[!-/:-@\[-`{-~])|[`|*~<]|(?<!-)>|(?<=\])\(|&(?=#?\w+;)|(?<=:)/(?=/)")
# Slack, Teams and mail programs agree on no escape, so other characters stand for these.
_CHAT = re.compile(r"<|(?<!-)>|(?<=\])(?=\()|(?<=&)(?=#?\w+;)")
_CHAT_INSTEAD = {"<": "\u2039", ">": "\u203a", "": " "}
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def printable(text: str, *, one_line: bool = False) -> str:
    """`text` with what could control a terminal, or mislead a reader, shown as an escape. Line feeds and tabs stay,
    unless it is to be `one_line`. Done twice, it changes nothing more."""
    return (_LINE if one_line else _LINES).sub(_escape, text)


def markdown(text: str) -> str:
    """One line of Markdown that reads as `text` does."""
    return _MARKUP.sub(_unmarked, printable(text, one_line=True))


def in_a_chat(text: str) -> str:
    """One line that reads as `text` does in a chat or a mail."""
    return _CHAT.sub(lambda match: _CHAT_INSTEAD[match[0]], printable(text, one_line=True))


def json_text(text: str) -> str:
    """The same JSON, with such characters as JSON's escapes."""
    return _LINES.sub(_json_escape, text)


def _escape(match: re.Match[str]) -> str:
    if short := _SHORT.get(match[0]):
        return short
    # Those above 1F as in JSON: a key that is shown can be typed again.
    return f"\\x{ord(match[0]):02x}" if ord(match[0]) < 0x20 else _json_escape(match)


def _astral(code: int) -> str:
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else _astral(code)


def _unmarked(match: re.Match[str]) -> str:
    return _ENTITIES.get(match[0]) or f"\\{match[0]}"
