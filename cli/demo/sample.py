"""What the demo is about: charging sites, and the sessions that each keeps in a table of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

TABLE = "charging_session"
COLUMNS = ("id", "code", "text", "driver", "price", "create_date", "modify_date")
SUITE = """\
name: charging_session

expectations:
  - type: expect_column_values_to_be_between
    description: is no price in won
    kwargs: {column: price, min_value: 0, max_value: 1000000}

  - type: expect_column_value_lengths_to_be_between
    kwargs: {column: text, max_value: 100}

  - type: expect_column_values_to_match_regex
    kwargs: {column: code, regex: '^[A-Z]+-[0-9]{2}$'}
"""

# Text with emoji, text that is empty and text that is missing: none of it may change on its way.
_TEXTS = ("급속 충전 완료 ⚡", "완속 충전 🔌", "카드 결제 승인 💳", "", "충전 중단 🛑", None, "café ☕ 영수증")
_DRIVERS = ("김민준", "이서연", None, "박도윤", "Zoë Müller", "최지우", "정하은 🚗", "O'Brien")
_BEGIN = datetime(2024, 5, 1, 6, 0)


@dataclass(frozen=True)
class Site:
    """A station of the demo. Its code begins all its connectors' names, so its rows can be told apart at control
    without asking our books."""

    name: str
    city: str
    code: str
    rows: int


SITES = (
    Site("station-1", "Seoul", "SEOUL", 10_000),
    Site("station-2", "Busan", "BUSAN", 9_600),
    Site("station-3", "Jeju", "JEJU", 10_400),
)


def ddl(kind: str, *, control: bool) -> list[str]:
    """The table. Control has a key of its own beside the stations' one: each station counts its ids from 1."""
    auto = "INTEGER PRIMARY KEY AUTOINCREMENT" if kind == "sqlite" else "BIGINT AUTO_INCREMENT PRIMARY KEY"
    keys = f"master_id {auto}, id BIGINT NOT NULL" if control else f"id {auto}"
    return [
        f"CREATE TABLE {TABLE} ({keys}, code VARCHAR(20) NOT NULL, `text` VARCHAR(200), driver VARCHAR(100),"
        " price INT, create_date DATETIME NOT NULL, modify_date DATETIME NOT NULL, UNIQUE (id, code))",
        f"CREATE INDEX {TABLE}_modified ON {TABLE} (modify_date, id, code)",
    ]


def sessions(site: Site, numbers: range, modified: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a site; the same ones in every run of the demo."""
    for n in numbers:
        at = str(_BEGIN + timedelta(minutes=7 * n))
        yield {
            "id": n,
            "code": connector(site, n),
            "text": _TEXTS[n % len(_TEXTS)],
            "driver": _DRIVERS[n % len(_DRIVERS)],
            "price": None if n % 11 == 0 else 3_000 + n * 37 % 40_000,
            "create_date": at,
            "modify_date": modified or at,
        }


def connector(site: Site, number: int) -> str:
    return f"{site.code}-{number % 12 + 1:02}"
