"""What the applications of the local fleet write, as long as it runs: a few rows every few seconds."""

from __future__ import annotations

import random
import sqlite3

import pymysql

from cli.demo.databases import Databases
from cli.demo.fleet import CONTROL, now
from cli.demo.sample import SITES, TABLE, Site, connector, sessions
from stationsync.errors import StationOffline

# Rows up to here are left to the person who plays.
YOURS = 100
_AT_STATIONS = ("급속 충전 완료 ⚡", "완속 충전 🔌", "카드 결제 승인 💳", "충전 중단 🛑", None)
_AT_CONTROL = ("고객 문의 접수 ☎", "환불 처리 완료", "현장 점검 예정 🔧", "VIP 고객 ⭐")


class Application:
    """Charging goes on at each station; at control, people comment and correct what customers call about."""

    def __init__(self, databases: Databases, name: str) -> None:
        self._databases = databases
        self._name = name
        self._chance = random.Random()

    @property
    def pause(self) -> float:
        return self._chance.uniform(3, 9) if self._name == CONTROL else self._chance.uniform(1, 4)

    def work(self) -> None:
        """One thing. A database that is busy, or just ends, is nothing to an application: it tries again later."""
        try:
            if self._name == CONTROL:
                site = self._chance.choice(SITES)
                self._edit(site, text=self._chance.choice(_AT_CONTROL))
                return
            site = next(site for site in SITES if site.name == self._name)
            if self._chance.random() < 0.4:
                self._add(site)
            else:
                price = self._chance.randrange(3_000, 43_000, 100)
                self._edit(site, text=self._chance.choice(_AT_STATIONS), price=price)
        except (StationOffline, sqlite3.Error, pymysql.Error) as error:
            print(f"{self._name}: {error}", flush=True)

    def _edit(self, site: Site, **values: object) -> None:
        """Rows of this site, as they are here: one or a few next to each other."""
        first = self._chance.randrange(YOURS + 1, site.rows)
        numbers = range(first, min(first + self._chance.randint(1, 3), site.rows))
        sets = ", ".join(f"{name} = %s" for name in (*values, "modify_date"))
        sql = f"UPDATE {TABLE} SET {sets} WHERE id = %s AND code = %s"
        rows = ([*values.values(), now(), number, connector(site, number)] for number in numbers)
        self._databases.change(self._name, sql, rows)

    def _add(self, site: Site) -> None:
        ((last,),) = self._databases.query(self._name, f"SELECT MAX(id) FROM {TABLE}")
        first = (last or 0) + 1
        self._databases.insert(self._name, sessions(site, range(first, first + self._chance.randint(1, 2)), now()))
