"""The story, chapter by chapter. What a chapter says it also proves, through the databases' own drivers."""

from __future__ import annotations

from cli.demo.fleet import CONTROL
from cli.demo.sample import SITES, TABLE
from cli.demo.tables import changed
from cli.demo.telling import Telling
from stationsync.health import conflict_list
from stationsync.health.conflict_list import ConflictFilter
from stationsync.keeping import trash
from stationsync.model.changes import Direction, Status
from stationsync.model.details import ReconcileDetails
from stationsync.recovery import quarantine

UP, DOWN = Direction.UP, Direction.DOWN
SEOUL, BUSAN, JEJU = SITES
_SITE_NOTE, _HOME_NOTE, _GUEST_NOTE = "케이블 교체 🔧", "보증 처리 📄", "단골 고객 ⭐"


def first_load(tell: Telling) -> None:
    """Everything is new to control."""
    say, here = tell.screen.say, tell.fleet.databases
    say("Control is empty. Each station has sessions of its own, and all of them count their ids from 1.")
    runs = tell.run("pull")
    rows = sum(site.rows for site in SITES)
    tell.claim(f"control has all {rows:,} rows, each once", here.count(CONTROL) == rows == runs.total("applied"))
    tell.claim("no value changed on its way: Korean, emoji, NULL and empty text", tell.fleet.equal(*SITES))


def edits_at_stations(tell: Telling) -> None:
    say, fleet = tell.screen.say, tell.fleet
    numbers = range(201, 321)
    before = fleet.control_row(SEOUL, 201)
    fleet.edit(SEOUL.name, SEOUL, numbers, driver="한소희", price=15_900)
    fleet.add(BUSAN, 35)
    say(
        "Seoul corrects 120 sessions, Busan books 35 new ones, Jeju sleeps. A run remembers how far it has read, its",
        "watermark, so the next one reads only what changed since.",
    )
    runs = tell.run("pull")
    after = fleet.control_row(SEOUL, 201)
    rows = [
        (state, row["id"], row["code"], *(paint(row[name]) for name in ("driver", "price", "modify_date")))
        for state, row, paint in (("before", before, lambda value: value), ("now", after, changed))
    ]
    say("One of them, as control has it:")
    tell.screen.table(("", "id", "code", "driver", "price", "modify_date"), rows, right=("id", "price"))
    written = [runs.written(site, UP) for site in SITES]
    tell.claim("exactly 120 edits and 35 new rows were written, nothing for Jeju", written == [120, 35, 0])
    tell.claim("control has what the stations have", fleet.equal(*SITES))


def edits_at_control(tell: Telling) -> None:
    say, fleet = tell.screen.say, tell.fleet
    fleet.edit(CONTROL, BUSAN, range(501, 541), text="환불 처리됨 💸", price=0)
    say(
        "Control refunds 40 sessions of Busan. Beside its rows it keeps a base: whose each row is, and what that",
        "station is known to have. So the edits go to Busan alone.",
    )
    traces = fleet.traces(SEOUL, JEJU)
    runs = tell.run("push")
    tell.claim("Busan has the 40 edits", runs.written(BUSAN, DOWN) == 40 and fleet.equal(BUSAN))
    untouched = traces == fleet.traces(SEOUL, JEJU)
    tell.claim("not one write reached the databases of Seoul and Jeju", untouched)
    say("Their new time stamps make Busan's next pull read them. It finds them the same as the base:")
    again = tell.run("pull", [BUSAN])
    tell.claim("they do not come back up as news", again.nothing_to_do and again.total("read") >= 40)


def both_sides_edit(tell: Telling) -> None:
    say, fleet = tell.screen.say, tell.fleet
    say(
        "Between two runs, both sides edit two sessions of Jeju: of 101 different columns, of 102 the same one, and",
        "control 5 seconds later. This table's conflict policy is `merge`: column by column against the base; where",
        "both changed a column, the newer version wins.",
    )
    apart, same = 101, 102
    before = {number: fleet.station_row(JEJU, number) for number in (apart, same)}
    fleet.edit(JEJU.name, JEJU, [apart], ago=5, price=9_900)
    fleet.edit(JEJU.name, JEJU, [same], ago=5, text=_SITE_NOTE)
    fleet.edit(CONTROL, JEJU, [apart], text=_GUEST_NOTE)
    fleet.edit(CONTROL, JEJU, [same], text=_HOME_NOTE)
    edited = {n: (fleet.station_row(JEJU, n), fleet.control_row(JEJU, n)) for n in before}
    tell.run("sync", [JEJU])
    after = {number: fleet.station_row(JEJU, number) for number in before}
    rows = []
    for number, name in ((apart, "text"), (apart, "price"), (same, "text")):
        old, (station, control), new = before[number][name], edited[number], after[number][name]
        sides = (changed(v) if v != old else v for v in (station[name], control[name]))
        rows.append((number, name, old, *sides, changed(new)))
    tell.screen.table(("id", "column", "before", "Jeju's edit", "control's edit", "now, at both"), rows, right=("id",))
    both = (after[apart]["price"], after[apart]["text"]) == (9_900, _GUEST_NOTE)
    tell.claim("different columns: both edits live", both and fleet.equal(JEJU))
    tell.claim("the same column: the newer one, control's, holds", after[same]["text"] == _HOME_NOTE)
    _show_losers(tell)


def _show_losers(tell: Telling) -> None:
    found, _ = conflict_list.find(tell.fleet.control, ConflictFilter(JEJU.name, TABLE))
    tell.screen.say(
        "Nobody's work is thrown away. The conflict table keeps both versions of what clashed, here the text of 102",
        "and both time stamps (stationsync conflicts list shows it):",
    )
    lost = []
    for one in sorted(found, key=lambda one: one.key[0]):
        station, control, result = (row or {} for row in (one.station_row, one.control_row, one.result_row))
        for name in one.columns:
            winner = "Jeju's" if result.get(name) == station.get(name) else "control's"
            lost.append((one.key[0], name, station.get(name), control.get(name), winner))
    tell.screen.table(("id", "column", "Jeju had", "control had", "in use"), lost, right=("id",))
    texts = [row[2:] for row in lost if row[:2] == ("102", "text")]
    tell.claim("Jeju's text is kept, beside the one that won", texts == [(_SITE_NOTE, _HOME_NOTE, "control's")])


def a_bad_row(tell: Telling) -> None:
    say, fleet = tell.screen.say, tell.fleet
    numbers = fleet.add(SEOUL, 60)
    bad = numbers[30]
    fleet.edit(SEOUL.name, SEOUL, [bad], price=-4_900)
    say(
        "Seoul books 60 sessions, one of them with a price below zero. The table's expectations forbid that, so this",
        "row is put in quarantine: kept aside, with the reason. Everything else goes on.",
    )
    runs = tell.run("sync", [SEOUL])
    entries, _ = quarantine.find(fleet.control, SEOUL.name)
    rows = [(entry.row["id"], entry.row["code"], entry.row["price"], "; ".join(entry.reasons)) for entry in entries]
    tell.screen.table(("id", "code", "price", "reason"), rows, right=("id", "price"))
    tell.claim("59 rows went up, one is in quarantine", (runs.written(SEOUL, UP), len(entries)) == (59, 1))
    say("Somebody mends it at the station. Nothing else is to be done:")
    fleet.edit(SEOUL.name, SEOUL, [bad], price=4_900)
    mended = tell.run("sync", [SEOUL])
    _, still = quarantine.find(fleet.control, SEOUL.name)
    tell.claim("the good version went up and released the entry", mended.total("released") == 1 and still == 0)
    tell.claim("Seoul and control are equal again", fleet.equal(SEOUL))


def off_line(tell: Telling) -> None:
    say, fleet = tell.screen.say, tell.fleet
    here = fleet.databases
    fleet.edit(BUSAN.name, BUSAN, range(601, 626), driver="오세훈")
    here.take_away(BUSAN.name)
    try:
        fleet.edit(CONTROL, BUSAN, range(701, 716), text="출장 점검 예정 📅")
        fleet.edit(JEJU.name, JEJU, range(801, 811), price=7_700)
        say(
            f"Busan edits 25 sessions and goes off-line: {here.outage}.",
            "Meanwhile control edits 15 other sessions of Busan, and Jeju works as ever.",
        )
        runs = tell.run("sync")
    finally:
        here.bring_back(BUSAN.name)
    tell.claim("that is no failure: Busan is off-line", runs.status(BUSAN) == {Status.OFFLINE})
    tell.claim("the others go on as if nothing was", runs.written(JEJU, UP) == 10 and fleet.equal(SEOUL, JEJU))
    say("Busan is back:")
    back = tell.run("sync", [BUSAN])
    both_ways = (back.written(BUSAN, UP), back.written(BUSAN, DOWN)) == (25, 15)
    tell.claim("its 25 edits went up and control's 15 came down: nothing is lost", both_ways and fleet.equal(BUSAN))


def whole_tables(tell: Telling) -> None:
    say, fleet = tell.screen.say, tell.fleet
    fleet.delete(SEOUL, range(901, 906))
    fleet.edit_silently(SEOUL.name, SEOUL, range(911, 914), price=1_000)
    fleet.edit_silently(CONTROL, JEJU, range(921, 923), price=2_000)
    say(
        "Seoul deletes five sessions. Somebody with a database client corrects three more there, and two of Jeju's at",
        "control, without a time stamp. No watermark can see any of that:",
    )
    runs = tell.run("sync")
    tell.claim("a sync finds nothing to do", runs.nothing_to_do and not fleet.equal(SEOUL))
    say(
        "A reconcile compares whole tables by checksums that both databases work out, and repairs what differs through",
        "the same merge and push. Deletes go to the trash; a mass of them would be refused.",
    )
    swept = tell.run("reconcile")
    proved = [(r, r.details) for r in swept.reports if isinstance(r.details, ReconcileDetails)]
    proofs = [(r.station, details.rows, details.checksum, r.up_to) for r, details in proved]
    tell.screen.table(("station", "rows", "checksum", "equal up to"), proofs, right=("rows",))
    tell.claim("all three are equal again, and proved so", fleet.equal(*SITES))
    kept, _ = trash.find(fleet.control, SEOUL.name)
    tell.claim("the five deleted rows are in the trash", len(kept) == swept.total("deleted") == 5)
    corrected = {fleet.station_row(JEJU, number)["price"] for number in range(921, 923)}
    tell.claim("control's two corrections went down to Jeju", corrected == {2_000})


def nothing_to_do(tell: Telling) -> None:
    here = tell.fleet.databases
    tell.screen.say(
        "Run everything again. Rows of the last minute are always read again, so that none is ever missed; rows that",
        "are the same already cost nothing more.",
    )
    before = tell.fleet.traces(*SITES), [here.digest(CONTROL, site.code) for site in SITES]
    runs = tell.run("sync")
    after = tell.fleet.traces(*SITES), [here.digest(CONTROL, site.code) for site in SITES]
    tell.claim("nothing to do, anywhere", runs.nothing_to_do and runs.total("applied") == 0)
    tell.claim("nothing was written at any station, no row changed at control", before == after)
