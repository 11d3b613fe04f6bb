"""Where the journal's files are: a folder, or anything else that pyarrow reaches by a URL. Paths are relative to it."""

from __future__ import annotations

import os
import posixpath
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa

from stationsync.errors import JournalUnavailable

# Object stores have no folders: to make one would leave an object of that name.
_NO_FOLDERS = {"s3", "gcs", "gs", "abfs"}


class JournalPlace(Protocol):
    """A file is written whole (`create`, `seal`) before anybody is told of it; `move` and `delete` may be repeated.

    All raise JournalUnavailable."""

    root: str

    def create(self, path: str) -> IO[bytes]:
        """A new file to be written."""

    def seal(self, path: str, file: IO[bytes]) -> None:
        """All of it is there for good once this is done."""

    def move(self, source: str, target: str) -> None:
        """A file that is at `target` already was moved before."""

    def settle(self, paths: list[str]) -> None:
        """The names that these files were given by `move` are there for good once this is done."""

    def delete(self, path: str) -> None:
        """A file that is not there was deleted before."""

    def names(self, folder: str) -> list[str]:
        """Of the files in a folder, none where there is no such folder."""

    def files(self, folder: str) -> list[tuple[str, datetime]]:
        """All files below a folder, and when each was written (UTC)."""

    def exists(self, path: str) -> bool: ...

    def filesystem(self) -> tuple[Any, str]:
        """The pyarrow filesystem, and what stands before each path in it."""


@lru_cache(16)
def place_of(root: str) -> JournalPlace:
    """The same object each time: connections are kept."""
    return _Remote(root) if "://" in root else _Folder(root)


# For the owner and the group; what was changed in the stations' tables is nobody else's to read. New files of a folder
# have its group.
_FOLDER, _FILE = 0o2770, 0o660


@contextmanager
def _told(root: str, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, ImportError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise JournalUnavailable(f"journal {root}", f"cannot {what}: {reason}") from error


class _Folder:
    """Of this machine. What was written survives the loss of power, by fsync of the file and of the folder."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._root = Path(root)

    def create(self, path: str) -> IO[bytes]:
        with _told(self.root, f"create {path}"):
            full = self._root / path
            _make_folder(full.parent)
            file = full.open("wb")
            _hand_over(full, full.parent.stat(), _FILE)
            return file

    def seal(self, path: str, file: IO[bytes]) -> None:
        with _told(self.root, f"write {path}"):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            _sync(self._root / posixpath.dirname(path))

    def move(self, source: str, target: str) -> None:
        with _told(self.root, f"move {source} to {target}"):
            full = self._root / target
            try:
                _rename(self._root / source, full)
            except FileNotFoundError:
                if not full.exists():
                    raise

    def settle(self, paths: list[str]) -> None:
        with _told(self.root, "flush its folders"):
            folders = {self._root / posixpath.dirname(path) for path in paths}
            # A folder may be new in its own parent.
            for folder in folders | {parent for one in folders for parent in list(one.parents)[:3]}:
                _sync(folder)

    def delete(self, path: str) -> None:
        with _told(self.root, f"delete {path}"):
            full = self._root / path
            full.unlink(missing_ok=True)
            with suppress(OSError):  # the last one of its folder, mostly not
                full.parent.rmdir()

    def names(self, folder: str) -> list[str]:
        with _told(self.root, f"list {folder}"):
            full = self._root / folder
            return sorted(entry.name for entry in os.scandir(full) if entry.is_file()) if full.is_dir() else []

    def files(self, folder: str) -> list[tuple[str, datetime]]:
        with _told(self.root, f"list {folder}"):
            found = (path for path in (self._root / folder).rglob("*") if path.is_file())
            return sorted((path.relative_to(self._root).as_posix(), _utc(path.stat().st_mtime)) for path in found)

    def exists(self, path: str) -> bool:
        with _told(self.root, f"look for {path}"):
            return (self._root / path).is_file()

    def filesystem(self) -> tuple[Any, str]:
        from pyarrow import fs

        return fs.LocalFileSystem(), str(self._root)


def require_usable(root: str) -> None:
    """Raises JournalUnavailable where this user cannot write there. Leaves nothing."""
    # A folder of its own: the last file of one takes it along.
    place, probe = place_of(root), f"check-{uuid.uuid4().hex}/probe.tmp"
    new = "://" not in root and not Path(root).exists()
    file = place.create(probe)
    place.seal(probe, file)
    place.delete(probe)
    if new:
        with suppress(OSError):  # a run has begun it meanwhile
            Path(root).rmdir()


def readable_by_all(root: str) -> bool:
    """Whether every user of this machine may read a journal that was begun by an older version."""
    return "://" not in root and Path(root).is_dir() and bool(Path(root).stat().st_mode & stat.S_IROTH)


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except FileNotFoundError:
        if not source.exists():
            raise
        _make_folder(target.parent)
        source.rename(target)


def _make_folder(folder: Path) -> None:
    """With its parents; all that is new belongs to whoever has the folder that it is made in."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    owner = folder.stat()
    for one in reversed(missing):
        with suppress(FileExistsError):  # another run made it meanwhile
            one.mkdir()
            _hand_over(one, owner, _FOLDER)


def _hand_over(path: Path, owner: os.stat_result, mode: int) -> None:
    """Whatever the umask is, and whoever runs first: a command of root's must not lock the workers out, nor a worker
    the operators, who are in its group."""
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
    elif os.stat(path).st_gid != owner.st_gid:
        with suppress(PermissionError):  # not a member of that group: its own then
            os.chown(path, -1, owner.st_gid)
    path.chmod(mode)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Remote:
    """By a URL. Closing a file completes its upload: before that nobody sees anything of it. `move` is a copy and a
    delete where the store has nothing else; cut off in between, it is simply done again."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._found: tuple[Any, str] | None = None

    def filesystem(self) -> tuple[Any, str]:
        if self._found is None:
            with _told(self.root, "be reached"):
                from pyarrow import fs

                found, base = fs.FileSystem.from_uri(self.root)
                self._found = found, base.rstrip("/")
        return self._found

    def _full(self, path: str) -> tuple[Any, str]:
        store, base = self.filesystem()
        return store, f"{base}/{path}"

    def _make_folder(self, store: Any, full: str) -> None:
        if store.type_name not in _NO_FOLDERS:
            store.create_dir(posixpath.dirname(full), recursive=True)

    def create(self, path: str) -> IO[bytes]:
        with _told(self.root, f"create {path}"):
            store, full = self._full(path)
            self._make_folder(store, full)
            file: IO[bytes] = store.open_output_stream(full)
            return file

    def seal(self, path: str, file: IO[bytes]) -> None:
        with _told(self.root, f"write {path}"):
            file.close()

    def move(self, source: str, target: str) -> None:
        with _told(self.root, f"move {source} to {target}"):
            store, old = self._full(source)
            _, new = self._full(target)
            if self.exists(source):
                self._make_folder(store, new)
                store.move(old, new)
            elif not self.exists(target):
                raise FileNotFoundError(f"there is no {source}")

    def settle(self, paths: list[str]) -> None:
        return None

    def delete(self, path: str) -> None:
        with _told(self.root, f"delete {path}"):
            store, full = self._full(path)
            if self.exists(path):
                store.delete_file(full)

    def names(self, folder: str) -> list[str]:
        from pyarrow import fs

        with _told(self.root, f"list {folder}"):
            store, full = self._full(folder)
            found = store.get_file_info(fs.FileSelector(full, allow_not_found=True))
            return sorted(info.base_name for info in found if info.is_file)

    def files(self, folder: str) -> list[tuple[str, datetime]]:
        from pyarrow import fs

        with _told(self.root, f"list {folder}"):
            store, full = self._full(folder)
            base = full.removesuffix(folder)
            selector = fs.FileSelector(full.rstrip("/"), allow_not_found=True, recursive=True)
            found = store.get_file_info(selector)
            return sorted(
                (info.path.removeprefix(base), _utc(info.mtime_ns / 1e9 if info.mtime_ns else time.time()))
                for info in found
                if info.is_file
            )

    def exists(self, path: str) -> bool:
        with _told(self.root, f"look for {path}"):
            store, full = self._full(path)
            return bool(store.get_file_info(full).is_file)
