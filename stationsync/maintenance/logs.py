"""Log files that are too old. Only files right in the named folders; no link is followed."""

from __future__ import annotations

import fnmatch
import os
import stat
import time
from datetime import timedelta
from pathlib import Path

from stationsync.maintenance.rule import Part

_PATTERN = "*.log*"


def prune_logs(folder: str, retention: timedelta, *, dry_run: bool = False) -> Part:
    what = f"log files in {folder}"
    if Path(folder).is_symlink():
        return Part(what, note="left alone: the folder is a link; name the folder itself", failed=True)
    try:
        # Names are looked up below this descriptor, whatever becomes of the path meanwhile.
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Part(what, note="there is no such folder")
    except OSError as error:
        return Part(what, note=f"left alone: {error.strerror}", failed=True)
    try:
        return _prune(what, opened, time.time() - retention.total_seconds(), dry_run)
    finally:
        os.close(opened)


def _prune(what: str, folder: int, before: float, dry_run: bool) -> Part:
    old, size, kept, gone, refused = 0, 0, 0, 0, ""
    for name in sorted(os.listdir(folder)):
        found = _stat(name, folder) if fnmatch.fnmatch(name, _PATTERN) else None
        if found is None:
            continue
        size += found.st_size
        if found.st_mtime >= before:
            kept += 1
            continue
        try:
            if not dry_run:
                os.unlink(name, dir_fd=folder)
        except OSError as error:
            kept, refused = kept + 1, f"{name}: {error.strerror}"
            continue
        old, gone = old + 1, gone + found.st_size
    return Part(what, old, kept, size, size if dry_run else size - gone, refused, bool(refused))


def _stat(name: str, folder: int) -> os.stat_result | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:  # gone meanwhile
        return None
    return found if stat.S_ISREG(found.st_mode) else None
