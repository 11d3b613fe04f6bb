"""Where a database is, as `stations.yaml` says it. Frozen values, no I/O."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import SecretStr, ValidationInfo, field_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from stationsync.topology.notation import Frozen
from stationsync.topology.secrets import FORMS, is_reference
from stationsync.topology.tls import Tls


class Endpoint(Frozen):
    """A database: where it is, the reference to its password, and how the connection is encrypted."""

    url: str
    password: SecretStr | None = None
    tls: Tls | None = None

    @field_validator("url")
    @classmethod
    def _url(cls, text: str, info: ValidationInfo) -> str:
        return _checked_url(text, (info.context or {}).get("folder"))

    @field_validator("password")
    @classmethod
    def _password(cls, password: SecretStr | None) -> SecretStr | None:
        if password is not None and not is_reference(password.get_secret_value()):
            raise ValueError(f"write a reference, {FORMS}")
        return password

    @field_validator("tls")
    @classmethod
    def _tls(cls, tls: Tls | None, info: ValidationInfo) -> Tls | None:
        if tls and str(info.data.get("url", "")).startswith("sqlite:"):
            raise ValueError("is for MariaDB; SQLite is a file")
        return tls

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite:")

    @property
    def database(self) -> tuple[object, ...]:
        """Equal for two URLs of one database, whoever logs in."""
        url = make_url(self.url)
        return (url.host or "").lower(), url.port or 3306, url.query.get("unix_socket"), url.database


def _checked_url(text: str, folder: Path | None) -> str:
    """No message repeats any part of the URL: what cannot be read may hold a password anywhere."""
    url = _parsed(text)
    if url is None or url.drivername not in ("mysql+pymysql", "sqlite"):
        raise ValueError("write mysql+pymysql://user@host:port/database or sqlite:///path")
    if url.password is not None or any("passw" in name.lower() for name in url.query):
        raise ValueError("holds a password; take it out and write it beside the URL, as password: ${ENV}")
    if url.drivername == "mysql+pymysql":
        missing = [part for part, value in (("host", url.host), ("database", url.database)) if not value]
        if missing:
            raise ValueError(f"names no {' and no '.join(missing)}: mysql+pymysql://user@host:port/database")
        return text
    if url.host or not url.database or url.database == ":memory:":
        raise ValueError("names no database file: sqlite:///path with three slashes, four for an absolute path")
    # abspath, because a file reached through `..` is the same database.
    path = os.path.abspath(folder / url.database) if folder else url.database
    return url.set(database=path).render_as_string()


def _parsed(text: str) -> URL | None:
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        return None
