"""Could a value change on its way from one column's type to another's? Pure."""

from __future__ import annotations

import re
import unicodedata

from stationsync.model.schema import Column
from stationsync.model.wire import Family

_NUMBERS = (Family.INTEGER, Family.UNSIGNED)
_EXACT_SCALE = (Family.DECIMAL, Family.DATETIME, Family.TIMESTAMP, Family.TIME)


def changes_values(source: Column, target: Column) -> str | None:
    """Why writing `source`'s values into `target` could change them without an error; None where it cannot."""
    if source.family is not target.family and not (source.family in _NUMBERS and target.family in _NUMBERS):
        return "these are different types"
    if source.family in _EXACT_SCALE and source.scale > target.scale:
        return "digits would be cut off"
    if source.family is Family.OTHER and source.type != target.type:
        return "these are different types"
    if source.family is Family.FLOAT and source.type.startswith("double") and target.type.startswith("float"):
        return "precision would be lost"
    if source.family is Family.FLOAT and _rounds(source, target):
        return "digits would be cut off"
    if source.family in (Family.ENUM, Family.SET):
        return _mistaken_labels(source, target)
    if source.family in (Family.TEXT, Family.BINARY) and _fixed(target) and not _fixed(source):
        return "trailing spaces or bytes would be altered"
    if source.family is Family.BINARY and _fixed(source) and source.type != target.type and _fixed(target):
        return "bytes would be padded"
    return None


def _rounds(source: Column, target: Column) -> bool:
    """FLOAT(7,2) and the like round whatever they are given."""
    same_kind = source.type.split("(")[0] == target.type.split("(")[0]
    return "," in target.type and not (same_kind and "," in source.type and source.scale <= target.scale)


def _mistaken_labels(source: Column, target: Column) -> str | None:
    """A label that the target lacks is an error, unless the server takes it for a number or for a label like it."""
    own, theirs = _labels(source), _labels(target)
    alike = {_folded(label) for label in theirs}
    for label in own:
        if label not in theirs and (label.strip().isdigit() or _folded(label) in alike):
            return f"'{label}' would be taken for another label"
    common = [label for label in own if label in theirs]
    if source.family is Family.SET and common != [label for label in theirs if label in own]:
        return "the labels are in another order"
    return None


def _labels(column: Column) -> list[str]:
    return re.findall(r"'((?:[^']|'')*)'", column.type)


def _folded(label: str) -> str:
    """As the most forgiving collation sees it: without case, accents and trailing spaces."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", label) if not unicodedata.combining(c))
    return plain.casefold().rstrip()


def _fixed(column: Column) -> bool:
    return column.type.startswith(("char(", "binary(")) or column.type in ("char", "binary")
