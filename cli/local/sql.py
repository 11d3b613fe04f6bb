"""One statement at a database of the local fleet; the script `sql` in its folder calls this."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pymysql

from cli.common import print_error
from cli.local.databases import PLACES, databases_of
from cli.local.home import Home
from stationsync.errors import StationSyncError, UsageError


def main(folder: str, name: str = "", statement: str = "") -> int:
    home = Home(Path(folder))
    fleet = home.read()
    try:
        if fleet is None or name not in PLACES or not statement:
            usage = f'Say: {home.sql} {"|".join(PLACES)} "STATEMENT"'
            raise UsageError("sql", "says not what to do where.", not_done="Nothing was done.", next_step=usage)
        # The driver takes a percent sign for a parameter.
        text = statement.replace("%", "%%") if fleet.database == "mariadb" else statement
        rows = databases_of(home, fleet.database).query(name, text)
    except StationSyncError as error:
        print_error(error)
        return error.exit_code
    except (sqlite3.Error, pymysql.Error) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    for row in rows:
        print("\t".join("NULL" if value is None else str(value) for value in row))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
