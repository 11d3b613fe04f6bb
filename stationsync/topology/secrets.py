"""References to secrets, and reading what they refer to.

The topology holds references only. They are read one by one, when a connection is opened: a worker of
station-1 need not know the password of station-2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from stationsync.errors import UsageError

FORMS = "${ENV}, ${file:/path} or ${secret:block}"

_REFERENCE = re.compile(
    r"\$\{(?:file:(?P<file>/[^}\0]+)|secret:(?P<block>[^}\s]+)|(?P<variable>[A-Za-z_][A-Za-z0-9_]*))\}"
)
_SHORT = ("env", "file", "secret")
_NOT_DONE = "No connection was opened."


def is_reference(text: str) -> bool:
    return _REFERENCE.fullmatch(text) is not None


def as_reference(text: str, place: str) -> str:
    """What a person typed as a reference: ${…}, or shorter env:NAME, file:PATH, secret:BLOCK. Raises UsageError, which
    never repeats the text: it may be the password itself."""
    kind, colon, rest = text.strip().partition(":")
    if colon and kind == "file":
        rest = os.path.abspath(os.path.expanduser(rest))
    written = f"${{{rest if kind == 'env' else f'{kind}:{rest}'}}}" if colon and kind in _SHORT else text.strip()
    if is_reference(written):
        return written
    what = "is no reference to a password; a password itself is written nowhere."
    step = f"Write {FORMS}, or without $ and braces env:NAME, file:/path or secret:block."
    raise UsageError(place, what, not_done="Nothing was changed.", next_step=step)


def resolve(
    reference: str | SecretStr | None, place: str, blocks: Callable[[str], str] | None = None
) -> SecretStr | None:
    """The secret behind `reference`. `place` is where the reference stands, such as
    "stations.station-1.password"; `blocks` reads a Prefect block by name, where the caller can."""
    if reference is None:
        return None
    text = reference.get_secret_value() if isinstance(reference, SecretStr) else reference
    match = _REFERENCE.fullmatch(text)
    if match is None:
        # The text may be the password itself: it is not repeated.
        raise UsageError(place, "is not a reference.", not_done=_NOT_DONE, next_step=f"Write a reference: {FORMS}.")
    if match["file"]:
        return _from_file(match["file"], place)
    if match["block"]:
        return _from_block(match["block"], place, blocks)
    return _from_environment(match["variable"], place)


def _from_environment(name: str, place: str) -> SecretStr:
    value = os.environ.get(name)
    if value is None:
        raise UsageError(
            place,
            f"environment variable {name} is not set.",
            not_done=_NOT_DONE,
            next_step=f"Set {name} where this command or worker runs.",
        )
    return SecretStr(value)


def _from_file(path: str, place: str) -> SecretStr:
    # Raised after the handlers: as its context, a UnicodeDecodeError would carry the secret along.
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        fault = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        fault = "not UTF-8 text"
    else:
        return SecretStr(text.removesuffix("\n"))
    raise UsageError(
        place,
        f"secret file {path} cannot be read: {fault}.",
        not_done=_NOT_DONE,
        next_step="Put the secret there, readable for the user of this command or worker.",
    )


def _from_block(name: str, place: str, blocks: Callable[[str], str] | None) -> SecretStr:
    if blocks is None:
        raise UsageError(
            place,
            f"this command cannot read Prefect blocks, so not ${{secret:{name}}} either.",
            not_done=_NOT_DONE,
            next_step="Run it as a Prefect flow, or write ${ENV} or ${file:/path}.",
        )
    try:
        return SecretStr(blocks(name))
    except (LookupError, ValueError):
        fault = f"Prefect block {name} cannot be read."
    raise UsageError(place, fault, not_done=_NOT_DONE, next_step=f"Create the Secret block {name} in Prefect.")
