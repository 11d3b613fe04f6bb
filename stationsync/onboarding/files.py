"""Files that are written whole or not at all, and never over one that is there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from stationsync.errors import Refused, UsageError

_NOT_DONE = "Nothing was written."
# Passwords may be added to it by hand.
PRIVATE, SHARED = 0o600, 0o644


def create(files: Mapping[Path, tuple[str, int]]) -> None:
    """New files with their text and rights: all of them, or none. Raises Refused where one is there already."""
    for path in files:
        require_new(path)
    made: list[Path] = []
    folders = _missing_folders(files)
    try:
        for path, (text, mode) in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _create(path, text, mode)
            made.append(path)
    except BaseException as error:
        for path in made:
            path.unlink(missing_ok=True)
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise _unwritable(path, error) from None
        raise


def require_new(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise _is_there(path)


def replace(path: Path, before: str, after: str) -> None:
    """`after` in place of `before`, with the file's own rights. Raises Refused where it says something else by now."""
    real = Path(os.path.realpath(path))
    try:
        if read(real) != before:
            what = "somebody changed it meanwhile."
            raise Refused(str(path), what, not_done=_NOT_DONE, next_step="Type the command again.")
        facts = real.stat()
        draft = _draft(real, after, facts.st_mode & 0o7777)
        try:
            with contextlib.suppress(PermissionError):
                os.chown(draft, facts.st_uid, facts.st_gid)
            os.replace(draft, real)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error) from None


def read(path: Path) -> str:
    """The text with its own ends of lines. Raises UsageError where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        what = f"cannot be read: {error.strerror or type(error).__name__}."
    except UnicodeDecodeError:
        what = "is not UTF-8 text."
    step = "Make a folder of your own with: stationsync new FOLDER, or name the file with --topology."
    raise UsageError(str(path), what, not_done="Nothing was changed.", next_step=step)


def _missing_folders(files: Mapping[Path, object]) -> list[Path]:
    """Those that are to be made, the deepest first."""
    found = {folder for path in files for folder in path.parents if not folder.exists()}
    return sorted(found, key=lambda folder: len(folder.parts), reverse=True)


def _create(path: Path, text: str, mode: int) -> None:
    draft = _draft(path, text, mode)
    try:
        os.link(draft, path)  # refuses where somebody was quicker
    except FileExistsError:
        raise _is_there(path) from None
    finally:
        draft.unlink(missing_ok=True)


def _draft(path: Path, text: str, mode: int) -> Path:
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fchmod(number, mode)
            os.fsync(number)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft


def _is_there(path: Path) -> Refused:
    step = "Name another folder, or move the file away."
    return Refused(str(path), "is there already, and is not written over.", not_done=_NOT_DONE, next_step=step)


def _unwritable(path: Path, error: OSError) -> UsageError:
    what = f"cannot be written: {error.strerror or type(error).__name__}."
    return UsageError(str(path), what, not_done=_NOT_DONE, next_step="Give the user of this command the right to.")
