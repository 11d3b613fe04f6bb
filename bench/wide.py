"""A station with a table of forty columns: numbers, decimals, dates, short texts, and one text of 2 kB."""

from __future__ import annotations

from bench.fleet import Fleet

_KINDS = {
    "n": ("int", "seq * {i} % 100000"),
    "d": ("decimal(12,4)", "seq * {i} / 7"),
    "t": ("datetime(3)", "'2024-01-01' + INTERVAL seq * {i} SECOND"),
    "v": ("varchar(60)", "IF(seq % {i} = 0, NULL, CONCAT('값 ', seq, ' ', {i}))"),
}
# With id, code, note and modify_date: forty.
_MORE = [f"{kind}{i}" for i in range(2, 11) for kind in _KINDS]
_NAMES = ["id", "code", *_MORE, "note", "modify_date"]
_SHARED = (
    "code varchar(100) NOT NULL,"
    + "".join(f" {name} {_KINDS[name[0]][0]}," for name in _MORE)
    + " note text, modify_date datetime NOT NULL, UNIQUE (id, code), KEY (modify_date, id, code))"
    " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
)


class WideFleet(Fleet):
    columns = ", ".join(_NAMES)
    station_table = f"CREATE TABLE kafka_test (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, {_SHARED}"
    control_table = (
        f"CREATE TABLE {{}} (master_id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, id bigint NOT NULL, {_SHARED}"
    )
    values = ", ".join(
        [
            "seq, 'station-1'",
            *(_KINDS[name[0]][1].format(i=name[1:]) for name in _MORE),
            "REPEAT(CONCAT(MD5(seq), ' '), 62), '2024-01-01' + INTERVAL seq SECOND",
        ]
    )
    expectations = None
